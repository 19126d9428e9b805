"""Optimal transport between what an agent saw and what was demonstrated: costs and Sinkhorn's plan.

The plan moves the agent's time steps to those of a demonstration at the least cost; a step that is moved far earns
little (SIL, Papagiannis & Li 2022; ROT, Haldar et al. 2022; AIME-NoB); `agents.progress` makes rewards of it.
Everything is pure JAX on single sequences; `jax.vmap` batches it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from worldmodels.structures import Array

EPSILON = 0.01  # entropic regularisation and iterations of ROT, ADS and AIME-NoB
NUM_ITERATIONS = 100


def cosine_cost(x: Array, y: Array) -> Array:
    """1 - <x_i, y_j> / (|x_i| |y_j|): [N, D] and [M, D] -> [N, M] in [0, 2]; 1 where a vector is zero."""

    def unit(vectors):
        norm = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
        return vectors / jnp.broadcast_to(jnp.maximum(norm, 1e-12), vectors.shape)

    return 1.0 - unit(x) @ unit(y).T


def euclidean_cost(x: Array, y: Array) -> Array:
    """|x_i - y_j|: [N, D] and [M, D] -> [N, M]."""
    # Differences, not |x|^2 + |y|^2 - 2 <x, y>, which loses the small distances in rounding. One row at a time,
    # because [N, M, D] is large.
    return jax.lax.map(lambda row: jnp.linalg.norm(jnp.broadcast_to(row, y.shape) - y, axis=-1), x)


COSTS = {"cosine": cosine_cost, "euclidean": euclidean_cost}


def cost_matrix(x: Array, y: Array, cost: str) -> Array:
    """Returns the cost registered as `cost` between [N, D] and [M, D], [N, M]."""
    if cost not in COSTS:
        raise ValueError(f"Unknown cost {cost!r}. Known: {', '.join(sorted(COSTS))}.")
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"The agent's features have size {x.shape[-1]}, the demonstration's {y.shape[-1]}; "
            "compute both with the same encoder from the same sensors."
        )
    return COSTS[cost](x, y)


def sinkhorn(
    cost: Array,
    *,
    epsilon: float = EPSILON,
    num_iterations: int = NUM_ITERATIONS,
    row_weights: Array | None = None,
    column_weights: Array | None = None,
) -> Array:
    """Returns the plan P that minimises <P, C> - epsilon H(P) with given marginals (Cuturi 2013), in the log domain.

    P_ij = exp((f_i + g_j - C_ij) / epsilon), where f and g are adjusted in turns until the marginals hold:

        g_j = epsilon (log b_j - logsumexp_i (f_i - C_ij) / epsilon),   f_i likewise with a_i.

    f comes last, so that the row marginals are exact after any number of iterations; the columns converge.

    Args:
      cost: [N, M].
      epsilon: weight of the entropy, in units of the cost.
      num_iterations: adjustments of both f and g.
      row_weights, column_weights: [N] and [M], a and b, each of sum 1; None is uniform. Rows and columns of weight
        0 (padding) get no mass.

    Returns:
      [N, M] plan.
    """
    num_rows, num_columns = cost.shape
    log_a, log_b = (
        jnp.full((size,), -jnp.log(float(size))) if weights is None else jnp.log(weights)
        for weights, size in ((row_weights, num_rows), (column_weights, num_columns))
    )
    # What is the same for a whole row does not change the plan; without it fewer digits are lost.
    scaled = (cost - jnp.broadcast_to(cost.min(axis=1, keepdims=True), cost.shape)) / epsilon

    def iterate(f, _):  # f and g in units of epsilon
        g = log_b - logsumexp(jnp.broadcast_to(f[:, None], scaled.shape) - scaled, axis=0)
        f = log_a - logsumexp(jnp.broadcast_to(g[None, :], scaled.shape) - scaled, axis=1)
        return f, g

    f, g = jax.lax.scan(iterate, jnp.zeros(num_rows), None, num_iterations)
    last_g = g[-1]
    return jnp.exp(f[:, None] + jnp.broadcast_to(last_g[None, :], scaled.shape) - scaled)
