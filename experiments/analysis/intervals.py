"""Scores of several seeds: averages, 95% intervals and normalised scores.

Everywhere `scores` are the evaluation returns of one method, one list per seed with one number per episode
(`[N][E]`, seeds may have different numbers of episodes). The score of a seed is the mean over its episodes:
seeds vary between two runs, while episodes of one policy are not repetitions of an experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

FEW_SEEDS = 10  # below this the percentile bootstrap is too narrow, and Student's t is used.

Numbers = Sequence[float] | np.ndarray
Scores = Sequence[Numbers] | np.ndarray


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
      low, high: bounds, in the units of the scores; NaN where one number does not allow any.
      kind: how it was computed, for captions, e.g. "Student t over 4 seeds".
    """

    low: float
    high: float
    kind: str


@dataclass(frozen=True)
class Summary:
    """The averages of one method over its seeds.

    Attributes:
      mean, median, iqm: over the scores of the seeds.
      interval: of the mean.
      seed_scores: [N] mean return of each seed.
      num_seeds: N.
      num_episodes: of each seed; the smallest number if they differ.
    """

    mean: float
    median: float
    iqm: float
    interval: Interval
    seed_scores: np.ndarray
    num_seeds: int
    num_episodes: int


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Averages the middle half along the last axis: floor(n / 4) values are left out at each end.

    Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice".
    """
    values = np.sort(np.asarray(values, np.float64), axis=-1)
    size = values.shape[-1]
    return values[..., size // 4 : size - size // 4].mean(axis=-1)


def over_tasks(tasks: Sequence[np.ndarray], statistic: str) -> np.ndarray:
    """Computes a statistic of several tasks, as Agarwal et al. 2021 and their `rliable` define it.

    The mean and the median are over tasks, of the mean over the seeds of each, so that a task with more seeds counts
    no more than another. The interquartile mean is over the seeds of all tasks together.

    Args:
      tasks: [..., N] scores of the seeds of each task; tasks may have different numbers of seeds.
      statistic: "mean", "median" or "iqm".

    Returns:
      [...].
    """
    if statistic == "iqm":
        return interquartile_mean(np.concatenate(tasks, axis=-1))
    means = np.stack([np.mean(task, axis=-1) for task in tasks], axis=-1)
    return {"mean": means.mean(axis=-1), "median": np.median(means, axis=-1)}[statistic]


STATISTICS = ("mean", "median", "iqm")


def seed_scores(scores: Scores) -> np.ndarray:
    """Averages over the episodes of each seed.

    Args:
      scores: `[N][E]` returns.

    Returns:
      [N] float64.

    Raises:
      ValueError: no seeds, a seed without episodes, or a value that is not finite.
    """
    return np.array([episodes.mean() for episodes in _checked(scores)])


def student_t_interval(values: Numbers, *, unit: str = "seeds") -> Interval:
    """Returns mean ± t_(n-1) s / sqrt(n): the 95% interval of a mean of few independent normal values.

    Args:
      values: [n]; with n = 1 there is no interval and both bounds are NaN.
      unit: what the values are, for the text of the interval.
    """
    values = np.asarray(values, np.float64)
    size = values.size
    if size < 2:
        return Interval(float("nan"), float("nan"), f"none: 1 of {unit}")
    half_width = stdtrit(size - 1, 0.975) * values.std(ddof=1) / np.sqrt(size)
    centre = values.mean()
    return Interval(float(centre - half_width), float(centre + half_width), f"Student t over {size} {unit}")


def stratified_bootstrap_interval(
    strata: Sequence[Scores],
    statistic: str = "mean",
    *,
    confidence: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> Interval:
    """Bootstraps a statistic over the seeds of one or more tasks and returns its percentiles.

    Each resample draws, within every stratum (task), as many seeds as there are with replacement, and as many
    episodes with replacement within each drawn seed; the statistic is that of `over_tasks`. The same `seed` gives
    the same interval.

    Args:
      strata: one `[N][E]` of scores per task; `[scores]` for a single task.
      statistic: "mean", "median" or "iqm".
      confidence: probability mass between the two percentiles.
      resamples: number of bootstrap samples.
      seed: of the random numbers.

    Raises:
      ValueError: an unknown statistic, no strata, or scores that `seed_scores` refuses.
    """
    if statistic not in STATISTICS:
        raise ValueError(f"Unknown statistic {statistic!r}. Known: {', '.join(sorted(STATISTICS))}.")
    if not len(strata):
        raise ValueError("stratified_bootstrap_interval got no strata; pass [scores] for a single task.")
    generator = np.random.default_rng(seed)
    drawn = [_resampled_seed_scores(_checked(s), generator, resamples) for s in strata]
    values = over_tasks(drawn, statistic)
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    count = sum(len(s) for s in strata)
    return Interval(float(low), float(high), f"bootstrap over {count} seeds x episodes")


@dataclass(frozen=True)
class Improvement:
    """Probability that one method beats another.

    Attributes:
      probability: that a seed of the one scores higher than a seed of the other; ties count half.
      interval: of it.
      num_tasks: that it is averaged over.
    """

    probability: float
    interval: Interval
    num_tasks: int

    def reversed(self) -> Improvement:
        """Returns how often the other beats the one."""
        low, high = 1.0 - self.interval.high, 1.0 - self.interval.low
        interval = Interval(low, high, self.interval.kind)
        return Improvement(1.0 - self.probability, interval, self.num_tasks)


def probability_of_improvement(
    ours: Sequence[Scores], theirs: Sequence[Scores], *, resamples: int = 5000, seed: int = 0
) -> Improvement:
    """Computes P(X > Y) + P(X = Y) / 2, over seeds of each task and averaged over tasks (Agarwal et al. 2021).

    On one task this is the Mann-Whitney statistic U / (N M). The interval is the 95% percentile bootstrap of
    `stratified_bootstrap_interval`, with both methods drawn.

    Args:
      ours, theirs: one `[N][E]` of scores per task; `[scores]` for a single task.

    Raises:
      ValueError: other numbers of tasks, or scores that `seed_scores` refuses.
    """
    if not len(ours) or len(ours) != len(theirs):
        raise ValueError(
            f"Both methods need scores of the same tasks, at least one; got {len(ours)} and {len(theirs)}."
        )
    generator = np.random.default_rng(seed)
    values, drawn, count = [], [], 0
    for x, y in zip(ours, theirs, strict=True):
        x, y = _checked(x), _checked(y)
        count += len(x) + len(y)
        values.append(_wins(seed_scores(x)[None], seed_scores(y)[None])[0])
        samples = (_resampled_seed_scores(s, generator, resamples) for s in (x, y))
        drawn.append(_wins(*samples))
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    interval = Interval(float(low), float(high), f"bootstrap over {count} seeds")
    return Improvement(float(np.mean(values)), interval, len(ours))


def improvements(scores: Mapping[str, Scores], reference: str) -> dict[str, Improvement]:
    """Returns {method: how often the reference beats it on one task}, of those that have several seeds, as it has.

    Args:
      scores: {method: `[N][E]`}, with or without the reference.
    """
    several = {method: of_method for method, of_method in scores.items() if len(of_method) > 1}
    ours = several.pop(reference, None)
    return (
        {}
        if ours is None
        else {name: probability_of_improvement([ours], [of]) for name, of in several.items()}
    )


def _wins(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the share of pairs in which x wins, ties half: [R, N] and [R, M] -> [R]."""
    difference = x[:, :, None] - y[:, None, :]
    return ((difference > 0) + 0.5 * (difference == 0)).mean(axis=(1, 2))


