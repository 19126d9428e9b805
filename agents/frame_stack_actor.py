"""Acting with a policy that reads the last F records; before there are F the first is repeated."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.frame_stack import FrameStack, FrameStackNet
from worldmodels.structures import Array

Frames = dict[str, Array]


def initial_frames(observation: Mapping[str, Array], num_frames: int) -> Frames:
    """{sensor: [N, ...]} -> stacks {sensor: [N, F, ...]} filled with it."""
    return {name: jnp.repeat(value[:, None], num_frames, axis=1) for name, value in observation.items()}


def push(frames: Frames, observation: Mapping[str, Array], is_first: Array) -> Frames:
    """Appends the newest observation and drops the oldest.

    Args:
      frames: {sensor: [N, F, ...]}, oldest first.
      observation: {sensor: [N, ...]}.
      is_first: [N] bool, where an episode begins: its first observation fills the stack.
    """

    def push_one(stack, newest):
        newest = jnp.broadcast_to(newest[:, None], stack.shape)
        shifted = jnp.concatenate([stack[:, 1:], newest[:, -1:]], axis=1)
        return jnp.where(is_first.reshape(-1, *(1,) * (stack.ndim - 1)), newest, shifted)

    return {name: push_one(stack, observation[name]) for name, stack in frames.items()}


def act(
    policy: FrameStackNet, frames: Frames, observation: Mapping[str, Array], is_first: Array
) -> tuple[Array, Frames]:
    """One step of N environments: {sensor: [N, ...]} -> action [N, A] in [-1, 1] and the new stacks.

    For several seeds, `jax.vmap(act)` acts with policies [S] in environments [S, N].
    """
    frames = push(frames, observation, is_first)
    return policy(frames), frames


class FrameStackActor:
    """Remembers the stacks between environment steps; an `agents.loop.Actor`.

    Args:
      policy: one network; with `num_seeds` those of S seeds, stacked to leaves [S, ...]. The N environments
        are then S blocks of N / S, one per seed.
    """

    _drawing: tuple[jax.Array, ...] = ()  # the key of an actor that draws, the same for all seeds

    def __init__(self, policy: FrameStack, *, num_seeds: int | None = None):
        self._num_seeds = num_seeds or 1
        self._names = policy.names
        # The module is split once: to flatten it at every call costs more than the network.
        leaves, structure = jax.tree.flatten(policy)
        self._leaves = leaves if num_seeds else [leaf[None] for leaf in leaves]
        self._memory: Any = None
        self._begin_all, self._act = _programs(self._begin, self._step, structure)

    def __call__(self, records: Mapping[str, np.ndarray]) -> np.ndarray:
        """Records {name: [N, ...]} -> actions [N, A] float32."""
        observation = {name: self._blocked(value) for name, value in self._inputs(records).items()}
        if self._memory is None:
            self._memory = self._begin_all(self._leaves, observation, *self._drawing)
        is_first = self._blocked(np.asarray(records["is_first"], bool))
        action, self._memory = self._act(self._leaves, self._memory, observation, is_first)
        action = np.asarray(action)  # [S, N / S, A]
        return action.reshape(-1, action.shape[-1])

    @staticmethod
    def _begin(policy, observation, *drawing):
        """Returns what one seed remembers before its first step."""
        del drawing
        return initial_frames(observation, policy.num_frames)

    @staticmethod
    def _step(policy, memory, observation, is_first):
        """Takes in an observation; returns the actions of one seed and its memory."""
        return act(policy, memory, observation, is_first)

    def _inputs(self, records: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        missing = [name for name in self._names if name not in records]
        if missing:
            raise ValueError(
                f"The environment does not give {', '.join(missing)}; it gives {', '.join(sorted(records))}. "
                "Act in the environment that the policy was trained for."
            )
        return {name: np.asarray(records[name]) for name in self._names}

    def _blocked(self, values: np.ndarray) -> np.ndarray:
        """[N, ...] -> [S, N / S, ...]."""
        if len(values) % self._num_seeds:
            raise ValueError(
                f"{len(values)} environments cannot be shared equally by {self._num_seeds} seeds."
            )
        return values.reshape(self._num_seeds, -1, *values.shape[1:])


@functools.lru_cache(maxsize=16)
def _programs(begin: Callable, step: Callable, structure: Any) -> tuple:
    """Returns the jitted functions of an actor, the same ones for equal arguments.

    So every evaluation of a run acts by what the first has compiled.
    """

    def begin_with(leaves, observation, *drawing):
        def begin_one(policy, observation):
            return begin(policy, observation, *drawing)

        return jax.vmap(begin_one)(jax.tree.unflatten(structure, leaves), observation)

    def act_with(leaves, *args):
        return jax.vmap(step)(jax.tree.unflatten(structure, leaves), *args)

    return jax.jit(begin_with), jax.jit(act_with, donate_argnums=1)
