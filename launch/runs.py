"""What a sweep is made of: runs, each with its main, its config, its directory, and what it needs first."""

import ast
import dataclasses
import difflib
import functools
import importlib
import itertools
import json
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from experiments.runs import own_parts, paths

PROJECT = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Output:
    """A path below the directory of another run of the sweep, wherever the sweep will be stored.

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
      main: command, e.g. "imitate", or a module of the user's, as `python -m experiments` takes it.
      config: name of the config file and preset, e.g. "imitate:small".
      settings: {dotted config key: value}; an `Output`, also inside a tuple, is replaced by its path.
      labels: what the run stands for in a report: suite, task, method, setup, dataset, seed.
      imports: parts of the user's own that models or data on disk name, `my.module:Name`.
    """

    name: str
    main: str
    config: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    imports: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Names the runs whose outputs the settings mention."""
        return tuple(dict.fromkeys(output.run for output in _outputs(self.settings.values())))

    def directory(self, root: pathlib.Path) -> pathlib.Path:
        """Returns where the run is stored; its --workdir."""
        return root / self.name

    def command(self, root: pathlib.Path, python: str = sys.executable) -> list[str]:
        """Returns the command line; the same one continues the run."""
        flags = [f"--config.{key}={_text(value, root)}" for key, value in self.settings.items()]
        flags += [f"--import={','.join(self.imports)}"] * bool(self.imports)
        return [
            python,
            "-u",
            "-m",
            "experiments",
            self.main,
            f"--config={self.config}",
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
    """Sorts runs, each after those that it needs.

    Raises:
      ValueError: a run needs one that is not there.
    """
    known = {run.name: run for run in runs}
    ordered: dict[str, Run] = {}

    def add(run: Run) -> None:
        for name in run.needs:
            if name not in known:
                raise ValueError(f"{run.name} needs {name}, which is not part of the sweep.")
            if name not in ordered:
                add(known[name])
        ordered.setdefault(run.name, run)

    for run in known.values():
        add(run)
    return list(ordered.values())


def check_settings(runs: Iterable[Run]) -> None:
    """Looks every config, key and value up, so that a mistake shows before anything runs.

    Raises:
      ValueError: an unknown config, preset or key, or a value of another type; the sentence says what is known. Or
        two runs that would train the same seed.
    """
    runs = list(runs)
    for run in runs:
        known, own = _defaults(run.config), _own_options(run)
        for key, value in run.settings.items():
            if key in own:
                continue
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                guess = f"Did you mean {near[0]!r}? " if near else ""
                raise ValueError(
                    f"The config {run.config} of {run.name} has no key {key!r}. {guess}Known: {', '.join(known)}."
                )
            if not _mentions_outputs(value):  # those are paths
                _parsed(run.config, key, str(value))
    _check_seeds(runs)


def _check_seeds(runs: Iterable[Run]) -> None:
    """Refuses two runs of a cell that train the same seed, which a report would count as two."""
    trained: dict[pathlib.PurePath, dict[int, int]] = {}  # cell -> {seed: the first one of its run}
    for run in runs:
        count = run.settings.get("num_seeds", _defaults(run.config).get("num_seeds", 1))
        first = run.settings.get("seed", 0)
        seeds = trained.setdefault(pathlib.PurePath(run.name).parent, {})
        for seed in range(first, first + count):
            if seed in seeds:
                raise ValueError(
                    f"With num_seeds={count} the runs seed={seeds[seed]} and seed={first} of {run.config} both train "
                    f"seed {seed}; give seeds that are {count} apart, seed={seeds[seed]},{seeds[seed] + count}."
                )
            seeds[seed] = first


def changed_settings(run: Run, recorded: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ from those of a config that was recorded, with the recorded and the planned one.

    Keys that only one of them has do not count: options are added, and leave what was done without them as it is.
    Nor do those that a sweep of an earlier version has set and the config has no more, nor the root of the sweep, in
    paths of other runs' outputs: it may have moved. Other paths are the same if they name the same folder.

    Args:
      run: what is planned.
      recorded: nested, as its config.json.
    """
    recorded = dict(_flat(recorded))
    planned = dict(_defaults(run.config))
    own = _own_options(run)
    for key, value in run.settings.items():
        if key in own:
            planned[key] = _as_json(own[key])
        elif key in planned:
            planned[key] = value if _mentions_outputs(value) else _parsed(run.config, key, str(value))
    return {
        key: (recorded[key], _text(value, pathlib.Path()) if _mentions_outputs(value) else value)
        for key, value in planned.items()
        if key in recorded and not _is_same(key, value, recorded[key])
    }


