"""What model-free agents read: order, history, standardisation, the same live and from the disk."""

import numpy as np
import pytest

from agents.observer import Observer


def records(t, is_first=False):
    """Of two environments at time t: positions 10 t and 10 t + 1."""
    position = np.array([[10.0 * t], [10.0 * t + 1]], np.float32)
    return {"position": position, "velocity": -position, "is_first": np.array([is_first, is_first])}


def test_one_frame_is_the_sensors_side_by_side():
    np.testing.assert_array_equal(Observer(["velocity", "position"])(records(1)), [[-10, 10], [-11, 11]])


def test_the_last_frames_come_oldest_first_and_the_first_is_repeated():
    observer = Observer(["position"], 3)
    np.testing.assert_array_equal(observer(records(1, True)), [[10, 10, 10], [11, 11, 11]])
    observer(records(2))
    np.testing.assert_array_equal(observer(records(3)), [[10, 20, 30], [11, 21, 31]])


def test_an_episode_forgets_the_one_before():
    observer = Observer(["position"], 2)
    observer(records(1, True))
    observer(records(2))
    np.testing.assert_array_equal(observer(records(7, True)), [[70, 70], [71, 71]])


def test_a_recorded_episode_gives_the_observations_that_were_seen_live():
    observer = Observer(["position", "velocity"], 3, {"position": (np.array([5.0]), np.array([2.0]))})
    steps = [records(t, t == 0) for t in range(6)]
    live = np.stack([observer(step) for step in steps])[:, 1]
    episode = {name: np.stack([step[name][1] for step in steps]) for name in ("position", "velocity")}
    np.testing.assert_array_equal(observer.of_episode(episode), live)


def test_the_time_of_an_episode_comes_last_live_and_recorded():
    observer = Observer(["position"], 2, horizon=4)
    steps = [records(t, t == 0) for t in range(6)]
    for _ in range(2):  # an episode begins anew
        live = np.stack([observer(step) for step in steps])[:, 1]
        np.testing.assert_array_equal(live[:, -1], [0, 0.25, 0.5, 0.75, 1, 1.25])
    episode = {"position": np.stack([step["position"][1] for step in steps])}
    np.testing.assert_array_equal(observer.of_episode(episode), live)
    np.testing.assert_array_equal(
        observer.sensors_of(live, {"position": 1})["position"][:, -1, 0], live[:, 1]
    )


def test_sensors_with_statistics_are_standardised():
    observer = Observer(["position"], statistics={"position": (np.array([8.0]), np.array([4.0]))})
    np.testing.assert_allclose(observer(records(1)), [[0.5], [0.75]])


def test_no_frames_are_refused():
    with pytest.raises(ValueError, match="An observation of 0 frames is empty"):
        Observer(["position"], 0)


def test_sensors_come_back_out_of_observations():
    observer = Observer(["position", "velocity"], 3, {"position": (np.array([5.0]), np.array([2.0]))})
    episode = {
        name: np.arange(4, dtype=np.float32)[:, None] * k for name, k in (("position", 1), ("velocity", 7))
    }
    sensors = observer.sensors_of(observer.of_episode(episode), {"position": 1, "velocity": 1})
    np.testing.assert_allclose(sensors["position"][..., 0], [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]])
    np.testing.assert_allclose(sensors["velocity"][:, -1], episode["velocity"])
