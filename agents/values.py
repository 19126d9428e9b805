"""Value functions over latent features: lambda-returns, discounts, losses, and the range of returns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from worldmodels.sequences import scan_time
from worldmodels.structures import Array
from worldmodels.two_hot import TwoHotMLP

RANGE_RATE = 0.01  # at which a range follows the returns (DreamerV3)


def lambda_returns(reward: Array, value: Array, discount: Array, bootstrap: Array, lambda_: float) -> Array:
    """lambda-returns of sequences with arrival rewards (AIME-v2; Sutton & Barto, eq. 12.18 with r_t earned at s_t).

    R_t = r_t + discount_t * ((1 - lambda) * v_{t+1} + lambda * R_{t+1}),    R_L = v_L = bootstrap

    Args:
      reward, value, discount: [B, L].
      bootstrap: [B] value after the last step.

    Returns:
      [B, L].
    """
    next_value = jnp.concatenate([value[:, 1:], bootstrap[:, None]], axis=1)

    def step(following, xs):
        r, v, d = xs
        now = r + d * ((1.0 - lambda_) * v + lambda_ * following)
        return now, now

    reverse = (jnp.flip(x, axis=1) for x in (reward, next_value, discount))
    _, returns = scan_time(step, bootstrap, tuple(reverse))
    return jnp.flip(returns, axis=1)


def cumulative_discount(discount: Array) -> Array:
    """[B, L] discounts of L states -> [B, L] weight of each state: the product of the discounts before it."""
    return jnp.cumprod(jnp.concatenate([jnp.ones_like(discount[:, :1]), discount[:, :-1]], axis=1), axis=1)


def value_gradient_loss(returns: Array, weight: Array) -> Array:
    """-mean( w_t * R_{t+1} ): the policy is trained on the return of the *next* state (AIME-v2).

    Args:
      returns: [B, H] lambda-returns of s_0 .. s_{H-1}.
      weight: [B, H + 1] cumulative discounts of s_0 .. s_H.
    """
    return -jnp.mean(weight[:, : returns.shape[1] - 1] * returns[:, 1:])


def value_loss(value: Array, returns: Array, weight: Array) -> Array:
    """0.5 * mean( w_t * (sg(R_t) - V(s_t))² ), all [B, H]."""
    sg = jax.lax.stop_gradient
    return 0.5 * jnp.mean(sg(weight) * (sg(returns) - value) ** 2)


def regression_loss(network, features: Array, target: Array, weight: Array) -> Array:
    """Distance of a value network to targets: the cross-entropy of two-hot ones (DreamerV3), else `value_loss`.

    Args:
      network: [..., F] -> [..., 1]. features: [B, H, F], stopped.
      target, weight: [B, H].
    """
    if not isinstance(network, TwoHotMLP):
        return value_loss(network(features)[..., 0], target, weight)
    log_prob = network.distribution(features).log_prob(target[..., None])[..., 0]
    return -jnp.mean(jax.lax.stop_gradient(weight) * log_prob)


def reinforce_loss(log_prob: Array, advantage: Array, weight: Array) -> Array:
    """-mean( w_t * log p(a_t | s_t) * sg(advantage_t) ), all [B, H] (DreamerV3)."""
    sg = jax.lax.stop_gradient
    return -jnp.mean(sg(weight) * log_prob * sg(advantage))


class ReturnRange(struct.PyTreeNode):
    """Running averages of the 5th and the 95th percentile of returns (DreamerV3); they begin at 0, without debiasing.

    Attributes:
      low, high: [] float32.
    """

    low: Array
    high: Array

    @classmethod
    def create(cls) -> ReturnRange:
        """Returns the range before the first returns."""
        return cls(jnp.zeros(()), jnp.zeros(()))

    def after(self, returns: Array) -> ReturnRange:
        """Returns the range after returns [...]; no gradient flows."""
        low, high = jnp.percentile(jax.lax.stop_gradient(returns), jnp.array([5.0, 95.0]))
        return ReturnRange(
            self.low + RANGE_RATE * (low - self.low), self.high + RANGE_RATE * (high - self.high)
        )

    @property
    def scale(self) -> Array:
        """[] what returns are divided by: their range, but at least 1, so that small ones are not blown up."""
        return jnp.maximum(1.0, self.high - self.low)
