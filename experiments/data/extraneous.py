"""Demonstrations with extraneous segments: who plays in them, and what the metadata say of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Self

from agents.digression import Digression, Segments, extraneous_records
from agents.loop import Actor
from agents.noise import NOISES
from worldmodels.data.episodes import Episode


@dataclasses.dataclass(frozen=True)
class Extraneous:
    """Other behaviour of a demonstrator, and its segments.

    Attributes:
      segments: when.
      behaviour: what: one of `agents.noise.NOISES`.
      seed: of the episodes that are collected.
    """

    segments: Segments
    behaviour: str
    seed: int

    @classmethod
    def of(cls, config: Mapping, seed: int) -> Self:
        """Reads the options `extraneous` of a config of experiments/configs/collect.py; none are none at all."""
        options = dict(config.get("extraneous") or {"behaviour": ""})
        behaviour = options.pop("behaviour")
        segments = Segments(**options)
        if segments.share and behaviour not in NOISES:
            raise ValueError(f"Unknown extraneous behaviour {behaviour!r}. Known: {', '.join(NOISES)}.")
        return cls(segments, behaviour, seed)

    def digress(self, actor: Actor, num_envs: int, action_size: int, first_episode: int) -> Actor:
        """Returns a demonstrator that does its task, and something else in the segments."""
        if not self.segments.share:
            return actor
        options = dict(first_episode=first_episode)
        other = NOISES[self.behaviour](num_envs, action_size, seed=self.seed + 2, **options)
        return Digression(actor, other, self.segments, num_envs, seed=self.seed + 1, **options)

    def facts(self, episode: Episode) -> dict:
        """Returns which records of an episode are none of the task's, {"extraneous": [[start, stop], ...]}; or {}."""
        if not self.segments.share:
            return {}
        found = extraneous_records(episode.metadata, self.segments, self.seed + 1, episode.num_records)
        return {"extraneous": [list(records) for records in found], "behaviour": self.behaviour}
