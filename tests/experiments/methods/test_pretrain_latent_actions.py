"""Pretraining with latent actions: of some episodes the actions are known, of others they are not."""

import pytest
from interruption import assert_same_run, copied_after

from experiments.configs import collect as collect_config
from experiments.configs import imitate as imitate_config
from experiments.configs import pretrain as pretrain_config
from experiments.data.folders import hide_actions
from experiments.methods import collect, imitate, pretrain
from experiments.models import files
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.episodes import append_episode, load_episodes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders of episodes with actions, and of others without."""
    folder = tmp_path_factory.mktemp("data")
    collect.run(collect_config.get_config("uniform-tiny"), folder)
    for episode in load_episodes(folder / "episodes"):
        append_episode(folder / "unlabelled", hide_actions(episode))
    return str(folder / "episodes"), str(folder / "unlabelled")


def config_of(data, **changes):
    config = pretrain_config.get_config("tiny")
    config.update(embodiment=data[0], unlabelled=data[1], num_episodes=1, **changes)
    return config


def test_labels_are_counted_and_a_killed_run_ends_bit_identical_and_imitates(data, tmp_path):
    again = tmp_path / "again"
    with copied_after(2, tmp_path / "model", again):
        result = pretrain.run(config_of(data), tmp_path / "model")
    (labelled,) = load_episodes(data[0], limit=1)
    counts = {name: result[name] for name in ("num_episodes", "num_actions", "num_unlabelled")}
    assert counts == dict(num_episodes=1, num_actions=labelled.length, num_unlabelled=5)

    assert Checkpoints(again / "checkpoints").latest_step() == 2 and not (again / "DONE").exists()
    pretrain.run(config_of(data), again)
    assert_same_run(again, tmp_path / "model", ("checkpoints", "model"))

    assert files.load(tmp_path / "model", "world_model").world_model.latent_actions is not None
    config = imitate_config.get_config("tiny")
    config.update(model=str(tmp_path / "model"), demonstrations=data[1], num_updates=2)
    assert "return_mean" in imitate.run(config, tmp_path / "aime")


def test_a_model_without_actions_needs_no_labels(data, tmp_path):
    with pytest.raises(ValueError, match="A model without actions needs no labels"):
        pretrain.run(config_of(data, action_free=True), tmp_path)
