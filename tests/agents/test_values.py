"""Lambda-returns, discounts and losses against brute force on hand-made numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from agents.values import (
    ReturnRange,
    cumulative_discount,
    lambda_returns,
    reinforce_loss,
    value_gradient_loss,
    value_loss,
)

REWARD = jnp.array([[1.0, 2.0, 3.0]])
VALUE = jnp.array([[10.0, 20.0, 30.0]])
DISCOUNT = jnp.array([[0.9, 0.5, 0.0]])
BOOTSTRAP = jnp.array([40.0])


def test_lambda_returns_equal_the_recursion_written_out():
    third = 3.0 + 0.0 * 40.0
    second = 2.0 + 0.5 * (0.2 * 30.0 + 0.8 * third)
    first = 1.0 + 0.9 * (0.2 * 20.0 + 0.8 * second)
    returns = lambda_returns(REWARD, VALUE, DISCOUNT, BOOTSTRAP, 0.8)
    np.testing.assert_allclose(returns, [[first, second, third]], rtol=1e-6)


def test_lambda_zero_is_one_step_and_lambda_one_is_monte_carlo():
    one_step = lambda_returns(REWARD, VALUE, DISCOUNT, BOOTSTRAP, 0.0)
    np.testing.assert_allclose(one_step, [[1.0 + 0.9 * 20.0, 2.0 + 0.5 * 30.0, 3.0]])
    monte_carlo = lambda_returns(REWARD, VALUE, DISCOUNT, BOOTSTRAP, 1.0)
    np.testing.assert_allclose(monte_carlo, [[1.0 + 0.9 * (2.0 + 0.5 * 3.0), 2.0 + 0.5 * 3.0, 3.0]])


def test_weights_are_the_products_of_the_discounts_before():
    np.testing.assert_allclose(cumulative_discount(DISCOUNT), [[1.0, 0.9, 0.45]])


def test_the_policy_is_trained_on_the_return_of_the_next_state():
    weight = jnp.array([[1.0, 0.5, 0.25, 0.1]])
    loss = value_gradient_loss(jnp.array([[7.0, 8.0, 9.0]]), weight)
    np.testing.assert_allclose(loss, -(1.0 * 8.0 + 0.5 * 9.0) / 2)


def test_value_loss_is_the_weighted_half_squared_error():
    loss = value_loss(jnp.array([[1.0, 2.0]]), jnp.array([[2.0, 4.0]]), jnp.array([[1.0, 0.5]]))
    np.testing.assert_allclose(loss, 0.5 * (1.0 * 1.0 + 0.5 * 4.0) / 2)


def test_the_range_of_returns_is_a_running_average_of_two_percentiles():
    """DreamerV3: rate 0.01, from 0, not debiased; returns are never divided by less than 1."""
    returns = jnp.arange(101.0).reshape(1, 101) * 4.0  # 5th percentile 20, 95th 380
    one = ReturnRange.create().after(returns)
    np.testing.assert_allclose([one.low, one.high, one.scale], [0.2, 3.8, 3.6], rtol=1e-5)
    two = one.after(-returns)
    np.testing.assert_allclose([two.low, two.high], [0.99 * 0.2 - 3.8, 0.99 * 3.8 - 0.2], rtol=1e-5)
    assert ReturnRange.create().after(returns / 100.0).scale == 1.0
    assert not jnp.any(jax.grad(lambda x: ReturnRange.create().after(x).scale)(returns))


def test_reinforce_weighs_log_densities_by_stopped_advantages():
    log_prob, advantage = jnp.array([[-1.0, -2.0]]), jnp.array([[3.0, -4.0]])
    weight = jnp.array([[1.0, 0.5]])
    np.testing.assert_allclose(reinforce_loss(log_prob, advantage, weight), -(-3.0 + 4.0) / 2)
    assert not jnp.any(jax.grad(reinforce_loss, argnums=1)(log_prob, advantage, weight))
