"""Averages over tasks: aggregates with intervals, performance profiles, and which method is better.

Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice". Scores are normalised per
task first; a stratum is a task.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments import statistics
from experiments.statistics import Improvement, Interval, Scores
from experiments.sweep_results import Results


@dataclass(frozen=True)
class Normalisation:
    """A way to make the returns of several tasks comparable.

    Attributes:
      key: for file names. text: for captions and axes.
      apply: ([N][E] returns, task) -> [N][E] in %, or None where the task has no expert, or no random policy.
    """

    key: str
    text: str
    apply: Callable[[Scores, str], list[list[float]] | None]


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

    def by_expert(scores: Scores, task: str):
        expert = results.expert_return(task)
        if expert is None or expert <= 0:
            return None
        return [statistics.by_expert(seed, expert).tolist() for seed in scores]

    def by_both(scores: Scores, task: str):
        expert, random = results.expert_return(task), results.random_return(task)
        if expert is None or random is None or expert <= random:
            return None
        return [statistics.by_random_and_expert(seed, random, expert).tolist() for seed in scores]

    return [
        Normalisation("by_expert", "% of expert", by_expert),
        Normalisation("by_random_and_expert", "% between random and expert", by_both),
    ]


def strata(results: Results, name: str, normalisation: Normalisation) -> dict[str, list[list[float]]]:
    """{task: normalised [N][E]} of a method, where both exist."""
    cells = [cell for cell in results.cells if cell.name == name]
    scores = {cell.task: normalisation.apply(cell.returns, cell.task) for cell in cells}
    return {task: values for task, values in scores.items() if values is not None}


def aggregate(scores: Sequence[Scores], *, resamples: int = 2000) -> Aggregate:
    """Mean, median and interquartile mean as of `statistics.over_tasks`, with stratified-bootstrap intervals.

    Args:
      scores: [N][E] of each task, normalised.
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
      scores: [N][E] of each task, normalised.
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


def improvements(
    results: Results, normalisation: Normalisation, *, resamples: int = 1000
) -> dict[tuple[str, str], Improvement]:
    """{(one, other): probability that one is better} of every pair of methods, over the tasks that they share."""
    scores = {name: strata(results, name, normalisation) for name in results.methods}
    found = {}
    for ours, theirs in itertools.combinations(scores, 2):
        shared = [task for task in scores[ours] if task in scores[theirs]]
        if shared:
            pair = ([scores[name][task] for task in shared] for name in (ours, theirs))
            found[ours, theirs] = statistics.probability_of_improvement(*pair, resamples=resamples)
    return found
