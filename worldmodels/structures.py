"""The pytrees that flow between modules.

Shape letters: B batch, T time, A action, E embedding, D deterministic latent, S stochastic latent.
Sequences are batch-major, `[B, T, ...]`. The one alignment rule: `prev_action[t]` led to `observation[t]`, and
`reward[t]` was earned by it.
"""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct

Array = jax.Array


class SequenceBatch(struct.PyTreeNode):
    """Subsequences of episodes.

    Attributes:
      observation: {sensor: [B, T, d] float32, or [B, T, y, x, 3] uint8 for images}.
      prev_action: [B, T, A] float32, the action that led to each observation; None for demonstrations
        without actions, so that a loss that peeks at the expert's actions fails while tracing.
      reward: [B, T] float32 earned by `prev_action`, or None.
      is_first: [B, T] float32, 1 where an episode starts.
      is_last: [B, T] float32, 1 where an episode ends.
      is_terminal: [B, T] float32, 1 where an episode ends by termination; stays 1 in the padding after it.
      masks: {target: [B, T] float32} multiplies the log-likelihood of that target.
    """

    observation: dict[str, Array]
    prev_action: Array | None
    reward: Array | None
    is_first: Array
    is_last: Array
    is_terminal: Array
    masks: dict[str, Array] = struct.field(default_factory=dict)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """(B, T)."""
        return self.is_first.shape

    def target(self, name: str) -> Array | None:
        """Returns the target of the decoder `name`, [B, T, ...], or None if the batch does not have it."""
        if name == "is_terminal":
            return self.is_terminal[..., None]
        if name == "reward":
            return None if self.reward is None else self.reward[..., None]
        return self.observation.get(name)

    def without_actions(self) -> SequenceBatch:
        """Returns the same batch as a demonstration: observations only."""
        return self.replace(prev_action=None)


class LatentState(struct.PyTreeNode):
    """Latent state of dynamics with a memory, the RSSM among them.

    Attributes:
      deter: [..., D] deterministic memory.
      stoch: [..., S] sample of the stochastic latent.
    """

    deter: Array
    stoch: Array

    @property
    def features(self) -> Array:
        """[..., D + S] what every decoder, policy and value function reads."""
        return jnp.concatenate([self.deter, self.stoch], axis=-1)


class Latent(Protocol):
    """A latent distribution, such as `distributions.Gaussian`; a pytree."""

    def sample(self, noise: Array | None) -> Array:
        """Returns a sample [..., S] made of noise, or the mode."""

    def kl(self, other: Any) -> Array:
        """Returns KL(self || other) in nats, with the last axis unreduced."""


class FilterOutput(struct.PyTreeNode):
    """Result of filtering a sequence.

    Attributes:
      states: LatentState, or what other dynamics have, leaves [B, T, ...], drawn from the posterior.
      prior, posterior: latent distributions (`distributions.Gaussian` or `Categorical`), leaves [B, T, ...].
    """

    states: Any
    prior: Latent
    posterior: Latent
