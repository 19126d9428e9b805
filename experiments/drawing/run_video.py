"""Videos of evaluated policies: one episode of each of the first seeds, side by side, drawn from physics states."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.drawing import rendered as rendered_video, video
from worldmodels.data.episodes import Episode

MAX_CLIPS = 4


def seeds_side_by_side(
    path: str | pathlib.Path, env_name: str, env_options: Mapping, episodes: Sequence[Episode], num_seeds: int
) -> tuple[pathlib.Path | None, str]:
    """Writes an mp4; returns its path, or None and the sentence why there is none.

    Args:
      episodes: of all seeds, with physics states; environments are blocks of equal size, one per seed.
      num_seeds: how many policies played.
    """
    order = sorted(episodes, key=lambda episode: (episode.metadata["env_index"], episode.metadata["episode"]))
    chosen = order[:: max(1, len(order) // num_seeds)][: min(num_seeds, MAX_CLIPS)]
    if any("physics_state" not in episode.records for episode in chosen):
        return None, f"{env_name} has no physics state to render from."
    clips = [clip(f"seed {index}", episode) for index, episode in enumerate(chosen)]
    return write(path, env_name, env_options, clips)


def filmed(episode: Episode) -> Episode:
    """The episode with no more than a video needs: what policies saw may be large."""
    kept = ("physics_state", "reward")
    return Episode(
        {name: episode.records[name] for name in kept if name in episode.records}, episode.metadata
    )


def clip(label: str, episode: Episode) -> rendered_video.Clip:
    """An episode as a column of a video."""
    return rendered_video.Clip(label, episode.records["physics_state"], np.ravel(episode.records["reward"]))


def write(
    path: str | pathlib.Path,
    env_name: str,
    env_options: Mapping,
    clips: Sequence[rendered_video.Clip],
    **options,
) -> tuple[pathlib.Path | None, str]:
    """Renders clips side by side into an mp4; returns its path, or None and the sentence why there is none."""
    rendered = rendered_video.render_side_by_side(env_name, clips, env_options=env_options, **options)
    if rendered.frames is None:
        return None, rendered.why_not
    try:
        return video.write_mp4(path, rendered.frames, rendered.fps), ""
    except video.VideoError as error:
        return None, str(error)
