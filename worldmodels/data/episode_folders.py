"""Whole folders of episodes: what is in one, and several mixed into one (the published `walker-mix`)."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worldmodels.data.episodes import Episode, EpisodeError, read_episode, some_episode_paths, subsample
from worldmodels.data.setups import check_together
from worldmodels.files import write_atomically

_MANIFEST = "mix.json"


def summarise_folder(folder: str | os.PathLike) -> dict[str, int | float | None]:
    """Statistics of the episodes of a folder, read one after the other.

    Returns:
      num_episodes, num_records, {length,return}_{mean,std,min,max} and success_rate (share of the episodes
      with any successful record; None where none of them defines success).

    Raises:
      EpisodeError: no episodes there, or one that cannot be read.
    """
    episodes = [read_episode(path, keys=()) for path in some_episode_paths(folder)]
    successes = [episode.success for episode in episodes]
    summary = {
        "num_episodes": len(episodes),
        "num_records": sum(episode.num_records for episode in episodes),
        "success_rate": None
        if set(successes) == {None}
        else float(np.mean([bool(each) for each in successes])),
    }
    for name, values in (
        ("length", [episode.length for episode in episodes]),
        ("return", [episode.return_ for episode in episodes]),
    ):
        for statistic in ("mean", "std", "min", "max"):
            summary[f"{name}_{statistic}"] = float(getattr(np, statistic)(values))
    return summary


def mix_folders(
    sources: Sequence[str | os.PathLike],
    target: str | os.PathLike,
    *,
    limit: int | None = None,
    mode: str = "forward",
    seed: int = 0,
) -> Path:
    """Copies the episodes of several folders into a new one, numbered from 0 in the order of the sources.

    The target appears complete or not at all. What an interrupted call has copied stays in a hidden folder
    next to it and is not copied again. If the target already is this mix, nothing is done.

    Args:
      sources: folders as for `episode_paths`.
      target: the folder to make.
      limit, mode, seed: take at most so many of each source, chosen as by `subsample`.

    Returns:
      The target.

    Raises:
      EpisodeError: the episodes differ in sensors, action size or set-up, one cannot be read, the target is in a
        source or around one, or exists and is something else. Nothing is left of a mix that is refused.
    """
    target = Path(target)
    paths = [
        path
        for source in sources
        for path in subsample(some_episode_paths(source), limit, mode=mode, seed=seed)
    ]
    if not paths:
        raise EpisodeError("mix_folders was given no sources; name at least one folder of episodes.")
    check_apart(sources, target)
    manifest = json.dumps(
        [[os.path.relpath(path, target.parent), path.stat().st_size] for path in paths], indent=0
    )
    if target.exists():
        if _read_text(target / _MANIFEST) == manifest:
            return target
        raise EpisodeError(
            f"{target} exists and is not the mix of these episodes; delete it or choose another name."
        )
    partial = target.with_name(f".{target.name}.partial")
    if _read_text(partial / _MANIFEST) != manifest:
        shutil.rmtree(partial, ignore_errors=True)
        write_atomically(partial / _MANIFEST, manifest)
    try:
        _copy_missing(paths, partial)
    except EpisodeError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    os.replace(partial, target)
    return target


def _copy_missing(paths: Sequence[Path], folder: Path) -> None:
    """Copies files to `folder` under the numbers 0, 1, ..., but for those already there."""
    first = read_episode(paths[0])
    for number, path in enumerate(paths):
        copy = folder / f"{number}{path.suffix}"
        if not copy.exists():
            _check_same_robot(first, paths[0], read_episode(path), path)
            write_atomically(copy, path.read_bytes())


def check_apart(sources: Sequence[str | os.PathLike], target: Path) -> None:
    """Raises an EpisodeError if new episodes in the target would be among those of a source, or the other way round."""
    place = target.expanduser().resolve()
    for source in sources:
        origin = Path(source).expanduser().resolve()
        if origin.is_relative_to(place) or place.is_relative_to(origin):
            raise EpisodeError(
                f"The episodes would be written to {target}, which overlaps with {source} that they are read from; "
                "choose another --workdir."
            )


def _check_same_robot(first: Episode, first_path: Path, other: Episode, other_path: Path) -> None:
    """Raises EpisodeError unless two episodes have the same sensors, actions and set-up."""
    here, there = _robot(first), _robot(other)
    for what in here:
        if here[what] != there[what]:
            raise EpisodeError(
                f"{first_path} has {what} {here[what]} and {other_path} has {there[what]}; mix only one robot."
            )
    check_together(first.metadata, other.metadata, (first_path, other_path))


def _robot(episode: Episode) -> dict[str, object]:
    """Returns sensors with their shapes, and the size of actions."""
    sensors = {name: episode.records[name].shape[1:] for name in episode.sensors}
    return {"sensors": sensors, "action size": episode.records["pre_action"].shape[1]}


def _read_text(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None
