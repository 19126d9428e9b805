"""What demonstrations have in common: steps by hand, and a detour that one of them makes."""

import numpy as np
import pytest

from worldmodels.data.alignment import aligned, common_parts


def path(length, seed):
    time = np.linspace(0, 1, length)[:, None]
    noise = 0.01 * np.random.default_rng(seed).normal(size=(length, 3))
    return np.concatenate([np.cos(3 * time), np.sin(3 * time), time], axis=1) + noise


def with_detour(frames, start, length):
    away = np.array([0.0, 0.0, 1.5]) * np.sin(np.linspace(0, np.pi, length))[:, None]
    return np.concatenate([frames[:start], frames[start] + away, frames[start:]])


def test_equal_demonstrations_go_through_their_frames_one_by_one():
    frames = aligned([path(9, 0), path(9, 0)])
    np.testing.assert_array_equal(frames, np.arange(9)[None].repeat(2, axis=0))


def test_a_detour_is_jumped_over_and_the_others_stay_whole():
    demonstrations = [path(40, 0), with_detour(path(44, 1), 20, 15), path(36, 2)]
    parts = [common_parts(frames, max_gap=6, min_length=8) for frames in aligned(demonstrations)]
    assert parts[0] == [slice(0, 40)] and parts[2] == [slice(0, 36)]
    before, after = parts[1]
    assert before.start == 0 and 17 <= before.stop <= 24 and 31 <= after.start <= 36 and after.stop == 59


def test_parts_are_runs_of_close_frames_that_are_long_enough():
    frames = np.array([0, 1, 3, 9, 10, 20, 20, 21, 22, 23])
    assert common_parts(frames, max_gap=2, min_length=3) == [slice(0, 4), slice(20, 24)]
    assert common_parts(frames, max_gap=10, min_length=3) == [slice(0, 24)]
    assert common_parts(frames, max_gap=1, min_length=9) == []


def test_one_demonstration_has_nothing_in_common():
    with pytest.raises(ValueError, match="among two at least; show more of them"):
        aligned([path(5, 0)])
