"""The config of a run as JSON: checked, written, read back with its paths as they are now, compared."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from experiments.runs import paths
from worldmodels.files import write_atomically

# The least of counts, by the last part of their key; None stands for all there are.
_LEAST = {
    "num_seeds": 1,
    "num_agents": 1,
    "num_envs": 1,
    "batch_size": 1,
    "length": 1,
    "updates_per_dispatch": 1,
    "num_updates": 0,
    "num_episodes": 0,
}

# Keys, by their last part, whose values are texts, or lists of them.
_TEXTS = ("env", "embodiment", "demonstrations", *paths.PATHS)

_ABSENT = "(absent)"
REMEDY = "run the command of its run again with --fresh, or get an intact copy"


class RunError(ValueError):
    """A run directory cannot be used as asked."""


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a ConfigDict or nested mapping as JSON would read it back: dicts, lists, numbers, strings."""
    tree = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    try:
        return json.loads(_dumps(tree))
    except TypeError as error:
        raise RunError(
            f"The config holds what JSON cannot: {error}. Use numbers, strings, lists and dicts."
        ) from error


def check_counts(config: Mapping[str, Any]) -> None:
    """Raises a RunError for a count below the least that there can be."""
    for key, value in flatten(config).items():
        least = _LEAST.get(key.rpartition(".")[2])
        if least is not None and isinstance(value, int) and value < least:
            raise RunError(f"{key} is {value}; it must be at least {least}.")


def with_absolute_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a plain config whose paths mean the same from every directory."""
    return _with_values(config, paths.absolute)


def read_config(run: str | os.PathLike) -> dict[str, Any]:
    """Reads the config of a run, with its paths as they are now: from elsewhere, and after the run has been moved.

    The one place where a recorded config is read, of this release and of earlier ones.

    Raises:
      RunError: no run, or one whose files are damaged.
    """
    home = pathlib.Path(run).expanduser().absolute()
    if not (home / "config.json").is_file():
        raise RunError(f"{home} is not the directory of a run: it has no config.json.")
    session: dict[str, Any] = ([{}] + read_sessions(home))[-1]

    def read(key: str, value: Any) -> Any:
        if key.rpartition(".")[2] in _TEXTS and isinstance(value, int | float):
            raise RunError(f"{home / 'config.json'} is damaged ({key} is {value!r}); {REMEDY}.")
        return paths.located(key, value, session, home)

    return _recorded(_with_values(read_json(home / "config.json"), read), home / "config.json")


class _Recorded(dict):
    """A recorded config, or a part of one, in which a missing key is damage."""

    source: pathlib.Path

    def __missing__(self, key: str) -> Any:
        raise RunError(f"{self.source} is damaged (it lacks {key!r}); {REMEDY}.")


def _recorded(tree: Mapping[str, Any], source: pathlib.Path) -> _Recorded:
    """Returns the mapping of the file `source` as one that names it where a key is missing."""
    recorded = _Recorded(
        {
            key: _recorded(value, source) if isinstance(value, Mapping) else value
            for key, value in tree.items()
        }
    )
    recorded.source = source
    return recorded


def read_sessions(run: pathlib.Path) -> list[dict[str, Any]]:
    """Reads what `describe_session` said at every start of a run; raises a RunError if that is damaged."""
    path = run / "metadata.json"
    sessions = read_json(path).get("sessions", []) if path.is_file() else []
    if not isinstance(sessions, list) or not all(map(_is_session, sessions)):
        raise RunError(f"{path} is damaged (its sessions are of another kind); {REMEDY}.")
    return sessions


def _is_session(value: Any) -> bool:
    places = ("directory", "workdir")
    return isinstance(value, dict) and all(isinstance(value.get(place, ""), str) for place in places)


def config_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with the old and the new value; "(absent)" stands for none."""
    old, new = flatten(old), flatten(new)
    pairs = {key: (old.get(key, _ABSENT), new.get(key, _ABSENT)) for key in {**old, **new}}
    return {key: pair for key, pair in pairs.items() if not paths.is_same(key, *pair)}


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object; raises a RunError if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}); {REMEDY}.") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged (no mapping of names to values); {REMEDY}.")
    return value


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a JSON file atomically; NumPy and JAX numbers and arrays become numbers and lists."""
    write_atomically(path, _dumps(value, indent=2) + "\n")


def _dumps(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, default=_jsonable)


def _jsonable(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy and JAX numbers and arrays
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "to_dict"):
        return value.to_dict()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _with_values(
    tree: Mapping[str, Any], change: Callable[[str, Any], Any], prefix: str = ""
) -> dict[str, Any]:
    """Changes every value of a nested config by its dotted key."""
    return {
        key: _with_values(value, change, f"{prefix}{key}.")
        if isinstance(value, Mapping)
        else change(prefix + key, value)
        for key, value in tree.items()
    }


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the values of a nested config by their dotted keys."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        elif not isinstance(value, Mapping):  # a group without keys says nothing
            flat[f"{prefix}{key}"] = value
    return flat