def confidence_interval(scores: Scores) -> Interval:
    """Returns the 95% interval of the mean that suits the number of seeds.

    One seed: Student's t over its episodes, which says nothing about other seeds (its `kind` names them). Two to
    nine: Student's t over seeds. From ten on: the stratified bootstrap.
    """
    checked = _checked(scores)
    if len(checked) == 1:
        return student_t_interval(checked[0], unit="episodes")
    if len(checked) < FEW_SEEDS:
        return student_t_interval(seed_scores(checked))
    return stratified_bootstrap_interval([checked])


def summarise(scores: Scores) -> Summary:
    """Averages scores `[N][E]` over seeds, with the interval of the mean."""
    checked = _checked(scores)
    values = seed_scores(checked)
    return Summary(
        mean=float(np.mean(values)),
        median=float(np.median(values)),
        iqm=float(interquartile_mean(values)),
        interval=confidence_interval(checked),
        seed_scores=values,
        num_seeds=len(checked),
        num_episodes=min(len(episodes) for episodes in checked),
    )


def _checked(scores: Scores) -> list[np.ndarray]:
    """Returns scores as one float64 array per seed; refuses what is empty or not finite."""
    checked = [np.asarray(episodes, np.float64) for episodes in scores]
    if not checked:
        raise ValueError("Scores have no seeds; expected one list of episode returns per seed.")
    for index, episodes in enumerate(checked):
        if episodes.ndim != 1 or not episodes.size:
            raise ValueError(
                f"Scores of seed {index} have shape {list(episodes.shape)}; expected a list of returns."
            )
        if not np.isfinite(episodes).all():
            raise ValueError(f"Scores of seed {index} contain a value that is not finite: evaluate again.")
    return checked


def _resampled_seed_scores(
    checked: list[np.ndarray], generator: np.random.Generator, resamples: int
) -> np.ndarray:
    """Draws bootstrap samples of the seed scores of one stratum, [R, N]."""
    num_seeds = len(checked)
    lengths = np.array([len(episodes) for episodes in checked])
    padded = np.zeros((num_seeds, lengths.max()))
    for row, episodes in zip(padded, checked, strict=True):
        row[: len(episodes)] = episodes
    drawn_seeds = generator.integers(num_seeds, size=(resamples, num_seeds))
    drawn_lengths = lengths[drawn_seeds][..., None]  # [R, N, 1]
    uniform = generator.random((resamples, num_seeds, lengths.max()))
    drawn_episodes = (uniform * drawn_lengths).astype(np.int64)  # [R, N, E]
    counted = np.arange(lengths.max()) < drawn_lengths
    values = padded[drawn_seeds[..., None], drawn_episodes]
    return (values * counted).sum(axis=-1) / drawn_lengths[..., 0]
