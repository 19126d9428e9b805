"""What a sweep is made of: runs, each with its main, its config, its directory, and what it needs first."""

import ast
import dataclasses
import difflib
import importlib
import itertools
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

PROJECT = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Output:
    """A path below the directory of another run of the sweep, wherever the sweep will lie.

    Attributes:
      run: name of that run. path: below its directory.
    """

    run: str
    path: str = ""


@dataclasses.dataclass(frozen=True)
class Run:
    """One command.

    Attributes:
      name: its directory below the root of the sweep, e.g. "walker18-walk/aime-mix-lpomdp/seed_003".
      main: module, e.g. "experiments.imitate".
      config: name of the config file and preset, e.g. "imitate:small".
      settings: {dotted config key: value}; an `Output`, also inside a tuple, is replaced by its path.
      labels: what the run stands for in a report: suite, task, method, setup, dataset, seed.
    """

    name: str
    main: str
    config: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the runs whose outputs the settings mention."""
        return tuple(dict.fromkeys(output.run for output in _outputs(self.settings.values())))

    def directory(self, root: pathlib.Path) -> pathlib.Path:
        """Where the run lies; its --workdir."""
        return root / self.name

    def command(self, root: pathlib.Path, python: str = sys.executable) -> list[str]:
        """The command line; the same one continues the run."""
        file, _, preset = self.config.partition(":")
        config = f"experiments/configs/{file}.py" + (f":{preset}" if preset else "")
        flags = [f"--config.{key}={_text(value, root)}" for key, value in self.settings.items()]
        return [
            python,
            "-u",
            "-m",
            self.main,
            f"--config={config}",
            *flags,
            f"--workdir={self.directory(root)}",
        ]


def _outputs(values: Iterable[Any]) -> Iterator[Output]:
    for value in values:
        if isinstance(value, Output):
            yield value
        elif isinstance(value, tuple | list):
            yield from _outputs(value)


def _text(value: Any, root: pathlib.Path) -> str:
    if isinstance(value, Output):
        return str(root / value.run / value.path)
    if isinstance(value, tuple | list):
        return str(tuple(_text(entry, root) if isinstance(entry, Output) else entry for entry in value))
    return str(value)


def in_order(runs: Iterable[Run]) -> list[Run]:
    """The runs, each after those that it needs.

    Raises:
      ValueError: a run needs one that is not there.
    """
    runs = {run.name: run for run in runs}
    ordered: dict[str, Run] = {}

    def add(run: Run) -> None:
        for name in run.needs:
            if name not in runs:
                raise ValueError(f"{run.name} needs {name}, which is not part of the sweep.")
            if name not in ordered:
                add(runs[name])
        ordered.setdefault(run.name, run)

    for run in runs.values():
        add(run)
    return list(ordered.values())


def check_settings(runs: Iterable[Run]) -> None:
    """Looks every config and every key up, so that a mistake shows before anything runs.

    Raises:
      ValueError: an unknown config, preset or key; the sentence names what is known.
    """
    keys: dict[str, list[str]] = {}
    for run in runs:
        if run.config not in keys:
            keys[run.config] = list(_keys(load_config(run.config).to_dict()))
        for key in run.settings:
            if key not in keys[run.config]:
                near = difflib.get_close_matches(key, keys[run.config], n=1)
                guess = f"Did you mean {near[0]!r}? " if near else ""
                raise ValueError(
                    f"The config {run.config} of {run.name} has no key {key!r}. {guess}Known: "
                    f"{', '.join(keys[run.config])}."
                )


def load_config(config: str) -> Any:
    """The ConfigDict of "file:preset"."""
    file, _, preset = config.partition(":")
    try:
        module = importlib.import_module(f"experiments.configs.{file}")
    except ModuleNotFoundError as error:
        raise ValueError(f"There is no config experiments/configs/{file}.py.") from error
    return module.get_config(preset)


def _keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


# Axes ---------------------------------------------------------------------------------------------------------------


def parse_axes(arguments: Sequence[str]) -> dict[str, list[Any]]:
    """{key: values} of arguments like `seed=0..4`, `task=walk,run`, `loss.kl_scale=0,0.5,1`.

    Values are Python numbers, booleans and None, else text; `a..b` are the integers from a to b, both included.

    Raises:
      ValueError: an argument of another form, or a key that comes twice.
    """
    axes: dict[str, list[Any]] = {}
    for argument in arguments:
        key, equals, values = argument.partition("=")
        if not equals or not key or not values:
            raise ValueError(
                f"{argument!r} is not KEY=VALUE[,VALUE...]; for example seed=0..4 or task=walk,run."
            )
        if key in axes:
            raise ValueError(f"{key} is given twice; list its values after one {key}=.")
        axes[key] = [value for text in _split(values) for value in _values(text)]
    return axes


def product(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of all keys; the last key varies fastest."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def seed_folder(seed: int) -> str:
    """ "seed_003"."""
    return f"seed_{seed:03d}"


def _split(text: str) -> list[str]:
    """Splits at the commas outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _values(text: str) -> list[Any]:
    first, dots, last = text.partition("..")
    if dots and first.lstrip("-").isdigit() and last.lstrip("-").isdigit():
        return list(range(int(first), int(last) + 1))
    try:
        return [ast.literal_eval(text)]
    except (ValueError, SyntaxError):
        return [text]
