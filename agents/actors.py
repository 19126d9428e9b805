"""Acting with a world model: filter what is seen, ask the policy.

`act` is the pure step; `FilterActor` remembers the state between environment steps. The latent state is sampled from
the posterior also in evaluation, as published; only the action is the policy's mode.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from worldmodels.structures import Array, LatentState
from worldmodels.world_model import WorldModel


class ActorState(struct.PyTreeNode):
    """Memory of an actor between calls.

    Attributes:
      latent: the filtered state, leaves [N, ...].
      prev_action: [N, A] the last action.
      key: PRNG key of the next step.
    """

    latent: LatentState
    prev_action: Array
    key: Array


def initial_actor_state(model: WorldModel, num_envs: int, key: Array) -> ActorState:
    """Before the first observation of `num_envs` episodes."""
    return ActorState(model.dynamics.initial(num_envs), jnp.zeros((num_envs, model.action_size)), key)


def act(
    model: WorldModel,
    policy: Callable,
    state: ActorState,
    observation: Mapping[str, Array],
    is_first: Array,
    executed: Array | None = None,
    *,
    sample_state: bool = True,
    sample_action: bool = False,
    epsilon: float = 0.0,
) -> tuple[Array, ActorState]:
    """One acting step.

    Args:
      observation: {sensor: [N, d]} in raw units.
      is_first: [N] float32, 1 where an episode starts: its past is forgotten.
      executed: [N, A] the actions that led here as the environment did them, which may have narrower limits; None:
        those that were chosen.
      sample_state: draws the latent from the posterior instead of taking its mode.
      sample_action: draws the action, or the latent action, instead of taking the policy's mode.
      epsilon: std of Gaussian noise on top of the action, which is clipped to [-1, 1] afterwards.

    Returns:
      Actions [N, A] in [-1, 1], or [N, H * A] of a policy that decides on H at once, and the next state.
    """
    latent, action_key, key = filter_step(
        model, state, observation, is_first, executed, sample_state=sample_state
    )
    decided = policy(latent.features)
    noise = jax.random.normal(action_key, decided.mean.shape) if sample_action else None
    action = model.action(latent.features, decided.sample(noise))
    if epsilon:
        disturbance = epsilon * jax.random.normal(jax.random.fold_in(action_key, 1), action.shape)
        action = jnp.clip(action + disturbance, -1.0, 1.0)
    return action, ActorState(latent=latent, prev_action=action[:, : model.action_size], key=key)


def filter_step(
    model: WorldModel,
    state: ActorState,
    observation: Mapping[str, Array],
    is_first: Array,
    executed: Array | None = None,
    *,
    sample_state: bool = True,
) -> tuple[LatentState, Array, Array]:
    """Takes in an observation; arguments as for `act`. Returns the latent state, a key for the action, the next key."""
    key, latent_key, action_key = jax.random.split(state.key, 3)
    prev_action = state.prev_action if executed is None else executed
    embed = model.encode(observation)
    latent = model.dynamics.forget(state.latent, is_first)
    read = model.read(latent.features, prev_action) * (1.0 - is_first)[:, None]
    latent, _ = model.dynamics.posterior_step(latent, read, embed, latent_key if sample_state else None)
    return latent, action_key, key


class ModelActor:
    """An actor for `agents.loop` that acts by a world model and remembers the state of N environments.

    Args:
      acting: equal ones share what is compiled; with two pure methods, `step`: (modules, state, observation,
        is_first, executed) -> (actions [N, A], state), and `initial`: (modules, N, key) -> the state before it.
      modules: pytrees, the world model first; with `num_seeds`, leaves have a leading axis [num_seeds * ensemble] and
        the N environments are num_seeds blocks of N / num_seeds, one per seed.
      num_envs: N.
      key: PRNG key, consumed.
      ensemble: so many models, one after the other, see the same environments, and what is done is the mean of their
        actions; each filters with that.
    """

    def __init__(
        self,
        acting: Any,
        modules: tuple,
        num_envs: int,
        key: Array,
        num_seeds: int | None = None,
        ensemble: int = 1,
    ):
        blocks = num_seeds or 1
        if num_envs % blocks:
            raise ValueError(f"{num_envs} environments cannot be shared equally by {blocks} seeds.")
        if ensemble > 1 and num_seeds is None:
            raise ValueError("The models of an ensemble are stacked; pass num_seeds.")
        self.num_envs, self._inputs = num_envs, modules[0].inputs
        self._num_seeds, self._ensemble = num_seeds, ensemble
        structure = jax.tree.structure(modules)
        # A planner of one's own may be a dataclass that is not frozen, which has no hash.
        programs = _programs.__wrapped__ if type(acting).__hash__ is None else _programs
        self._step, self._initial = programs(acting, structure, num_envs // blocks, num_seeds)
        self.renew(modules, key)

    def renew(self, modules: tuple, key: Array) -> None:
        """Begins anew with other parameters of the same shapes, without compiling again; consumes the key."""
        self._leaves = jax.tree.leaves(modules)
        if self._num_seeds is not None:
            key = jax.random.split(key, self._num_seeds * self._ensemble)
        self.state, self._done = self._initial(self._leaves, key), None

    def __call__(self, records: Mapping[str, np.ndarray]) -> np.ndarray:
        """Records {name: [N, ...]}, with `pre_action` where it is known, to actions [N, A] float32."""
        missing = [name for name in self._inputs if name not in records]
        if missing:
            raise ValueError(
                f"The environment does not give {', '.join(missing)}; it gives {', '.join(sorted(records))}. "
                "Act in the environment that the model was trained for."
            )
        observation = {name: self._blocked(np.asarray(records[name])) for name in self._inputs}
        is_first = self._blocked(np.asarray(records["is_first"], np.float32))
        executed = records.get("pre_action", self._done)
        executed = None if executed is None else self._blocked(np.asarray(executed, np.float32))
        action, self.state = self._step(self._leaves, self.state, observation, is_first, executed)
        action = np.asarray(action)
        if self._ensemble > 1:
            action = action.reshape(-1, self._ensemble, *action.shape[1:]).mean(axis=1)
            self._done = action.reshape(self.num_envs, -1)
        return action.reshape(self.num_envs, -1)

    def _blocked(self, x: np.ndarray) -> np.ndarray:
        if self._num_seeds is None:
            return x
        return np.repeat(x.reshape(self._num_seeds, -1, *x.shape[1:]), self._ensemble, axis=0)


@functools.lru_cache(maxsize=16)
def _programs(acting: Any, structure: Any, num_envs: int, num_seeds: int | None) -> tuple:
    """Returns the jitted functions of `ModelActor`, the same ones for equal arguments.

    So every evaluation of a run, and every member of one, acts by what the first has compiled. The module tree is split
    before: a call with hundreds of module attributes costs milliseconds of Python.
    """

    def step_with(leaves, state, *seen):
        return acting.step(jax.tree.unflatten(structure, leaves), state, *seen)

    def initial_with(leaves, key):
        return acting.initial(jax.tree.unflatten(structure, leaves), num_envs, key)

    if num_seeds is not None:
        step_with, initial_with = jax.vmap(step_with), jax.vmap(initial_with)
    return jax.jit(step_with, donate_argnums=1), jax.jit(initial_with)


@dataclasses.dataclass(frozen=True)
class _Filtering:
    """Filters and asks the policy, with the options of `act`; equal for equal options."""

    sample_state: bool
    sample_action: bool
    epsilon: float

    def step(self, modules: tuple, state: ActorState, *seen: Any) -> tuple[Array, ActorState]:
        inputs: tuple[Any, ...] = (*modules, state, *seen)
        return act(*inputs, **vars(self))

    def initial(self, modules: tuple, num_envs: int, key: Array) -> ActorState:
        return initial_actor_state(modules[0], num_envs, key)


class FilterActor(ModelActor):
    """Filters what is seen and asks the policy.

    Args:
      model, policy: the modules. num_envs, key, num_seeds, ensemble: see `ModelActor`.
      sample_state, sample_action, epsilon: see `act`.
    """

    def __init__(
        self,
        model: WorldModel,
        policy: Callable,
        num_envs: int,
        key: Array,
        *,
        sample_state: bool = True,
        sample_action: bool = False,
        epsilon: float = 0.0,
        num_seeds: int | None = None,
        ensemble: int = 1,
    ):
        acting = _Filtering(sample_state, sample_action, epsilon)
        super().__init__(acting, (model, policy), num_envs, key, num_seeds, ensemble)
