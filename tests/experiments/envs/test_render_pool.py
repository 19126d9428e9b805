"""Drawing physics states in processes: the same pictures as in this one, and drivers that hang or crash."""

from functools import partial

import numpy as np
import pytest

from experiments.envs import registry, rendering
from experiments.envs.fake import FakePointMass
from experiments.envs.render_pool import CHUNK, RenderPool
from experiments.envs.vector import VectorEnvironment


@pytest.fixture
def egl(monkeypatch):
    """EGL was found, and OSMesa works too; the environments of these tests touch neither."""
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setenv(rendering._PROBED, ":egl")
    monkeypatch.setattr(rendering, "probe", lambda backend: None)


@pytest.fixture
def failing(monkeypatch):
    """Lets the processes import the environments with failing renderers."""
    import pathlib

    monkeypatch.syspath_prepend(pathlib.Path(__file__).parent)


def states_of(seed, num_records=5):
    environment = FakePointMass(episode_length=num_records - 1)
    environment.reset(seed)
    states = [environment.physics_state()]
    for _ in range(num_records - 1):
        environment.step(np.ones(2))
        states.append(environment.physics_state())
    return np.stack(states)


def test_processes_draw_the_same_pictures_in_the_order_of_the_jobs():
    states = {seed: states_of(seed, 3 + seed) for seed in range(5)}
    with RenderPool("fake-pointmass", 2, size=(8, 12)) as pool:
        drawn = dict(pool.at_once((seed, partial(pool.render, of)) for seed, of in states.items()))
    assert list(drawn) == list(range(5))
    for seed, frames in drawn.items():
        expected = rendering.render_states(FakePointMass(), states[seed], 8, 12)
        np.testing.assert_array_equal(frames, expected)


def test_an_episode_longer_than_a_request_is_whole():
    states = np.concatenate([states_of(0, 50)] * 3)
    assert len(states) > CHUNK
    with RenderPool("fake-pointmass", 1, size=(8, 8)) as pool:
        np.testing.assert_array_equal(
            pool.render(states), rendering.render_states(FakePointMass(), states, 8, 8)
        )


def test_a_process_that_hangs_is_replaced(monkeypatch, tmp_path, failing):
    monkeypatch.setenv("HUNG_ONCE", str(tmp_path / "hung"))
    with RenderPool("failing_renderers:hanging_once", 1, size=(8, 8), timeout=1.5) as pool:
        assert pool.render(states_of(0)).shape == (5, 8, 8, 3)
    assert (tmp_path / "hung").exists()


def test_a_driver_that_fails_twice_gives_way_to_osmesa_and_it_is_said(egl, failing, capfd):
    with RenderPool("failing_renderers:only_osmesa", 1, size=(8, 8)) as pool:
        assert pool.render(states_of(0)).shape == (5, 8, 8, 3)
        assert pool.backend == "osmesa"
    assert "Rendering with EGL failed (the process died" in capfd.readouterr().err


def test_so_does_collection_with_images(egl, failing, capfd):
    name = "failing_renderers:only_osmesa"
    with VectorEnvironment(name, 1, seed=0, workers=1, render_size=8, episode_length=2) as envs:
        assert envs.reset()["image"].shape == (1, 8, 8, 3)
    assert "OSMesa draws from now on" in capfd.readouterr().err


def test_a_wish_for_a_backend_is_kept(monkeypatch, egl):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setenv(rendering._PROBED, "egl:egl")
    assert not rendering.fall_back("it hung")
    assert rendering.find_backend() == "egl"


def test_a_renderer_that_never_works_says_how_it_failed(failing):
    with RenderPool("failing_renderers:crashing", 1, size=(8, 8)) as pool:
        with pytest.raises(rendering.RenderingError, match="failed 3 times in a row .*exit code -11"):
            pool.render(states_of(0))


def test_an_unknown_quality_names_the_known_ones():
    with pytest.raises(ValueError, match="Unknown render_quality 'best'. Known: published, fast"):
        registry.make("walker-walk", render_quality="best")
