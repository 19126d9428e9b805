"""Averages over tasks: aggregates with intervals, performance profiles, which method is better, what is left out.

Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice". Scores are normalised per
task first; a stratum is a task.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.analysis import intervals as statistics
from experiments.analysis.intervals import Improvement, Interval, Scores
from experiments.analysis.scores import Cell, Results, RunScores
from experiments.data.evaluation import by_random_and_expert


@dataclass(frozen=True)
class Normalisation:
    """A scale on which the returns of several tasks are comparable.

    Attributes:
      key: for file names. text: for captions and axes.
      zero, hundred: the returns that are 0% and 100% for a run; None where they are unknown.
    """

    key: str
    text: str
    zero: Callable[[RunScores], float | None]
    hundred: Callable[[RunScores], float | None]

    def why_not(self, run: RunScores) -> str:
        """Says what keeps a run from being normalised; "" if nothing does."""
        zero, hundred = self.zero(run), self.hundred(run)
        if hundred is None:
            return "no return of an expert above zero is recorded"
        if zero is None:
            return (
                "there are no runs of the random policy, and no --config.evaluation.random_return is recorded"
            )
        if hundred <= zero:
            return f"the expert's return, {hundred:.1f}, is not above {zero:.1f}"
        return ""

    def apply(self, run: RunScores) -> list[list[float]] | None:
        """Returns the normalised returns of a run, `[N][E]` in %, or None."""
        zero, hundred = self.zero(run), self.hundred(run)
        if zero is None or hundred is None or hundred <= zero:  # `why_not` says which
            return None
        return [by_random_and_expert(seed, zero, hundred).tolist() for seed in run.returns]

    def of_cell(self, cell: Cell) -> list[list[float]] | None:
        """Returns those of the runs of a cell that can be normalised, `[N][E]` in %; None if there are none."""
        found = [seed for run in cell.runs for seed in self.apply(run) or ()]
        return found or None


@dataclass(frozen=True)
class Aggregate:
    """One method over all tasks.

    Attributes:
      values: {"mean", "median", "iqm": value}; intervals: {the same: Interval}.
      num_tasks, num_seeds: behind them; num_seeds over all tasks.
    """

    values: Mapping[str, float]
    intervals: Mapping[str, Interval]
    num_tasks: int
    num_seeds: int


def normalisations(results: Results) -> list[Normalisation]:
    """Returns those by the expert (as the AIME papers print), and by the random policy and the expert."""
    return [
        Normalisation("by_expert", "% of expert", lambda run: 0.0, results.expert_of),
        Normalisation(
            "by_random_and_expert", "% between random and expert", results.random_of, results.expert_of
        ),
    ]


def strata(results: Results, name: str, normalisation: Normalisation) -> dict[str, list[list[float]]]:
    """Returns {task: normalised `[N][E]`} of a method, where both exist."""
    cells = [cell for cell in results.cells if cell.name == name]
    scores = {cell.task: normalisation.of_cell(cell) for cell in cells}
    return {task: values for task, values in scores.items() if values is not None}


def aggregate(scores: Sequence[Scores], *, resamples: int = 2000) -> Aggregate:
    """Averages a method over tasks as `intervals.over_tasks` does, with stratified-bootstrap intervals.

    Args:
      scores: `[N][E]` of each task, normalised.
    """
    of_tasks = [statistics.seed_scores(task) for task in scores]
    return Aggregate(
        values={name: float(statistics.over_tasks(of_tasks, name)) for name in statistics.STATISTICS},
        intervals={
            name: statistics.stratified_bootstrap_interval(scores, name, resamples=resamples)
            for name in statistics.STATISTICS
        },
        num_tasks=len(scores),
        num_seeds=sum(map(len, of_tasks)),
    )


def performance_profile(
    scores: Sequence[Scores], thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes the share of seeds above each threshold, over all tasks, with a 95% bootstrap band.

    Args:
      scores: `[N][E]` of each task, normalised.
      thresholds: [K].

    Returns:
      share, low and high, [K] each; seeds are drawn within their tasks.
    """
    generator = np.random.default_rng(0)
    of_tasks = [statistics.seed_scores(task) for task in scores]
    drawn = [
        values[generator.integers(len(values), size=(500, len(values)))] for values in of_tasks
    ]  # [R, N]
    above = np.mean(np.concatenate(drawn, axis=1)[:, None, :] > thresholds[:, None], axis=-1)  # [R, K]
    share = np.mean(np.concatenate(of_tasks)[None, :] > thresholds[:, None], axis=-1)
    return share, *np.quantile(above, [0.025, 0.975], axis=0)


