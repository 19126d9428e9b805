"""Temporal distance: how many steps lead from a state to what is shown, learnt from any behaviour and without reward.

The distance of a state s to a goal g, an embedding of one record, is |phi(s) - psi(g)|, in units of `max_steps`. It is
the goal-conditioned value of a reward of -1 per step, without a discount (ZILOT, Rupf et al. 2024, arXiv 2410.08751):

    y = 1 / max_steps + (1 - reached) d'(s', g),  at most 1;  d' is a slow copy, and 1 where the episode ends at s'
    L = mean w (y - d(s, g))^2 + mean d(s, e(o))^2,       w = expectile where y < d, else 1 - expectile

where s' follows s. Goals are the next record (reached), one of any window, or a later one of the same window. ZILOT
learns Q(s, a, g) with a policy. Here the expectile takes the shortest of the ways that the data show, as in implicit
Q-learning of goals (HIQL, Park et al. 2023, arXiv 2307.11949): without a policy, and optimistic about luck.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from worldmodels.nets import MLP
from worldmodels.sequences import has_cause, masked_mean, termination_mask
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics

NEXT, ANYWHERE = 0.2, 0.2  # of the goals, as in ZILOT; the others are later records of the window


class Towers(nnx.Module):
    """phi: [..., F] -> [..., size], and psi: [..., E] -> [..., size]."""

    def __init__(self, feature_size: int, embed_size: int, size: int, *, rngs: nnx.Rngs, **sizes):
        self.phi = MLP(feature_size, size, norm="ln", rngs=rngs, **sizes)
        self.psi = MLP(embed_size, size, norm="ln", rngs=rngs, **sizes)


class TemporalDistance(nnx.Module):
    """The distance and its slow copy.

    Args:
      feature_size: F. embed_size: E.
      size: of what both sides are embedded in.
      max_steps: the distance that counts as 1; beyond it nothing is told apart. What a plan can see, not an episode.
      expectile: from 0.5; the nearer to 1, the more the shortest way counts.
      ahead: the goals that are later records of a window are 1 / (1 - ahead) steps later in the mean, or at its end.
      target_rate: share of the networks that goes into the slow copy at every update.
      hidden_size, hidden_layers: of both networks.
    """

    def __init__(
        self,
        feature_size: int,
        embed_size: int,
        *,
        size: int,
        max_steps: int = 30,
        expectile: float = 0.9,
        ahead: float = 0.95,
        target_rate: float = 0.01,
        hidden_size: int = 128,
        hidden_layers: int = 2,
        rngs: nnx.Rngs,
    ):
        if not 0.5 <= expectile < 1.0 or not 0.0 < ahead < 1.0 or max_steps < 1:
            raise ValueError(
                "A temporal distance has an expectile from 0.5 to below 1, ahead between 0 and 1, and max_steps of at "
                f"least 1, not {expectile}, {ahead} and {max_steps}."
            )
        self.max_steps, self.expectile, self.ahead = max_steps, expectile, ahead
        self.target_rate = target_rate
        sizes = dict(hidden_size=hidden_size, hidden_layers=hidden_layers)
        self.towers = Towers(feature_size, embed_size, size, rngs=rngs, **sizes)
        self.slow = jax.tree.map(jnp.copy, self.towers)

    def __call__(self, features: Array, goal: Array) -> Array:
        """[..., F] and embeddings [..., E] -> [...] in units of `max_steps`."""
        return between(self.towers, features, goal)

    def before_update(self) -> TemporalDistance:
        """Returns the same with a slow copy that has moved towards the networks."""
        moved = jax.tree.map(lambda x: x, self)
        moved.slow = optax.incremental_update(self.towers, self.slow, self.target_rate)
        return moved


def between(towers: Towers, features: Array, goal: Array) -> Array:
    """|phi(s) - psi(g)|, whose gradient is finite where it is zero."""
    apart = towers.phi(features).astype(jnp.float32) - towers.psi(goal).astype(jnp.float32)
    return jnp.sqrt((apart**2).sum(axis=-1) + 1e-8)


def draw_goals(embed: Array, ahead: float, key: Array) -> tuple[Array, Array]:
    """Draws a goal of every transition of a batch of windows, T >= 2.

    Args:
      embed: [B, T, E].
      ahead: see `TemporalDistance`.

    Returns:
      [B, T - 1, E] goals, and [B, T - 1] whether each is the record to which its transition leads.
    """
    batch, length = embed.shape[0], embed.shape[1]
    kind_key, row_key, column_key, ahead_key = jax.random.split(key, 4)
    shape = (batch, length - 1)
    kind = jax.random.uniform(kind_key, shape)
    # Geometric, from 1: the inverse of its distribution function.
    drawn = jax.random.uniform(ahead_key, shape, minval=jnp.finfo(jnp.float32).tiny)
    later = 1 + jnp.floor(jnp.log(drawn) / jnp.log(ahead)).astype(jnp.int32)
    later = jnp.where(kind < NEXT, 1, later)
    column = jnp.minimum(jnp.arange(length - 1)[None] + later, length - 1)
    row = jnp.broadcast_to(jnp.arange(batch)[:, None], shape)
    anywhere = kind >= 1.0 - ANYWHERE
    row = jnp.where(anywhere, jax.random.randint(row_key, shape, 0, batch), row)
    column = jnp.where(anywhere, jax.random.randint(column_key, shape, 0, length), column)
    following = jnp.arange(1, length)[None]
    reached = (row == jnp.arange(batch)[:, None]) & (column == following)
    return embed[row, column], reached.astype(jnp.float32)


def temporal_distance_loss(
    distance: TemporalDistance, features: Array, embed: Array, batch: SequenceBatch, key: Array | None
) -> tuple[Array, Metrics]:
    """L of the module, on stopped inputs: it does not shape the model.

    Args:
      features: [B, T, F] of the states. embed: [B, T, E] of their observations. batch: [B, T].
      key: of the goals; None draws always the same.

    Returns:
      The loss; metrics, among them `temporal_distance_steps`, the mean distance to the goals.
    """
    features, embed = jax.lax.stop_gradient((features, embed))
    key = jax.random.key(0) if key is None else key
    goal, reached = draw_goals(embed, distance.ahead, key)
    known = has_cause(batch)[:, 1:]
    onward = between(distance.slow, features[:, 1:], goal)
    onward = jnp.where(batch.is_terminal[:, 1:] > 0, 1.0, onward)
    target = 1.0 / distance.max_steps + (1.0 - reached) * onward
    target = jax.lax.stop_gradient(jnp.minimum(target, 1.0))
    predicted = distance(features[:, :-1], goal)
    weight = jnp.where(target < predicted, distance.expectile, 1.0 - distance.expectile)
    learnt = masked_mean(weight * (target - predicted) ** 2, known)
    at_goal = masked_mean(distance(features, embed) ** 2, termination_mask(batch.is_terminal))
    metrics = {"temporal_distance_loss": learnt, "temporal_distance_at_goal": at_goal}
    metrics["temporal_distance_steps"] = distance.max_steps * masked_mean(predicted, known)
    return learnt + at_goal, metrics
