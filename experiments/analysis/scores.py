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

from experiments.analysis import intervals
from experiments.analysis.labels import label, place
from experiments.data.evaluation import Scores
from experiments.runs.metrics import read_rows
from experiments.runs.settings import read_json

RANDOM = "random"  # method of the random policy's runs in sweeps


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunScores(Scores):
    """The evaluation of one finished run, which may have several seeds.

    Attributes:
      path: its directory.
      label: of its method, in tables and figures.
      labels: suite, task, method, variant, setup, dataset, seed, env, demonstrations, as far as they are known.
      curve: {"update", "env_step"?, "return": [P, N], "success_any"?: [P, N]} of evaluations during training.
      diverged: seeds that stopped early because something was not finite.
      reward: name of the one that an online run is after; "" of other runs.
    """

    path: pathlib.Path
    label: str
    labels: Mapping[str, str]
    curve: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    diverged: Sequence[int] = ()
    reward: str = ""

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.labels["task"]

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """Method, embodiment data, set-up and variant: what is compared within a task."""
        of = self.labels.get
        return of("method", ""), of("dataset", ""), of("setup", ""), of("variant", "")


def read_scores(path: pathlib.Path, labels: Mapping[str, str]) -> RunScores | None:
    """Reads the scores of a finished run; None if it evaluates nothing.

    Raises:
      ValueError: its DONE cannot be read, or has scores that cannot be averaged.
    """
    result = read_json(path / "DONE")
    scores = Scores.of_row(result)
    for name, values in {"return": scores.returns, **scores.success}.items():
        try:
            if values:
                intervals.seed_scores(values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name!r} in DONE: {error}") from error
    num_seeds = len(scores.returns)
    if not num_seeds:
        return None
    return RunScores(
        **vars(scores),
        path=path,
        label=label_of(path, labels, result),
        labels=labels,
        curve=_curve(read_rows(path / "eval.jsonl"), num_seeds),
        diverged=_diverged(result, num_seeds),
        reward=_reward(path / "config.json"),
    )


def scores_of(path: pathlib.Path, labels: Mapping[str, str]) -> RunScores:
    """Reads the scores of a finished run that evaluates.

    Raises:
      ValueError: it evaluates nothing, or as of `read_scores`.
    """
    found = read_scores(path, labels)
    if found is None:
        raise ValueError(f"{path} has no scores; let it evaluate at least one episode.")
    return found


def label_of(path: pathlib.Path, labels: Mapping[str, str], result: Mapping) -> str:
    """Returns the label that the result records, if the run goes by the method of its config; else that of its name."""
    method, recorded = labels["method"], result.get("label")
    if recorded:
        trained = read_json(path / "config.json").get("method")
        if method in (trained, str(trained).replace(":", ".")):  # directories have no colon
            return recorded
    return label(method)


def _reward(path: pathlib.Path) -> str:
    """Returns the name of the reward of a run of `online`; other commands name none, or by a word."""
    reward = read_json(path).get("reward") if path.is_file() else None
    return reward["name"] if isinstance(reward, Mapping) else ""


def _diverged(result: Mapping, num_seeds: int) -> list[int]:
    """Returns indices of the seeds that have diverged; a run of a single seed records `true`."""
    diverged = result.get("diverged") or []
    return list(range(num_seeds)) if diverged is True else [entry["seed"] for entry in diverged]


def _curve(rows: Sequence[Mapping], num_seeds: int) -> dict[str, np.ndarray]:
    """Averages the episodes of every seed at every evaluation."""
    evaluations = [(row, Scores.of_row(row)) for row in rows]
    evaluations = [(row, scores) for row, scores in evaluations if len(scores.returns) == num_seeds]
    curve = {}
    for name in ("return", "success_any"):
        found = [s.returns if name == "return" else s.success.get("any", ()) for _, s in evaluations]
        if found and all(len(seeds) == num_seeds for seeds in found):
            curve[name] = np.array([[np.mean(np.asarray(seed, float)) for seed in seeds] for seeds in found])
    for clock in ("update", "env_step"):
        if evaluations and all(clock in row for row, _ in evaluations):
            curve[clock] = np.array([row[clock] for row, _ in evaluations])
    return curve


