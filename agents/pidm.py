"""Predictive inverse dynamics (PIDM): foresee what the demonstrator would see in k steps, then find the action for it.

    G(o_{t-F+1..t}) = o_{t+K}            foresight, from demonstrations without actions
    I(o_{t-F+1..t}, o_{t+k}, k) = a_t    an inverse model, from embodiment data, k = 1..K
    pi(o) = I(o, G(o), K)                nothing is distilled

The small form of Seer (Tian et al. 2024, arXiv 2412.15109: one transformer that foresees images three steps ahead and
acts), with networks on frames: BCO with a horizon, whose policy is I after G. In play I meets what G foresees and not
what happened, so that it learns with targets to which the errors of G are added, as noise. Where an episode ends before
the record that is looked at, its last one is repeated there, and the window teaches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from agents.bc import true_actions
from agents.frame_stack import FrameStack, policy_frames
from worldmodels.nets import MLP
from worldmodels.sequences import mean_of_rows, recorded
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics


class Foresight(FrameStack):
    """Observations of F successive records -> the record K steps later, a Gaussian whose std does not depend on them.

    Args:
      sizes: {sensor: d} of vectors. hidden_size, hidden_layers: of the MLP; ELU.
      rngs: initialisation.
      **frames: the other arguments of `FrameStack`.

    Raises:
      ValueError: a sensor is an image.
    """

    def __init__(
        self,
        sizes: Mapping,
        *,
        hidden_size: int = 128,
        hidden_layers: int = 2,
        rngs: nnx.Rngs,
        **frames,
    ):
        images = [name for name, size in sizes.items() if not isinstance(size, int)]
        if images:
            raise ValueError(
                f"PIDM foresees vectors, and {', '.join(images)} is an image; choose another set-up."
            )
        super().__init__(sizes, rngs=rngs, **frames)
        self.out_size = sum(sizes.values())
        options: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, rngs=rngs)
        self.change = MLP(self.merger.out_size, self.out_size, **options)
        self.log_std = nnx.Param(jnp.zeros(self.out_size))

    def vector(self, observation: Mapping[str, Array], record: Array | int) -> Array:
        """Returns the standardised vectors of records number `record`, [B] or one for all, of windows: [B, D]."""
        rows = jnp.arange(next(iter(observation.values())).shape[0])
        parts = [self.standardizer(name, observation[name][rows, record]) for name in self.names]
        return jnp.concatenate(parts, axis=-1)

    def __call__(self, frames: Mapping[str, Array]) -> Array:
        """{sensor: [B, F, d]}, oldest first -> the mean [B, D], as of `vector`."""
        return self.vector(frames, self.num_frames - 1) + self.change(self.merged(frames))


class PredictivePolicy(FrameStack):
    """A frozen foresight and an inverse model that seeks what it sees.

    Args:
      sizes: {sensor: d} of vectors. action_size: A. num_frames: F.
      horizon: K >= 1.
      hidden_size, hidden_layers: of both MLPs; ELU.
      rngs: initialisation.
      **frames: the other arguments of `FrameStack`.
    """

    def __init__(
        self,
        sizes: Mapping,
        action_size: int,
        *,
        horizon: int = 3,
        hidden_size: int = 128,
        hidden_layers: int = 2,
        rngs: nnx.Rngs,
        **frames,
    ):
        if horizon < 1:
            raise ValueError(f"A horizon of {horizon} steps foresees nothing; give at least 1.")
        super().__init__(sizes, rngs=rngs, **frames)
        self.horizon = horizon
        options: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, rngs=rngs)
        self.foresight = Foresight(sizes, **options, **frames)
        in_size = self.merger.out_size + self.foresight.out_size + horizon
        self.head = MLP(in_size, action_size, output_activation="tanh", **options)

    def invert(self, frames: Mapping[str, Array], future: Array, offset: Array | int) -> Array:
        """Returns the action [B, A] that leads from frames {sensor: [B, F, d]} to `future` [B, D] in `offset` steps."""
        merged = self.merged(frames)
        steps = jnp.broadcast_to(jnp.asarray(offset), merged.shape[:1])
        return self.head(jnp.concatenate([merged, future, jax.nn.one_hot(steps - 1, self.horizon)], axis=-1))

    def __call__(self, frames: Mapping[str, Array]) -> Array:
        """{sensor: [B, F, d]}, oldest first -> action [B, A] in [-1, 1]."""
        return self.invert(frames, self.foresight(frames), self.horizon)


def foresight_loss(
    foresight: Foresight, batch: SequenceBatch, key: Array | None = None, *, horizon: int
) -> tuple[Array, Metrics]:
    """Negative log-likelihood of what is `horizon` steps ahead, nats per dimension, on demonstrations.

    Args:
      foresight: of F frames.
      batch: windows [B, F + horizon, ...]; their actions, if any, are not looked at.
      key: unused; a loss takes one.
    """
    num_frames = foresight.num_frames
    error = foresight.vector(batch.observation, num_frames - 1 + horizon) - foresight(
        policy_frames(batch.observation, num_frames)
    )
    log_std, known = foresight.log_std[...][None], recorded(batch.is_last)[:, num_frames - 1 + horizon]
    nll = mean_of_rows(0.5 * (error * jnp.exp(-log_std)) ** 2 + log_std, known)
    loss = nll + 0.5 * jnp.log(2 * jnp.pi)
    return loss, {"loss": loss, "error": mean_of_rows(error**2, known)}


def predictive_inverse_loss(
    policy: PredictivePolicy, batch: SequenceBatch, foresight: Foresight, key: Array
) -> tuple[Array, Metrics]:
    """Mean squared error of the action that leads to what happened k = 1..K steps later, on embodiment data.

    What happened is disturbed as much as the frozen foresight errs.

    Args:
      policy: of F frames and horizon K.
      batch: windows [B, F + K, ...] with actions.
      foresight: of the demonstrations.
      key: of k and the noise.
    """
    action = true_actions(batch, "An inverse dynamics model")[:, policy.num_frames]
    offset_key, noise_key = jax.random.split(key)
    offset = jax.random.randint(offset_key, action.shape[:1], 1, policy.horizon + 1)
    record = policy.num_frames - 1 + offset
    future = policy.foresight.vector(batch.observation, record)
    std = jax.lax.stop_gradient(jnp.exp(foresight.log_std[...]))[None]
    future = future + std * jax.random.normal(noise_key, future.shape)
    found = policy.invert(policy_frames(batch.observation, policy.num_frames), future, offset)
    known = recorded(batch.is_last)[jnp.arange(record.shape[0]), record]
    loss = mean_of_rows((found - action) ** 2, known)
    return loss, {"loss": loss}


def with_foresight(policy: PredictivePolicy, foresight: Foresight) -> PredictivePolicy:
    """Returns the policy with a copy of a foresight."""
    result = nnx.merge(*nnx.split(policy))
    result.foresight = jax.tree.map(jnp.copy, foresight)
    return result
