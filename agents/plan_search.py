"""Searching for the sequence of actions with the highest score: CEM, MPPI and iCEM, one loop with their settings.

candidates ~ clip(mean + std * noise)        noise: white, or with the spectrum f^-beta along time
elites = the candidates with the highest scores
mean, std = those of the elites, evenly or with weights softmax(temperature * score)
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from worldmodels.structures import Array

RETURNED = ("mean", "best", "drawn")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """Settings of the search; the defaults are PlaNet's.

    Attributes:
      horizon: H, actions per sequence.
      num_iterations, num_candidates, num_elites: of the search.
      decay: every iteration has so many times fewer candidates, but at least twice as many as elites.
      init_std, min_std, max_std: of the first search distribution, and limits of those that follow.
      temperature: None averages the elites evenly; else with weights softmax(temperature * score).
      momentum, std_momentum: share of the old mean and of the old std that is kept in every iteration.
      noise_beta: the noise has the spectrum f^-beta along time; 0 is white.
      keep_elites: this share of the elites competes again in the next iteration and, shifted, at the next step.
      try_mean: the mean competes in the last iteration.
      returned: what is done: "mean" of the search distribution, "best" elite, or one "drawn" by its weight.
      policy_share: the policy proposes this many sequences besides, as a share of `num_candidates`.
      warm_start: begins at the mean of the step before, shifted by one action.
      discount: of the rewards.
      use_value: ends the score with the value of the last state.
    """

    horizon: int = 12
    num_iterations: int = 10
    num_candidates: int = 1000
    num_elites: int = 100
    decay: float = 1.0
    init_std: float = 1.0
    min_std: float = 0.0
    max_std: float = float("inf")
    temperature: float | None = None
    momentum: float = 0.0
    std_momentum: float = 0.0
    noise_beta: float = 0.0
    keep_elites: float = 0.0
    try_mean: bool = False
    returned: str = "mean"
    policy_share: float = 0.0
    warm_start: bool = False
    discount: float = 1.0
    use_value: bool = False

    def __post_init__(self):
        if not 1 <= self.num_elites <= self.num_candidates:
            raise ValueError(
                f"{self.num_elites} elites cannot be chosen from {self.num_candidates} candidates."
            )
        if self.decay < 1.0 or not 0.0 <= self.keep_elites <= 1.0:
            raise ValueError(
                f"decay is at least 1 and keep_elites a share, got {self.decay} and {self.keep_elites}."
            )
        if self.returned not in RETURNED:
            raise ValueError(f"Unknown returned {self.returned!r}. Known: {', '.join(RETURNED)}.")

    @property
    def num_kept(self) -> int:
        """Number of elites that compete again."""
        return int(self.keep_elites * self.num_elites)

    @property
    def populations(self) -> list[int]:
        """Number of candidates in each iteration."""
        numbers = [self.num_candidates]
        for _ in range(self.num_iterations - 1):
            fewer = max(2 * self.num_elites, int(numbers[-1] / self.decay))
            numbers.append(min(numbers[-1], fewer))
        return numbers


class Found(NamedTuple):
    """Result of a search.

    Attributes:
      actions: [H, A] to do.
      mean, std: [H, A] of the last search distribution.
      kept: [num_kept, H, A] the best sequences, best first.
    """

    actions: Array
    mean: Array
    std: Array
    kept: Array


def search(
    score: Callable[[Array, Array], Array],
    mean: Array,
    key: Array,
    settings: PlanSettings,
    *,
    proposals: Array | None = None,
    kept: Array | None = None,
) -> Found:
    """Searches for the actions in [-1, 1] that maximise a score.

    Sources: Rubinstein 1997 and PlaNet, algorithm 2 (CEM); Williams et al. 2015 and TD-MPC2 (MPPI); Pinneri et al. 2020
    (iCEM). With `keep_elites`, zeros compete at the first step of an episode, which has no elites from before.

    Args:
      score: (sequences of actions [K, H, A], PRNG key) -> [K].
      mean: [H, A] of the first search distribution, a diagonal Gaussian whose samples are clipped.
      key: PRNG key, consumed.
      proposals: [P, H, A] sequences that compete in every iteration.
      kept: [num_kept, H, A] elites of the step before, shifted by one action; their last one is drawn.
    """
    num_kept, num_elites = settings.num_kept, settings.num_elites
    colour = noise_matrix(settings.horizon, settings.noise_beta)

    def iterate(carry, key, population, first, last):
        mean, std, elites, _ = carry
        sample_key, score_key = jax.random.split(key)
        noise = jax.random.normal(sample_key, (population, *mean.shape))
        if settings.noise_beta:
            noise = jnp.einsum("gh,kha->kga", colour, noise)
        candidates = jnp.clip(mean[None] + std[None] * noise, -1.0, 1.0)
        again = elites[:num_kept]
        if first:
            again = again.at[:, -1].set(candidates[:num_kept, -1])
        if last:
            candidates = candidates.at[0].set(mean)
        candidates = jnp.concatenate([candidates, again, *([] if proposals is None else [proposals])])
        scores, best = jax.lax.top_k(score(candidates, score_key), num_elites)
        mean, std = _refit(settings, mean, std, candidates[best], scores)
        return (mean, std, candidates[best], scores), None

    elites = jnp.zeros((num_elites, *mean.shape))
    if kept is not None and num_kept:
        elites = elites.at[:num_kept].set(kept)
    carry = (mean, settings.init_std * jnp.ones_like(mean), elites, jnp.zeros(num_elites))
    keys, done = jax.random.split(key, settings.num_iterations), 0
    for size, kind in _loops(settings):
        loop = functools.partial(iterate, **kind)
        carry, _ = jax.lax.scan(loop, carry, keys[done : done + size])
        done += size
    mean, std, elites, scores = carry
    drawn = jax.random.categorical(jax.random.fold_in(key, 1), _logits(settings, scores))
    actions = {"mean": mean, "best": elites[0], "drawn": elites[drawn]}[settings.returned]
    return Found(actions, mean, std, elites[:num_kept])


def _loops(settings: PlanSettings) -> Iterator[tuple[int, dict]]:
    """Yields numbers of iterations that are alike, each one loop that compiles once, and what they are like."""
    final, anew = settings.num_iterations - 1, settings.num_kept > 0
    kinds = [
        dict(population=number, first=anew and i == 0, last=settings.try_mean and i == final)
        for i, number in enumerate(settings.populations)
    ]
    for kind, alike in itertools.groupby(kinds):
        yield len(list(alike)), kind


def _logits(settings: PlanSettings, scores: Array) -> Array:
    return jnp.zeros_like(scores) if settings.temperature is None else settings.temperature * scores


def _refit(settings: PlanSettings, mean: Array, std: Array, elites: Array, scores: Array) -> tuple:
    """Returns mean and std [H, A] of the elites [E, H, A], with momentum and limits."""
    weights = jax.nn.softmax(_logits(settings, scores))
    new_mean = jnp.einsum("k,kha->ha", weights, elites)
    variance = jnp.einsum("k,kha->ha", weights, (elites - new_mean[None]) ** 2)
    mean = settings.momentum * mean + (1.0 - settings.momentum) * new_mean
    std = settings.std_momentum * std + (1.0 - settings.std_momentum) * jnp.sqrt(variance)
    return mean, jnp.clip(std, settings.min_std, settings.max_std)


def noise_matrix(horizon: int, beta: float) -> np.ndarray:
    """Returns the [H, H] map of white noise to noise of unit variance and spectrum f^-beta (Timmer & Koenig 1995).

    Frequency 0 has the power of the lowest one above it, 1 / H.
    """
    frequencies = np.maximum(np.fft.rfftfreq(horizon), 1.0 / horizon)
    amplitude = frequencies ** (-0.5 * beta)
    matrix = np.fft.irfft(amplitude[:, None] * np.fft.rfft(np.eye(horizon), axis=0), n=horizon, axis=0)
    return (matrix / np.linalg.norm(matrix[0])).astype(np.float32)
