"""Optimal transport: costs, plans with known answers, marginals."""

import itertools

import jax.numpy as jnp
import numpy as np

from agents import optimal_transport as ot


def random_cost(n, m, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(n, m)), jnp.float32)


def test_costs_of_known_vectors():
    x = jnp.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    y = jnp.array([[3.0, 0.0], [-1.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(ot.cosine_cost(x, y)[0], [0.0, 2.0, 0.4], atol=1e-6)
    np.testing.assert_allclose(ot.cosine_cost(x, y)[2], [1.0, 1.0, 1.0])
    np.testing.assert_allclose(ot.euclidean_cost(x, y)[2], [3.0, 1.0, 5.0], rtol=1e-6)


def test_a_small_euclidean_distance_between_large_vectors_survives():
    x = jnp.array([[1000.0, 1000.0]])
    np.testing.assert_allclose(ot.euclidean_cost(x, x + 0.01), [[0.01414]], rtol=0.01)


def test_the_plan_of_the_identity_cost_is_known_in_closed_form():
    """C = 1 - I: by symmetry P_ii = 1 / (n + n (n - 1) exp(-1 / epsilon)), and exp(-1 / epsilon) of it elsewhere."""
    n, epsilon = 4, 0.5
    plan = ot.sinkhorn(1.0 - jnp.eye(n), epsilon=epsilon)
    off = np.exp(-1 / epsilon)
    diagonal = 1 / (n * (1 + (n - 1) * off))
    np.testing.assert_allclose(plan, diagonal * np.where(np.eye(n), 1.0, off), rtol=1e-5)


def test_a_constant_cost_gives_the_product_of_the_marginals():
    a, b = jnp.array([0.2, 0.8]), jnp.array([0.5, 0.3, 0.2])
    plan = ot.sinkhorn(jnp.full((2, 3), 7.0), row_weights=a, column_weights=b)
    np.testing.assert_allclose(plan, np.outer(a, b), rtol=1e-5)


def test_both_marginals_hold():
    plan = ot.sinkhorn(random_cost(5, 8), epsilon=0.1, num_iterations=200)
    np.testing.assert_allclose(plan.sum(axis=1), np.full(5, 1 / 5), rtol=1e-5)
    np.testing.assert_allclose(plan.sum(axis=0), np.full(8, 1 / 8), rtol=1e-4)


def test_the_rows_are_exact_even_after_one_iteration():
    plan = ot.sinkhorn(random_cost(5, 8), num_iterations=1)
    np.testing.assert_allclose(plan.sum(axis=1), np.full(5, 1 / 5), rtol=1e-5)


def test_with_little_entropy_the_plan_is_the_best_assignment():
    cost = random_cost(5, 5, seed=3)
    best = min(itertools.permutations(range(5)), key=lambda p: float(sum(cost[i, p[i]] for i in range(5))))
    plan = ot.sinkhorn(cost, epsilon=0.002, num_iterations=3000)
    np.testing.assert_array_equal(np.argmax(plan, axis=1), best)
    np.testing.assert_allclose(plan.max(axis=1), np.full(5, 0.2), rtol=0.02)


def test_a_tiny_epsilon_does_not_overflow():
    assert np.isfinite(ot.sinkhorn(100.0 * random_cost(6, 6), epsilon=1e-3)).all()


def test_padding_gets_no_mass_and_changes_nothing():
    cost = random_cost(3, 4)
    padded = jnp.pad(cost, ((0, 0), (0, 2)), constant_values=0.0)
    weights = jnp.array([0.25, 0.25, 0.25, 0.25, 0.0, 0.0])
    plan = ot.sinkhorn(padded, epsilon=0.1, column_weights=weights)
    np.testing.assert_allclose(plan[:, :4], ot.sinkhorn(cost, epsilon=0.1), rtol=1e-4)
    np.testing.assert_array_equal(plan[:, 4:], 0.0)
