"""Presets: the variants of a config, each some functions that change it."""

from collections.abc import Callable, Mapping, Sequence

import ml_collections
from ml_collections import FieldReference

from experiments.configs._defaults import Parameter, parameters
from worldmodels import registry

Changes = Sequence[Callable[[ml_collections.ConfigDict], None]]


def defaults(name: str, *keys: str, **changes: object) -> dict:
    """Returns a group of a config whose values stand in a signature, with its changes.

    Args:
      name: of a class or a function, "agents.sac:SACSettings"; `experiments.configs._defaults` reads it.
      keys: those of its parameters that the group has; without them, all that have a default.
      changes: values that differ, and keys with no default.
    """
    known = parameters(name)
    values = {key: _field(known[key]) for key in keys or known}
    return {key: changes.pop(key, value) for key, value in values.items()} | changes


def _field(parameter: Parameter) -> object:
    """Returns what a ConfigDict keeps of a default, so that None and other values may take its place."""
    kind, value = parameter.kind, parameter.default
    return FieldReference(value, field_type=kind) if value is None or kind is int else value


def apply(
    preset: str, presets: Mapping[str, Changes], config: ml_collections.ConfigDict
) -> ml_collections.ConfigDict:
    """Makes the changes of a preset, in their order, and locks the config.

    Raises:
      ValueError: there is no such preset; the sentence lists those that there are.
    """
    if preset not in presets:
        wrong = f"Unknown preset {preset!r}." if preset else "A preset must be chosen, FILE:PRESET."
        raise ValueError(f"{wrong} Known: {', '.join(name or repr(name) for name in presets)}.")
    for change in presets[preset]:
        change(config)
    return config.lock()


def own(get_config: Callable, preset: str) -> ml_collections.ConfigDict:
    """Returns the config of a method of the user's own: `my.module:Name` with the preset that it names, or `-small`."""
    name, _, size = preset.partition("-")
    method = registry.load(name)
    config = get_config("-".join(filter(None, (method.preset, size))))
    with config.unlocked():
        config.update(method=name, options=dict(method.options))
    return config


def combined(first: Mapping[str, Changes], second: Mapping[str, Changes]) -> dict[str, Changes]:
    """Every preset of `first` with every one of `second`: "bco" and "small" give "bco-small"."""
    return {
        "-".join(filter(None, (name, other))): (*changes, *more)
        for name, changes in first.items()
        for other, more in second.items()
    }
