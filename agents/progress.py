"""Rewards that know the order of a demonstration: TemporalOT and ORCA, beside plain optimal transport.

A matching is a frozen dataclass of options that maps costs [N, M] between the agent's time steps and those of one
demonstration to rewards [N]; `best_rewards` gives it whole episodes. Everything is pure JAX; padding has weight 0.

    Transport    no order                                        ROT, Haldar et al. 2022
    TemporalOT   only steps at about the same time are matched   Fu et al., NeurIPS 2024, arXiv 2410.21795
    ORCA         all frames until now, in order                  Huey et al., ICML 2025, arXiv 2502.05397
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from agents.optimal_transport import EPSILON, NUM_ITERATIONS, cost_matrix, sinkhorn
from worldmodels.structures import Array

_FORBIDDEN = 1e6  # log-kernel of a masked cell, as in the authors' code


@dataclasses.dataclass(frozen=True)
class Transport:
    """r_i = - sum_j P_ij C_ij of Sinkhorn's plan P (ROT, eq. 4).

    Attributes:
      epsilon, num_iterations: of Sinkhorn.
    """

    epsilon: float = EPSILON
    num_iterations: int = NUM_ITERATIONS

    def __call__(self, cost: Array, row_weights: Array, column_weights: Array) -> Array:
        """Returns the rewards [N] of costs [N, M], at most 0; the weights [N], [M] are the marginals."""
        options: Any = dict(epsilon=self.epsilon, num_iterations=self.num_iterations)
        plan = sinkhorn(cost, row_weights=row_weights, column_weights=column_weights, **options)
        return -(plan * cost).sum(axis=-1)


@dataclasses.dataclass(frozen=True)
class TemporalOT:
    """Transport of contexts of frames, between steps that are at most `width` steps apart (Fu et al. 2024).

    The published mask |i - j| > width presumes equal lengths; here the diagonal goes to the last step of both, which
    is the same where they are equal.

    Attributes:
      context: frames ahead whose costs are averaged.
      width: half the width of the band, in steps of the demonstration; 10 in the authors' script, 2 in their class.
      epsilon, num_iterations: of Sinkhorn.
    """

    context: int = 3
    width: int = 10
    epsilon: float = EPSILON
    num_iterations: int = NUM_ITERATIONS

    def __call__(self, cost: Array, row_weights: Array, column_weights: Array) -> Array:
        """Returns rewards as `Transport`; the weights say which steps there are."""
        rows, columns = num_steps(row_weights), num_steps(column_weights)
        cost = context_cost(cost, rows, columns, self.context)
        near = band(cost.shape, rows, columns, self.width)
        masked = jnp.where(near, cost, _FORBIDDEN * self.epsilon)
        options: Any = dict(epsilon=self.epsilon, num_iterations=self.num_iterations)
        plan = sinkhorn(masked, row_weights=row_weights, column_weights=column_weights, **options)
        return -(plan * cost).sum(axis=-1)


@dataclasses.dataclass(frozen=True)
class ORCA:
    """Probability that all frames of the demonstration have been passed in order, the last one now (Huey et al. 2025).

    With P_ij = exp(-C_ij / temperature), sequences of any length in either:

        G_ij = max(G_{i-1,j}, G_{i,j-1} P_ij),   G_{i,-1} = 1,   r_i = G_{i,M-2} P_{i,M-1}.

    Attributes:
      context: frames ahead whose costs are averaged.
      temperature: of the probabilities; 1 is published, for short demonstrations and small costs. The product over
        hundreds of frames vanishes: raise it towards their number.
    """

    context: int = 3
    temperature: float = 1.0

    def __call__(self, cost: Array, row_weights: Array, column_weights: Array) -> Array:
        """Returns the rewards [N] of costs [N, M], in (0, 1]; the weights say which steps there are."""
        columns = num_steps(column_weights)
        cost = context_cost(cost, num_steps(row_weights), columns, self.context) / self.temperature

        def step(covered, row):  # log G_{i-1,j} for j = -1 .. M-1, C_i: [M + 1], [M]
            # x_j = max(a_j, x_{j-1} - c_j) is a running maximum once the costs so far, S_j, are added to both.
            so_far = jnp.concatenate([jnp.zeros(1), jnp.cumsum(row)])
            covered = jax.lax.cummax(covered + so_far) - so_far
            return covered, covered[columns - 1] - row[columns - 1]

        nothing = jnp.full(cost.shape[1] + 1, -jnp.inf).at[0].set(0.0)
        return jnp.exp(jax.lax.scan(step, nothing, cost)[1])


Matching = Callable[[Array, Array, Array], Array]


def num_steps(weights: Array) -> Array:
    """[] number of the steps of [N] that are no padding."""
    return (weights > 0).sum()


def context_cost(cost: Array, rows: Array, columns: Array, context: int) -> Array:
    """Mean cost of a step and those that follow it: C_ij = mean_m c_{min(i+m, N-1), min(j+m, M-1)}, m < `context`.

    Args:
      cost: [N, M].
      rows, columns: [] how many of them are no padding.
      context: frames; 1 returns the cost.
    """

    def ahead(size, last, m):
        return jnp.minimum(jnp.arange(size) + m, last - 1)

    shifted = [
        cost[ahead(cost.shape[0], rows, m)][:, ahead(cost.shape[1], columns, m)] for m in range(context)
    ]
    return jnp.stack(shifted).mean(axis=0)


def band(shape: tuple[int, ...], rows: Array, columns: Array, width: int) -> Array:
    """[N, M] whether step j is within `width` of step i's share of the way from the first step to the last."""
    slope = (columns - 1) / jnp.maximum(rows - 1, 1)
    diagonal = jnp.arange(shape[0])[:, None] * slope
    # Half a step more, so that every row has a column; between whole numbers it changes nothing.
    return jnp.abs(jnp.arange(shape[1])[None, :] - diagonal) <= width + 0.5


