"""Episodes into a folder, round by round, so that an interrupted collection continues exactly where it was.

A round is one episode in each environment. Episode e of a folder was played in round e // N by environment
e % N; its seed, and what its actor draws, depend on these numbers alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from agents.loop import Actor, collect_episodes
from experiments.envs.vector import VectorEnvironment
from worldmodels.data.episodes import SUFFIXES, Episode, write_episode


def play_rounds(
    envs: VectorEnvironment,
    make_actor: Callable[[int], Actor],
    first: int,
    num_episodes: int,
    on_step: Callable[[], None] | None = None,
) -> Iterator[tuple[int, list[Episode]]]:
    """Plays the episodes first, ..., num_episodes - 1, round by round.

    Args:
      envs: N environments whose next episode is number first / N.
      make_actor: number of a round -> the actor that plays it.
      first: multiple of N.
      on_step: as of `collect_episodes`.

    Yields:
      Number of the round's first episode, and its episodes.
    """
    for start in range(first, num_episodes, envs.num_envs):
        actor = make_actor(start // envs.num_envs)
        number = min(envs.num_envs, num_episodes - start)
        yield start, collect_episodes(envs, actor, number, on_step=on_step)


def write_round(
    folder: str | os.PathLike,
    first: int,
    episodes: Sequence[Episode],
    *,
    metadata: dict | None = None,
    with_actions: bool = True,
) -> None:
    """Writes episodes under the numbers first, first + 1, ..."""
    for number, episode in enumerate(episodes, first):
        episode = Episode(episode.records, {**episode.metadata, **(metadata or {})})
        write_episode(Path(folder) / f"{number}.hdf5", episode if with_actions else hide_actions(episode))


def hide_actions(episode: Episode) -> Episode:
    """Returns the episode as a demonstration without actions: `pre_action` is [T, 0].

    The physics state goes too, because it holds the controls.
    """
    records = {name: value for name, value in episode.records.items() if name != "physics_state"}
    records["pre_action"] = np.zeros((episode.num_records, 0), np.float32)
    return Episode(records, episode.metadata)


def num_complete(folder: str | os.PathLike) -> int:
    """Number of episodes 0, 1, ... without a gap."""
    numbers = _numbers(Path(folder))
    return next(number for number in range(len(numbers) + 1) if number not in numbers)


def remove_episodes(folder: str | os.PathLike, first: int) -> None:
    """Deletes the episodes from number `first` on, the last one first."""
    for number, path in sorted(_numbers(Path(folder)).items(), reverse=True):
        if number >= first:
            path.unlink()


def _numbers(folder: Path) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    return {int(p.stem): p for p in folder.iterdir() if p.suffix in SUFFIXES and p.stem.isdecimal()}
