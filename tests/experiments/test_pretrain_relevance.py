"""Pretraining on windows that are weighted by their likeness to demonstrations."""

import pytest

from experiments import collect, pretrain
from experiments.configs import collect as collect_config
from experiments.configs import pretrain as pretrain_config
from worldmodels.episodes import load_episodes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    collect.run(collect_config.get_config("uniform-tiny"), folder)
    return str(folder / "episodes")


def test_a_model_pretrains_on_weighted_windows(data, tmp_path):
    config = pretrain_config.get_config("tiny")
    config.update(embodiment=data)
    config.relevance.update(demonstrations=data, num_updates=5)
    assert pretrain.run(config, tmp_path)["num_episodes"] == len(load_episodes(data))