def improvements(
    results: Results, normalisation: Normalisation, *, resamples: int = 1000
) -> dict[tuple[str, str], Improvement]:
    """Returns {(one, other): how often the one is better} of all pairs of methods that share tasks, both ways."""
    scores = {name: strata(results, name, normalisation) for name in results.methods}
    found: dict[tuple[str, str], Improvement] = {}
    for ours, theirs in itertools.combinations(scores, 2):
        shared = [task for task in scores[ours] if task in scores[theirs]]
        if shared:
            pair = ([scores[name][task] for task in shared] for name in (ours, theirs))
            better = statistics.probability_of_improvement(*pair, resamples=resamples)
            found |= {(ours, theirs): better, (theirs, ours): better.reversed()}
    return found


def seed_rows(results: Results, normalisations: Sequence[Normalisation]) -> list[dict[str, object]]:
    """Returns everything as one long table: a row per seed of every run, for the reader's own analysis."""
    rows = []
    for cell in results.cells:
        of_cell = {"task": cell.task, "method": cell.method, "dataset": cell.dataset, "setup": cell.setup}
        for run in cell.runs:
            for index, episodes in enumerate(run.returns):
                row: dict[str, object] = {**of_cell}
                row |= {"run": str(run.path), "seed": run.labels.get("seed", ""), "index": index}
                row |= {"episodes": len(episodes), "return": float(np.mean(episodes))}
                row["expert"] = run.expert
                for normalisation in normalisations:
                    scores = normalisation.apply(run)
                    row[normalisation.key] = None if scores is None else float(np.mean(scores[index]))
                row |= {f"success_{rule}": float(np.mean(v[index])) for rule, v in run.success.items()}
                rows.append(row | {"diverged": index in run.diverged})
    return rows


def notes(results: Results, normalisations: Sequence[Normalisation]) -> list[str]:
    """Says what a reader should know before comparing, in whole sentences; nothing of runs that belong together.

    Args:
      normalisations: those that the report shows.
    """
    found = [different_experts(results, task) for task in results.tasks]
    found += repeated_seeds(results)
    for normalisation in normalisations:
        found += left_out(results, normalisation)
    return [text for text in found if text]


def different_experts(results: Results, task: str) -> str:
    """Says that the runs of a task were shown different experts; "" if they were not."""
    experts = results.experts(task)
    if len(experts) < 2:
        return ""
    listed = ", ".join(f"{value:.1f}" for value in experts)
    return (
        f"{task}: the runs have different experts (returns {listed}), and each is measured by its own; one that "
        "records none is not normalised."
    )


def repeated_seeds(results: Results) -> list[str]:
    """Says which seeds of a task and method come from several directories, all of which count."""
    directories: dict[tuple, list[str]] = {}
    for cell in results.cells:
        for run in cell.runs:
            for seed in _seeds(run):
                directories.setdefault((cell.task, cell.name, seed), []).append(str(run.path))
    texts: dict[tuple, list[int]] = {}
    for (task, name, seed), paths in directories.items():
        if len(paths) > 1:
            texts.setdefault((task, name, tuple(paths)), []).append(seed)
    return [
        f"{task}, {name}: seed {', '.join(map(str, seeds))} comes from {len(paths)} directories, which all count: "
        f"{', '.join(paths)}. Report them apart if they are not the same experiment."
        for (task, name, paths), seeds in texts.items()
    ]


def left_out(results: Results, normalisation: Normalisation) -> list[str]:
    """Says which tasks, or which runs of them, are not in the aggregates of a normalisation, and why."""
    texts = []
    for task in results.tasks:
        runs = [run for cell in results.of_task(task) for run in cell.runs]
        reasons = [normalisation.why_not(run) for run in runs]
        for reason in dict.fromkeys(filter(None, reasons)):
            count = reasons.count(reason)
            who = "" if count == len(runs) else f" {count} of {len(runs)} runs:"
            texts.append(f"{task}:{who} not in the aggregates in {normalisation.text}, because {reason}.")
    return texts


def _seeds(run: RunScores) -> list[int]:
    """Returns the numbers of its seeds: the first one and those that follow; none where it is unknown."""
    first = run.labels.get("seed", "")
    return [int(first) + index for index in range(len(run.returns))] if first.isdigit() else []
