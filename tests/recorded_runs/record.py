"""Records runs and exports of the release before model folders, with what that release makes of them.

    git worktree add /tmp/before 3e24ebe && cd EMPTY_FOLDER && PYTHONPATH=/tmp/before python .../record.py

Writes `runs.tar.gz`, without all that loading does not need, and `expected.json` into the folder of this file.
"""

import json
import os
import pathlib
import subprocess
import sys
import tarfile

import jax
import numpy as np

SHOWN = "--config.demonstrations=data/episodes"
MODEL, BODY, TWO = "--config.model=pretrain", "--config.embodiment=data/episodes", "--config.num_seeds=2"
COMMANDS = {
    "data": ("collect", "uniform-tiny", "--config.num_episodes=2"),
    "pretrain": ("pretrain", "tiny", BODY, TWO),
    "imitate": ("imitate", "tiny", MODEL, SHOWN, TWO),
    "joint": ("imitate", "tiny", MODEL, SHOWN, BODY, TWO),
    "online": ("online", "tiny", MODEL, BODY, SHOWN, "--config.reward.name=ot"),
    "dreamer": ("dreamer", "tiny", "--config.env=fake-pointmass"),
    "bc": ("baseline", "bc-tiny", SHOWN),
    "mbbc": ("baseline", "mbbc-tiny", MODEL, SHOWN, TWO),
    "surrogate": ("surrogate", "ot-tiny", SHOWN),
    "sac": ("collect", "tiny"),
    "export-imitate": ("export", "", "--run=imitate", "--config.seed=1"),
    "export-dreamer": ("export", "", "--run=dreamer"),
}
SENSORS = {name: np.array([[0.3, -0.2]], np.float32) for name in ("position", "velocity")}
RECORDS = SENSORS | {"is_first": np.ones(1, bool)}
KEPT = ("model", "policy", "critic", "policies", "episodes", "config.json", "DONE")
KEPT += ("world_model.json", "policy.json", "critic.json", "frame_stack.json", "model.json", "weights.npz")


def record(name: str, main: str, preset: str, *flags: str) -> None:
    """Runs one command of that release."""
    root = pathlib.Path(__import__("experiments").__file__).parent
    where = f"--to={name}" if main == "export" else f"--workdir={name}"
    config = f"--config={root}/configs/{main}.py" + (f":{preset}" if preset else "")
    subprocess.run([sys.executable, "-m", f"experiments.{main}", config, *flags, where], check=True)


def numbers(name: str) -> dict:
    """What that release makes of a folder: actions of every seed, values of the critic, embeddings."""
    from experiments import runs, world_models

    if name.startswith("export"):
        policy, _, _ = world_models.resolve_policies(name)
        embed = runs.load_world_model(name).encode(SENSORS)
        features = np.full((1, 1, policy.mean_net.first.in_features), 0.1, np.float32)
        found = {"embedding": embed, "mode": jax.vmap(lambda p, x: p(x).mode)(policy, features)[0]}
    elif name == "pretrain":
        models = [runs.load_world_model(name, seed) for seed in range(2)]
        found = {"embedding": [model.encode(SENSORS) for model in models]}
    else:
        run = runs.load_run(name)
        found = {"action": [run.actor(seed=seed)(RECORDS) for seed in range(run.num_seeds)]}
        found |= {"kind": run.kind, "env_name": run.arena.name, "expert": run.expert}
        if run.critics:
            (critic,) = run.critics.values()
            found["value"] = jax.vmap(lambda c, x: c(x))(critic, np.full((1, 1, 12), 0.1, np.float32))
    plain = {
        n: np.asarray(x).tolist() if n not in ("kind", "env_name", "expert") else x for n, x in found.items()
    }
    return plain


def main() -> None:
    for name, command in COMMANDS.items():
        if not pathlib.Path(name).exists():
            record(name, *command)
    here = pathlib.Path(__file__).parent
    expected = {name: numbers(name) for name in COMMANDS if name != "data"}
    (here / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    with tarfile.open(here / "runs.tar.gz", "w:gz") as file:
        for name in COMMANDS:
            for part in sorted(os.listdir(name)):
                if part in KEPT and (part != "episodes" or name == "data"):
                    file.add(f"{name}/{part}")


if __name__ == "__main__":
    main()