def _own_options(run: Run) -> dict[str, Any]:
    """Returns {dotted key: value} of the settings that are options of parts of the user's own."""
    settings = [f"--config.{key}={value}" for key, value in run.settings.items()]
    _, own = own_parts.split(settings, lambda: load_config(run.config))
    return {f"{group}.{key}": value for group, options in own.items() for key, value in options.items()}


def _is_same(key: str, planned: Any, recorded: Any) -> bool:
    if isinstance(planned, Output):
        return isinstance(recorded, str) and recorded.endswith(
            f"/{pathlib.PurePath(planned.run, planned.path)}"
        )
    if _mentions_outputs(planned):
        return (
            isinstance(recorded, list)
            and len(planned) == len(recorded)
            and all(_is_same(key, ours, theirs) for ours, theirs in zip(planned, recorded, strict=True))
        )
    return paths.is_same(key, planned, recorded)


def _mentions_outputs(value: Any) -> bool:
    return any(_outputs([value]))


@functools.cache
def _defaults(config: str) -> Mapping[str, Any]:
    """Returns {dotted key: value} of "file:preset", as JSON reads it back."""
    return dict(_flat(_as_json(load_config(config).to_dict())))


@functools.cache
def _parsed(config: str, key: str, text: str) -> Any:
    """Parses the value of a key as the command does; returns it as JSON reads it back.

    Raises:
      ValueError: it does not fit the type of the key.
    """
    values, arguments = flags.FlagValues(), ["", f"--config.{key}={text}"]
    config_flags.DEFINE_config_dict("config", load_config(config), flag_values=values, sys_argv=arguments)
    group, _, name = key.rpartition(".")
    try:
        values(arguments)
    except (flags.Error, ValueError, TypeError) as error:
        kind = functools.reduce(getattr, filter(None, group.split(".")), load_config(config)).get_type(name)
        raise ValueError(
            f"{key}={text} does not fit the config {config}: {_TYPES.get(kind, kind.__name__)} is wanted there."
        ) from error
    return _as_json(functools.reduce(getattr, key.split("."), values.config))


_TYPES = {int: "an integer", float: "a number", bool: "True or False", tuple: "a tuple"}


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda other: other.to_dict()))


def load_config(config: str) -> Any:
    """Loads the ConfigDict of "file:preset"."""
    file, _, preset = config.partition(":")
    try:
        module = importlib.import_module(f"experiments.configs.{file}")
    except ModuleNotFoundError as error:
        raise ValueError(f"There is no config experiments/configs/{file}.py.") from error
    return module.get_config(preset)


@functools.cache
def is_known(config: str) -> bool:
    """Returns whether this version has the config "file:preset"."""
    try:
        load_config(config)
    except ValueError:
        return False
    return True


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# Axes ---------------------------------------------------------------------------------------------------------------


def parse_axes(arguments: Sequence[str]) -> dict[str, list[Any]]:
    """Parses {key: values} of arguments like `seed=0..4`, `task=walk,run`, `loss.kl_scale=0,0.5,1`.

    Values are Python numbers, booleans and None, else text; `a..b` are the integers from a to b, both included.

    Raises:
      ValueError: an argument of another form, an empty range, or a key that comes twice.
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
    """Yields every combination of the values of all keys; the last key varies fastest."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def seed_folder(seed: int) -> str:
    """Returns "seed_003".

    Raises:
      ValueError: it is no seed.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed={seed} is no seed: those are the integers from 0 on, e.g. seed=0..4.")
    return f"seed_{seed:03d}"


def _split(text: str) -> list[str]:
    """Splits at the commas outside of brackets and quotes; a quote begins a value or stands in brackets."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and (depth or not parts[-1]):
            quote = letter
        elif letter == "," and not depth:
            parts.append("")
            continue
        else:
            depth += (letter in "([{") - (letter in ")]}")
        parts[-1] += letter
    if quote or depth:
        raise ValueError(f"{text} has an open {'quote' if quote else 'bracket'}; close it.")
    return parts


def _values(text: str) -> list[Any]:
    first, dots, last = text.partition("..")
    if dots and first.lstrip("-").isdigit() and last.lstrip("-").isdigit():
        if int(first) > int(last):
            raise ValueError(
                f"{text} is empty; a range goes from the smaller to the larger: {last}..{first}."
            )
        return list(range(int(first), int(last) + 1))
    try:
        return [ast.literal_eval(text)]
    except (ValueError, SyntaxError):
        return [text]
