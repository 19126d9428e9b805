"""Episodes of one file format as those of another: npz (AIME) and HDF5 (AIME-v2), also with images in other layouts."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from worldmodels.data.episodes import Episode, EpisodeError, read_arrays, some_episode_paths
from worldmodels.data.records import FLAGS, ROUNDING, canonical_records


def episodes(config) -> Iterator[tuple[str, Callable[[], Episode]]]:
    """Yields the episodes of the folder `config.source` and the folders in it, under the same names.

    Args:
      config: what `adapted` takes; action_low, action_high (bounds of the actions, which become those of [-1, 1]; ()
        leaves them), suffix, limit.
    """
    for path in some_episode_paths(config.source)[: config.limit]:
        name = path.relative_to(config.source).with_suffix(config.suffix)
        yield name.as_posix(), functools.partial(convert, path, config)


def convert(path: Path, config) -> Episode:
    """Returns one episode as it will be written."""
    arrays, metadata = read_arrays(path)
    records = canonical_records(adapted(arrays, config, path), path)
    if config.action_low or config.action_high:
        low, high = (np.asarray(bound, np.float64) for bound in (config.action_low, config.action_high))
        records["pre_action"] = scaled_actions(records["pre_action"], low, high, path)
        metadata = {**metadata, "action_bounds": {"low": low.tolist(), "high": high.tolist()}}
    return Episode(records, metadata)


def adapted(arrays: Mapping[str, np.ndarray], config, source: object) -> dict[str, np.ndarray]:
    """Returns the arrays that are kept, with images as ours are.

    Args:
      arrays: {name: [T, ...]}.
      config: arrays (those to keep beside actions, reward, success and flags; () for all), leave_out (those to drop),
        channels_first (images are [T, 3, y, x]), image_scale (images are multiplied by it: 255 for those in 0..1).
      source: where they are from, for messages.

    Raises:
      EpisodeError: an array that is named is not there.
    """
    check_has([*config.arrays, *config.leave_out], arrays, source)
    kept = {*(config.arrays or arrays), "pre_action", "reward", "success", *FLAGS} - {*config.leave_out}
    return {
        name: _image(value, config.channels_first, config.image_scale) if value.ndim == 4 else value
        for name, value in arrays.items()
        if name in kept
    }


def scaled_actions(actions: np.ndarray, low: np.ndarray, high: np.ndarray, source: object) -> np.ndarray:
    """Returns actions [T, A] between `low` and `high` (one number, or one per action) scaled to [-1, 1].

    The first row, to which no action led, stays zero.

    Raises:
      EpisodeError: bounds of another number than there are actions, or that do not hold them.
    """
    size = actions.shape[1]
    if {low.size, high.size} - {1, size} or not (low < high).all():
        raise EpisodeError(
            f"{source} has {size} actions, and action_low and action_high are {low.tolist()} and {high.tolist()}; give "
            "one number for all or one for each, the lower ones first."
        )
    scaled = 2 * (actions[1:] - low) / (high - low) - 1
    if np.abs(scaled).max(initial=0) > 1 + ROUNDING:
        raise EpisodeError(
            f"{source} has actions from {actions[1:].min():g} to {actions[1:].max():g}, outside of the bounds "
            f"{low.tolist()} and {high.tolist()}; pass those of their space: --config.action_low, --config.action_high."
        )
    return np.concatenate([np.zeros_like(actions[:1]), np.clip(scaled, -1, 1).astype(np.float32)])


@contextlib.contextmanager
def ways_out(where: object) -> Iterator[None]:
    """Says in which episode of others' data an error is, and which options may leave it out."""
    try:
        yield
    except ValueError as error:
        raise EpisodeError(
            f"{where} cannot be used: {error} --config.leave_out=NAME drops a sensor, and --config.action_low and "
            "--config.action_high give the bounds of the actions."
        ) from error


def check_has(names: Iterable[str], known: Iterable[str], where: object) -> None:
    """Raises EpisodeError if an array that an option names is not among those that there are."""
    if missing := sorted({*names} - {*known}):
        raise EpisodeError(f"{where} lacks {', '.join(missing)}; it has {', '.join(sorted(known))}.")


def unscaled_actions(episode: Episode, source: object) -> np.ndarray:
    """Returns the actions [T - 1, A] of an episode in the units that `action_bounds` of its metadata says, if it does.

    Raises:
      EpisodeError: there are no actions.
    """
    actions, bounds = episode.records["pre_action"][1:], episode.metadata.get("action_bounds")
    if not actions.size:
        raise EpisodeError(
            f"{source} has no actions, which datasets of others need; export data with actions."
        )
    if not bounds:
        return actions
    low, high = (np.asarray(bounds[name], np.float64) for name in ("low", "high"))
    return (low + (actions.astype(np.float64) + 1) / 2 * (high - low)).astype(np.float32)


def _image(value: np.ndarray, channels_first: bool, scale: float) -> np.ndarray:
    value = np.moveaxis(value, 1, -1) if channels_first else value
    return value if scale == 1 else np.rint(value.astype(np.float32) * scale)
