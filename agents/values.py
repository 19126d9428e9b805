"""Value functions over latent features: lambda-returns, discounts, losses and target networks."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from worldmodels.sequences import scan_time
from worldmodels.structures import Array


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
