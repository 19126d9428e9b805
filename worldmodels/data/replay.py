"""A dataset that grows: the newest episodes, in a ring of fixed size on the device.

`append_episode` moves one episode from the host into the ring, where it overwrites the oldest ones, without
copying what is there (the buffers are donated). `sample` is that of `worldmodels.data.dataset`: windows that never
cross an episode. An episode of which any record was overwritten is not sampled any more. The whole state is a
pytree, so that it can be checkpointed and passed through jit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from worldmodels import describe
from worldmodels.data.dataset import as_stored, gather_rows, pad_records, window_rows
from worldmodels.data.episodes import FLAGS, Episode
from worldmodels.structures import Array, SequenceBatch


class Replay(struct.PyTreeNode):
    """Ring of C records; a pytree of device arrays. An episode may wrap around its end.

    Episode k of those ever appended has entry k % E of the tables, E = C // T being the most that can be
    complete.

    Attributes:
      observation: {sensor: [C, d] float32, or [C, y, x, 3] uint8 for images}.
      prev_action: [C, A] float32.
      reward: [C] float32.
      is_first, is_last, is_terminal: [C] float32.
      episode_row: [E] int32 row of an episode's record 0.
      episode_windows: [E] int32 windows in it; 0 if it is not complete any more.
      windows_until: [E] int32 cumulative sum of `episode_windows`.
      cursor: [] int32 row to be written next.
      num_appended: [] int32 episodes ever appended.
      length: T, records per window.
    """

    observation: dict[str, Array]
    prev_action: Array
    reward: Array
    is_first: Array
    is_last: Array
    is_terminal: Array
    episode_row: Array
    episode_windows: Array
    windows_until: Array
    cursor: Array
    num_appended: Array
    length: int = struct.field(pytree_node=False)

    def __repr__(self) -> str:
        return describe.dataset(self, f"room for {self.capacity} records")

    @classmethod
    def create(cls, example: Episode, *, capacity: int, length: int, sensors: Sequence[str]) -> Replay:
        """Returns an empty ring for episodes like the example.

        Args:
          example: gives shapes and dtypes; it is not appended.
          capacity: C, records.
          length: T, records per window.
          sensors: which sensors to keep.

        Raises:
          ValueError: a sensor that the example lacks, or no room for a window.
        """
        if not 1 <= length <= capacity:
            raise ValueError(
                f"Windows of length {length} do not fit a replay of {capacity} records; make it larger."
            )

        def empty(name):
            row = as_stored(name, _records(example, name)[:1])
            return jnp.zeros((capacity, *row.shape[1:]), row.dtype)

        def table(*shape):  # buffers of their own, since all are donated
            return jnp.zeros(shape, jnp.int32)

        size = capacity // length
        return cls(
            observation={name: empty(name) for name in sensors},
            prev_action=empty("pre_action"),
            reward=empty("reward"),
            **{name: empty(name) for name in FLAGS},
            episode_row=table(size),
            episode_windows=table(size),
            windows_until=table(size),
            cursor=table(),
            num_appended=table(),
            length=length,
        )

    @property
    def capacity(self) -> int:
        """C."""
        return self.is_first.shape[0]

    @property
    def num_windows(self) -> Array:
        """[] int32 windows that can be sampled."""
        return self.windows_until[-1]

    @property
    def num_episodes(self) -> Array:
        """[] int32 complete episodes; the newest ones of those appended."""
        return jnp.sum(self.episode_windows > 0, dtype=jnp.int32)


def append_episode(replay: Replay, episode: Episode) -> Replay:
    """Writes an episode over the oldest ones; `replay` is donated and must not be used again.

    An episode shorter than a window is padded with its last record, as in `SequenceDataset`. It compiles once
    for each power of two of records.

    Raises:
      ValueError: the episode does not fit the ring, or lacks a sensor or has another shape.
    """
    num_rows = max(episode.num_records, replay.length)
    if num_rows > replay.capacity:
        raise ValueError(
            f"An episode of {num_rows} records does not fit a replay of {replay.capacity}; make it larger."
        )
    names = {"prev_action": "pre_action"}
    fields = {"prev_action": replay.prev_action, "reward": replay.reward} | {
        n: getattr(replay, n) for n in FLAGS
    }
    block = 1 << (num_rows - 1).bit_length()

    def load(name, ring):
        values = as_stored(name, pad_records(_records(episode, name), block))
        if values.shape[1:] != ring.shape[1:]:
            raise ValueError(
                f"{name!r} of the episode has shape {list(values.shape[1:])} per record, the replay "
                f"{list(ring.shape[1:])}; do not mix embodiments in one replay."
            )
        return values.astype(ring.dtype)

    rows = {field: load(names.get(field, field), ring) for field, ring in fields.items()}
    rows["observation"] = {name: load(name, ring) for name, ring in replay.observation.items()}
    return _append(replay, rows, num_rows)


def sample(replay: Replay, key: Array, batch_size: int, *, first_fraction: float = 0.0) -> SequenceBatch:
    """Draws windows uniformly with replacement, as `worldmodels.data.dataset.sample` does.

    An empty replay cannot be told from a full one inside jit: it gives zeros, so append an episode first.

    Args:
      replay: what to draw from.
      key: PRNG key, consumed.
      batch_size: B.
      first_fraction: this share of the windows (in expectation) starts at record 0 of a uniformly drawn
        episode.

    Returns:
      Leaves [B, T, ...].
    """
    uniform_key, first_key, choice_key = jax.random.split(key, 3)
    window = _draw(replay.num_windows, uniform_key, batch_size)
    episode = jnp.searchsorted(replay.windows_until, window, side="right")
    before = replay.windows_until[episode] - replay.episode_windows[episode]
    starts = replay.episode_row[episode] + window - before
    if first_fraction:
        age = _draw(replay.num_episodes, first_key, batch_size)
        first = replay.episode_row[(replay.num_appended - 1 - age) % replay.episode_row.shape[0]]
        starts = jnp.where(jax.random.bernoulli(choice_key, first_fraction, (batch_size,)), first, starts)
    return gather_rows(replay, window_rows(starts, replay.length) % replay.capacity)


def _draw(size: Array, key: Array, batch_size: int) -> Array:
    return jax.random.randint(key, (batch_size,), 0, jnp.maximum(size, 1))


def _records(episode: Episode, name: str) -> np.ndarray:
    if name not in episode.records:
        raise ValueError(f"The episode has no {name!r}. It has: {', '.join(sorted(episode.records))}.")
    return episode.records[name]


@partial(jax.jit, donate_argnums=0)
def _append(replay: Replay, rows: Mapping[str, Any], num_rows: Array) -> Replay:
    """Writes the first `num_rows` of `rows`, leaves [L, ...]; num_rows <= C."""
    capacity = replay.capacity
    offset = jnp.arange(rows["is_first"].shape[0], dtype=jnp.int32)
    # A slot of `capacity` is not written.
    slots = jnp.where(offset < num_rows, (replay.cursor + offset) % capacity, capacity)

    def write(ring, values):
        return ring.at[slots].set(values, mode="drop")

    # Complete episodes lie behind the cursor in the order of their age, so the overwritten ones begin within
    # the rows.
    overwritten = (replay.episode_row - replay.cursor) % capacity < num_rows
    entry = replay.num_appended % replay.episode_row.shape[0]
    episode_windows = jnp.where(overwritten, 0, replay.episode_windows)
    episode_windows = episode_windows.at[entry].set(num_rows - replay.length + 1)
    return replay.replace(
        **{name: jax.tree.map(write, getattr(replay, name), values) for name, values in rows.items()},
        episode_row=replay.episode_row.at[entry].set(replay.cursor),
        episode_windows=episode_windows,
        windows_until=jnp.cumsum(episode_windows, dtype=jnp.int32),
        cursor=(replay.cursor + num_rows) % capacity,
        num_appended=replay.num_appended + 1,
    )
