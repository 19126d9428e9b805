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
so that environment workers may use it. `worldmodels.data.episode_files` opens and writes the files,
`worldmodels.data.records` checks their arrays.
"""

import contextlib
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from worldmodels import describe
from worldmodels.data import watchdog
from worldmodels.data.episode_files import (
    SUFFIXES,
    EpisodeError,
    check_memory,
    check_suffix,
    open_file,
    write_file,
)
from worldmodels.data.records import (
    FLAGS,
    NOT_SENSORS,
    REQUIRED,
    canonical,
    canonical_records,
    check_image_shape,
    large_actions,
)
from worldmodels.data.setups import check_together


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
    shape: tuple[int, ...]
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
        images = canonical(self.name, np.asarray(value), self.path)
        return images if isinstance(index, slice) else images[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
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

    def __repr__(self) -> str:
        sensed = describe.rows({name: self.records[name] for name in (*self.sensors, "pre_action")})
        where = f" of {self.metadata['environment']}" if "environment" in self.metadata else ""
        return f"Episode({self.length} steps{where}: {sensed}; return {self.return_:.1f})"

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
        """True if any record was a success; None where the environment does not define it."""
        return bool(np.any(self.records["success"])) if "success" in self.records else None

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of what the robot senses, sorted."""
        return tuple(sorted(set(self.records) - set(NOT_SENSORS)))


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
    _check_names(episode.records, {}, REQUIRED, source)
    arrays = {name: _on_disk(value) for name, value in canonical_records(episode.records, source).items()}
    write_file(path, arrays, episode.metadata, source)


def _on_disk(value: np.ndarray) -> np.ndarray:
    if value.dtype.kind == "f":
        value = value.astype(np.float64)
    return value[:, None] if value.ndim == 1 else value


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
    with watchdog.opening(path), open_file(path) as file:
        if keys is None:
            _check_names(file.names, file.ignored, REQUIRED, path)
            names: Collection[str] = file.names
        else:
            names = {*keys, "reward", *FLAGS} | ({"success"} & set(file.names))
            _check_names(file.names, file.ignored, sorted(names), path)
        shapes = {name: file.shape(name) for name in names} if images_on_disk else {}
        images: dict[str, Any] = {n: StoredImages(path, n, s) for n, s in shapes.items() if len(s) == 4}
        check_memory(sum(file.num_bytes(name) for name in names if name not in images), path)
        records = {name: np.asarray(file.read(name)) for name in sorted(names) if name not in images}
    records = canonical_records(records, path)
    for name, stored in images.items():
        check_image_shape(name, stored.shape, path)
        if len(stored) != len(records["is_first"]):
            raise EpisodeError(
                f"{path} has {len(stored)} images {name!r} and {len(records['is_first'])} records; "
                "every array needs one row per record."
            )
    return Episode(dict(sorted((records | images).items())), file.metadata)


def read_arrays(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict]:
    """Reads all arrays of a file as they are on disk, unchecked, and its metadata; for converters and inspectors.

    Raises:
      EpisodeError: no such file, truncated or alien.
    """
    with open_file(Path(path)) as file:
        check_memory(sum(map(file.num_bytes, file.names)), Path(path))
        return {name: np.asarray(file.read(name)) for name in file.names}, file.metadata