@dataclasses.dataclass(frozen=True)
class Cell:
    """The runs of one method on one task.

    Attributes:
      task, env: where. name: label of the method, with what else varies in the report.
      method: its label alone. dataset, setup, variant: of the runs; "" where unknown.
      runs: with different seeds.
    """

    task: str
    env: str
    name: str
    method: str
    dataset: str
    setup: str
    variant: str
    runs: tuple[RunScores, ...]

    @property
    def num_demonstrations(self) -> int | None:
        """Demonstrations that the runs saw, where they all say the same."""
        counts = {run.labels.get("demonstrations", "") for run in self.runs}
        return int(count) if len(counts) == 1 and (count := counts.pop()).isdigit() else None

    @property
    def reward(self) -> str:
        """Name of the reward that all runs are after, if they are online runs after the same."""
        names = {run.reward for run in self.runs}
        return names.pop() if len(names) == 1 else ""

    @property
    def num_env_steps(self) -> int | None:
        """Simulator steps up to the last evaluation; None for methods that do not learn in the environment."""
        steps = [int(np.max(run.curve["env_step"])) for run in self.runs if "env_step" in run.curve]
        return max(steps, default=0) or None

    @property
    def returns(self) -> list[list[float]]:
        """`[N][E]` of the seeds of all runs."""
        return [seed for run in self.runs for seed in run.returns]

    def success(self, rule: str) -> list[list[float]] | None:
        """Returns `[N][E]` by a rule of `SUCCESS_RULES`; None where a run has none."""
        if not all(rule in run.success for run in self.runs):
            return None
        return [seed for run in self.runs for seed in run.success[rule]]


@dataclasses.dataclass(frozen=True)
class Results:
    """The runs that a report shows.

    Attributes:
      cells: in the order of `labels.LABELS`, then of their runs; without the random policy.
      random: {task: [E] returns of the random policy}.
      unfinished: directories of runs without DONE.
      unreadable: (directory, what is wrong with it) of finished runs that are left out.
      expert: {task: [E] returns of the demonstrations}, where they have been read.
    """

    cells: tuple[Cell, ...]
    random: Mapping[str, list[float]]
    unfinished: tuple[pathlib.Path, ...] = ()
    unreadable: tuple[tuple[pathlib.Path, str], ...] = ()
    expert: Mapping[str, list[float]] = dataclasses.field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """Tasks in order."""
        return list(dict.fromkeys(cell.task for cell in self.cells))

    @property
    def methods(self) -> list[str]:
        """Names of the cells in order."""
        return list(dict.fromkeys(cell.name for cell in self.cells))

    def cell(self, task: str, name: str) -> Cell | None:
        """Returns the cell of a method on a task, if there is one."""
        return next((cell for cell in self.cells if (cell.task, cell.name) == (task, name)), None)

    def of_task(self, task: str) -> list[Cell]:
        """Returns the cells of a task."""
        return [cell for cell in self.cells if cell.task == task]

    def random_return(self, task: str) -> float | None:
        """Returns the mean of the random policy: of its runs, else what the runs of the task agree on."""
        if self.random.get(task):
            return float(np.mean(self.random[task]))
        recorded = {run.random for cell in self.of_task(task) for run in cell.runs} - {None}
        return recorded.pop() if len(recorded) == 1 else None

    def random_of(self, run: RunScores) -> float | None:
        """Returns what is 0% for a run: the random policy on its task, else what it records itself."""
        of_task = self.random_return(run.task)
        return run.random if of_task is None else of_task

    def experts(self, task: str) -> list[float]:
        """Returns the different mean returns of demonstrations that the runs of a task record; usually one."""
        found: list[float] = []
        for run in (run for cell in self.of_task(task) for run in cell.runs):
            if run.expert is not None and not any(math.isclose(run.expert, e, rel_tol=1e-6) for e in found):
                found.append(run.expert)
        return found

    def expert_return(self, task: str) -> float | None:
        """Returns the mean of the demonstrations, where all runs of a task agree on it."""
        experts = self.experts(task)
        return experts[0] if len(experts) == 1 else None

    def expert_of(self, run: RunScores) -> float | None:
        """Returns what is 100% for a run: its own expert; that of its task if it records none."""
        return self.expert_return(run.task) if run.expert is None else run.expert


