"""Episodes on disk: one file per episode, in the layout that the AIME papers published.

A folder holds `0.hdf5, 1.hdf5, ...` (AIME-v2) or `0.npz, 1.npz, ...` (AIME), or further such folders.
Record t of an episode holds what is known on arrival at time t; T records are T - 1 control steps.

| key                                | on disk                            | in memory      |
|------------------------------------|------------------------------------|----------------|
| images, e.g. `image`               | [T, y, x, 3] uint8                 | the same       |
| other sensors                      | [T, d] float64                     | [T, d] float32 |
| `pre_action`, zeros at t = 0       | [T, A] float64                     | [T, A] float32 |
| `reward`, 0 at t = 0               | [T, 1] float64                     | [T] float32    |
| `is_first, is_last, is_terminal`   | [T, 1] bool                        | [T] bool       |
| `success`, where defined           | [T, 1] bool                        | [T] bool       |
| `task_id`, where defined           | [T, 1] int64                       | [T] int64      |
| `physics_state`, our extra         | [T, P] float64                     | the same       |
| `metadata`, our extra              | JSON: array (npz), attribute (hdf5)| dict           |

Reading does not rely on the dtypes on disk, because some published files are float32 throughout, images and
flags included. Images may stay in their files until they are asked for (`StoredImages`). Nothing here imports jax,
so that environment workers may use it. How files are opened and written is told in `worldmodels.data.episode_files`.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from worldmodels.data.episode_files import (
    SUFFIXES,
    EpisodeError,
    check_memory,
    check_suffix,
    open_file,
    write_file,
)

FLAGS = ("is_first", "is_last", "is_terminal")
BOOLEANS = (*FLAGS, "success")
SCALARS = ("reward", "task_id", *BOOLEANS)
REQUIRED = ("pre_action", "reward", *FLAGS)
NOT_SENSORS = (*SCALARS, "pre_action", "physics_state")


@dataclass(frozen=True, eq=False)
class StoredImages:
    """Images of one episode that stay in its file: stands for an array uint8 [T, y, x, 3] that is read when sliced.

    Single images can be read from HDF5; of an npz archive every reading unpacks all images of the episode.

    Attributes:
      path: the file.
      name: the sensor.
      shape: (T, y, x, 3).
    """

    path: Path
    name: str
    shape: tuple[int, int, int, int]
    ndim = 4
    dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice) -> np.ndarray:
        """Reads some of the images; raises EpisodeError if the file has been damaged since it was opened."""
        num_rows = len(range(len(self))[index]) if isinstance(index, slice) else len(self)
        with open_file(self.path) as file:
            check_memory(file.num_bytes(self.name) * num_rows / max(len(self), 1), self.path)
            value = file.read(self.name, index if isinstance(index, slice) else None)
        images = _canonical(self.name, np.asarray(value), self.path)
        return images if isinstance(index, slice) else images[index]

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


@dataclass(eq=False)
class Episode:
    """One episode.

    Attributes:
      records: {name: [T, ...]} arrays as in the table of this module.
      metadata: what is known of its origin (environment, action repeat, seed, versions); JSON-able.
    """

    records: dict[str, np.ndarray]
    metadata: dict = field(default_factory=dict)

    @property
    def num_records(self) -> int:
        """T, the reset record included."""
        return len(self.records["is_first"])

    @property
    def length(self) -> int:
        """Number of control steps, T - 1."""
        return self.num_records - 1

    @property
    def return_(self) -> float:
        """Undiscounted sum of rewards."""
        return float(np.sum(self.records["reward"], dtype=np.float64))

    @property
    def success(self) -> bool | None:
        """Whether any record was a success; None where the environment does not define it."""
        return bool(np.any(self.records["success"])) if "success" in self.records else None

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of what the robot senses, sorted."""
        return tuple(sorted(set(self.records) - set(NOT_SENSORS)))


def stack_records(records: Sequence[Mapping[str, object]]) -> dict[str, np.ndarray]:
    """Stacks T per-step records {name: value [...]} into the arrays {name: [T, ...]} of an episode.

    `success` is False in records that lack it where others have it: some environments define it in a later step.

    Raises:
      EpisodeError: there are no records, or one has other names or shapes than the first.
    """
    if not records:
        raise EpisodeError("stack_records was given no records; an episode has at least its reset record.")
    if any("success" in record for record in records):
        records = [{"success": False, **record} for record in records]
    for index, record in enumerate(records):
        if record.keys() != records[0].keys():
            different = ", ".join(sorted(record.keys() ^ records[0].keys()))
            raise EpisodeError(
                f"Record {index} and record 0 of an episode differ in {different}; every record needs all."
            )
    try:
        stacked = {name: np.stack([np.asarray(record[name]) for record in records]) for name in records[0]}
    except ValueError as error:
        raise EpisodeError(f"The records of an episode have different shapes ({error}).") from error
    return canonical_records(stacked, "an episode being collected")


