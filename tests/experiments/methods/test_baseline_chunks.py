"""Policies that decide on several actions at once, as a user trains and loads them."""

import numpy as np
import pytest
from imitation_data import make_config, write_data

from agents.chunks import TemporalEnsemble
from experiments.configs.baseline import get_config
from experiments.methods import baseline
from experiments.models.loading import load_run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def test_bco_decides_on_three_actions_and_acts_by_all_its_decisions(data, tmp_path):
    config = make_config(get_config("bco-tiny"), data, num_seeds=2, chunk=3)
    config.fit.update(max_updates=20)
    result = baseline.run(config, tmp_path / "run")
    assert np.shape(result["return"]) == (2, 2)
    assert np.shape(result["action_mse"]) == np.shape(result["idm_action_mse"]) == (2,)
    loaded = load_run(tmp_path / "run")
    assert loaded.models.policy.head.out_size == 3 * 2
    actor = loaded.actor(1)
    assert isinstance(actor, TemporalEnsemble)
    with loaded.arena.make(1, seed=0) as envs:
        assert actor(envs.reset()).shape == (1, 2)


def test_a_chunk_without_actions_is_refused(data, tmp_path):
    with pytest.raises(ValueError, match="A chunk of 0 actions decides on nothing; give at least 1."):
        baseline.run(make_config(get_config("bc-tiny"), data, chunk=0), tmp_path)
