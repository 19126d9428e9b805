"""What a world model needs of its dynamics: how the latent state moves, with an observation and without.

Another memory is one file with a subclass of `Dynamics`, or of `MemoryDynamics` where its state has the two parts of
the RSSM, named in a config as `world_model.dynamics.name=my.module:Name`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx, struct

from worldmodels.sequences import scan_time
from worldmodels.structures import Array, FilterOutput, Latent, LatentState


class HasFeatures(Protocol):
    """A latent state: a pytree with leaves [..., d]."""

    @property
    def features(self) -> Array:
        """[..., F]."""


State = TypeVar("State", bound=HasFeatures)


class LatentHead(Protocol):
    """A module of `worldmodels.latent_heads`."""

    def project(self, x: Array, start: int) -> Array:
        """Returns the first layer's share of inputs from `start` on."""

    def finish(self, hidden: Array) -> Latent:
        """Returns the distribution from the summed shares, [..., hidden]."""


class ImagineOutput(struct.PyTreeNode):
    """An imagined rollout.

    Attributes:
      states: s_0 .. s_H, leaves [N, H + 1, ...].
      actions: [N, H, A]; actions[:, t] leads from s_t to s_{t+1}.
      policy: the distributions that the actions came from, leaves [N, H, A].
    """

    states: Any
    actions: Array
    policy: Any


class Dynamics(nnx.Module, Generic[State]):
    """A latent state-space model over embeddings: the interface, and the sequences that follow from its steps.

    A subclass is built as `(embed_size, action_size, *, rngs, ...)`, has the attributes below and defines `initial`,
    `forget`, `noise`, `observe`, `predict` and `prior`. It may replace the rest, as `filter` where a sequence is faster
    than its steps.

    Attributes:
      action_size: A; 0 for an action-free model. Where latent actions are read, their size.
      feature_size: F.
    """

    action_size: int
    feature_size: int

    def initial(self, *batch_shape: int) -> State:
        """Returns the state before the first observation, leaves [*batch_shape, ...]."""
        raise NotImplementedError

    def forget(self, state: State, is_first: Array) -> State:
        """Returns the state as before the first observation where an episode starts, `is_first` [B]."""
        raise NotImplementedError

    def noise(self, key: Array | None, *batch_shape: int) -> Array | None:
        """Draws what turns latent distributions [*batch_shape, ...] into samples; None (the mode) without a key."""
        raise NotImplementedError

    def observe(
        self, state: State, prev_action: Array, projected_embed: Array, noise: Array | None
    ) -> tuple[State, Latent]:
        """Takes a step with an observation, e through `project_embed`: returns (state_t, q(z_t | ...))."""
        raise NotImplementedError

    def predict(self, state: State, prev_action: Array, noise: Array | None) -> State:
        """Takes a step without looking: z_t ~ p(z_t | ...)."""
        raise NotImplementedError

    def prior(self, states: State) -> Latent:
        """Returns p(z_t | ...), leaves [..., S], at states that `observe` has returned."""
        raise NotImplementedError

    def project_embed(self, embed: Array) -> Array:
        """Computes what `observe` needs of embeddings [..., E], for a whole sequence at once."""
        return embed

    def posterior_step(self, state: State, prev_action: Array, embed: Array, key: Array | None = None):
        """Takes a step with an observation [..., E], as actors do: returns (state_t, q(z_t | ...))."""
        noise = self.noise(key, *embed.shape[:-1])
        return self.observe(state, prev_action, self.project_embed(embed), noise)

    def filter(
        self,
        embed: Array,
        prev_action: Array,
        is_first: Array,
        key: Array | None = None,
        initial: State | None = None,
    ) -> FilterOutput:
        """Infers the states of a batch of sequences.

        Args:
          embed: [B, T, E] observation embeddings.
          prev_action: [B, T, A] action that led to each observation.
          is_first: [B, T] where to forget the past.
          key: PRNG key, consumed; None takes the mode of every posterior.
          initial: state before the first record, leaves [B, ...]; zeros by default.

        Returns:
          Leaves [B, T, ...].
        """
        return self.filter_steps(embed, prev_action, is_first, key, initial)

    def filter_steps(
        self,
        embed: Array,
        prev_action: Array,
        is_first: Array,
        key: Array | None = None,
        initial: State | None = None,
        read: Callable[[Array, Array, Array | None], Array] | None = None,
    ) -> FilterOutput:
        """Filters step by step, also where a subclass has a faster way; arguments and result as of `filter`.

        Args:
          read: (features [B, F], action [B, A] that left the state, normal noise [B, R] or None) -> what is read in its
            place, [B, R], zeros where an episode starts; R is the `action_size` of the dynamics then.
        """
        batch_shape = embed.shape[:2]
        initial = initial if initial is not None else self.initial(batch_shape[0])

        def step(state, xs):
            action, projected, first, noise, read_noise = xs
            state = self.forget(state, first)
            if read is not None:
                action = read(state.features, action, read_noise) * (1.0 - first)[:, None]
            state, posterior = self.observe(state, action, projected, noise)
            return state, (state, posterior)

        read_noise = None
        if read is not None and key is not None:
            read_noise = jax.random.normal(jax.random.fold_in(key, 2), (*batch_shape, self.action_size))
        xs = (prev_action, self.project_embed(embed), is_first, self.noise(key, *batch_shape), read_noise)
        _, (states, posterior) = scan_time(step, initial, xs)
        return FilterOutput(states=states, prior=self.prior(states), posterior=posterior)

    def rollout(self, state: State, actions: Array, key: Array | None = None) -> State:
        """Predicts the states that given actions lead to, without looking (open loop).

        Args:
          state: where to start, leaves [B, ...].
          actions: [B, H, A].
          key: PRNG key, consumed; None takes the mode of every prior.

        Returns:
          States after each action, leaves [B, H, ...].
        """

        def step(state, xs):
            state = self.predict(state, *xs)
            return state, state

        return scan_time(step, state, (actions, self.noise(key, *actions.shape[:2])))[1]

    def imagine(
        self, state: State, policy: Callable, horizon: int, key: Array | None = None
    ) -> ImagineOutput:
        """Lets a policy act in the model (Dreamer). The policy reads stopped features, as published.

        Args:
          state: where to start, leaves [N, ...].
          policy: features [N, F] -> action distribution with `sample(noise)`.
          horizon: H, number of actions.
          key: PRNG key, consumed; None takes modes of actions and priors.
        """
        action_key, latent_key = (None, None) if key is None else jax.random.split(key)
        shape = (jax.tree.leaves(state)[0].shape[0], horizon)
        action_noise = (
            None if action_key is None else jax.random.normal(action_key, (*shape, self.action_size))
        )

        def step(state, xs):
            noise, latent_noise = xs
            dist = policy(jax.lax.stop_gradient(state.features))
            action = dist.sample(noise)
            state = self.predict(state, action, latent_noise)
            return state, (state, action, dist)

        xs = (action_noise, self.noise(latent_key, *shape))
        _, (states, actions, dist) = scan_time(step, state, xs, length=horizon)
        states = jax.tree.map(lambda x, xs: jnp.concatenate([x[:, None], xs], axis=1), state, states)
        return ImagineOutput(states=states, actions=actions, policy=dist)