# Checks and dtypes ------------------------------------------------------------------------------------------


def canonical_records(records: Mapping[str, np.ndarray], source: object) -> dict[str, np.ndarray]:
    """Brings arrays of any dtype to the shapes and dtypes of the table of this module.

    Args:
      records: {name: [T, ...]}.
      source: where they are from, for messages.

    Raises:
      EpisodeError: unequal lengths, no records, not numbers, NaN or infinite values, other ranks, images that are
        not 0..255.
    """
    lengths = {name: len(value) if np.ndim(value) else 0 for name, value in records.items()}
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{name} {length}" for name, length in sorted(lengths.items()))
        raise EpisodeError(
            f"{source} has arrays of unequal length ({listing}); every array needs one row per record."
        )
    if not any(lengths.values()):
        raise EpisodeError(f"{source} has no records; an episode has at least its reset record.")
    return {name: _canonical(name, np.asarray(value), source) for name, value in records.items()}


def _canonical(name: str, value: np.ndarray, source: object) -> np.ndarray:
    if value.dtype.kind not in "biuf":
        raise EpisodeError(
            f"{source}: {name!r} has dtype {value.dtype}; expected numbers. Remove it or write it again."
        )
    if value.dtype.kind == "f":
        with np.errstate(over="ignore"):
            value = value.astype(np.float64 if name == "physics_state" else np.float32, copy=False)
        if not np.isfinite(value).all():
            raise EpisodeError(
                f"{source}: {name!r} has NaN or infinite values; remove the episode and find their cause."
            )
    if name in SCALARS:
        if value.size != len(value):
            raise EpisodeError(
                f"{source}: {name!r} has shape {list(value.shape)}; expected one number per record."
            )
        value = value.reshape(-1)
    elif value.ndim == 1:
        value = value[:, None]
    allowed = (1,) if name in SCALARS else (2,) if name in NOT_SENSORS else (2, 4)
    if value.ndim not in allowed:
        expected = "a vector per record, [T, d]" + (", or images, [T, y, x, 3]" if 4 in allowed else "")
        raise EpisodeError(f"{source}: {name!r} has shape {list(value.shape)}; expected {expected}.")
    return _cast(name, value, source)


def _cast(name: str, value: np.ndarray, source: object) -> np.ndarray:
    if name in BOOLEANS:
        return value > 0.5 if value.dtype.kind == "f" else value.astype(bool)
    if name == "task_id":
        return value.astype(np.int64)
    if value.ndim == 4:
        _check_image_shape(name, value.shape, source)
        return _as_image(name, value, source)
    return value.astype(np.float64 if name == "physics_state" else np.float32, copy=False)


def _check_image_shape(name: str, shape: tuple[int, ...], source: object) -> None:
    if 0 in shape[1:]:
        raise EpisodeError(f"{source}: image {name!r} has shape {list(shape)}, no pixels; remove it.")
    if shape[-1] == 3:
        return
    if shape[1] == 3:
        raise EpisodeError(
            f"{source}: image {name!r} has shape {list(shape)}, channels before rows; expected [T, y, x, 3]. "
            "`python -m experiments convert` with config.channels_first=True writes it so."
        )
    raise EpisodeError(f"{source}: image {name!r} has shape {list(shape)}; expected colours, [T, y, x, 3].")


def _as_image(name: str, value: np.ndarray, source: object) -> np.ndarray:
    if value.dtype == np.uint8:
        return value
    rounded = np.rint(value)
    in_0_to_1 = value.dtype.kind == "f" and 0 < value.max() <= 1
    if rounded.min() < 0 or rounded.max() > 255 or in_0_to_1:
        raise EpisodeError(
            f"{source}: image {name!r} has values from {value.min():g} to {value.max():g}; "
            "expected 0 to 255. Scale it before writing (`python -m experiments convert`, config.image_scale)."
        )
    return rounded.astype(np.uint8)


# Writing ----------------------------------------------------------------------------------------------------


