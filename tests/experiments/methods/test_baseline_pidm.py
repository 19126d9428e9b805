"""PIDM as a user runs it: foresight, then the policy that inverts it."""

import jax
import numpy as np
from imitation_data import make_config, write_data

from experiments.configs.baseline import get_config
from experiments.methods import baseline
from experiments.models.loading import load_run
from experiments.runs.metrics import read_rows


def test_a_foresight_is_learnt_and_acts_inside_the_policy(tmp_path):
    data = write_data(tmp_path / "data")
    config = make_config(get_config("pidm-tiny"), data, "observations", horizon=2)
    config.fit.update(max_updates=40)
    result = baseline.run(config, tmp_path / "run")
    assert np.shape(result["return"]) == (1, 2) and result["label"] == "PIDM"
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    fitted = [name for name in ("foresight", "policy") for row in rows if f"train/{name}/loss" in row]
    assert fitted == ["foresight"] * 2 + ["policy"] * 2

    loaded = load_run(tmp_path / "run")
    assert loaded.models.policy.horizon == 2
    assert all(np.any(leaf) for leaf in jax.tree.leaves(loaded.models.policy.foresight.change))
    with loaded.arena.make(1, seed=0) as envs:
        assert loaded.actor(1)(envs.reset()).shape == (1, 2)
