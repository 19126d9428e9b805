"""Extraneous segments: a demonstrator that leaves its task for a while, does something else, and returns to it.

EIL (Zheng et al. 2022, arXiv 2210.01379) asks what is learnt from such demonstrations: wiping sweat while cutting
potatoes has nothing to do with the task, and is no noise either, for within itself it is consistent.

When the segments are depends on (seed, environment, episode) alone, as the noise of `agents.noise` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from agents.noise import EpisodeRandom, Records

_HORIZON = 10_000  # steps of an episode for which segments are drawn


@dataclasses.dataclass(frozen=True)
class Segments:
    """The steps in which a demonstrator is away.

    Attributes:
      share: of the steps, on average; 0 is never.
      length: agent steps of a segment.

    Raises:
      ValueError: no share below 1, or no positive length.
    """

    share: float = 0.0
    length: int = 25

    def __post_init__(self) -> None:
        if not 0.0 <= self.share < 1.0 or self.length < 1:
            raise ValueError(
                f"Extraneous segments take a share of the steps in [0, 1) and last a step at least; got "
                f"share={self.share}, length={self.length}."
            )

    def of(self, random: np.random.Generator) -> list[tuple[int, int]]:
        """Draws the steps [start, stop) of an episode's segments; the gaps between are uniform about their mean."""
        if not self.share:
            return []
        gap, found, stop = round(self.length * (1.0 - self.share) / self.share), [], 0
        while stop < _HORIZON:
            start = stop + int(random.integers(1, 2 * max(gap, 1), endpoint=True))
            stop = start + self.length
            found.append((start, stop))
        return found


class Digression:
    """An actor that is replaced by another one during some segments.

    Args:
      actor: does the task, records {name: [N, ...]} -> actions [N, A]. other: does something else.
      segments: when.
      num_envs, seed, first_episode: as for `EpisodeRandom`.
    """

    def __init__(
        self,
        actor: Callable,
        other: Callable,
        segments: Segments,
        num_envs: int,
        *,
        seed: int,
        first_episode: int = 0,
    ):
        self._actor, self._other, self._segments = actor, other, segments
        self._random = EpisodeRandom(num_envs, seed, first_episode)
        self._away = np.zeros((num_envs, _HORIZON), bool)
        self._step = np.zeros(num_envs, int)

    def __call__(self, records: Records) -> np.ndarray:
        """Records {name: [N, ...]} -> actions [N, A] float32."""
        for env in self._random.started(records):
            self._step[env], self._away[env] = 0, False
            for start, stop in self._segments.of(self._random.generators[env]):
                self._away[env, start:stop] = True
        away = self._away[np.arange(len(self._step)), np.minimum(self._step, _HORIZON - 1)]
        self._step += 1
        actions = np.where(away[:, None], self._other(records), self._actor(records))
        return actions.astype(np.float32)


def extraneous_records(
    metadata: Mapping, segments: Segments, seed: int, num_records: int
) -> list[tuple[int, int]]:
    """Returns the records [start, stop) of an episode to which a digression led.

    Args:
      metadata: of the episode: `env_index` and `episode`.
      segments, seed: those of the `Digression` that played it.
      num_records: of the episode.
    """
    random = np.random.default_rng([seed, metadata["env_index"], metadata["episode"]])
    found = ((start + 1, min(stop + 1, num_records)) for start, stop in segments.of(random))
    return [(start, stop) for start, stop in found if start < stop]
