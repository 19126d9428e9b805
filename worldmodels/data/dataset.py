"""Subsequences of many episodes, sampled on the device.

All records lie in one flat array per sensor, uint8 images included; a window is `length` successive rows. A
table of starts says where windows may begin, so that none crosses an episode. An episode shorter than a
window gives exactly one: its last record is repeated to fill it (AIME-v2), so that `is_terminal` stays 1 in
the padding.

Measured on one CPU core, 50 windows of 50 records of the walker (24 sensor values, 6 actions, reward, flags):
0.07 ms inside a jitted loop by gathering rows, 0.11 ms by gathering slices, 0.23 ms by a loop over slices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from flax import struct

from worldmodels import describe
from worldmodels.data.episodes import FLAGS, Episode
from worldmodels.structures import Array, SequenceBatch


class SequenceDataset(struct.PyTreeNode):
    """Windows of episodes, ready to be sampled inside jit; a pytree of device arrays.

    Shape letters: R records of all episodes (with the padding of short ones), W windows, F first windows; arrays may
    have room for more, and no program that samples them depends on how much of it is used.

    Attributes:
      observation: {sensor: [R, d] float32, or [R, y, x, 3] uint8 for images}.
      prev_action: [R, A] float32, or None for demonstrations without actions.
      reward: [R] float32, or None.
      is_first, is_last, is_terminal: [R] float32.
      starts: [W] int32 rows at which windows begin.
      first_starts: [F] int32, those of them that are record 0 of an episode.
      num_windows, num_episodes: [] int32, W and F; `int(dataset.num_windows)` is a number outside jit.
      length: T, records per window.
    """

    observation: dict[str, Array]
    prev_action: Array | None
    reward: Array | None
    is_first: Array
    is_last: Array
    is_terminal: Array
    starts: Array
    first_starts: Array
    num_windows: Array
    num_episodes: Array
    length: int = struct.field(pytree_node=False)

    def __repr__(self) -> str:
        return describe.dataset(self, f"{self.num_episodes} episodes, {self.num_windows} windows")

    @classmethod
    def create(
        cls,
        episodes: Sequence[Episode],
        *,
        length: int,
        sensors: Sequence[str] | None = None,
        with_actions: bool = True,
        with_reward: bool | None = None,
        overhang: int = 0,
        room: int = 0,
    ) -> SequenceDataset:
        """Puts episodes on the default device.

        Args:
          episodes: at least one; of any lengths.
          length: T, records per window.
          sensors: which of their sensors to load; all by default.
          with_actions: False for demonstrations; their actions do not even reach the device.
          with_reward: the same for rewards; None means as `with_actions`.
          overhang: records by which a window may reach behind the end of an episode, whose last one is repeated there.
          room: records for which there is room, at least; data for which there is equal room share their programs.

        Raises:
          ValueError: no episodes, a sensor that one lacks or has in another shape, or more bytes than are
            free.
        """
        names = names_of(episodes, length, sensors, with_actions, with_reward)
        _check_fits(episodes, names, length, room)
        num_rows = max(sum(padded_lengths(episodes, length, overhang)), room)

        def load(name):
            return jnp.asarray(flat_records(episodes, name, length, 0, num_rows, overhang=overhang))

        tables = window_tables(episodes, length, overhang, room)
        return cls(**fields_of(names, load), **tables._asdict(), length=length)

    def gather(self, rows: Array) -> SequenceBatch:
        """Returns the batch of given rows, [B, T] int32 in 0..R-1."""
        return gather_rows(self, rows)


def sample(
    dataset: SequenceDataset, key: Array, batch_size: int, *, first_fraction: float = 0.0
) -> SequenceBatch:
    """Draws windows uniformly with replacement, so that long episodes weigh more, as published.

    Args:
      dataset: what to draw from.
      key: PRNG key, consumed.
      batch_size: B.
      first_fraction: this share of the windows (in expectation) starts at record 0 of a uniformly drawn
        episode instead. The published value is 0.

    Returns:
      Leaves [B, T, ...].
    """
    starts = draw_starts(dataset, key, batch_size, first_fraction=first_fraction)
    return dataset.gather(window_rows(starts, dataset.length))


class WindowTables(NamedTuple):
    """Rows at which the windows of a dataset begin; fields as there."""

    starts: Array
    first_starts: Array
    num_windows: Array
    num_episodes: Array


def draw_starts(
    tables: WindowTables | SequenceDataset, key: Array, batch_size: int, *, first_fraction: float = 0.0
) -> Array:
    """Returns the rows at which the windows of `sample` begin, [B]."""
    uniform_key, first_key, choice_key = jax.random.split(key, 3)
    drawn = _draw(tables.starts, tables.num_windows, uniform_key, batch_size)
    if first_fraction:
        first = _draw(tables.first_starts, tables.num_episodes, first_key, batch_size)
        drawn = jnp.where(jax.random.bernoulli(choice_key, first_fraction, (batch_size,)), first, drawn)
    return drawn


def windows(dataset: SequenceDataset, indices: Array | np.ndarray) -> SequenceBatch:
    """Returns the windows of the given numbers, [B] int in 0..W-1: leaves [B, T, ...]."""
    starts = dataset.starts[jnp.asarray(indices)]
    return dataset.gather(window_rows(starts, dataset.length))


def statistics(
    episodes: Sequence[Episode], sensors: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and standard deviation of each dimension of some sensors over all records, to standardise by.

    Dimensions that (almost) never move must not be blown up to noise of unit size, nor explode when they move
    after all: one whose std is below 1/1000 of the sensor's (root mean square over its dimensions) gets the
    sensor's, and a sensor that does not move at all gets 1.

    Args:
      episodes: at least one.
      sensors: names of sensors that are vectors.

    Returns:
      {sensor: (mean [d] float32, std [d] float32)}.

    Raises:
      ValueError: a sensor is missing or an image.
    """
    _check_alike(episodes, sensors)
    result = {}
    for name in sensors:
        if episodes[0].records[name].ndim != 2:
            raise ValueError(f"Sensor {name!r} is not a vector; only vectors are standardised.")
        values = np.concatenate([episode.records[name] for episode in episodes]).astype(np.float64)
        std = values.std(axis=0)
        typical = math.sqrt(np.mean(np.square(std)))
        tiny = 1e-6 * max(1.0, float(np.abs(values).max()))  # about what float32 resolves
        std = np.where(std < max(1e-3 * typical, tiny), typical if typical > tiny else 1.0, std)
        result[name] = values.mean(axis=0).astype(np.float32), std.astype(np.float32)
    return result


