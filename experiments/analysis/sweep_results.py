"""What finished runs have scored, read from any directories: sweeps of `launch`, single runs, folders of runs."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from experiments.analysis.scores import RunScores, read_object, read_scores
from experiments.runs.metrics import read_rows

RANDOM = "random"  # label of the random policy's runs
NAMES = {  # of methods in sweeps -> in tables, and in published results
    "aime": "AIME",
    "bco": "BCO(0)",
    "bc": "BC oracle",
    "mbbc": "MBBC oracle",
    "iidm": "IIDM",
    "bco-alpha": "BCO(alpha)",
    "bco_alpha": "BCO(alpha)",
    "aime-nob-ail": "AIME-NoB (AIL)",
    "aime-nob-ot": "AIME-NoB (OT)",
    "aime-nob-viper": "AIME-NoB (VIPER)",
    "aime-v2": "AIME-v2",
    "gaifo": "GAIfO",
    "ot": "OT",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """The runs of one method on one task.

    Attributes:
      task, env: where. name: of the method, with what else varies in the report.
      method: its name alone. dataset, setup: of the runs; "" where unknown.
      runs: with different seeds.
    """

    task: str
    env: str
    name: str
    method: str
    dataset: str
    setup: str
    runs: tuple[RunScores, ...]

    @property
    def returns(self) -> list[list[float]]:
        """`[N][E]` of the seeds of all runs."""
        return [seed for run in self.runs for seed in run.returns]

    def success(self, rule: str) -> list[list[float]] | None:
        """`[N][E]` by a rule of `SUCCESS_RULES`; None where a run has none."""
        found = [run.success.get(rule) for run in self.runs]
        return None if None in found else [seed for run in found for seed in run]


@dataclasses.dataclass(frozen=True)
class Results:
    """All that a report shows.

    Attributes:
      cells: in the order of `NAMES`, then of their runs; without the random policy.
      random: {task: [E] returns of the random policy}.
      unfinished: directories of runs without DONE.
      unreadable: (directory, what is wrong with it) of finished runs that are left out.
    """

    cells: tuple[Cell, ...]
    random: Mapping[str, list[float]]
    unfinished: tuple[pathlib.Path, ...]
    unreadable: tuple[tuple[pathlib.Path, str], ...] = ()

    @property
    def tasks(self) -> list[str]:
        """Tasks in order."""
        return list(dict.fromkeys(cell.task for cell in self.cells))

    @property
    def methods(self) -> list[str]:
        """Names of the cells in order."""
        return list(dict.fromkeys(cell.name for cell in self.cells))

    def cell(self, task: str, name: str) -> Cell | None:
        """The cell of a method on a task, if there is one."""
        return next((cell for cell in self.cells if (cell.task, cell.name) == (task, name)), None)

    def of_task(self, task: str) -> list[Cell]:
        """The cells of a task."""
        return [cell for cell in self.cells if cell.task == task]

    def random_return(self, task: str) -> float | None:
        """Mean return of the random policy: of its runs, else what the runs of the task record, if they agree on it."""
        if self.random.get(task):
            return float(np.mean(self.random[task]))
        recorded = {run.random for cell in self.of_task(task) for run in cell.runs} - {None}
        return recorded.pop() if len(recorded) == 1 else None

    def random_of(self, run: RunScores) -> float | None:
        """What is 0% for a run: the random policy on its task, else what it records itself."""
        of_task = self.random_return(run.task)
        return run.random if of_task is None else of_task

    def experts(self, task: str) -> list[float]:
        """The different mean returns of demonstrations that the runs of a task record; usually one."""
        found: list[float] = []
        for run in (run for cell in self.of_task(task) for run in cell.runs):
            if run.expert is not None and not any(math.isclose(run.expert, e, rel_tol=1e-6) for e in found):
                found.append(run.expert)
        return found

    def expert_return(self, task: str) -> float | None:
        """Mean return of the demonstrations, where all runs of a task agree on it."""
        experts = self.experts(task)
        return experts[0] if len(experts) == 1 else None

    def expert_of(self, run: RunScores) -> float | None:
        """By what a run is measured: its own expert; that of its task if it records none."""
        return self.expert_return(run.task) if run.expert is None else run.expert


def read_results(folders: Iterable[str | os.PathLike]) -> Results:
    """Reads every finished run with evaluations below the folders, once; one that cannot be read is kept in mind.

    Raises:
      ValueError: a folder does not exist, or nothing is there.
    """
    runs, random, unfinished, unreadable = [], {}, [], []
    for path, of_run in _run_directories(folders):
        if not (path / "DONE").is_file():
            unfinished.append(path)
            continue
        try:
            of_run = of_run or _guessed_labels(path)
            if of_run.get("method") == RANDOM:
                random.setdefault(of_run["task"], []).extend(_collected_returns(path))
            elif "stage" not in of_run and (run := read_scores(path, of_run)):
                runs.append(run)
        except ValueError as error:
            unreadable.append((path, str(error)))
    if not runs:
        raise ValueError(
            "There is no finished run with evaluations below these directories; "
            "finish some (`python -m launch.sweep status --root=DIR` says which are missing)."
            + "".join(f" {path} is unreadable: {why}" for path, why in unreadable[:1])
        )
    return Results(tuple(_cells(runs)), random, tuple(unfinished), tuple(unreadable))


def _run_directories(
    folders: Iterable[str | os.PathLike],
) -> Iterator[tuple[pathlib.Path, dict[str, str] | None]]:
    """(directory of a run, its labels in a sweep), once each, however often the folders hold it."""
    folders = list(map(pathlib.Path, folders))
    labels: dict[pathlib.Path, dict[str, str]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"There is no directory {folder}.")
        labels |= _sweep_labels(folder)
    seen = set()
    for folder in folders:
        for config in sorted(folder.rglob("config.json")):
            path = config.parent
            if path.resolve() in seen or (path != folder and _is_seed_of_a_run(path)):
                continue
            seen.add(path.resolve())
            yield path, labels.get(path.resolve())


def _is_seed_of_a_run(path: pathlib.Path) -> bool:
    """True for `RUN/seeds/0`: RUN has the scores of all its seeds (`experiments.runs.stages`)."""
    *_, parent, name = path.parts
    return parent == "seeds" and name.isdigit() and (path.parent.parent / "config.json").is_file()


def _collected_returns(path: pathlib.Path) -> list[float]:
    """Returns of the episodes of a collection."""
    return [value for row in read_rows(path / "metrics.jsonl") for value in row.get("episode/return", [])]


def _sweep_labels(folder: pathlib.Path) -> dict[pathlib.Path, dict[str, str]]:
    """{directory of a run: labels} of the sweeps in a folder, or in one that it lies in."""
    found = {}
    for root in (folder.resolve(), *folder.resolve().parents[:3]):
        for file in sorted((root / "sweep").glob("*.json")):
            with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
                for name, run in read_object(file).items():
                    found[root / name] = {key: str(value) for key, value in run["labels"].items()}
    return found


def _guessed_labels(path: pathlib.Path) -> dict[str, str]:
    """Labels of a run that is not part of a sweep: `.../<task>/<method>/seed_003`, or its own name as the method."""
    config = read_object(path / "config.json")
    labels = {key: str(config.get(key) or "") for key in ("setup", "env")}
    labels["env"] = labels["env"] or _played_in(path)
    labels["seed"] = str(config.get("seed", ""))
    if re.fullmatch(r"seed_\d+", path.name) and len(path.parts) > 2:
        return labels | {"task": path.parts[-3], "method": path.parts[-2], "seed": path.name[5:]}
    return labels | {"task": labels["env"] or path.parent.name or "task", "method": path.name}


def _played_in(path: pathlib.Path) -> str:
    """The environment that a result names, which the config leaves to the demonstrations; "" in older results."""
    environment = read_object(path / "DONE").get("environment")
    return str(environment.get("environment") or "") if isinstance(environment, dict) else ""


def _cells(runs: Sequence[RunScores]) -> list[Cell]:
    """Runs of the same task and variant together; names say what varies besides the method."""
    varies = [len({run.variant[i] for run in runs}) > 1 for i in (1, 2)]
    groups: dict[tuple, list[RunScores]] = {}
    for run in runs:
        groups.setdefault((run.task, run.variant), []).append(run)
    order = {method: place for place, method in enumerate(NAMES)}
    cells = []
    for (task, (method, dataset, setup)), members in groups.items():
        known = NAMES.get(method, method)
        extra = [value for value, shown in zip((dataset, setup), varies, strict=True) if shown and value]
        env = members[0].labels.get("env") or task
        cells.append(Cell(task, env, ", ".join([known, *extra]), known, dataset, setup, tuple(members)))
    places = {
        name: order.get(name, len(order)) for name in dict.fromkeys(run.labels["method"] for run in runs)
    }
    return sorted(cells, key=lambda cell: places[cell.runs[0].labels["method"]])
