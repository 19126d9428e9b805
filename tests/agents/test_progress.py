"""Rewards of a matching: transport, in order or not, and coverage; hand numbers, and loops over the equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import progress
from agents.progress import ORCA, TemporalOT, Transport, best_rewards

EYE = 1.0 - np.eye(4)
DEMONSTRATION = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)


def weights(length, size=None):
    return jnp.asarray(np.r_[np.full(length, 1 / length), np.zeros((size or length) - length)], jnp.float32)


def padded(cost, rows, columns, fill=0.0):
    (n, m), full = cost.shape, np.full((rows, columns), fill, np.float32)
    full[:n, :m] = cost
    return full


def mean_ahead(cost, context):
    """The context cost, cell by cell."""
    n, m = cost.shape
    return np.array(
        [
            [np.mean([cost[min(i + k, n - 1), min(j + k, m - 1)] for k in range(context)]) for j in range(m)]
            for i in range(n)
        ]
    )


def transport_in_band(cost, width, epsilon, num_iterations):
    """- sum_j P_ij C_ij of Sinkhorn's plan within |i - j| <= width, by scaling rows and columns in turns."""
    n, m = cost.shape
    allowed = np.abs(np.subtract.outer(np.arange(n), np.arange(m))) <= width
    kernel = np.where(allowed, np.exp(-cost / epsilon), 0.0)
    u = np.ones(n)
    for _ in range(num_iterations):
        v = 1 / m / (kernel.T @ u)
        u = 1 / n / (kernel @ v)
    return -(u[:, None] * kernel * v * cost).sum(axis=1)


def coverage(cost, temperature):
    """G of ORCA in its four cases, cell by cell; returns its last column."""
    p, (n, m) = np.exp(-cost / temperature), cost.shape
    g = np.zeros((n, m))
    for i in range(n):
        for j in range(m):
            before = g[i, j - 1] * p[i, j] if j else p[i, 0]
            g[i, j] = before if i == 0 or (j == m - 1 and j) else max(g[i - 1, j], before)
    return g[:, -1]


def test_the_context_of_a_cell_are_the_cells_diagonally_ahead():
    cost = np.array([[0.0, 3.0, 6.0], [9.0, 12.0, 15.0], [18.0, 21.0, 24.0]])
    expected = [
        [(0 + 12 + 24) / 3, (3 + 15 + 24) / 3, (6 + 15 + 24) / 3],
        [(9 + 21 + 24) / 3, (12 + 24 + 24) / 3, (15 + 24 + 24) / 3],
        [(18 + 21 + 24) / 3, (21 + 24 + 24) / 3, 24.0],
    ]
    np.testing.assert_allclose(progress.context_cost(cost, 3, 3, 3), expected, rtol=1e-6)
    beyond = progress.context_cost(padded(cost, 5, 4, 99.0), 3, 3, 3)
    np.testing.assert_allclose(beyond[:3, :3], expected, rtol=1e-6)
    np.testing.assert_array_equal(progress.context_cost(cost, 3, 3, 1), cost)


def test_temporal_ot_is_the_transport_of_contexts_within_the_band():
    cost = np.random.default_rng(1).uniform(size=(6, 6)).astype(np.float32)
    options = dict(width=1, epsilon=0.1, num_iterations=1000)
    expected = transport_in_band(mean_ahead(cost, 3), **options)
    matching = TemporalOT(**options)
    np.testing.assert_allclose(matching(cost, weights(6), weights(6)), expected, rtol=1e-4)
    more = matching(padded(cost, 8, 9), weights(6, 8), weights(6, 9))
    np.testing.assert_allclose(more[:6], expected, rtol=1e-4)


def test_the_band_of_unequal_lengths_goes_from_the_first_steps_to_the_last():
    np.testing.assert_array_equal(progress.band((3, 5), 3, 5, 0), np.eye(5)[::2])
    square = np.abs(np.subtract.outer(np.arange(6), np.arange(6))) <= 2
    np.testing.assert_array_equal(progress.band((6, 6), 6, 6, 2), square)


@pytest.mark.parametrize("order", [1, -1])
def test_orca_of_the_identity_cost(order):
    """Followed, one more factor of exp(-1) is paid back at every step; backwards, none ever is."""
    expected = np.exp([-3.0, -2.0, -1.0, 0.0] if order == 1 else [-3.0] * 4)
    rewards = ORCA(context=1)(EYE[::order], weights(4), weights(4))
    np.testing.assert_allclose(rewards, expected, rtol=1e-6)


