"""Demonstrations of robomimic and LIBERO as episodes: one HDF5 file with a group data/demo_N for each.

A group has `actions` [T, A], `rewards` [T], `dones` [T], the sensors in `obs` and perhaps those that the actions led
to in `next_obs`; without all of these, what the last action led to is not known, see `from_transitions`.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from experiments.data.converters import files
from experiments.data.converters.resizing import resize
from worldmodels.data.arrays import from_arrays, from_transitions
from worldmodels.data.episode_files import RESERVED_NAMES, HDF5File, check_memory, hdf5_kind, open_file
from worldmodels.data.episodes import Episode, EpisodeError
from worldmodels.data.records import NOT_SENSORS

_NAME = re.compile(r"demo_\d+")


def episodes(config) -> Iterator[tuple[str, Callable[[], Episode]]]:
    """Yields the demonstrations of the file `config.source`, by their numbers.

    Args:
      config: env ("" if unknown), filter_key (those that mask/KEY lists; "" for all), image_size (pixels, None for
        those of the source), upside_down (turn images, as those of LIBERO), leave_out (sensors to drop), action_low,
        action_high (bounds of the actions, which become those of [-1, 1]; () leaves them), suffix, limit.

    Raises:
      ValueError: no such file, or one of another kind.
    """
    path = Path(config.source).expanduser()
    with _opened(path) as file:
        data = _group(file, "data")
        if data is None:
            raise EpisodeError(
                f"{path} holds no group `data` with demonstrations; is it a file of robomimic?"
            )
        listed = _listed(file, config.filter_key, path) if config.filter_key else list(data)
        names = [name for name in listed if name in data and _NAME.fullmatch(name)]
        if not names:
            raise EpisodeError(
                f"{path} has no demonstrations demo_0, demo_1, ...; in their place it has: "
                f"{', '.join(listed[:3]) or 'nothing'}."
            )
        metadata = {"source": f"robomimic:{path.name}"} | _facts(data.attrs)
    metadata |= {"environment": config.env} if config.env else {}
    for name in sorted(names, key=_number)[: config.limit]:

        def make(name=name) -> Episode:
            with _opened(path) as file:
                return _episode(_group(_group(file, "data"), name), f"{path}, {name},", config, metadata)

        yield f"{_number(name)}{config.suffix}", make


def _episode(group: h5py.Group | None, where: str, config, metadata: Mapping) -> Episode:
    """Reads one demonstration."""
    arrays = {} if group is None else _arrays(group)
    before, after = _group(group, "obs"), _group(group, "next_obs")
    if group is None or before is None or "actions" not in arrays:
        raise EpisodeError(
            f"{where} has no observations or no actions; extract them with robomimic's own scripts."
        )
    files.check_has(config.leave_out, _arrays(before), where)
    actions, facts = np.asarray(arrays["actions"], np.float64), {**metadata, "episode": _number(group.name)}
    actions = actions.reshape(len(actions), -1)
    if config.action_low or config.action_high:
        low, high = (np.asarray(bound, np.float64) for bound in (config.action_low, config.action_high))
        actions = files.scaled_actions(
            np.concatenate([np.zeros_like(actions[:1]), actions]), low, high, where
        )[1:]
        facts["action_bounds"] = {"low": low.tolist(), "high": high.tolist()}
    rewards = np.asarray(arrays["rewards"]) if "rewards" in arrays else None
    with files.ways_out(where):
        seen = _sensors(before, config)
        last = {} if after is None else _sensors(after, config, slice(len(actions) - 1, len(actions)))
        if seen.keys() - last:  # as where the files keep no later images
            return from_transitions(seen, actions, rewards, metadata=facts)[0]
        whole = {name: [np.concatenate([values, last[name]])] for name, values in seen.items()}
        terminal = "dones" in arrays and bool(np.ravel(arrays["dones"])[-1])
        earned = None if rewards is None else [rewards]
        return from_arrays(whole, [actions], earned, terminal=terminal, metadata=facts)[0]


def _sensors(group: h5py.Group, config, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    """Reads some rows of the arrays of a group, images as ours are."""
    found = {}
    for name, stored in _arrays(group).items():
        if name in config.leave_out:
            continue
        check_memory(stored.nbytes, Path(group.file.filename))
        values = stored[rows]
        if values.ndim == 4:
            values = values[:, ::-1] if config.upside_down else values
            values = (
                values if config.image_size is None else resize(values, config.image_size, config.image_size)
            )
        found[f"observed_{name}" if name in (*NOT_SENSORS, *RESERVED_NAMES) else name] = values
    return found


def _facts(attributes: Mapping) -> dict:
    """Returns what the file says of its environment, as far as episodes keep it."""
    try:
        arguments = json.loads(attributes["env_args"])
        name, control = arguments.get("env_name"), (arguments.get("env_kwargs") or {}).get("control_freq")
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    facts = {"task": name} if isinstance(name, str) else {}
    return facts | (
        {"control_seconds": 1 / control} if isinstance(control, int | float) and control > 0 else {}
    )


def _listed(file: h5py.File, key: str, path: Path) -> list[str]:
    """Returns the names of the demonstrations that a filter key lists."""
    masks = _group(file, "mask") or {}
    if not isinstance(masks.get(key), h5py.Dataset):
        raise EpisodeError(f"{path} has no filter key {key!r}. It has: {', '.join(masks) or 'none'}.")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in masks[key][()]]


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    with open_file(path) as opened:
        if not isinstance(opened, HDF5File):
            raise EpisodeError(f"{path} is an npz archive; a file of robomimic is HDF5.")
        yield opened.file


def _group(parent: h5py.Group | None, name: str) -> h5py.Group | None:
    """Returns a group of a group, None if there is none in this file."""
    if parent is None or not isinstance(parent.get(name, getlink=True), h5py.HardLink):
        return None
    return parent[name] if isinstance(parent[name], h5py.Group) else None


def _arrays(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Returns the arrays of numbers of a group that are stored in this file."""
    return {name: group[name] for name in group if hdf5_kind(group, name) is None}
