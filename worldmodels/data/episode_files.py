"""Files of named arrays, npz and HDF5, that anyone may have written: read with distrust, written whole.

Reading a file runs no code and reads no other file, and whatever is wrong with one is an EpisodeError that names it.
What the arrays mean is the business of `worldmodels.data.episodes`.
"""

import contextlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import psutil

from worldmodels.files import write_atomically

SUFFIXES = (".npz", ".hdf5")

_METADATA = "metadata"
_ELSEWHERE = "stored in another file, which is never opened"
RESERVED_NAMES = (_METADATA, "file", "allow_pickle")  # numpy takes the latter two for arguments of its own
_MAX_METADATA_BYTES = 60_000  # an HDF5 attribute holds 64 KiB
_ALWAYS_READ = 2**28  # bytes
_BEST_COMPRESSION = 1100  # of deflate; that of LZF is lower
_UNREADABLE = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    RuntimeError,
    EOFError,
    MemoryError,  # a shape that no file can hold
    zipfile.BadZipFile,
    zlib.error,
)


class EpisodeError(ValueError):
    """An episode, a file or a folder of them that cannot be used; the message says why and what to do."""


# Reading ----------------------------------------------------------------------------------------------------


class OpenFile(Protocol):
    """A file of arrays.

    Attributes:
      names: of its arrays of numbers with at least one axis.
      ignored: {name: what it is} of everything else at its top.
      metadata: ours, or {}.
    """

    names: list[str]
    ignored: dict[str, str]
    metadata: dict

    def read(self, name: str, rows: slice | None = None) -> np.ndarray:
        """Returns some rows of an array as they are on disk; None means all."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of an array, without reading it."""

    def num_bytes(self, name: str) -> int:
        """Returns the bytes that an array takes in memory by what the file says of it, without reading it."""


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[OpenFile]:
    """Opens a file; any failure inside names it."""
    check_suffix(path)
    if not path.is_file():
        raise EpisodeError(f"There is no episode file {path}; check the path.")
    try:
        with _open_npz(path) if path.suffix == ".npz" else _open_hdf5(path) as opened:
            yield opened
    except EpisodeError:
        raise
    except PermissionError as error:
        raise EpisodeError(f"{path} may not be read by this user; change its permissions.") from error
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EpisodeError(
            f"{path} is not a readable episode, it is damaged or of another kind ({reason}); move it elsewhere, or "
            "collect or download it again."
        ) from error


@dataclass
class _NpzFile:
    file: np.lib.npyio.NpzFile
    names: list[str]
    ignored: dict[str, str]
    metadata: dict

    def read(self, name: str, rows: slice | None = None) -> np.ndarray:
        return self.file[name][... if rows is None else rows]

    def num_bytes(self, name: str) -> int:
        return _archive(self.file).getinfo(f"{name}.npy").file_size

    def shape(self, name: str) -> tuple[int, ...]:
        return _npz_header(self.file, name)[0]


@dataclass
class HDF5File:
    """An `OpenFile` of HDF5."""

    file: h5py.File
    names: list[str]
    ignored: dict[str, str]
    metadata: dict

    def read(self, name: str, rows: slice | None = None) -> np.ndarray:
        return self.file[name][() if rows is None else rows]

    def num_bytes(self, name: str) -> int:
        return self.file[name].nbytes

    def shape(self, name: str) -> tuple[int, ...]:
        return self.file[name].shape


@contextlib.contextmanager
def _open_npz(path: Path) -> Iterator[_NpzFile]:
    with open(path, "rb") as file:
        begins_as_archive = file.read(2) == b"PK"
    if not (begins_as_archive and zipfile.is_zipfile(path)):  # else numpy would recommend to unpickle it
        raise ValueError("no whole npz archive, perhaps a single array or a pickle")
    with np.load(path, allow_pickle=False) as file:
        kinds = {name: _kind(*_npz_header(file, name)) for name in file.files if name != _METADATA}
        metadata = _parsed(str(file[_METADATA]), path) if _METADATA in file.files else {}
        yield _NpzFile(file, *_divided(kinds), metadata)


def _archive(file: np.lib.npyio.NpzFile) -> zipfile.ZipFile:
    assert file.zip is not None, "the file is closed"
    return file.zip


