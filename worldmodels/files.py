"""Files and folders that appear complete or not at all."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a hidden path to write a file or a folder at, which takes the place of `path` once the block is over.

    What is written is on the disk before it is moved. Of a folder that exists already, the files of the same names are
    replaced one by one and the others stay. A block that fails leaves everything as it was.

    Args:
      path: the file or folder; the folder around it is made.
    """
    path = Path(path)
    if not path.parent.exists():  # of a file in its place the error will be that it is no directory
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing")
    remove(temporary)
    try:
        yield temporary
        sync(temporary)
        if temporary.is_dir() and path.is_dir():
            for part in temporary.iterdir():
                os.replace(part, path / part.name)
            temporary.rmdir()
        else:
            os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise
    with contextlib.suppress(OSError):  # not every file system can flush a folder
        _flush(path.parent)
        _flush(path)


def write_atomically(path: str | os.PathLike, content: bytes | str) -> Path:
    """Writes a file with `written`.

    Args:
      path: file to write or replace.
      content: bytes, or text that is encoded as UTF-8.

    Returns:
      The path.
    """
    with written(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return Path(path)


@contextlib.contextmanager
def closing_path(folder: Path) -> Iterator[Path]:
    """Yields another path of a folder, which leads nowhere once the block has failed.

    For writers whose threads go on after an error. By the folder's own path they would make it anew after it has been
    removed; by this one, which is that of a descriptor of this process, whatever they still do fails.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    except BaseException:
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(
            nowhere, descriptor
        )  # and stays open: a number that is free could become that of another folder
        os.close(nowhere)
        raise
    os.close(descriptor)


def remove(path: Path) -> None:
    """Removes a file or a folder, if there is one; what cannot be removed stays."""
    for _ in range(20):
        if not path.is_dir():
            break
        shutil.rmtree(path, ignore_errors=True)
        if path.is_dir():  # a thread has put a file into it meanwhile
            time.sleep(0.1)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file, or a folder with all that is in it, is on the disk."""
    for part in path.rglob("*") if path.is_dir() else ():
        _flush(part)
    _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