def window_rows(starts: Array, length: int) -> Array:
    """Rows of windows that begin at `starts` [B], [B, T] int32."""
    return jnp.expand_dims(starts, 1) + jnp.expand_dims(jnp.arange(length, dtype=jnp.int32), 0)


def take_on_device(values: Array, rows: Array) -> Array:
    """Takes the given rows of values on a device, inside jit too; all rows exist."""
    return values.at[rows].get(mode="promise_in_bounds")


def gather_rows(data: Any, rows: Array | np.ndarray, take: Callable = take_on_device) -> SequenceBatch:
    """Returns the batch of given rows of a dataset or a `Replay`.

    Args:
      data: has the fields of `SequenceBatch` as flat arrays [R, ...].
      rows: [B, T] int32, all in 0..R-1.
      take: (values [R, ...], rows) -> [B, T, ...].
    """
    fields: dict[str, Any] = {name: getattr(data, name) for name in ("prev_action", "reward", *FLAGS)}
    fields = {name: None if values is None else take(values, rows) for name, values in fields.items()}
    observation = {name: take(values, rows) for name, values in data.observation.items()}
    return SequenceBatch(observation=observation, **fields)


def free_memory() -> int:
    """Bytes that are free on the default device; for a CPU, to this container."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return free_main_memory()


def free_main_memory() -> int:
    """Bytes of main memory that are free to this container."""
    available, group = psutil.virtual_memory().available, Path("/sys/fs/cgroup")
    try:
        limit, current = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        statistic = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return min(available, limit - current + int(statistic["inactive_file"]))
    except (OSError, ValueError, KeyError):  # no such files, or the limit "max"
        return available


# Helpers of SequenceDataset ---------------------------------------------------------------------------------


def _draw(table: Array, number: Array, key: Array, batch_size: int) -> Array:
    return table[jax.random.randint(key, (batch_size,), 0, number)]


def names_of(
    episodes: Sequence[Episode],
    length: int,
    sensors: Sequence[str] | None,
    with_actions: bool,
    with_reward: bool | None,
) -> list[str]:
    """Names of the arrays that a dataset of these arguments holds; ValueError for arguments that do not go."""
    if sensors is None:
        sensors = episodes[0].sensors if episodes else ()
    extras = ["pre_action"] if with_actions else []
    extras += ["reward"] if (with_actions if with_reward is None else with_reward) else []
    if length < 1:
        raise ValueError(f"Windows of length {length} are empty; give a length of at least 1.")
    _check_alike(episodes, [*sensors, *extras])
    return [*sensors, *extras, *FLAGS]


def fields_of(names: Sequence[str], load: Callable[[str], Any]) -> dict[str, Any]:
    """Returns the fields of a dataset that hold records, from `load(name)` for each of the names of `names_of`."""
    not_sensors = {"pre_action", "reward", *FLAGS}
    return {
        "observation": {name: load(name) for name in names if name not in not_sensors},
        "prev_action": load("pre_action") if "pre_action" in names else None,
        "reward": load("reward") if "reward" in names else None,
        **{name: load(name) for name in FLAGS},
    }


def padded_lengths(episodes: Sequence[Episode], length: int, overhang: int = 0) -> list[int]:
    """Returns the rows of each episode in a dataset of windows of `length`; see `SequenceDataset.create`."""
    return [max(episode.num_records + overhang, length) for episode in episodes]


def window_tables(episodes: Sequence[Episode], length: int, overhang: int = 0, room: int = 0) -> WindowTables:
    """Returns where the windows of a dataset begin, on the default device; arguments as of `SequenceDataset.create`."""
    padded = padded_lengths(episodes, length, overhang)
    first = np.cumsum(padded) - padded
    starts = [np.arange(begin, begin + n - length + 1) for begin, n in zip(first, padded, strict=True)]
    tables = np.concatenate(starts), first
    most = (room, room // length)  # every episode has a window at least, of rows of its own
    filled = (np.pad(table, (0, max(size - len(table), 0))) for table, size in zip(tables, most, strict=True))
    counts = (len(table) for table in tables)
    return WindowTables(*(jnp.asarray(value, jnp.int32) for value in (*filled, *counts)))


def flat_records(
    episodes: Sequence[Episode],
    name: str,
    length: int,
    begin: int = 0,
    end: int | None = None,
    *,
    overhang: int = 0,
) -> np.ndarray:
    """Records of one name, [R, ...], each episode padded with its last record to its `padded_lengths`.

    Rows `begin` to `end` of them, by default all; only episodes with such rows are read. Rows past the last are 0.
    """
    row = as_stored(name, np.asarray(episodes[0].records[name][:1]))
    padded = padded_lengths(episodes, length, overhang)
    end = sum(padded) if end is None else end
    flat = np.zeros((end - begin, *row.shape[1:]), row.dtype)
    first = 0
    for episode, num_rows in zip(episodes, padded, strict=True):
        low, high = max(first, begin), min(first + num_rows, end)
        if low < high:
            values = as_stored(name, pad_records(np.asarray(episode.records[name]), num_rows))
            flat[low - begin : high - begin] = values[low - first : high - first]
        first += num_rows
    return flat


def pad_records(values: np.ndarray, length: int) -> np.ndarray:
    """Repeats the last of the values [T, ...] until there are at least `length`."""
    missing = max(length - len(values), 0)
    return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing else values


def as_stored(name: str, values: np.ndarray) -> np.ndarray:
    """[R, ...] as it is stored on the device: images uint8, all else float32; sensors have a last axis."""
    if values.dtype != np.uint8:
        values = values.astype(np.float32, copy=False)
    return values[:, None] if values.ndim == 1 and name not in ("reward", *FLAGS) else values


def _check_alike(episodes: Sequence[Episode], names: Sequence[str]) -> None:
    if not episodes:
        raise ValueError(
            "A dataset needs at least one episode, and was given none; collect or load some first."
        )
    for index, episode in enumerate(episodes):
        for name in names:
            if name not in episode.records:
                raise ValueError(
                    f"Episode {index} has no {name!r}. It has: {', '.join(sorted(episode.records))}. "
                    "Choose among these, or load them with that key."
                )
            shape, expected = episode.records[name].shape[1:], episodes[0].records[name].shape[1:]
            if shape != expected:
                advice = (
                    "draw all images at one size"
                    if len(shape) == 3
                    else "do not mix embodiments in one dataset"
                )
                raise ValueError(
                    f"{name!r} of episode {index} has shape {list(shape)} per record, of episode 0 "
                    f"{list(expected)}; {advice}."
                )


def _check_fits(episodes: Sequence[Episode], names: Sequence[str], length: int, room: int) -> None:
    free = free_memory()
    num_bytes = estimate_bytes(episodes, names, length, room)
    if num_bytes > free:
        raise ValueError(
            f"These {len(episodes)} episodes need {num_bytes / 2**30:.2f} GiB on {jax.local_devices()[0]}, where "
            f"{free / 2**30:.2f} GiB are free; load fewer episodes (limit) or fewer sensors."
        )


def estimate_bytes(episodes: Sequence[Episode], names: Sequence[str], length: int, room: int = 0) -> int:
    """Memory that the arrays of these names will take in a dataset; arguments as of `SequenceDataset.create`."""
    return row_bytes(episodes, names) * max(sum(padded_lengths(episodes, length)), room)


def row_bytes(episodes: Sequence[Episode], names: Sequence[str]) -> int:
    """Memory that a record of these names takes."""
    return sum(as_stored(name, episodes[0].records[name][:1]).nbytes for name in names)
