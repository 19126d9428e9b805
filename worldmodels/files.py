"""Files that appear complete or not at all."""

import contextlib
import os
from pathlib import Path


def write_atomically(path: str | os.PathLike, content: bytes | str) -> Path:
    """Writes a file under a hidden name in the same folder, then renames it; the folder is made.

    Args:
      path: file to write or replace.
      content: bytes, or text that is encoded as UTF-8.

    Returns:
      The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # not every file system can flush a folder
        _flush(path.parent)
    return path


def _flush(folder: Path) -> None:
    """Waits until the names in a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
