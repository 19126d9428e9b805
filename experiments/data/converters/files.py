"""Episodes of one file format as those of another: npz (AIME) and HDF5 (AIME-v2), also with images in other layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from worldmodels.data.episodes import Episode, EpisodeError, read_arrays, some_episode_paths
from worldmodels.data.records import FLAGS, canonical_records


def episodes(config) -> Iterator[tuple[str, Callable[[], Episode]]]:
    """The episodes of the folder `config.source` and the folders in it, under the same names.

    Args:
      config: arrays (those to keep beside reward and flags; () for all), channels_first (images are [T, 3, y, x]),
        image_scale (images are multiplied by it: 255 for those in 0..1), suffix, limit.
    """
    for path in some_episode_paths(config.source)[: config.limit]:
        name = path.relative_to(config.source).with_suffix(config.suffix)
        yield name.as_posix(), lambda path=path: convert(path, config)


def convert(path: Path, config) -> Episode:
    """One episode as it will be written."""
    arrays, metadata = read_arrays(path)
    if config.arrays:
        kept = {*config.arrays, "pre_action", "reward", "success", *FLAGS}
        missing = sorted(set(config.arrays) - set(arrays))
        if missing:
            raise EpisodeError(f"{path} lacks {', '.join(missing)}; it has {', '.join(sorted(arrays))}.")
        arrays = {name: value for name, value in arrays.items() if name in kept}
    for name, value in arrays.items():
        if value.ndim == 4:
            arrays[name] = _image(value, config.channels_first, config.image_scale)
    return Episode(canonical_records(arrays, path), metadata)


def _image(value: np.ndarray, channels_first: bool, scale: float) -> np.ndarray:
    value = np.moveaxis(value, 1, -1) if channels_first else value
    return value if scale == 1 else np.rint(value.astype(np.float32) * scale)