def _check_names(
    present: Collection[str], ignored: Mapping[str, str], required: Sequence[str], source: object
) -> None:
    """Raises EpisodeError unless all required arrays are present; `ignored` says what else there is."""
    missing = [name for name in required if name not in present]
    if not missing:
        return
    if missing[0] in ignored:
        raise EpisodeError(
            f"{source}: {missing[0]!r} is {ignored[missing[0]]}; expected an array of numbers with one row per record, "
            "at the top of the file."
        )
    found = ", ".join([*sorted(present), *(f"{name} ({kind})" for name, kind in sorted(ignored.items()))])
    if not set(present) & set(FLAGS):
        raise EpisodeError(
            f"{source} can be read and is no episode: it lacks {', '.join(missing)}, and has {found or 'nothing'}. "
            "Write it with worldmodels.data.episodes.write_episode, or see `python -m experiments convert`."
        )
    raise EpisodeError(
        f"{source} lacks {', '.join(missing)}; it has {found}. Ask for what it has, or record it again."
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
    """Returns `episode_paths`, or raises EpisodeError if there are none."""
    paths = episode_paths(folder)
    if not paths:
        seen = [
            str((parent / name).relative_to(Path(folder).expanduser()))
            for parent, names in _walk(Path(folder).expanduser())
            for name in sorted(names)
            if name.lower().endswith((*SUFFIXES, ".h5", ".hdf", ".he5"))
        ]
        advice = "; collect or download some, or check the path."
        if seen:
            names = f"{', '.join(seen[:3])}{', ...' if len(seen) > 3 else ''}"
            advice = f"; of {names} it cannot use the names; rename the files if they are episodes."
        raise EpisodeError(
            f"{folder} holds no episodes, which are files 0.hdf5, 1.hdf5, ... or 0.npz, 1.npz, ...{advice}"
        )
    return paths


def append_episode(folder: str | os.PathLike, episode: Episode, suffix: str = ".hdf5") -> Path:
    """Writes an episode under the next free number of a folder (made if needed; one writer at a time).

    Warns if it is the first episode of the folder again, as when a script that fills it runs twice.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    taken = {int(p.stem): p for p in folder.iterdir() if p.suffix in SUFFIXES and p.stem.isdecimal()}
    path = folder / f"{max(taken, default=-1) + 1}{suffix}"
    write_episode(path, episode)
    if taken and _is_same(first := taken[min(taken)], path):
        warnings.warn(
            f"{path} is the same episode as {first}; if the folder was filled twice, delete it and fill it once.",
            stacklevel=2,
        )
    return path


def _is_same(one: Path, other: Path) -> bool:
    """Compares the arrays of two files, the small ones first; one that cannot be read is not the same."""
    with contextlib.suppress(EpisodeError):
        for keys in ((), None):
            here, there = (read_episode(path, keys).records for path in (one, other))
            if here.keys() != there.keys() or any(not np.array_equal(here[n], there[n]) for n in here):
                return False
        return True
    return False


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
      EpisodeError: no episodes there, or as `read_episodes`.
    """
    folders = [folder] if isinstance(folder, str | os.PathLike) else folder
    paths = [path for each in folders for path in some_episode_paths(each)]
    paths = subsample(paths, limit, mode=mode, seed=seed)
    return read_episodes(paths, keys, images_on_disk=images_on_disk)


def read_episodes(
    paths: Sequence[Path], keys: Sequence[str] | None = None, *, images_on_disk: bool = False
) -> list[Episode]:
    """Reads episodes that are learnt from together, and warns of actions that no policy can take.

    Args:
      paths, keys, images_on_disk: as for `read_episode`.

    Raises:
      EpisodeError: one cannot be read, or their metadata record different bodies, action repeats or, of images that
        are read, ways of drawing.
    """
    episodes = [read_episode(path, keys, images_on_disk=images_on_disk) for path in paths]
    for path, episode in zip(paths, episodes, strict=True):
        has_images = any(value.ndim == 4 for value in episode.records.values())
        check_together(episodes[0].metadata, episode.metadata, (paths[0], path), images=has_images)
    sentence = large_actions([episode.records for episode in episodes])
    if sentence:
        warnings.warn(f"{paths[0].parent}: {sentence}", stacklevel=2)
    return episodes


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
    choosers: dict[str, Callable[[int], Iterable[int]]] = {
        "forward": lambda n: range(n),
        "backward": lambda n: range(len(items) - n, len(items)),
        "random": lambda n: sorted(np.random.default_rng(seed).choice(len(items), n, replace=False)),
        "uniform": lambda n: np.linspace(0, len(items) - 1, n).round().astype(int),
    }
    if mode not in choosers:
        raise ValueError(f"Unknown subsampling mode {mode!r}. Known: {', '.join(choosers)}.")
    if limit is not None and limit < 1:
        raise ValueError(f"The limit on episodes is {limit}; give at least 1, or None for all of them.")
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index] for index in choosers[mode](limit)]