def write_episode(path: str | os.PathLike, episode: Episode) -> None:
    """Writes one episode; the file appears complete or not at all, whenever the process dies.

    Args:
      path: `.npz` (the format of AIME) or `.hdf5` (of AIME-v2).
      episode: what to write; checked first.

    Raises:
      EpisodeError: unknown suffix, an episode that could not be read back, or a disk that cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    source = f"The episode to be written to {path}"
    _check_names(episode.records, REQUIRED, source)
    arrays = {name: _on_disk(value) for name, value in canonical_records(episode.records, source).items()}
    write_file(path, arrays, episode.metadata, source)


def _on_disk(value: np.ndarray) -> np.ndarray:
    if value.dtype.kind == "f":
        value = value.astype(np.float64)
    return value[:, None] if value.ndim == 1 else value


# Reading ----------------------------------------------------------------------------------------------------


def read_episode(
    path: str | os.PathLike, keys: Sequence[str] | None = None, *, images_on_disk: bool = False
) -> Episode:
    """Reads one episode, with or without our extras.

    Args:
      path: `.npz` or `.hdf5`.
      keys: names of the arrays to read; reward, flags and success (where recorded) always come along.
        None reads everything.
      images_on_disk: leave images in the file, as `StoredImages`.

    Raises:
      EpisodeError: no such file, truncated or alien, a missing key, NaN or infinite values, unequal lengths.
    """
    path = Path(path)
    with open_file(path) as file:
        if keys is None:
            _check_names(file.names, REQUIRED, path)
            names = file.names
        else:
            names = {*keys, "reward", *FLAGS} | ({"success"} & set(file.names))
            _check_names(file.names, sorted(names), path)
        shapes = {name: file.shape(name) for name in names} if images_on_disk else {}
        images = {name: StoredImages(path, name, shape) for name, shape in shapes.items() if len(shape) == 4}
        check_memory(sum(file.num_bytes(name) for name in names if name not in images), path)
        records = {name: np.asarray(file.read(name)) for name in sorted(names) if name not in images}
    records = canonical_records(records, path)
    for name, stored in images.items():
        _check_image_shape(name, stored.shape, path)
        if len(stored) != len(records["is_first"]):
            raise EpisodeError(
                f"{path} has {len(stored)} images {name!r} and {len(records['is_first'])} records; "
                "every array needs one row per record."
            )
    return Episode(dict(sorted((records | images).items())), file.metadata)


def read_arrays(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict]:
    """All arrays of a file as they are on disk, unchecked, and its metadata; for converters and inspectors.

    Raises:
      EpisodeError: no such file, truncated or alien.
    """
    with open_file(Path(path)) as file:
        check_memory(sum(map(file.num_bytes, file.names)), path)
        return {name: np.asarray(file.read(name)) for name in file.names}, file.metadata


def _check_names(present: Collection[str], required: Sequence[str], source: object) -> None:
    missing = [name for name in required if name not in present]
    if missing:
        raise EpisodeError(
            f"{source} lacks {', '.join(missing)}; it has {', '.join(sorted(present)) or 'nothing'}. "
            "Ask for what it has, or record it again."
        )


# Folders ----------------------------------------------------------------------------------------------------


def episode_paths(folder: str | os.PathLike) -> list[Path]:
    """Episode files of a folder and the folders in it, sorted by folder and then by number.

    There may be none. Other files, and what is hidden, are ignored. Links are followed; a folder to which several
    lead counts once.

    Raises:
      EpisodeError: no such folder, one that may not be read, or two files with the same number in one folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise EpisodeError(
            f"There is no folder {folder.absolute()}; collect or download episodes into it, or check the path."
        )
    found: dict[tuple, Path] = {}
    for parent, names in _walk(folder):
        for path in (parent / name for name in names):
            if path.suffix not in SUFFIXES or not path.stem.isdecimal():
                continue
            place = (path.parent.relative_to(folder).parts, int(path.stem))
            if place in found:
                raise EpisodeError(f"{found[place]} and {path} have the same number; remove one of them.")
            found[place] = path
    return [found[place] for place in sorted(found)]


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """(folder, names of its files) of a folder and of those in it that are not hidden, each once."""

    def refuse(error: OSError) -> None:
        raise EpisodeError(
            f"The folder {error.filename} cannot be read ({error.strerror}); change its permissions or move it away."
        ) from error

    visited = set()  # links may lead in circles
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(parent), names


def some_episode_paths(folder: str | os.PathLike) -> list[Path]:
    """As `episode_paths`, but an EpisodeError if there are none."""
    paths = episode_paths(folder)
    if not paths:
        raise EpisodeError(
            f"{folder} holds no episodes, which are files 0.hdf5, 1.hdf5, ... or 0.npz, 1.npz, ...; "
            "collect or download some into it, or check the path."
        )
    return paths


