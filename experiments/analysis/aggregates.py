"""Averages over tasks: aggregates with intervals, performance profiles, and which method is better.

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
from experiments.analysis.scores import RunScores
from experiments.analysis.sweep_results import Cell, Results
from experiments.data.evaluation import by_random_and_expert


@dataclass(frozen=True)
class Normalisation:
    """A way to make the returns of several tasks comparable.

    Attributes:
      key: for file names. text: for captions and axes.
      zero, hundred: the returns that are 0% and 100% for a run; None where they are unknown.
    """

    key: str
    text: str
    zero: Callable[[RunScores], float | None]
    hundred: Callable[[RunScores], float | None]

    def why_not(self, run: RunScores) -> str:
        """What keeps a run from being normalised; "" if nothing does."""
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
        """The returns of a run, `[N][E]` in %, or None."""
        if self.why_not(run):
            return None
        bounds = self.zero(run), self.hundred(run)
        return [by_random_and_expert(seed, *bounds).tolist() for seed in run.returns]

    def of_cell(self, cell: Cell) -> list[list[float]] | None:
        """The returns of the runs of a cell that can be normalised, `[N][E]` in %; None if there are none."""
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
    """By the expert (as the AIME papers print), and by the random policy and the expert."""
    return [
        Normalisation("by_expert", "% of expert", lambda run: 0.0, results.expert_of),
        Normalisation(
            "by_random_and_expert", "% between random and expert", results.random_of, results.expert_of
        ),
    ]


def strata(results: Results, name: str, normalisation: Normalisation) -> dict[str, list[list[float]]]:
    """{task: normalised `[N][E]`} of a method, where both exist."""
    cells = [cell for cell in results.cells if cell.name == name]
    scores = {cell.task: normalisation.of_cell(cell) for cell in cells}
    return {task: values for task, values in scores.items() if values is not None}


def aggregate(scores: Sequence[Scores], *, resamples: int = 2000) -> Aggregate:
    """Mean, median and interquartile mean as of `statistics.over_tasks`, with stratified-bootstrap intervals.

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
    scores: Sequence[Scores], thresholds: np.ndarray, *, resamples: int = 500, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of seeds, over all tasks, whose score is above each threshold, with a 95% bootstrap band.

    Args:
      scores: `[N][E]` of each task, normalised.
      thresholds: [K].

    Returns:
      share, low and high, [K] each; seeds are drawn within their tasks.
    """
    generator = np.random.default_rng(seed)
    of_tasks = [statistics.seed_scores(task) for task in scores]
    drawn = [
        values[generator.integers(len(values), size=(resamples, len(values)))] for values in of_tasks
    ]  # [R, N]
    above = np.mean(np.concatenate(drawn, axis=1)[:, None, :] > thresholds[:, None], axis=-1)  # [R, K]
    share = np.mean(np.concatenate(of_tasks)[None, :] > thresholds[:, None], axis=-1)
    return share, *np.quantile(above, [0.025, 0.975], axis=0)


@dataclass(frozen=True)
class Pair:
    """Two methods on the tasks that both have.

    Attributes:
      improvement: how often the one beats the other. num_tasks: that it is averaged over.
    """

    improvement: Improvement
    num_tasks: int


def improvements(
    results: Results, normalisation: Normalisation, *, resamples: int = 1000
) -> dict[tuple[str, str], Pair]:
    """{(one, other): how often the one is better} of every pair of methods that share tasks, in both directions."""
    scores = {name: strata(results, name, normalisation) for name in results.methods}
    found = {}
    for ours, theirs in itertools.combinations(scores, 2):
        shared = [task for task in scores[ours] if task in scores[theirs]]
        if shared:
            pair = ([scores[name][task] for task in shared] for name in (ours, theirs))
            better = statistics.probability_of_improvement(*pair, resamples=resamples)
            found[ours, theirs] = Pair(better, len(shared))
            found[theirs, ours] = Pair(better.reversed(), len(shared))
    return found
