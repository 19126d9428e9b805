"""Episodes with images: what is recorded, and that the pictures can be drawn again from the physics states."""

import numpy as np
import pytest

from experiments.configs.collect import get_config
from experiments.envs import rendering
from experiments.envs.render_pool import RenderPool
from experiments.methods.collect import run
from worldmodels.data.episodes import load_episodes


def tiny(preset, **changes):
    config = get_config(f"{preset}-tiny")
    with config.unlocked():
        config.update(changes)
    return config


@pytest.fixture
def gl(monkeypatch):
    """A backend that works, as a user has it."""
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setenv(rendering._PROBED, "?")
    if rendering.find_backend() is None:
        pytest.skip("OpenGL does not work here")


def drawn_again(episode, size, **options):
    with RenderPool(episode.metadata["environment"], 1, size=(size, size), **options) as pool:
        return pool.render(episode.records["physics_state"], episode.metadata["seed"])


def test_noise_demonstrations_and_replays_hold_images(tmp_path):
    run(tiny("sac", image_size=8, agent_steps=100), tmp_path / "sac")
    run(tiny("coloured", image_size=8, num_episodes=1), tmp_path / "noise")
    for folder in ("sac/episodes", "sac/demonstrations", "noise/episodes"):
        episode = load_episodes(tmp_path / folder)[0]
        image = episode.records["image"]
        assert (image.dtype, image.shape) == (np.uint8, (26, 8, 8, 3)), folder
        np.testing.assert_array_equal(image, drawn_again(episode, 8))


@pytest.mark.parametrize("preset", ["scripted-tiny", "scripted-demonstrations"])
def test_episodes_of_scripted_experts_hold_images(tmp_path, preset):
    config = get_config(preset)
    config.update(tasks="fake-pointmass", image_size=8, num_episodes=2, workers=0)
    if preset == "scripted-demonstrations":
        config.successful_only = False
    run(config, tmp_path)
    for episode in load_episodes(tmp_path / "episodes" / "fake-pointmass"):
        assert episode.records["image"].shape == (episode.length + 1, 8, 8, 3)


def test_without_a_size_there_are_no_images(tmp_path):
    run(tiny("uniform", num_episodes=1), tmp_path / "run")
    assert "image" not in load_episodes(tmp_path / "run" / "episodes")[0].records


@pytest.mark.parametrize("quality", ["published", "fast"])
def test_pictures_of_a_simulator_are_those_drawn_afterwards(gl, tmp_path, quality):
    options = dict(image_size=16, render_quality=quality, episode_length=5, num_envs=1, num_episodes=1)
    run(tiny("uniform", env="walker-walk", **options), tmp_path / "run")
    (episode,) = load_episodes(tmp_path / "run" / "episodes")
    assert episode.records["image"].std() > 5
    assert episode.metadata["rendering"]["quality"] == quality
    assert episode.metadata["rendering"]["camera"] == 0
    np.testing.assert_array_equal(episode.records["image"], drawn_again(episode, 16, quality=quality))
    other = {"published": "fast", "fast": "published"}[quality]
    assert (episode.records["image"] != drawn_again(episode, 16, quality=other)).any()
