"""Which windows of a dataset are trained on, which are validated on, and in which order: random, by keys."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from worldmodels.structures import Array

_SPLIT = 1  # stream of random numbers


class Split(struct.PyTreeNode):
    """Numbers of the windows of a dataset that are trained on and validated on.

    Attributes:
      training, validation: [V or more], [W - V or more] int32, of which the first count; for several seeds, stacked.
      num_training, num_validation: [] int32, V and W - V, of all seeds.
    """

    training: Array
    validation: Array
    num_training: Array
    num_validation: Array

    @classmethod
    def of(cls, training: Array | np.ndarray, validation: Array | np.ndarray, room: int = 0) -> Split:
        """Splits by numbers [..., V] and [..., W - V], in arrays with room for so many of each."""

        def filled(numbers):
            missing = max(room - numbers.shape[-1], 0)
            return jnp.pad(jnp.asarray(numbers, jnp.int32), (*[(0, 0)] * (numbers.ndim - 1), (0, missing)))

        sizes = (jnp.asarray(numbers.shape[-1], jnp.int32) for numbers in (training, validation))
        return cls(filled(training), filled(validation), *sizes)


_AXES: tuple = (0, 0, None, None)
SEED_AXES = Split(*_AXES)  # of several seeds


def split_windows(num_windows: int, fraction: float, key: Array) -> Split:
    """Random split of the windows 0..W-1, a share `fraction` of them for training.

    Windows, not episodes, are split, as published: the two parts overlap in their records.

    Raises:
      ValueError: a part would be empty.
    """
    num_training = round(fraction * num_windows)
    if not 0 < num_training < num_windows:
        raise ValueError(
            f"A split of {num_windows} windows at {fraction:g} leaves one part empty; use more data."
        )
    order = jax.random.permutation(jax.random.fold_in(key, _SPLIT), num_windows).astype(jnp.int32)
    return Split.of(order[:num_training], order[num_training:])


def split_episodes(
    num_records: Sequence[int], length: int, is_training: Sequence[bool] | np.ndarray, room: int = 0
) -> Split:
    """Split of a dataset's windows by whole episodes, so that the parts have no record in common.

    Args:
      num_records: of each episode, in the order of `SequenceDataset.create`.
      length: T, records per window.
      is_training: of each episode, whether it is trained on; see `draw_training`.
      room: as of `Split.of`.

    Raises:
      ValueError: a part would be empty.
    """
    counts = np.maximum(np.asarray(num_records) - length + 1, 1)
    training = np.repeat(np.asarray(is_training, bool), counts)
    if training.all() or not training.any():
        raise ValueError(
            f"A split of {len(counts)} episodes leaves one part empty; use at least two episodes."
        )
    return Split.of(np.flatnonzero(training), np.flatnonzero(~training), room)


def draw_training(num_episodes: int, fraction: float, key: Array) -> np.ndarray:
    """[num_episodes] bool: a random share `fraction` to train on, both parts with at least one of two or more."""
    num_training = round(fraction * num_episodes)
    if num_episodes > 1:
        num_training = min(max(num_training, 1), num_episodes - 1)
    return np.asarray(jax.random.permutation(jax.random.fold_in(key, _SPLIT), num_episodes)) < num_training


@functools.partial(jax.jit, static_argnums=(1, 2))
def draw_split(key: Array, num_windows: int, fraction: float) -> Split:
    """Returns the split of `split_windows`; of keys [N], of N seeds."""
    split = functools.partial(split_windows, num_windows, fraction)
    return split(key) if key.ndim == 0 else jax.vmap(split, out_axes=SEED_AXES)(key)


def shuffled(key: Array, values: Array, number: Array) -> Array:
    """Shuffles the first `number` of the values [C]: sorts them by random numbers, which do not depend on C.

    The others stay behind them.
    """
    draws = jax.random.uniform(key, values.shape)
    return values[jnp.argsort(jnp.where(jnp.arange(len(values)) < number, draws, jnp.inf))]
