"""Data that stay in main memory or in the episode files, and stream from there.

A `SequenceDataset` is sampled on the device, inside the training loop. A `StreamedDataset` is for what does not fit
there: its records are NumPy arrays, and its images, nearly all of the bytes, may stay in their files.
`worldmodels.data.loops` trains on either, `worldmodels.data.storage` chooses between them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from worldmodels.data import dataset as datasets
from worldmodels.data.episodes import Episode, StoredImages
from worldmodels.structures import Array, SequenceBatch


class StoredRows:
    """Rows of the images of many files, uint8 [R, y, x, 3], read when they are asked for."""

    def __init__(self, images: Sequence[StoredImages], length: int):
        """Files in the order of the rows; an episode shorter than `length` is padded with its last image."""
        self._images = images
        padded = np.maximum([len(each) for each in images], length)
        self._first = np.cumsum(padded) - padded
        self.shape = (int(padded.sum()), *images[0].shape[1:])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Returns the images of windows [..., T] of successive rows of one episode each: [..., T, y, x, 3]."""
        flat = rows.reshape(-1, rows.shape[-1])
        out = np.empty((*flat.shape, *self.shape[1:]), np.uint8)
        for number, window in enumerate(flat):
            episode = int(np.searchsorted(self._first, window[0], side="right")) - 1
            images = self._images[episode]
            steps = np.minimum(window - self._first[episode], len(images) - 1)
            out[number] = images[int(steps[0]) : int(steps[-1]) + 1][steps - steps[0]]
        return out.reshape(*rows.shape, *self.shape[1:])


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class StreamedDataset:
    """Windows of episodes in main memory or on disk; for the functions of `worldmodels.data.dataset` like any other.

    To JAX it is a constant without arrays, so that nothing moves it to a device; compiled programs cannot sample it,
    and `make_loops` trains on it.

    Attributes:
      observation: {sensor: NumPy array as in `SequenceDataset`, or `StoredRows`}.
      prev_action, reward, is_first, is_last, is_terminal: NumPy arrays as there.
      starts, first_starts, num_windows, num_episodes, length: as there.
    """

    observation: dict[str, np.ndarray | StoredRows]
    prev_action: np.ndarray | None
    reward: np.ndarray | None
    is_first: np.ndarray
    is_last: np.ndarray
    is_terminal: np.ndarray
    starts: Array
    first_starts: Array
    num_windows: Array
    num_episodes: Array
    length: int

    __repr__ = datasets.SequenceDataset.__repr__

    @classmethod
    def create(
        cls,
        episodes: Sequence[Episode],
        *,
        length: int,
        sensors: Sequence[str],
        with_actions: bool = True,
        with_reward: bool | None = None,
        images_on_disk: bool = False,
    ) -> StreamedDataset:
        """Arguments as of `SequenceDataset.create`; `images_on_disk` leaves `StoredImages` in their files."""
        names = datasets.names_of(episodes, length, sensors, with_actions, with_reward)

        def load(name):
            values: list[Any] = [episode.records[name] for episode in episodes]
            if images_on_disk and all(isinstance(each, StoredImages) for each in values):
                return StoredRows(values, length)
            return datasets.flat_records(episodes, name, length)

        fields = datasets.fields_of(names, load)
        return cls(**fields, **datasets.window_tables(episodes, length)._asdict(), length=length)

    def gather(self, rows: Array | np.ndarray) -> SequenceBatch:
        """Returns the batch of given rows, [..., T] int32 in 0..R-1, as NumPy arrays.

        Raises:
          ValueError: inside jit, where there are no rows yet.
        """
        if isinstance(rows, jax.core.Tracer):
            raise ValueError(
                "These data lie in main memory or on disk, where a compiled program cannot sample them; "
                "train with `worldmodels.data.loops.make_loops`, or use storage='device'."
            )
        return datasets.gather_rows(self, np.asarray(rows), _take)

    def replace(self, **changes: Any) -> StreamedDataset:
        """Returns a copy with other fields."""
        return dataclasses.replace(self, **changes)


def _take(values: np.ndarray | StoredRows, rows: np.ndarray) -> np.ndarray:
    return values.take(rows) if isinstance(values, StoredRows) else np.take(values, rows, axis=0)
