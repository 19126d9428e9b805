"""Images end to end: pretrain, imitate, evaluate and inspect_run, and what users get wrong."""

import json

import numpy as np
import pytest
from imitation_data import config_of

from agents.loop import collect_episodes
from agents.noise import UniformActor
from experiments.analysis import evaluate, inspect_run
from experiments.configs import baseline as baseline_config
from experiments.configs import dreamer as dreamer_config
from experiments.configs import evaluate as evaluate_config
from experiments.configs import imitate as imitate_config
from experiments.configs import inspect_run as inspect_config
from experiments.configs import pretrain as pretrain_config
from experiments.envs.vector import VectorEnvironment
from experiments.methods import baseline, dreamer, imitate, pretrain
from experiments.models import architectures, files
from worldmodels.data.episodes import Episode, load_episodes, write_episode

SIZE = 8
ENV = "fake-pointmass"


def record(folder, size=SIZE, **metadata):
    """Three episodes of noise with images of `size`, or without any."""
    with VectorEnvironment(ENV, 3, seed=0, render_size=size) as envs:
        episodes = collect_episodes(envs, UniformActor(3, 2, seed=0), 3)
    for number, episode in enumerate(episodes):
        write_episode(folder / f"{number}.hdf5", Episode(episode.records, episode.metadata | metadata))
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("visual")


@pytest.fixture(scope="module")
def data(folder):
    return record(folder / "data")


@pytest.fixture(scope="module")
def model(folder, data):
    pretrain.run(config_of(pretrain_config, "visual-tiny", embodiment=data), folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def policy(folder, data, model):
    config = config_of(imitate_config, model=str(model), demonstrations=data)
    config.evaluation.video = True
    imitate.run(config, folder / "policy")
    return folder / "policy"


def test_sizes_come_from_the_data(model):
    arch = files.load(model).arguments["world_model"]
    assert arch["sizes"] == {"image": [SIZE, SIZE], "position": 2, "velocity": 2}
    assert (arch["inputs"], arch["probes"]) == (["image"], ["position", "velocity"])


def test_pretraining_leaves_videos_figures_and_numbers(model):
    for name in ("videos/open_loop_image.mp4", "videos/reconstruction_image.mp4"):
        assert (model / name).stat().st_size > 0
    for name in ("open_loop", "open_loop_error_image", "evidence"):
        assert (model / "figures" / f"{name}.png").stat().st_size > 0
    numbers = json.loads((model / "inspection.json").read_text())
    assert set(numbers["open_loop_mse"]) == {"image", "position", "velocity"}
    assert len(numbers["probes_explained"]["velocity"]["state"]) == 2


def test_the_policy_is_evaluated_from_images(policy):
    result = json.loads((policy / "DONE").read_text())
    assert np.shape(result["return"]) == (1, 2)
    assert (policy / "videos" / "evaluation.mp4").stat().st_size > 0


def test_a_finished_run_is_evaluated_again_from_images(policy):
    assert np.shape(evaluate.run(config_of(evaluate_config), "", run=str(policy))["return"]) == (1, 2)


def test_mbbc_learns_the_true_actions_and_acts_from_images(model, data, tmp_path):
    config = config_of(baseline_config, "mbbc-tiny", model=str(model), demonstrations=data)
    result = baseline.run(config, tmp_path / "mbbc")
    assert np.shape(result["return"]) == (1, 2) and np.shape(result["action_mse"]) == (1,)


def test_dreamer_learns_from_images_and_leaves_them_as_embodiment_data(tmp_path):
    config = config_of(dreamer_config, setup="visual", image_size=SIZE, num_episodes=6)
    config.update(model_pretraining_iterations=0, updates_per_dispatch=1)  # one program
    config.world_model = dreamer_config.world_model("visual-tiny")
    result = dreamer.run(config, tmp_path / "expert")
    assert np.isfinite(result["return"]).all()
    episodes = load_episodes(tmp_path / "expert" / "episodes")
    assert len(episodes) == 6 and all(e.records["image"].shape[1:] == (SIZE, SIZE, 3) for e in episodes)
    assert all({"pre_action", "position", "reward"} <= set(episode.records) for episode in episodes)


def test_inspecting_an_imitation_shows_demonstrations_and_keeps_the_metrics(policy):
    before = (policy / "metrics.jsonl").read_text()
    result = inspect_run.run(config_of(inspect_config), "", run=str(policy))
    assert result["action_mse"] > 0 and result["videos"] == ["open_loop_image", "reconstruction_image"]
    assert (policy / "videos" / "open_loop_image.mp4").stat().st_size > 0
    assert (policy / "metrics.jsonl").read_text() == before


# Mistakes ------------------------------------------------------------------------------------------------------------


def test_demonstrations_of_another_size_are_refused(folder, model, tmp_path):
    config = config_of(imitate_config, model=str(model), demonstrations=record(tmp_path / "large", 16))
    with pytest.raises(ValueError, match="have 16x16 pixels, the world model knows 8x8; render the demo"):
        imitate.run(config, tmp_path / "run")


def test_demonstrations_without_images_are_refused(model, tmp_path):
    config = config_of(imitate_config, model=str(model), demonstrations=record(tmp_path / "states", None))
    with pytest.raises(ValueError, match="demonstrations lack image, which the world model reads"):
        imitate.run(config, tmp_path / "run")


def test_embodiment_data_without_images_are_refused(tmp_path):
    config = config_of(pretrain_config, "visual-tiny", embodiment=record(tmp_path / "states", None))
    with pytest.raises(ValueError, match="The data lacks image, which set-up 'visual'"):
        pretrain.run(config, tmp_path / "run")


@pytest.mark.parametrize(
    "values, what",
    [
        (np.zeros((5, 3, 8, 8), np.uint8), r"\[3, 8, 8\]: move the channels to the end"),
        (np.zeros((5, 8, 8, 3), np.float32), "are float32; they must be uint8 from 0 to 255"),
        (np.zeros((5, 8, 8, 1), np.uint8), r"shape \[8, 8, 1\]; sensors are vectors"),
        (np.zeros((5, 8, 8), np.uint8), r"shape \[8, 8\]; sensors are vectors"),
    ],
)
def test_images_in_another_form_are_refused(values, what):
    with pytest.raises(ValueError, match=what):
        architectures.sensor_size("image", values)


def test_an_environment_that_cannot_draw_is_refused_before_training(model, tmp_path):
    name = "tests.experiments.envs.failing_renderers:refusing"
    demonstrations = record(tmp_path / "data", environment=name)
    config = config_of(imitate_config, model=str(model), demonstrations=demonstrations, env=name)
    with pytest.raises(ValueError, match="does not take render_size"):
        imitate.run(config, tmp_path / "run")


def test_a_run_without_a_world_model_cannot_be_inspected(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no model yet; the run has not finished"):
        inspect_run.run(config_of(inspect_config), "", run=str(tmp_path))
    with pytest.raises(ValueError, match="--run=DIR"):
        inspect_run.run(config_of(inspect_config), "")
