"""A gymnasium environment of the user's own, with a nested Dict, a camera and early ends, through every command."""

import numpy as np
import pytest

from experiments.analysis import evaluate, inspect_run
from experiments.configs import collect as collect_config
from experiments.configs import dataset as dataset_config
from experiments.configs import evaluate as evaluate_config
from experiments.configs import imitate as imitate_config
from experiments.configs import inspect_run as inspect_config
from experiments.configs import pretrain as pretrain_config
from experiments.data import dataset
from experiments.methods import collect, imitate, pretrain
from experiments.models import architectures
from worldmodels import load_episodes, registry

ENV = "user_environments:Robot"
VECTORS = ("arm_mode", "arm_pos", "desired_goal")


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    config = collect_config.get_config("uniform-tiny")
    config.update({"env": ENV, "num_episodes": 6})
    collect.run(config, folder / "data")
    return folder / "data" / "episodes"


def test_what_it_gives_is_recorded(episodes):
    read = load_episodes(episodes)
    assert read[0].sensors == ("arm_mode", "arm_pos", "camera", "desired_goal")
    assert read[0].records["arm_mode"][:4].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    ended = [each.records["is_terminal"].any() for each in read]
    distances = [np.linalg.norm(each.records["arm_pos"], axis=1) for each in read]
    assert any(ended) and ended == [distance[-1] > 2 for distance in distances]
    assert [each.success for each in read] == [bool((distance[1:] < 0.5).any()) for distance in distances]


@pytest.mark.parametrize(
    ("setup", "inputs"),
    [("mdp", VECTORS), ("lpomdp", VECTORS), ("visual", ("camera",)), ("exp", VECTORS), ("real", ("camera",))]
    + [("full", ("arm_mode", "arm_pos", "camera", "desired_goal"))],
)
def test_every_set_up_has_inputs(episodes, setup, inputs):
    (first,) = load_episodes(episodes, limit=1)
    chosen = architectures.chosen_setup({"setup": setup}, ENV, first)
    assert tuple(sorted(chosen.inputs)) == inputs


def test_it_is_learnt_from_imitated_evaluated_looked_at_and_filmed(episodes, capsys):
    folder = episodes.parent.parent
    config = pretrain_config.get_config("visual-tiny")
    config.update(dict(embodiment=str(episodes), env=ENV, setup="full", num_updates=2))
    pretrain.run(config, folder / "model")
    config = imitate_config.get_config("tiny")
    config.update(dict(model=str(folder / "model"), demonstrations=str(episodes), env=ENV, num_updates=2))
    config.evaluation.update(every=2, video=True)
    result = imitate.run(config, folder / "aime")
    assert np.shape(result["return"]) == np.shape(result["success_any"]) == (1, 2)
    assert (folder / "aime" / "videos" / "evaluation.mp4").stat().st_size > 0
    registry.load(ENV)  # as --import does
    config = evaluate_config.get_config()
    config.update(dict(episodes=2))
    assert len(evaluate.run(config, "", run=str(folder / "aime"))["return"][0]) == 2
    assert (
        "camera"
        in inspect_run.run(inspect_config.get_config(), "", run=str(folder / "aime"))["open_loop_mse"]
    )
    config = dataset_config.get_config("export")
    config.update(dict(data=str(episodes), image_size=32))
    found = dataset.run(config, str(folder / "film"))
    assert found["num_frames"] == load_episodes(episodes, limit=1)[0].num_records


def test_an_expert_is_trained_in_it_and_demonstrates(tmp_path):
    config = collect_config.get_config("sac-tiny")
    config.update({"env": ENV, "agent_steps": 40})
    collect.run(config, tmp_path / "expert")
    (first, *_) = load_episodes(tmp_path / "expert" / "demonstrations")
    assert first.metadata["environment"] == ENV and "success" in first.records


def test_discrete_actions_are_refused_before_anything_is_played(tmp_path):
    config = collect_config.get_config("uniform-tiny")
    config.update({"env": "user_environments:Buttons", "num_episodes": 1})
    with pytest.raises(ValueError, match="only continuous actions are supported, so that nothing is played"):
        collect.run(config, tmp_path / "data")
    assert not (tmp_path / "data").exists()