class MemoryDynamics(Dynamics[LatentState]):
    """Dynamics with a deterministic memory h, from which the prior of the latent z is read: `LatentState`.

    A subclass defines `advance` and `observe`, and sets the attributes.

    Attributes:
      deter_size: D. stoch_size: S, of a flat sample. num_classes: of each categorical; None for a Gaussian latent.
      prior_head: of `worldmodels.latent_heads`.
    """

    deter_size: int
    stoch_size: int
    num_classes: int | None
    prior_head: LatentHead

    def advance(self, state: LatentState, prev_action: Array) -> Array:
        """Returns h_t [..., D] from the previous state and the action [..., A] that left it."""
        raise NotImplementedError

    @property
    def feature_size(self) -> int:  # type: ignore[override]  # others set it
        """D + S, the size of `LatentState.features`."""
        return self.deter_size + self.stoch_size

    def initial(self, *batch_shape: int) -> LatentState:
        """Returns zeros, not learned."""
        return LatentState(
            jnp.zeros((*batch_shape, self.deter_size)), jnp.zeros((*batch_shape, self.stoch_size))
        )

    def forget(self, state: LatentState, is_first: Array) -> LatentState:
        """Returns zeros where an episode starts, `is_first` [B]."""
        keep = (1.0 - is_first)[..., None]
        return LatentState(state.deter * keep, state.stoch * keep)

    def noise(self, key: Array | None, *batch_shape: int) -> Array | None:
        """Draws normal noise [*batch_shape, S], or Gumbel noise [*batch_shape, N, C] of categoricals."""
        if key is None:
            return None
        if self.num_classes is None:
            return jax.random.normal(key, (*batch_shape, self.stoch_size))
        num = self.stoch_size // self.num_classes
        return jax.random.gumbel(key, (*batch_shape, num, self.num_classes))

    def prior(self, states: LatentState) -> Latent:
        """Returns p(z_t | h_t), leaves [..., S]."""
        return self._prior(states.deter)

    def predict(self, state: LatentState, prev_action: Array, noise: Array | None) -> LatentState:
        """Takes a step without looking: z_t ~ p(z_t | h_t)."""
        deter = self.advance(state, prev_action)
        return LatentState(deter, self._prior(deter).sample(noise))

    def _prior(self, deter: Array) -> Latent:
        return self.prior_head.finish(self.prior_head.project(deter, 0))