def test_orca_is_its_recursion_up_to_the_last_step_that_is_no_padding():
    cost = np.random.default_rng(2).uniform(size=(7, 5)).astype(np.float32)
    expected = coverage(mean_ahead(cost, 3), temperature=2.0)
    matching = ORCA(temperature=2.0)
    np.testing.assert_allclose(matching(cost, weights(7), weights(5)), expected, rtol=1e-5)
    more = matching(padded(cost, 9, 8), weights(7, 9), weights(5, 8))
    np.testing.assert_allclose(more[:7], expected, rtol=1e-5)
    single = ORCA(context=1)(cost[:, :1], weights(7), weights(1))
    np.testing.assert_allclose(single, np.exp(-cost[:, 0]), rtol=1e-6)


def test_the_last_frame_must_be_held_now():
    there_and_away = np.vstack([EYE, np.ones((1, 4))])
    rewards = ORCA(context=1)(there_and_away, weights(5), weights(4))
    np.testing.assert_allclose(rewards[-2:], [1.0, np.exp(-1)], rtol=1e-6)


def reward_of(episode, matching=Transport(), demonstrations=DEMONSTRATION[None], **options):  # noqa: B008
    return best_rewards(jnp.asarray(episode), jnp.asarray(demonstrations), matching, **options)[0]


def test_an_episode_that_is_the_demonstration_earns_the_most():
    for matching in (Transport(), TemporalOT(), ORCA()):
        same, other = (reward_of(DEMONSTRATION + x, matching, cost="euclidean").sum() for x in (0.0, 0.5))
        assert other < same - 0.1, matching
    np.testing.assert_allclose(reward_of(DEMONSTRATION, cost="euclidean"), np.zeros(20), atol=1e-3)


def test_transport_does_not_see_the_order_and_the_others_do():
    forwards, backwards = DEMONSTRATION, DEMONSTRATION[::-1].copy()
    np.testing.assert_allclose(reward_of(backwards).sum(), reward_of(forwards).sum(), atol=1e-4)
    for matching in (TemporalOT(width=2), ORCA()):
        assert reward_of(backwards, matching).sum() < reward_of(forwards, matching).sum() - 0.3, matching


def test_the_worst_step_earns_the_least():
    episode = jnp.zeros((4, 2)).at[2].set(3.0)
    rewards = reward_of(episode, demonstrations=np.zeros((1, 4, 2), np.float32), cost="euclidean")
    np.testing.assert_allclose(rewards, [0, 0, -np.sqrt(18) / 4, 0], rtol=1e-5)


@pytest.mark.parametrize("matching", [Transport(), TemporalOT(), ORCA()])
def test_the_demonstration_of_the_largest_sum_gives_the_rewards(matching):
    shown = jnp.stack([jnp.full((4, 2), 5.0), jnp.full((4, 2), 1.0)])
    rewards, best = best_rewards(jnp.zeros((4, 2)), shown, matching, cost="euclidean")
    assert best == 1
    np.testing.assert_allclose(rewards, reward_of(jnp.zeros((4, 2)), matching, shown[1:], cost="euclidean"))


def test_the_scale_brings_the_first_episode_to_the_target():
    rewards = jnp.array([-0.5, -1.5])
    np.testing.assert_allclose((progress.reward_scale(rewards, 10.0) * rewards).sum(), -10.0, rtol=1e-6)
    far = jax.jit(ORCA())(np.full((4, 100), 1.0, np.float32), weights(4), weights(100))
    with pytest.raises(ValueError, match="vanish over long demonstrations: raise its temperature"):
        progress.reward_scale(far, 10.0)
    assert progress.reward_scale(ORCA(temperature=100.0)(np.ones((4, 100)), weights(4), weights(100)), 1) > 0


def test_unknown_costs_and_other_features_are_refused():
    with pytest.raises(ValueError, match="Unknown cost 'l1'. Known: cosine, euclidean."):
        reward_of(DEMONSTRATION, cost="l1")
    with pytest.raises(ValueError, match="features have size 2, the demonstration's 5"):
        reward_of(np.zeros((2, 2), np.float32))
