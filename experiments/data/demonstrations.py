"""What a run imitates, read once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self

import numpy as np

from experiments.data.arena import Arena
from experiments.data.evaluation import Evaluation
from experiments.runs.paths import folders_of
from worldmodels.data.alignment import aligned, common_parts
from worldmodels.data.episodes import Episode, read_episode, read_episodes, some_episode_paths, subsample


@dataclasses.dataclass(frozen=True)
class Demonstrations:
    """Episodes to imitate, and what else their folders say.

    Attributes:
      arena: where the policies play that imitate them.
      episodes: those that are shown, their images still on disk.
      expert: mean return of all episodes of the folders, shown or not, by which scores are normalised; None where no
        rewards are recorded, all being 0.
    """

    arena: Arena
    episodes: list[Episode]
    expert: float | None

    @classmethod
    def read(
        cls,
        source: str,
        limit: int | None = None,
        *,
        env: str = "",
        sensors: Callable[[str, Episode], Sequence[str]] | None = None,
        inputs: Sequence[str] | None = None,
    ) -> Self:
        """Reads folders of episodes, of those that are not shown the rewards alone.

        Args:
          source: the folders, as a config names them.
          limit: how many are shown, the first ones; None: all.
          env: the environment, if it is not the one that the data record.
          sensors: (name of the environment, first episode, whole) -> the sensors that are read, with the actions; None
            reads everything. It may refuse the episode.
          inputs: the sensors that the policy reads, so that the arena draws them if they are images; None: all sensors
            that are read.
        """
        paths = [path for folder in folders_of(source) for path in some_episode_paths(folder)]
        if not paths:
            raise ValueError("No demonstrations are named; pass their folder: --config.demonstrations=DIR.")
        first, keys = read_episode(paths[0], images_on_disk=True), None
        if sensors is not None:
            keys = [*sensors(Arena.of_episodes([first], env).name, first), "pre_action"]
        chosen = subsample(paths, limit)
        episodes = read_episodes(chosen, keys, images_on_disk=True)
        shown = dict(zip(chosen, episodes, strict=True))
        arena = Arena.of_episodes(episodes, env, tuple(episodes[0].records) if inputs is None else inputs)
        returns = [(shown.get(path) or read_episode(path, ())).return_ for path in paths]
        return cls(arena, episodes, float(np.mean(returns)) if any(returns) else None)

    def common(self, encode: Callable[[Episode], np.ndarray], *, max_gap: int, min_length: int) -> Self:
        """Returns what the demonstrations have in common, each part as an episode; see `worldmodels.data.alignment`.

        Args:
          encode: embeddings [T, E] of an episode.
          max_gap, min_length: as of `common_parts`.

        Raises:
          ValueError: nothing is left, or there is only one demonstration.
        """
        frames = aligned([encode(episode) for episode in self.episodes])
        options = dict(max_gap=max_gap, min_length=min_length)
        kept = [
            (episode, part)
            for episode, matched in zip(self.episodes, frames, strict=True)
            for part in common_parts(matched, **options)
        ]
        parts = [_part(episode, part) for episode, part in kept]
        if not parts:
            raise ValueError(
                f"No part of {min_length} records is common to the demonstrations; raise common_parts.max_gap, or "
                "leave it empty to show everything."
            )
        before, after = (sum(each.num_records for each in episodes) for episodes in (self.episodes, parts))
        extraneous = sum(is_extraneous(episode).sum() for episode in self.episodes)
        left = sum(is_extraneous(episode)[part].sum() for episode, part in kept)
        known = f"; of {extraneous} extraneous ones {left}" if extraneous else ""
        print(
            f"Common to the demonstrations: {after} of {before} records{known}, in {len(parts)} parts.",
            flush=True,
        )
        return dataclasses.replace(self, episodes=parts)

    def common_by_vectors(self, sensors: Iterable[str], *, max_gap: int | None, min_length: int) -> Self:
        """Returns what the demonstrations have in common, as `common`, by the vectors among some sensors.

        All of it, if `max_gap` is None.

        Raises:
          ValueError: all sensors are images, or as of `common`.
        """
        if max_gap is None:
            return self
        vectors = [name for name in sensors if self.episodes[0].records[name].ndim == 2]
        if not vectors:
            raise ValueError(
                "Demonstrations are aligned by vectors, and these are images; leave common_parts empty."
            )

        def encode(episode: Episode) -> np.ndarray:
            return np.concatenate([episode.records[name] for name in vectors], axis=-1)

        return self.common(encode, max_gap=max_gap, min_length=min_length)

    def evaluation(self, options: Mapping, num_seeds: int = 1) -> Evaluation:
        """Returns what scores imitators, by the `random_return` and `workers` of the config's `evaluation`."""
        scale = (self.expert, options["random_return"])
        return Evaluation(self.arena, num_seeds, *scale, workers=options.get("workers", 0))


def _part(episode: Episode, part: slice) -> Episode:
    records = {name: values[part] for name, values in episode.records.items()}
    ends = np.arange(len(records["is_last"])) == len(records["is_last"]) - 1
    return Episode(records | {"is_last": ends}, episode.metadata)


def is_extraneous(episode: Episode) -> np.ndarray:
    """Returns which records are none of the task's, as the metadata say, [T] bool."""
    found = np.zeros(episode.num_records, bool)
    for start, stop in episode.metadata.get("extraneous", ()):
        found[start:stop] = True
    return found
