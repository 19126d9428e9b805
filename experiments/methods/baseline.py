"""Baselines of imitation by supervised learning; experiments/methods/surrogate.py has those by reinforcement learning.

    python -m experiments baseline --config=baseline:bco --config.embodiment=DIR \\
        --config.demonstrations=DIR --workdir=DIR

From observations alone: bco (BCO(0)), bco_alpha (BCO with interaction), iidm. Oracles, with the true actions: bc, mbbc.
"""

from __future__ import annotations

from experiments.methods.baseline_fitted import FittedBaseline
from experiments.methods.baseline_recipes import RECIPES
from experiments.methods.baseline_rounds import run_rounds
from experiments.runs.directory import RunDirectory

METHODS = (*RECIPES, "bco_alpha")


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Trains and evaluates `config.num_seeds` policies; see experiments/configs/baseline.py.

    Returns:
      {"return": `[num_seeds][episodes]`, "return_mean", "by_expert": [num_seeds], "action_mse": [num_seeds] to
      the true actions of the demonstrations, where they have any, ...}.
    """
    with RunDirectory(workdir, config, fresh=fresh) as directory:
        if directory.done:
            return directory.result
        method = directory.config["method"]
        if method not in METHODS:
            raise ValueError(f"Unknown method {method!r}. Known: {', '.join(METHODS)}.")
        return run_rounds(directory) if method == "bco_alpha" else FittedBaseline(directory).run()
