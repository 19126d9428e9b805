"""Plays the packaged policy of AIME and a run of BCO(0) under variations, and prints a table of their scores.

python results/variation.py RUN_OF_BCO FOLDER
"""

import dataclasses
import json
import pathlib

import jax
import numpy as np

import experiments
import worldmodels
from agents.actors import FilterActor
from experiments.data.demonstrations import Demonstrations
from experiments.data.evaluation import Evaluation
from experiments.drawing.table import Table
from experiments.models.loading import load_run
from experiments.runs.scripts import run_script

TASK, EPISODES, SEED = "cheetah-runbackward", 10, 1000
VARIATIONS = ("", "mass=0.2", "mass=0.5", "friction=0.5", "length=0.1", "mass=0.5&friction=0.5&length=0.1")


def main(run: str, folder: str) -> None:
    """Writes `FOLDER/scores.json`, after every score, and prints the table; those that are there are kept."""
    bundle = experiments.bundled()
    models = worldmodels.load(bundle.model)
    shown = Demonstrations.read(str(bundle.demonstrations), inputs=models.world_model.inputs)
    bco = load_run(run)

    def make_aime(num_envs: int) -> FilterActor:
        return FilterActor(models.world_model, models.policy, num_envs, jax.random.key(0))

    makers = {"AIME": (make_aime, 1), "BCO(0)": (bco.make_actor, bco.num_seeds)}
    file = pathlib.Path(folder) / "scores.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    scores = json.loads(file.read_text()) if file.is_file() else {}
    for amounts in VARIATIONS:
        name = f"{TASK}?{amounts}" if amounts else TASK
        for method, (make_actor, num_seeds) in makers.items():
            if amounts in scores.setdefault(method, {}):
                continue
            arena = dataclasses.replace(shown.arena, name=name)
            play = Evaluation(arena, num_seeds, shown.expert).play(make_actor, EPISODES, SEED)
            scores[method][amounts] = [100 * value / shown.expert for value in play.returns[0]]
            file.write_text(json.dumps(scores))
            print(amounts or "none", method, np.mean(scores[method][amounts]), flush=True)
    rows = [
        [amounts or "none", *(said(scores[method][amounts]) for method in makers)] for amounts in VARIATIONS
    ]
    print(Table(["variation of the evaluation", *makers], rows).markdown())


def said(values: list[float]) -> str:
    """Returns "mean (least to most)" of the episodes of a policy."""
    return f"{np.mean(values):.0f} ({min(values):.0f} to {max(values):.0f})"


if __name__ == "__main__":
    run_script(main, __doc__)
