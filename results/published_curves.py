"""Writes the published learning curves that reports draw, from the result files of their authors.

    git clone https://github.com/IcarusWizard/AIME-NoB FOLDER
    python results/published_curves.py FOLDER

Writes `experiments/analysis/published/aime_nob.json`, a line per task, method and data of the world model.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from experiments.runs.scripts import run_script

FILE = Path(__file__).parents[1] / "experiments/analysis/published/aime_nob.json"
COMMIT = "303b26d"
STEPS = "simulator steps of interaction, action repeats included: the first score is at 0, then one every `every` steps"
HEADER = {
    "source": {
        "paper": "Overcoming Knowledge Barriers: Online Imitation Learning from Visual Observation with Pretrained "
        "World Models (AIME-NoB; first version: AIME-v2), TMLR 2025, arXiv:2404.18896",
        "short": "AIME-NoB (TMLR 2025)",
        "repository": "https://github.com/IcarusWizard/AIME-NoB",
        "commit": COMMIT,
        "files": ["results/dmc-results.json", "results/metaworld-results.json"],
        "licence": "MIT, Copyright (c) 2025 Xingyuan Zhang",
        "made_by": "python results/published_curves.py FOLDER",
    },
    "suites": {
        "dmc": {
            "unit": "return, at most 1000; not normalised; whole numbers",
            "score": "return",
            "seeds": 5,
            "episodes": 10,
            "setting": "from images, 10 demonstrations",
            "steps": STEPS,
        },
        "metaworld": {
            "unit": "% of episodes with success",
            "score": "success_any",
            "seeds": 5,
            "episodes": 100,
            "setting": "from images, number of demonstrations and rule of success not stated",
            "steps": STEPS,
            "models": "mt39, mt50: data of so many tasks for the pretrained world model",
        },
    },
    "notes": [
        '"AIME-NoB (unqualified)" of dmc is named "AIME-NoB" in the files, which do not say what it is; it equals none '
        "of the three variants. In metaworld the same name stands for AIL with mt50, and is left out here.",
        "The files of metaworld state neither how many demonstrations there were (10 or 50) nor whether a success "
        "means the last step or any; PatchAIL was evaluated with 10 episodes.",
        "AIME is offline: one score of each run, numbered here; metaworld has 10 runs.",
    ],
}


def series(suite: str, results: dict) -> Iterator[dict]:
    """Yields the curves of a suite.

    Args:
      results: {task: {series: {"env_steps": [P], seed: [P] scores} or, of offline methods, [N] scores}}.
    """
    for task, of_task in results.items():
        for name, found in of_task.items():
            method, *variant = name.replace(r"$\alpha$", "alpha").replace(" (Ours)", "").split(" w/ ")
            if suite == "metaworld" and name == "AIME-NoB":
                continue
            model = variant.pop() if variant and variant[-1].startswith("mt") else ""
            reward = "".join(variant) or ("unqualified" if method == "AIME-NoB" else "")
            if isinstance(found, list):
                found = {str(index): [value] for index, value in enumerate(found)} | {"env_steps": [0]}
            steps = found["env_steps"]
            every = steps[1] if len(steps) > 1 else 0
            if steps != [every * index for index in range(len(steps))]:
                raise ValueError(f"{task}, {name}: the evaluations are not evenly spaced.")
            scale = 100 if suite == "metaworld" else 1
            yield {
                "suite": suite,
                "task": task,
                "method": f"{method} ({reward})" if reward else method,
                "model": model,
                "every": every,
                "scores": {
                    seed: [round(scale * value) for value in found[seed]]
                    for seed in sorted(found.keys() - {"env_steps"}, key=int)
                },
            }


def main(repository: str) -> None:
    """Writes the file from a clone of the authors' repository."""
    curves = []
    for suite in HEADER["suites"]:
        show = ["git", "-C", repository, "show", f"{COMMIT}:results/{suite}-results.json"]
        found = subprocess.run(show, capture_output=True, text=True)
        if found.returncode:
            raise ValueError(f"{repository} is no clone of {HEADER['source']['repository']}: {found.stderr}")
        curves += series(suite, json.loads(found.stdout))
    lines = ",\n".join(json.dumps(curve, separators=(",", ":")) for curve in curves)
    header = json.dumps(HEADER, indent=2).removesuffix("\n}")
    FILE.write_text(f'{header},\n  "curves": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    run_script(main, __doc__)
