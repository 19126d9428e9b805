"""Parts of the user's own on the command line, whose options no config lists.

    --config.reward.name=my.module:Reward --config.reward.options.scale=2
    --config.world_model.encoder.name=my.module:Encoder --config.world_model.encoder.width=8

A group `options` takes any key. In another group, naming a part of one's own leaves the options of the former part
behind. Values are Python's, else text.
"""

import ast
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from worldmodels import registry

_SETTING = re.compile(r"--?config\.([\w.]+)=(.*)", re.DOTALL)
_OWN = re.compile(r"[\w.]+:\w+")


def listed(flags: Sequence[str]) -> list[str]:
    """Returns the names of `--import` flags, each of which may list several with commas."""
    return list(filter(None, ",".join(flags).split(",")))


def load(names: Iterable[str]) -> None:
    """Imports what the user has named, so that models and data on disk may name it too."""
    for name in names:
        registry.load(name)


def command_of(method: str) -> str:
    """Returns the command that trains a method of the user's own; see `experiments.runs.method`."""
    command = getattr(registry.load(method), "command", None)
    if command is None:
        raise ValueError(f"{method!r} is no method: that is a subclass of Baseline or Surrogate.")
    return command


def split(arguments: Sequence[str], config: Callable[[], Any]) -> tuple[list[str], dict[str, dict]]:
    """Returns the other arguments, and {group: {key: value}} of those that set options of the user's own parts.

    Args:
      arguments: of the command line.
      config: returns the config without them; called where a part of the user's own may be named.
    """
    settings = [_SETTING.fullmatch(argument) for argument in arguments]
    given = {match[1]: match[2] for match in settings if match}
    named = [key.removesuffix(".name") for key, text in given.items() if _is_own(key, text)]
    if not named and not any("options." in key for key in given):
        return list(arguments), {}
    groups = dict(_groups(config().to_dict()))
    of_parts = {group for group in groups if group in named and f"{group}.options" not in groups}
    of_parts |= {group for group in groups if group.rpartition(".")[2] == "options"}
    own: dict[str, dict] = {}
    for key, text in given.items():
        group, _, name = key.rpartition(".")
        if group in of_parts:
            own.setdefault(group, {})[name] = _value(text)
    kept = [not match or match[1].rpartition(".")[0] not in own for match in settings]
    return list(itertools.compress(arguments, kept)), own


def put_in(config: Any, own: Mapping[str, Mapping]) -> None:
    """Sets in a ConfigDict what `split` has found."""
    with config.unlocked():
        for group, options in own.items():
            parent, _, last = group.rpartition(".")
            if "name" in options:
                (config[parent] if parent else config)[last] = {}
            config[group].update(options)


def _is_own(key: str, text: str) -> bool:
    return key.endswith(".name") and _OWN.fullmatch(text) is not None


def _groups(config: Mapping, prefix: str = "") -> Iterator[tuple[str, Mapping]]:
    """Yields every group of a config with its dotted key."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield f"{prefix}{key}", value
            yield from _groups(value, f"{prefix}{key}.")


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