def read_results(folders: Iterable[str | os.PathLike]) -> Results:
    """Reads every finished run with evaluations below the folders, once, and notes those that cannot be read.

    Raises:
      ValueError: a folder does not exist, or nothing is there.
    """
    runs, unfinished, unreadable = [], [], []
    random: dict[str, list[float]] = {}
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
    return Results(cells_of(runs), random, tuple(unfinished), tuple(unreadable))


def _run_directories(
    folders: Iterable[str | os.PathLike],
) -> Iterator[tuple[pathlib.Path, dict[str, str] | None]]:
    """Yields (directory of a run, its labels in a sweep), once each, however often the folders contain it."""
    roots = list(map(pathlib.Path, folders))
    labels: dict[pathlib.Path, dict[str, str]] = {}
    for folder in roots:
        if not folder.is_dir():
            raise ValueError(f"There is no directory {folder}.")
        labels |= _sweep_labels(folder)
    seen = set()
    for folder in roots:
        for config in sorted(folder.rglob("config.json")):
            path = config.parent
            if path.resolve() in seen or (path != folder and _is_seed_of_a_run(path)):
                continue
            seen.add(path.resolve())
            yield path, labels.get(path.resolve())


def _is_seed_of_a_run(path: pathlib.Path) -> bool:
    """Returns True for `RUN/seeds/0`: RUN has the scores of all its seeds (`experiments.runs.stages`)."""
    *_, parent, name = path.parts
    return parent == "seeds" and name.isdigit() and (path.parent.parent / "config.json").is_file()


def _collected_returns(path: pathlib.Path) -> list[float]:
    """Reads the returns of the episodes of a collection."""
    return [value for row in read_rows(path / "metrics.jsonl") for value in row.get("episode/return", [])]


def _sweep_labels(folder: pathlib.Path) -> dict[pathlib.Path, dict[str, str]]:
    """Reads {directory of a run: labels} of the sweeps in a folder, or in one above it."""
    found = {}
    for root in (folder.resolve(), *folder.resolve().parents[:3]):
        for file in sorted((root / "sweep").glob("*.json")):
            with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
                for name, run in read_json(file).items():
                    found[root / name] = {key: str(value) for key, value in run["labels"].items()}
    return found


def _guessed_labels(path: pathlib.Path) -> dict[str, str]:
    """Labels a run that is not part of a sweep: `.../<task>/<method>/seed_003`, or its own name as the method."""
    config = read_json(path / "config.json")
    labels = {key: str(config.get(key) or "") for key in ("setup", "env")}
    labels["env"] = labels["env"] or _played_in(path)
    labels["seed"] = str(config.get("seed", ""))
    if re.fullmatch(r"seed_\d+", path.name) and len(path.parts) > 2:
        return labels | {"task": path.parts[-3], "method": path.parts[-2], "seed": path.name[5:]}
    return labels | {"task": labels["env"] or path.parent.name or "task", "method": path.name}


def _played_in(path: pathlib.Path) -> str:
    """Returns the environment that a result names, which the config leaves to the demonstrations; "" in older ones."""
    environment = read_json(path / "DONE").get("environment")
    return str(environment.get("environment") or "") if isinstance(environment, dict) else ""


def cells_of(runs: Sequence[RunScores]) -> tuple[Cell, ...]:
    """Puts the runs of the same task, method and variant together; names say what varies besides the method."""
    varies = [len({run.cell[i] for run in runs}) > 1 for i in (1, 2, 3)]
    groups: dict[tuple[str, tuple[str, str, str, str]], list[RunScores]] = {}
    for run in sorted(runs, key=lambda run: place(run.cell[0])):
        groups.setdefault((run.task, run.cell), []).append(run)
    cells = []
    for (task, (_, dataset, setup, variant)), members in groups.items():
        rest = (dataset, setup, variant)
        extra = [value for value, shown in zip(rest, varies, strict=True) if shown and value]
        env = members[0].labels.get("env") or task
        name = members[0].label
        cells.append(Cell(task, env, ", ".join([name, *extra]), name, *rest, tuple(members)))
    return tuple(cells)
