import subprocess
import sys

import numpy as np
import pytest

from experiments.drawing.rendered import Clip, render_side_by_side
from experiments.drawing.video import VideoError
from experiments.envs import registry

RENDERERS = "tests.experiments.envs.failing_renderers"
STRIP = 2 * 9  # height of the labels of a small picture


def episode(length):
    """States and rewards of an episode of the fake environment."""
    environment = registry.make("fake-pointmass")
    records, states = [environment.reset(seed=0)], [environment.physics_state()]
    for _ in range(length - 1):
        records.append(environment.step(np.ones(2, np.float32)))
        states.append(environment.physics_state())
    return np.array(states), np.array([record["reward"] for record in records])


def render(*clips, env_name="fake-pointmass", **changes):
    return render_side_by_side(env_name, clips, **({"height": 32, "width": 48} | changes))


def test_frames_are_what_the_environment_renders():
    states, _ = episode(4)
    frames = render(Clip("Expert", states))[0]
    environment = registry.make("fake-pointmass")
    environment.set_physics_state(states[2])
    assert frames.shape == (4, 32 + STRIP, 48, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[2, STRIP:], environment.render(32, 48))


def test_clips_stand_side_by_side_and_the_short_one_holds_its_last_frame_faded():
    states, rewards = episode(5)
    frames = render(Clip("Expert", states, rewards), Clip("AIME", states[:3], rewards[:3]))[0]
    right = frames[:, STRIP:, 48 + 6 :].astype(int)
    assert frames.shape == (5, 32 + STRIP, 48 + 6 + 48, 3)
    np.testing.assert_array_equal(right[3], right[4])
    np.testing.assert_array_equal(right[4], 255 - (255 - right[2]) // 2)


def test_labels_and_returns_are_written_above_the_picture():
    states, rewards = episode(4)
    strips = render(Clip("Expert", states, 100 * rewards), width=96)[0][:, :STRIP]
    assert strips.min() < 100 and (strips[0] != strips[3]).any()
    np.testing.assert_array_equal(strips[0][:, :40], strips[3][:, :40])


def test_a_long_label_stays_inside_its_column():
    strip = render(Clip("A very long name of a method that does not fit", episode(1)[0]))[0][0, :STRIP]
    assert (strip[:, -4:] == 255).all()


def test_the_video_runs_at_the_speed_of_the_simulation():
    frames, fps = render(Clip("Expert", episode(9)[0]), max_fps=12.0)  # a step is 0.05 s
    assert fps == pytest.approx(10.0) and len(frames) == 5


def test_the_video_is_cut_after_some_seconds():
    assert len(render(Clip("Expert", episode(9)[0]), seconds=0.2)[0]) == 4


@pytest.mark.parametrize(
    "renderer, stall_seconds, why",
    [
        ("hanging", 4.0, "hung for 4 s"),
        ("crashing", 60.0, r"crashed \(SIGSEGV\)"),
        ("refusing", 60.0, "neither EGL nor OSMesa works here; python -m experiments doctor"),
    ],
)
def test_a_broken_renderer_costs_the_video_and_says_why(renderer, stall_seconds, why, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")  # one attempt is enough here
    with pytest.raises(VideoError, match=why):
        render(Clip("Expert", episode(2)[0]), env_name=f"{RENDERERS}:{renderer}", stall_seconds=stall_seconds)


def test_software_rendering_is_tried_before_giving_up(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    assert render(Clip("Expert", episode(2)[0]), env_name=f"{RENDERERS}:only_software")[0].shape[0] == 2


def test_an_environment_without_physics_states_draws_an_episode_that_is_played_again():
    rewards, again = np.array([0.0, 1, 1, 1]), dict(seed=3, actions=np.zeros((4, 1), np.float32))
    how = dict(height=8, width=8, env_name="user_environments:draws", env_options={"episode_length": 4})
    frames = render(Clip("Mine", None, rewards, **again), **how)[0][:, -8:]
    assert [int(frame[0, :, 0].argmax()) for frame in frames] == [0, 1, 2, 3]
    with pytest.raises(VideoError, match="plays an episode differently when it is repeated"):
        render(Clip("Mine", None, 2 * rewards, **again), **how)


def test_an_environment_that_draws_nothing_is_shown_by_its_own_image():
    again = dict(seed=3, actions=np.zeros((2, 1), np.float32))
    frames, _ = render(
        Clip("Mine", None, None, **again), height=6, width=8, env_name="user_environments:Images"
    )
    assert frames[1, -1, 0].tolist() == [0, 0, 0] and frames[1, -1, -1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    "clips, env_name, why",
    [
        ([Clip("Expert", np.zeros((2, 5)))], "walker-fly", "walker-fly cannot be drawn: Unknown"),
        ([Clip("Expert", None)], "fake-pointmass", "of Expert have neither physics states nor seed and"),
        ([], "fake-pointmass", "no clips"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(clips, env_name, why):
    with pytest.raises(VideoError, match=why):
        render(*clips, env_name=env_name)


def test_the_module_imports_neither_jax_nor_a_simulator():
    program = "import sys, experiments.drawing.rendered; print({'jax', 'mujoco'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
