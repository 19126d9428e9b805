"""Lambda-returns, discounts and losses against brute force on hand-made numbers."""

import jax.numpy as jnp
import numpy as np

from agents.values import cumulative_discount, lambda_returns, value_gradient_loss, value_loss

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
