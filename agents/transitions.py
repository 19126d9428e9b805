"""Transitions for off-policy learning: from the records of several environments to a replay on the device.

The replay is a function of the episodes alone: `TransitionQueue` turns records into transitions in one fixed
order, whether they come live from the environments or from the disk, so that a resumed run learns from the
same replay.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from worldmodels.structures import Array


class Transitions(struct.PyTreeNode):
    """Steps of the environment, ready to learn from.

    Attributes:
      observation: [..., O] float32 where the action was taken.
      action: [..., A] float32 in [-1, 1].
      reward: [...] float32, sum over n steps of gamma^k * reward.
      discount: [...] float32 weight of the value of `next_observation`: gamma^n, or 0 after a termination.
      next_observation: [..., O] float32, n steps later (fewer where the episode ends).
    """

    observation: Array
    action: Array
    reward: Array
    discount: Array
    next_observation: Array

    @classmethod
    def zeros(cls, num: int, observation_size: int, action_size: int) -> Transitions:
        """`num` empty transitions, NumPy."""
        sizes = [(num, observation_size), (num, action_size), (num,), (num,), (num, observation_size)]
        arrays: list[Any] = [np.zeros(size, np.float32) for size in sizes]
        return cls(*arrays)


class Replay(struct.PyTreeNode):
    """Ring of transitions on the device.

    Attributes:
      transitions: leaves [C, ...].
      num_inserted: [] int32, transitions ever inserted; the oldest are overwritten when it passes C.
    """

    transitions: Transitions
    num_inserted: Array

    @classmethod
    def create(cls, capacity: int, observation_size: int, action_size: int) -> Replay:
        """Returns an empty replay of `capacity` transitions."""
        empty = jax.tree.map(jnp.asarray, Transitions.zeros(capacity, observation_size, action_size))
        return cls(transitions=empty, num_inserted=jnp.zeros((), jnp.int32))


@functools.partial(jax.jit, donate_argnums=0)
def insert(replay: Replay, new: Transitions, num_new: Array) -> Replay:
    """Writes the first `num_new` of `new`, leaves [M, ...], after the latest; donates `replay`."""
    capacity = replay.transitions.reward.shape[0]
    offset = jnp.arange(new.reward.shape[0])
    # Index C is out of bounds, so that the padding of `new` is dropped.
    index = jnp.where(offset < num_new, (replay.num_inserted + offset) % capacity, capacity)
    transitions = jax.tree.map(lambda ring, x: ring.at[index].set(x, mode="drop"), replay.transitions, new)
    return Replay(transitions=transitions, num_inserted=replay.num_inserted + num_new)


def sample(replay: Replay, key: Array, batch_size: int) -> Transitions:
    """Draws transitions uniformly with replacement, leaves [B, ...]; pure, for use inside jit."""
    capacity = replay.transitions.reward.shape[0]
    index = jax.random.randint(key, (batch_size,), 0, jnp.minimum(replay.num_inserted, capacity))
    return jax.tree.map(lambda ring: ring[index], replay.transitions)


class TransitionQueue:
    """Turns steps of N environments into n-step transitions, in the order in which they are complete.

    The transition of step t is

        reward = sum_{k<m} gamma^k r_{t+k+1},  discount = gamma^m, 0 if terminal,  m = min(n, steps left).

    A time limit cuts the sum short but keeps the discount: the value of the last observation stands for the
    rest.
    """

    def __init__(self, num_envs: int, *, num_steps: int = 1, discount: float = 0.99):
        if num_steps < 1:
            raise ValueError(f"num_steps is {num_steps}, but a transition needs at least 1 step.")
        self._num_steps = num_steps
        self._discount = discount
        self._pending: list[collections.deque[list]] = [collections.deque() for _ in range(num_envs)]
        self._complete: list[tuple] = []

    def __len__(self) -> int:
        return len(self._complete)

    def add(
        self, env: int, observation, action, reward: float, next_observation, *, terminal: bool, last: bool
    ):
        """Adds one step of environment `env`: observation [O], action [A] -> reward, next_observation [O]."""
        pending = self._pending[env]
        pending.append([observation, action, 0.0, 1.0])
        for step in pending:
            step[2] += step[3] * float(reward)
            step[3] *= self._discount
        if len(pending) == self._num_steps or last:
            self._finish(pending.popleft(), next_observation, terminal)
        while last and pending:
            self._finish(pending.popleft(), next_observation, terminal)

    def forget(self, env: int):
        """Drops the unfinished transitions of environment `env`, whose episode was lost."""
        self._pending[env].clear()

    def pop(self, size: int) -> tuple[Transitions, int]:
        """Takes up to `size` complete transitions: leaves [size, ...], zeros behind, and their number."""
        taken, self._complete = self._complete[:size], self._complete[size:]
        if not taken:
            raise ValueError("There is no complete transition to take.")
        columns = zip(*taken, strict=True)
        padding = size - len(taken)
        arrays = [np.asarray(column, np.float32) for column in columns]
        padded: list[Any] = [np.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1)) for x in arrays]
        return Transitions(*padded), len(taken)

    def _finish(self, step: list, next_observation, terminal: bool):
        observation, action, reward, discount = step
        self._complete.append((observation, action, reward, 0.0 if terminal else discount, next_observation))


def replay_transitions(queue: TransitionQueue, episodes: Sequence[tuple]):
    """Feeds a round of recorded episodes, one per environment, through the queue as if they were played now.

    Args:
      queue: queue of as many environments.
      episodes: for each environment (observation [T, O], prev_action [T, A], reward [T], terminal: bool).
    """
    for t in range(1, max(len(episode[0]) for episode in episodes)):
        for env, (observation, prev_action, reward, terminal) in enumerate(episodes):
            if t < len(observation):
                last = t == len(observation) - 1
                queue.add(
                    env,
                    observation[t - 1],
                    prev_action[t],
                    reward[t],
                    observation[t],
                    terminal=terminal and last,
                    last=last,
                )
