"""Pretraining on windows that are weighted by their likeness to demonstrations."""

import pytest

from experiments.configs import collect as collect_config
from experiments.configs import pretrain as pretrain_config
from experiments.methods import collect, pretrain
from worldmodels.data.episodes import load_episodes
from worldmodels.devices.sharding import ONE_DEVICE


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


def test_windows_are_weighted_by_as_many_demonstrations_as_are_asked_for(data, monkeypatch):
    config = pretrain_config.get_config("tiny")
    config.relevance.update(demonstrations=data, num_demonstrations=1)
    monkeypatch.setattr(pretrain, "weighted_windows", lambda body, shown, key, **options: (body, shown))
    episodes, arch = load_episodes(data), {"sizes": {"position": 2}, "inputs": ["position"]}
    body, shown = pretrain.embodiment_windows(config.to_dict(), arch, episodes, ONE_DEVICE)
    assert (body.num_episodes, shown.num_episodes) == (len(episodes), 1)
