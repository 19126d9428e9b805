"""Paths in configs: several folders in one value, and folders that are found again from elsewhere."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

# Config keys, by their last part, whose texts are folders as of `folders`; and those whose texts are a path each.
FOLDERS = ("embodiment", "unlabelled", "demonstrations", "episodes", "data")
PATHS = ("model", "encoder", "policy_from", "critic_from", "source", "sources", "run", "runs")


def folders_of(value: str | Sequence[str] | None) -> list[str]:
    """Returns the folders that a value of a config names: one, or several separated by commas.

    A text that is a folder as it stands names that one. Among several, a name that contains a comma stands in single
    quotes: `--config.embodiment="'a,b',c"` are two folders. A sequence is taken as it is; "" names none.
    """
    if not isinstance(value, str):
        return list(value or ())
    if os.path.isdir(os.path.expanduser(value)):
        return [value]
    fields = next(csv.reader([value], quotechar="'", skipinitialspace=True), [])
    return [name for field in fields if (name := field.strip())]


def joined(names: Iterable[str | os.PathLike]) -> str:
    """Returns the value of a config that names these folders."""
    buffer = io.StringIO()
    csv.writer(buffer, quotechar="'", lineterminator="").writerow(map(os.fspath, names))
    return buffer.getvalue()


def absolute(key: str, value: Any) -> Any:
    """Makes the paths in a value of a config independent of the working directory; other values stay as they are.

    What does not exist stays too: it may be the name of something else, such as of a dataset in a package.
    """
    return _with_paths(key, value, lambda name: _first(name, os.path.abspath(os.path.expanduser(name))))


def located(key: str, value: Any, session: dict, home: Path) -> Any:
    """Returns a value of a recorded config with its paths as they are now.

    A folder that stood in the same place relative to the run is looked for there first, because both may have been
    moved.

    Args:
      session: that recorded it, `describe_session`: `directory` was its working directory, `workdir` that of the run.
      home: where the run is now.
    """

    def locate(name: str) -> str:
        path = os.path.join(session.get("directory", ""), os.path.expanduser(name))
        before = session.get("workdir")
        moved = before and os.path.normpath(home / os.path.relpath(path, before))
        return _first(name, *([moved] if moved else []), path)

    return _with_paths(key, value, locate)


def named(key: str, value: Any) -> list[str]:
    """Returns the paths that a value of a config names."""
    found: list[str] = []

    def note(name: str) -> str:
        found.append(name)
        return name

    _with_paths(key, value, note)
    return found


def is_same(key: str, one: Any, other: Any) -> bool:
    """Compares two values of a config; paths are the same if they lead to the same folder."""
    one, other = (_with_paths(key, value, os.path.realpath) for value in (one, other))
    return one == other


def _with_paths(key: str, value: Any, change: Callable[[str], str]) -> Any:
    """Returns a value with every path in it changed, if its key is one that names paths."""
    name = key.rpartition(".")[2]
    if isinstance(value, list) and name in PATHS:
        return [_with_paths(key, each, change) for each in value]
    if not isinstance(value, str) or not value or name not in FOLDERS + PATHS:
        return value
    if name in PATHS:
        return change(value)
    return joined(map(change, folders_of(value)))


def _first(name: str, *candidates: str) -> str:
    """Returns the first candidate that exists, or the name as it is."""
    return next((path for path in candidates if os.path.exists(path)), name)
