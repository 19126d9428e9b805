"""Transitions: what is learnt at the end of an episode, and in which order it is remembered."""

import jax
import numpy as np
import pytest

from agents.transitions import Replay, TransitionQueue, Transitions, insert, replay_transitions, sample


def _add(queue, step, *, env=0, reward=1.0, terminal=False, last=False):
    observation, action = np.array([float(step)]), np.array([0.5])
    queue.add(env, observation, action, reward, observation + 1, terminal=terminal, last=last)


def _pop(queue):
    transitions, count = queue.pop(16)
    return jax.tree.map(lambda x: x[:count], transitions)


def test_a_time_limit_keeps_the_discount():
    queue = TransitionQueue(1, discount=0.9)
    _add(queue, 0, last=True)
    np.testing.assert_allclose(_pop(queue).discount, [0.9], rtol=1e-6)


def test_a_termination_sets_the_discount_to_zero():
    queue = TransitionQueue(1, discount=0.9)
    _add(queue, 0, terminal=True, last=True)
    np.testing.assert_array_equal(_pop(queue).discount, [0.0])


def test_n_step_returns_are_the_discounted_sums():
    queue = TransitionQueue(1, num_steps=2, discount=0.5)
    for step, reward in enumerate([1.0, 2.0, 4.0]):
        _add(queue, step, reward=reward)
    transitions = _pop(queue)
    np.testing.assert_allclose(transitions.reward, [1 + 0.5 * 2, 2 + 0.5 * 4])
    np.testing.assert_allclose(transitions.discount, [0.25, 0.25])
    np.testing.assert_array_equal(transitions.next_observation, [[2.0], [3.0]])


def test_n_step_returns_are_cut_at_the_end_of_the_episode():
    queue = TransitionQueue(1, num_steps=3, discount=0.5)
    for step in range(3):
        _add(queue, step, last=step == 2)
    transitions = _pop(queue)
    np.testing.assert_allclose(transitions.reward, [1.75, 1.5, 1.0])
    np.testing.assert_allclose(transitions.discount, [0.125, 0.25, 0.5])
    np.testing.assert_array_equal(transitions.next_observation, [[3.0], [3.0], [3.0]])


def test_environments_do_not_mix():
    queue = TransitionQueue(2, num_steps=2, discount=1.0)
    _add(queue, 0, env=0, reward=1.0)
    _add(queue, 10, env=1, reward=10.0)
    _add(queue, 1, env=0, reward=2.0)
    _add(queue, 11, env=1, reward=20.0)
    np.testing.assert_allclose(_pop(queue).reward, [3.0, 30.0])


def test_a_lost_episode_leaves_no_transition():
    queue = TransitionQueue(1, num_steps=2)
    _add(queue, 0)
    queue.forget(0)
    _add(queue, 5)
    _add(queue, 6)
    np.testing.assert_array_equal(_pop(queue).observation, [[5.0]])


def test_recorded_episodes_give_the_same_transitions_in_the_same_order():
    rng = np.random.default_rng(0)
    lengths = [4, 2]
    episodes = [
        (rng.normal(size=(n + 1, 3)), rng.normal(size=(n + 1, 2)), rng.normal(size=n + 1), n == 2)
        for n in lengths
    ]
    live, recorded = TransitionQueue(2, num_steps=2), TransitionQueue(2, num_steps=2)
    for t in range(1, 5):
        for env, (observation, action, reward, terminal) in enumerate(episodes):
            if t <= lengths[env]:
                last = t == lengths[env]
                live.add(
                    env,
                    observation[t - 1],
                    action[t],
                    reward[t],
                    observation[t],
                    terminal=terminal and last,
                    last=last,
                )
    replay_transitions(recorded, episodes)
    jax.tree.map(np.testing.assert_array_equal, _pop(live), _pop(recorded))


def test_the_ring_keeps_the_newest_transitions_and_ignores_padding():
    replay = Replay.create(3, 1, 1)
    for first in (0, 2):
        new = Transitions.zeros(4, 1, 1)
        new.reward[:2] = [first, first + 1]
        replay = insert(replay, new, 2)
    assert int(replay.num_inserted) == 4
    np.testing.assert_array_equal(replay.transitions.reward, [3.0, 1.0, 2.0])


def test_sampling_leaves_out_what_is_still_empty():
    new = Transitions.zeros(4, 1, 1)
    new.reward[:] = 1
    replay = insert(Replay.create(100, 1, 1), new, 4)
    assert float(sample(replay, jax.random.key(0), 64).reward.min()) == 1.0


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        TransitionQueue(1, num_steps=0)