def _npz_header(file: np.lib.npyio.NpzFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Returns (shape, dtype) of an array of an archive."""
    with _archive(file).open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read[version](member)
    return shape, dtype


@contextlib.contextmanager
def _open_hdf5(path: Path) -> Iterator[HDF5File]:
    # A published file never changes, so that no lock is needed; some network file systems have none.
    with h5py.File(path, "r", locking=False) as file:
        kinds = {name: hdf5_kind(file, name) for name in file}
        text = file.attrs.get(_METADATA)
        yield HDF5File(file, *_divided(kinds), {} if text is None else _parsed(text, path))


def hdf5_kind(group: h5py.Group, name: str) -> str | None:
    """Returns what an entry of a group is, None for an array of numbers that is stored in this file."""
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        return _ELSEWHERE
    item = group[name]
    if not isinstance(item, h5py.Dataset):
        return f"a {type(item).__name__.lower()}"
    if item.external or item.is_virtual:
        return _ELSEWHERE
    return _kind(item.shape, item.dtype)


def _kind(shape: tuple[int, ...] | None, dtype: np.dtype) -> str | None:
    """Returns what an array is, None for one of numbers with at least one axis."""
    if dtype.kind == "O":
        return "text or Python objects, which are never loaded"
    if dtype.kind not in "biuf":
        return f"of dtype {dtype}, no numbers"
    return None if shape else "a single value"


def _divided(kinds: Mapping[str, str | None]) -> tuple[list[str], dict[str, str]]:
    """Returns the names of what can be read, and what the rest is."""
    ignored = {name: kind for name, kind in kinds.items() if kind is not None}
    return [name for name in kinds if name not in ignored], ignored


def _parsed(text: str | bytes, path: Path) -> dict:
    metadata = json.loads(text)
    _check_metadata(metadata, path)
    return metadata


def _check_metadata(metadata: object, source: object) -> None:
    """Refuses metadata whose parts others would stumble over."""
    if not isinstance(metadata, dict):
        raise EpisodeError(
            f"{source} has metadata of type {type(metadata).__name__}, expected names and values; write it again."
        )
    for name, kind in (("environment", str), ("rendering", dict)):
        if not isinstance(metadata.get(name), kind | None):
            raise EpisodeError(
                f"{source} has metadata with the {name} {metadata[name]!r}, expected a {kind.__name__}; write it again."
            )


def check_memory(num_bytes: float, path: Path) -> None:
    """Refuses to read more than there is memory for, or than a file can hold: a small one can declare any size."""
    if num_bytes < _ALWAYS_READ:
        return  # not worth a look
    free, size = psutil.virtual_memory().available, path.stat().st_size
    declared = f"{path} declares {num_bytes / 2**30:.1f} GiB of arrays"
    if num_bytes > _BEST_COMPRESSION * size:
        raise EpisodeError(
            f"{declared} in a file of {size} bytes, so that they were never written; delete it."
        )
    if num_bytes > free:
        raise EpisodeError(
            f"{declared}, and {free / 2**30:.1f} GiB of memory are free; it is damaged, or has to be split into "
            "shorter episodes."
        )


def check_suffix(path: Path) -> None:
    """Refuses other files than npz and HDF5."""
    if path.suffix not in SUFFIXES:
        raise EpisodeError(
            f"{path} has the suffix {path.suffix!r}; episodes are {' or '.join(SUFFIXES)} files."
        )


# Writing ----------------------------------------------------------------------------------------------------


def write_file(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping, source: str) -> None:
    """Writes arrays under their names; the file appears complete or not at all, whenever the process dies.

    Args:
      path: `.npz` or `.hdf5`.
      arrays, metadata: what to write.
      source: what it is, for messages.

    Raises:
      EpisodeError: what could not be read back, or a disk that cannot be written.
    """
    for name in arrays:
        if not isinstance(name, str) or name in ("", ".", *RESERVED_NAMES) or "/" in name or "\0" in name:
            raise EpisodeError(
                f"{source} has an array of the name {name!r}, which files cannot hold; names are neither empty nor "
                f"{', '.join(RESERVED_NAMES)}, and have no slash."
            )
    _check_metadata(metadata, source)
    try:
        text = json.dumps(metadata, default=_plain)
    except TypeError as error:
        raise EpisodeError(
            f"{source} has metadata that JSON cannot hold ({error}); use plain numbers and text."
        ) from error
    if len(text.encode()) > _MAX_METADATA_BYTES:
        raise EpisodeError(f"{source} has {len(text)} bytes of metadata; keep at most {_MAX_METADATA_BYTES}.")
    content = (_as_npz if path.suffix == ".npz" else _as_hdf5)(arrays, text)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise EpisodeError(
            f"Cannot write episode {path}: {error.strerror or error}. Check free space and permissions."
        ) from error


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _as_npz(arrays: Mapping[str, np.ndarray], metadata: str) -> bytes:
    file = io.BytesIO()
    everything: dict[str, Any] = {**arrays, _METADATA: np.array(metadata)}
    np.savez_compressed(file, **everything)
    return file.getvalue()


def _as_hdf5(arrays: Mapping[str, np.ndarray], metadata: str) -> bytes:
    # In memory: HDF5 that meets a full disk on the way leaves the process unable to continue.
    with h5py.File("episode", "w", driver="core", backing_store=False) as file:
        for name, value in arrays.items():
            if value.size == 0:  # a robot without actions: HDF5 has no empty chunks
                file.create_dataset(name, data=value)
                continue
            rows = 8192 // int(np.prod(value.shape[1:]))
            chunks = (min(max(rows, 1), len(value)), *value.shape[1:])
            file.create_dataset(name, data=value, compression="lzf", chunks=chunks)
        file.attrs[_METADATA] = metadata
        file.flush()
        return file.id.get_file_image()