def best_rewards(
    features: Array,
    demonstrations: Array,
    matching: Matching,
    *,
    cost: str = "cosine",
    row_weights: Array | None = None,
    column_weights: Array | None = None,
) -> tuple[Array, Array]:
    """Rewards by the demonstration that gives the whole episode the largest sum.

    Args:
      features: [N, D] of the agent's episode.
      demonstrations: [K, M, D].
      matching: such as `Transport()`.
      cost: "cosine" or "euclidean".
      row_weights, column_weights: [N] and [K, M], 1 / length at the steps that are no padding; None: none is.

    Returns:
      [N] rewards and [] int32 number of that demonstration.
    """
    (length, _), (number, size, _) = features.shape, demonstrations.shape
    rows = jnp.full(length, 1.0 / length) if row_weights is None else row_weights
    columns = jnp.full((number, size), 1.0 / size) if column_weights is None else column_weights

    def rewards_by(demonstration, weights):
        return matching(cost_matrix(features, demonstration, cost), rows, weights)

    rewards = jax.lax.map(lambda pair: rewards_by(*pair), (demonstrations, columns))  # [K, N]
    best = jnp.argmax(jnp.where(rows > 0, rewards, 0.0).sum(axis=-1)).astype(jnp.int32)
    return rewards[best], best


def reward_scale(rewards: Array | float, target: float) -> float:
    """Factor that gives the first episode's rewards the sum `target` in size; ADS, TemporalOT, ORCA: 10.

    Raises:
      ValueError: they are all 0.
    """
    size = abs(float(jnp.sum(rewards)))
    if size < 1e-12:
        raise ValueError(
            "The rewards of the first episode are all 0, so that they cannot be scaled. ORCA's vanish over long "
            "demonstrations: raise its temperature towards their number of records."
        )
    return target / size
