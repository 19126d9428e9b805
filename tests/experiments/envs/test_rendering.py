"""Images: chosen backend, agreement with dm_control, errors. Skipped where OpenGL does not work."""

import os
import subprocess
import sys

import numpy as np
import pytest

from experiments.envs import registry, rendering, vector


@pytest.fixture(scope="module")
def working_backend():
    """The first backend that works, or None."""
    return next((backend for backend in rendering.BACKENDS if rendering.probe(backend) is None), None)


@pytest.fixture
def backend(working_backend, monkeypatch):
    """A working backend, as `find_backend` would leave it in the environment."""
    if working_backend is None:
        pytest.skip("OpenGL does not work here")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setenv(rendering._PROBED, f":{working_backend}")
    monkeypatch.setenv("PYOPENGL_PLATFORM", working_backend)
    return working_backend


@pytest.fixture
def no_probe(monkeypatch):
    """No backend has been looked for yet."""
    monkeypatch.setenv(rendering._PROBED, "?")


def test_the_image_sensor_is_the_rendered_state(backend):
    environment = registry.make("reacher-easy", render_size=(32, 48))
    record = environment.reset(seed=0)
    environment.observation_spec["image"].validate("image", record["image"])
    assert record["image"].std() > 5
    np.testing.assert_array_equal(record["image"], environment.render(32, 48))
    environment.close()


def test_workers_draw_too(backend):
    with vector.VectorEnvironment("reacher-easy", 1, seed=0, workers=1, render_size=16) as env:
        images = env.reset()["image"]
    assert images.shape == (1, 16, 16, 3) and images.std() > 5


def test_images_are_those_of_dm_control(backend):
    environment = registry.make("cheetah-run")
    environment.reset(seed=0)
    ours = environment.render(48, 64, camera="side")
    code = """
import sys
from dm_control import suite
environment = suite.load("cheetah", "run", task_kwargs={"random": 0})
environment.reset()
sys.stdout.buffer.write(environment.physics.render(48, 64, camera_id="side").tobytes())
"""
    environ = os.environ | {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
    theirs = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, check=True).stdout
    np.testing.assert_array_equal(ours, np.frombuffer(theirs, np.uint8).reshape(48, 64, 3))
    environment.close()


def test_stored_states_can_be_drawn_at_any_size(backend):
    environment = registry.make("reacher-easy")
    environment.reset(seed=0)
    states = [environment.physics_state()]
    environment.step(np.ones(2))
    states.append(environment.physics_state())
    expected = environment.render(20, 30)
    environment.reset(seed=1)
    frames = rendering.render_states(environment, states, 20, 30)
    assert frames.shape == (2, 20, 30, 3)
    np.testing.assert_array_equal(frames[1], expected)
    environment.close()


def test_an_unknown_camera_lists_the_known_ones(backend):
    environment = registry.make("cheetah-run")
    environment.reset()
    with pytest.raises(ValueError, match="Unknown camera 'top'. Known: side, back"):
        environment.render(camera="top")
    environment.close()


def test_missing_opengl_names_the_apt_packages(monkeypatch, no_probe):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering, "probe", lambda backend: "broken")
    with pytest.raises(rendering.RenderingError, match="apt-get install -y libegl1 libgl1 libosmesa6"):
        registry.make("cheetah-run", render_size=16)


@pytest.mark.parametrize(
    ("wished", "works", "sentence"),
    [
        (
            "osmesa",
            "egl",
            r"MUJOCO_GL='osmesa' is set, which does not work here \(broken\); egl does: unset MUJOCO_GL",
        ),
        ("egl", "osmesa", r"MUJOCO_GL='egl' is set, which does not work here \(broken\); osmesa does: unset"),
        ("egl", "", "neither does osmesa; install both with"),
        ("disable", "egl", "because MUJOCO_GL='disable' says so; unset it"),
    ],
)
def test_a_backend_that_is_set_and_does_not_work_is_named_with_one_that_does(
    monkeypatch, no_probe, wished, works, sentence
):
    monkeypatch.setenv("MUJOCO_GL", wished)
    monkeypatch.setattr(rendering, "probe", lambda backend: None if backend == works else "broken")
    with pytest.raises(rendering.RenderingError, match=sentence):
        registry.make("cheetah-run", render_size=16)


@pytest.mark.parametrize(
    ("wished", "said"), [("glfw", "MUJOCO_GL='glfw' draws nothing"), ("egl", ""), ("", "")]
)
def test_a_backend_that_needs_a_display_is_said_not_to_be_used(monkeypatch, no_probe, capsys, wished, said):
    monkeypatch.setenv("MUJOCO_GL", wished)
    monkeypatch.setattr(rendering, "probe", lambda backend: None)
    assert [rendering.find_backend() for _ in range(2)] == ["egl", "egl"]
    assert [line[: len(said)] for line in capsys.readouterr().err.splitlines()] == [said] * bool(said)


def test_state_observations_do_not_look_for_opengl(monkeypatch, no_probe):
    monkeypatch.setattr(rendering, "probe", lambda *unused: pytest.fail("probed"))
    registry.make("cheetah-run").reset()


def test_a_backend_that_crashes_or_hangs_is_passed_over(monkeypatch, no_probe):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(
        rendering, "_PROBE", "import os, time; os.abort() if {backend!r} == 'egl' else time.sleep(60)"
    )
    assert "died" in rendering.probe("egl")
    assert rendering.probe("osmesa", timeout=0.5) == "no image within 0 s"
    monkeypatch.setattr(rendering, "probe", lambda backend: "broken")
    assert rendering.find_backend() is None


def test_the_choice_is_made_once_per_process_tree(monkeypatch, no_probe):
    monkeypatch.setenv("MUJOCO_GL", "egl")
    asked = []
    monkeypatch.setattr(rendering, "probe", asked.append)  # None: it works
    assert [rendering.find_backend() for _ in range(2)] == ["egl", "egl"]
    assert asked == ["egl"]
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert rendering.find_backend() == "osmesa"
