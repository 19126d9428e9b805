"""Actors without learning: statistics, and the same noise for the same episode."""

import numpy as np
import pytest

from agents.noise import ColouredActor, Disturbance, RhythmicActor, UniformActor


def _records(is_first, num_envs=3):
    return {"is_first": np.full(num_envs, is_first), "is_last": np.zeros(num_envs, bool)}


def _play(actor, length=200, num_envs=3):
    """[length, num_envs, A] actions of one episode."""
    return np.stack([actor(_records(t == 0, num_envs)) for t in range(length)])


@pytest.fixture(params=[UniformActor, ColouredActor, RhythmicActor])
def noise(request):
    return request.param


def test_actions_are_float32_and_within_bounds(noise):
    actions = _play(noise(3, 2, seed=0))
    assert actions.dtype == np.float32 and actions.shape == (200, 3, 2) and np.abs(actions).max() <= 1


def test_an_actor_that_begins_later_plays_the_same_episodes(noise):
    actor = noise(3, 2, seed=0)
    _play(actor, length=7)
    np.testing.assert_array_equal(_play(actor), _play(noise(3, 2, seed=0, first_episode=1)))


def test_episodes_environments_and_seeds_differ(noise):
    actor = noise(3, 2, seed=0)
    first, second = _play(actor), _play(actor)
    other_seed = _play(noise(3, 2, seed=1))
    for other in (second[:, 0], first[:, 1], other_seed[:, 0]):
        assert np.abs(first[:, 0] - other).max() > 0.1


def test_uniform_actions_have_the_moments_of_the_uniform_distribution():
    actions = _play(UniformActor(3, 4, seed=0), length=2000)
    np.testing.assert_allclose(actions.mean(), 0, atol=0.02)
    np.testing.assert_allclose(actions.var(), 1 / 3, atol=0.01)


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_coloured_noise_has_the_given_correlation_and_scale(rho):
    actor = ColouredActor(3, 4, seed=0, correlations=(rho,), scales=(0.2, 0.2), wave_share=0.0)
    actions = _play(actor, length=4000)
    correlation = (actions[1:] * actions[:-1]).mean() / (actions**2).mean()
    np.testing.assert_allclose(correlation, rho, atol=0.03)
    np.testing.assert_allclose(actions.std(), 0.2, rtol=0.1)


def test_waves_come_in_their_share_of_the_episodes():
    def has_wave(share):
        actor = ColouredActor(50, 2, seed=0, scales=(0.0, 0.0), wave_share=share)
        return (np.abs(_play(actor, length=20, num_envs=50)).max(axis=(0, 2)) > 0).mean()

    assert has_wave(0.0) == 0 and has_wave(1.0) == 1 and 0.3 < has_wave(0.5) < 0.7


def test_a_wave_has_a_period_within_bounds():
    actor = ColouredActor(1, 1, seed=0, scales=(0.0, 0.0), wave_share=1.0, periods=(20.0, 20.0))
    actions = _play(actor, length=60, num_envs=1)
    np.testing.assert_allclose(actions[20:40], actions[:20], atol=1e-5)


def test_a_correlation_of_one_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        ColouredActor(1, 1, seed=0, correlations=(1.0,))


def test_a_rhythm_has_one_period_for_all_joints_and_its_length():
    actor = RhythmicActor(1, 3, seed=0, periods=(20.0, 20.0), lengths=(80, 80), scales=(0.0, 0.0))
    actions = _play(actor, length=160, num_envs=1)[:, 0]
    for rhythm in (actions[:80], actions[80:]):
        np.testing.assert_allclose(rhythm[20:], rhythm[:-20], atol=1e-5)
    assert np.abs(actions[80:] - actions[:80]).max() > 0.1


def test_a_rhythm_begins_anew_with_an_episode():
    actor = RhythmicActor(1, 2, seed=0, lengths=(1000, 1000), scales=(0.0, 0.0))
    first, second = _play(actor, length=50, num_envs=1), _play(actor, length=50, num_envs=1)
    assert np.abs(first - second).max() > 0.1


def test_a_disturbance_leaves_the_other_episodes_alone():
    disturb = Disturbance(40, 2, share=0.5, seed=0)
    actions = np.zeros((40, 2), np.float32)
    taken = np.stack([disturb(_records(t == 0, 40), actions) for t in range(10)])
    disturbed = np.abs(taken).max(axis=(0, 2)) > 0
    assert 0.2 < disturbed.mean() < 0.8
    assert np.abs(taken).max() <= 1
