"""A grid: one main, every combination of the values of some of its config keys."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from launch.runs import Run, product, seed_folder


def grid(config: str, axes: Mapping[str, Sequence[Any]], name: str = "") -> list[Run]:
    """Plans runs of the command `file` for `config` = "file:preset".

    The directory is `<name>-<env>/<keys that vary>/seed_003`: `env` (or `task`, an alias) and `seed` have a place of
    their own, and keys with a single value none.

    Args:
      config: e.g. "imitate:small".
      axes: {config key: values}.
      name: of the grid; the config's, with its preset, if empty.

    Raises:
      ValueError: two runs would have the same directory.
    """
    name = name or config.replace(":", "-")
    axes = {("env" if key == "task" else key): values for key, values in axes.items()}
    varying = [key for key, values in axes.items() if len(values) > 1 and key not in ("env", "seed")]
    names = _short_names(varying)
    runs: dict[str, Run] = {}
    for settings in product(axes):
        method = ",".join(f"{names[key]}={settings[key]}" for key in varying) or "default"
        method = method.replace("/", "_")
        env = settings.get("env", "")
        group = f"{name}-{env}" if env else name
        seed = settings.get("seed", 0)
        labels = {"suite": name, "task": env or name, "method": method, "seed": seed}
        path = f"{group}/{method}/{seed_folder(seed)}"
        run = Run(path, config.partition(":")[0], config, settings, labels)
        if runs.setdefault(path, run) != run:  # the same run twice is one
            cells = (" ".join(f"{key}={of[key]}" for key in axes) for of in (runs[path].settings, settings))
            raise ValueError(
                f"{' and '.join(cells)} have the same directory, {path}; give them grids with a --name each."
            )
    return list(runs.values())


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """Returns {key: its last part, or the whole key where several end alike}."""
    last = {key: key.rpartition(".")[2] for key in keys}
    count = collections.Counter(last.values())
    return {key: key if count[name] > 1 else name for key, name in last.items()}
