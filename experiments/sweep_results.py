"""What finished runs have scored, read from any directories: sweeps of `launch`, single runs, folders of runs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from experiments.metrics_writer import read_rows

SUCCESS_RULES = {
    "any": "any record of an episode is a success",
    "final": "its last record is one",
    "held": "more than three of its records are (the rule of ROT and ADS)",
}
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
class RunScores:
    """The evaluation of one finished run, which may hold several seeds.

    Attributes:
      path: its directory.
      labels: suite, task, method, setup, dataset, seed, env, as far as they are known.
      returns: [N][E]. success: {"any", "final", "held": [N][E]}, empty where the environment defines none.
      expert: mean return of its demonstrations, or None.
      curve: {"update", "env_step"?, "return": [P, N], "success_any"?: [P, N]} of evaluations during training.
      diverged: seeds that stopped early because something was not finite.
    """

    path: pathlib.Path
    labels: Mapping[str, str]
    returns: list[list[float]]
    success: Mapping[str, list[list[float]]]
    expert: float | None
    curve: Mapping[str, np.ndarray]
    diverged: list[int]

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.labels["task"]

    @property
    def variant(self) -> tuple[str, str, str]:
        """Method, embodiment data and set-up: what is compared within a task."""
        return tuple(self.labels.get(key, "") for key in ("method", "dataset", "setup"))


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
        """[N][E] of the seeds of all runs."""
        return [seed for run in self.runs for seed in run.returns]

    def success(self, rule: str) -> list[list[float]] | None:
        """[N][E] by a rule of `SUCCESS_RULES`; None where a run has none."""
        found = [run.success.get(rule) for run in self.runs]
        return None if None in found else [seed for run in found for seed in run]

    @property
    def expert(self) -> float | None:
        """Mean return of the demonstrations."""
        return next((run.expert for run in self.runs if run.expert is not None), None)


@dataclasses.dataclass(frozen=True)
class Results:
    """All that a report shows.

    Attributes:
      cells: in the order of `NAMES`, then of their runs; without the random policy.
      random: {task: [E] returns of the random policy}.
      unfinished: directories of runs without DONE.
    """

    cells: tuple[Cell, ...]
    random: Mapping[str, list[float]]
    unfinished: tuple[pathlib.Path, ...]

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
        """Mean return of the random policy."""
        return float(np.mean(self.random[task])) if self.random.get(task) else None

    def expert_return(self, task: str) -> float | None:
        """Mean return of the demonstrations."""
        return next((cell.expert for cell in self.of_task(task) if cell.expert is not None), None)


def read_results(folders: Iterable[str | os.PathLike]) -> Results:
    """Reads every finished run with evaluations below the folders.

    Raises:
      ValueError: a folder does not exist, or nothing is there.
    """
    runs, random, unfinished = [], {}, []
    for folder in map(pathlib.Path, folders):
        if not folder.is_dir():
            raise ValueError(f"There is no directory {folder}.")
        labels = _sweep_labels(folder)
        for config in sorted(folder.rglob("config.json")):
            path = config.parent
            if not (path / "DONE").is_file():
                unfinished.append(path)
                continue
            of_run = labels.get(path.resolve()) or _guessed_labels(path)
            if of_run.get("method") == RANDOM:
                random.setdefault(of_run["task"], []).extend(_collected_returns(path))
            elif "stage" not in of_run:
                runs += _read_run(path, of_run)
    if not runs:
        raise ValueError(
            "There is no finished run with evaluations below these directories; "
            "finish some (`python -m launch.sweep status --root=DIR` says which are missing)."
        )
    return Results(tuple(_cells(runs)), random, tuple(unfinished))


def _read_run(path: pathlib.Path, labels: Mapping[str, str]) -> list[RunScores]:
    """The scores of a run; none if it evaluates nothing."""
    result = _read_json(path / "DONE")
    if not isinstance(result.get("return"), list) or not result["return"]:
        return []
    success = {rule: result[f"success_{rule}"] for rule in SUCCESS_RULES if f"success_{rule}" in result}
    diverged = [entry["seed"] for entry in result.get("diverged", [])]
    curve = _curve(read_rows(path / "eval.jsonl"), len(result["return"]))
    return [RunScores(path, labels, result["return"], success, result.get("expert_return"), curve, diverged)]


def _curve(rows: Sequence[Mapping], num_seeds: int) -> dict[str, np.ndarray]:
    """Means over episodes of every seed at every evaluation."""
    rows = [
        row for row in rows if len(row.get("return", [])) == num_seeds and isinstance(row["return"][0], list)
    ]
    if not rows:
        return {}
    curve = {name: np.array([[np.mean(seed) for seed in row[name]] for row in rows]) for name in ("return",)}
    if all("success_any" in row for row in rows):
        curve["success_any"] = np.array([[np.mean(seed) for seed in row["success_any"]] for row in rows])
    for clock in ("update", "env_step"):
        if all(clock in row for row in rows):
            curve[clock] = np.array([row[clock] for row in rows])
    return curve


def _collected_returns(path: pathlib.Path) -> list[float]:
    """Returns of the episodes of a collection."""
    return [value for row in read_rows(path / "metrics.jsonl") for value in row.get("episode/return", [])]


def _sweep_labels(folder: pathlib.Path) -> dict[pathlib.Path, dict[str, str]]:
    """{directory of a run: labels} of the sweeps in a folder, or in one that it lies in."""
    found = {}
    for root in (folder.resolve(), *folder.resolve().parents[:3]):
        for file in sorted((root / "sweep").glob("*.json")):
            with contextlib.suppress(AttributeError, KeyError):
                for name, run in _read_json(file).items():
                    found[root / name] = {key: str(value) for key, value in run["labels"].items()}
    return found


def _guessed_labels(path: pathlib.Path) -> dict[str, str]:
    """Labels of a run that is not part of a sweep: `.../<task>/<method>/seed_003`, or its own name as the method."""
    config = _read_json(path / "config.json")
    labels = {"setup": str(config.get("setup", "")), "env": str(config.get("env") or "")}
    if re.fullmatch(r"seed_\d+", path.name) and len(path.parts) > 2:
        return labels | {"task": path.parts[-3], "method": path.parts[-2], "seed": path.name[5:]}
    return labels | {"task": labels["env"] or path.parent.name or "task", "method": path.name}


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


def _read_json(path: pathlib.Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