def append_episode(folder: str | os.PathLike, episode: Episode, suffix: str = ".hdf5") -> Path:
    """Writes an episode under the next free number of a folder (made if needed; one writer at a time)."""
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    taken = [int(p.stem) for p in folder.iterdir() if p.suffix in SUFFIXES and p.stem.isdecimal()]
    path = folder / f"{max(taken, default=-1) + 1}{suffix}"
    write_episode(path, episode)
    return path


def load_episodes(
    folder: str | os.PathLike | Sequence[str | os.PathLike],
    limit: int | None = None,
    keys: Sequence[str] | None = None,
    *,
    mode: str = "forward",
    seed: int = 0,
    images_on_disk: bool = False,
) -> list[Episode]:
    """Reads the episodes of a folder, or of several one after the other, into memory.

    Args:
      folder: as for `episode_paths`; or some of them.
      limit: read at most so many in all, chosen as by `subsample`.
      keys: as for `read_episode`.
      mode, seed: as for `subsample`.
      images_on_disk: as for `read_episode`.

    Raises:
      EpisodeError: no episodes there, or one that cannot be read.
    """
    folders = [folder] if isinstance(folder, str | os.PathLike) else folder
    paths = [path for each in folders for path in some_episode_paths(each)]
    paths = subsample(paths, limit, mode=mode, seed=seed)
    return [read_episode(path, keys, images_on_disk=images_on_disk) for path in paths]


def split_episodes(
    episodes: Sequence[Episode], fraction: float, seed: int = 0
) -> tuple[list[Episode], list[Episode]]:
    """Splits at random into two lists that keep the order; no record is in both, unlike after a split of windows.

    Args:
      episodes: at least two.
      fraction: share of the episodes that go to the first part.
      seed: decides which.

    Raises:
      ValueError: a part would be empty.
    """
    num_first = round(fraction * len(episodes))
    if not 0 < num_first < len(episodes):
        raise ValueError(
            f"A split of {len(episodes)} episodes at {fraction:g} leaves one part empty; use more episodes."
        )
    first = set(np.random.default_rng(seed).permutation(len(episodes))[:num_first].tolist())
    parts = ([e for i, e in enumerate(episodes) if (i in first) is chosen] for chosen in (True, False))
    return next(parts), next(parts)


def label_episodes(episodes: Sequence[Episode], name: str, labels: Sequence[np.ndarray]) -> list[Episode]:
    """The episodes with one more array in memory, such as a surrogate reward; "reward" replaces the recorded one.

    Args:
      episodes: they stay as they are, and share their other arrays with the result.
      name: of the array; datasets offer it among their sensors.
      labels: one array [T] or [T, d] per episode.

    Raises:
      EpisodeError: another number of labels than of episodes, another length than the episode's, or NaN.
    """
    if len(labels) != len(episodes):
        raise EpisodeError(
            f"{len(episodes)} episodes got {len(labels)} labels {name!r}; give one array each."
        )
    result = []
    for index, (episode, label) in enumerate(zip(episodes, labels, strict=True)):
        if np.shape(label)[:1] != (episode.num_records,):
            raise EpisodeError(
                f"The label {name!r} of episode {index} has shape {list(np.shape(label))}; expected "
                f"{episode.num_records} rows, one per record."
            )
        label = canonical_records({name: np.asarray(label)}, f"episode {index}")[name]
        result.append(Episode({**episode.records, name: label}, episode.metadata))
    return result


def subsample(items: Sequence, limit: int | None, *, mode: str = "forward", seed: int = 0) -> list:
    """Chooses at most `limit` of the items and keeps their order.

    Args:
      items: any sequence.
      limit: None for all.
      mode: "forward" the first ones, "backward" the last ones, "random" without replacement by `seed`,
        "uniform" evenly spaced with the first and the last among them.
      seed: of mode "random".

    Raises:
      ValueError: unknown mode, or a limit below one.
    """
    choosers = {
        "forward": lambda: range(limit),
        "backward": lambda: range(len(items) - limit, len(items)),
        "random": lambda: sorted(np.random.default_rng(seed).choice(len(items), limit, replace=False)),
        "uniform": lambda: np.linspace(0, len(items) - 1, limit).round().astype(int),
    }
    if mode not in choosers:
        raise ValueError(f"Unknown subsampling mode {mode!r}. Known: {', '.join(choosers)}.")
    if limit is not None and limit < 1:
        raise ValueError(f"The limit on episodes is {limit}; give at least 1, or None for all of them.")
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index] for index in choosers[mode]()]
