"""Automatic discount scheduling (ADS, Liu et al., ICLR 2024): do not look further ahead than one can follow.

The agent imitates the first k steps first. Its discount is gamma = alpha^(1/k), so that the weight of step k is
alpha; k grows while the agent's episodes keep up with the first k steps of the demonstrations. How well an episode
keeps up is the length of the longest increasing subsequence of its steps' nearest neighbours among the
demonstration's: the number of steps of the demonstration that it passes in order.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class ScheduleSettings:
    """The published values.

    Attributes:
      alpha: weight of step k, the last that the agent is meant to see.
      start: share of the demonstration's length that k begins with.
      threshold: share of the demonstrations' own score that the agent must reach.
      max_steps: by which k grows at most in one go.
      demonstration_percentile: over pairs of demonstrations, of the scores that they reach on each other.
      agent_percentile: over pairs of an episode and a demonstration.
    """

    alpha: float = 0.2
    start: float = 0.2
    threshold: float = 0.9
    max_steps: int = 5
    demonstration_percentile: float = 50.0
    agent_percentile: float = 90.0


def discount(progress: int, alpha: float = ScheduleSettings.alpha) -> float:
    """gamma = alpha^(1/k)."""
    return float(alpha ** (1.0 / progress))


def longest_increasing_subsequence(values: Sequence[int]) -> int:
    """Length of the longest strictly increasing subsequence."""
    tails: list[int] = []  # tails[n]: least last value of an increasing subsequence of length n + 1
    for value in values:
        place = bisect.bisect_left(tails, value)
        tails[place : place + 1] = [value]
    return len(tails)


def progress_score(cost: np.ndarray, progress: int) -> int:
    """Counts how many of the first `progress` steps of a demonstration are passed in order, given costs [N, M]."""
    return longest_increasing_subsequence(np.argmin(cost[:progress, :progress], axis=1).tolist())


class DiscountSchedule:
    """The schedule for a set of demonstrations; its only state, k, is the caller's.

    Args:
      settings: the published ones by default.
      lengths: of the demonstrations, in steps.
      costs: {(i, j): [N_i, N_j]} costs between demonstrations i < j; empty for a single one, whose score on itself
        is perfect.
    """

    def __init__(
        self, settings: ScheduleSettings, lengths: Sequence[int], costs: dict[tuple[int, int], np.ndarray]
    ):
        self._settings = settings
        self.horizon = min(lengths)
        self._costs = [cost for pair in costs.values() for cost in (pair, pair.T)]

    @property
    def start(self) -> int:
        """The first k."""
        return max(1, int(self._settings.start * self.horizon))

    def discount(self, progress: int) -> float:
        """gamma for k."""
        return discount(progress, self._settings.alpha)

    def reference(self, progress: int) -> float:
        """Returns the score of demonstrations on each other at k."""
        if not self._costs:
            return float(progress)
        scores = [progress_score(cost, progress) for cost in self._costs]
        return float(np.percentile(scores, self._settings.demonstration_percentile))

    def advance(self, progress: int, costs: Sequence[np.ndarray]) -> int:
        """Returns the next k.

        Args:
          progress: the present one.
          costs: [N, M] of each recent episode to each demonstration.
        """
        settings = self._settings
        for _ in range(settings.max_steps):
            scores = [progress_score(cost, progress) for cost in costs]
            score = np.percentile(scores, settings.agent_percentile)
            # The published code rounds the bar down.
            if progress >= self.horizon or score < int(settings.threshold * self.reference(progress)):
                break
            progress += 1
        return progress


def pairs(num: int) -> list[tuple[int, int]]:
    """Returns all pairs i < j."""
    return list(itertools.combinations(range(num), 2))
