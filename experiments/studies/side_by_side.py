"""Videos of an expert and of imitators from the same start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agents.loop import collect_episodes
from experiments.analysis.page import MediaSection
from experiments.data.arena import Arena
from experiments.drawing import rendered
from experiments.drawing.video import VideoError
from experiments.models.loading import load_run
from worldmodels.data.episodes import Episode

SECONDS = 10.0  # of the video


def side_by_side(
    wanted: bool,
    workdir: Path,
    env_name: str,
    demonstration: Episode,
    imitators: Sequence[tuple[str, Path, int]],
) -> MediaSection:
    """Shows a video, if it is wanted, of a demonstration and of imitators from the same start.

    Args:
      imitators: (label, directory of the run, seed) of each.
    """
    shown = ["Expert", *(name for name, *_ in imitators)]
    what = dict(
        title="Expert and imitators",
        alt=f"{', '.join(shown)} side by side",
        caption="Left the expert, then the imitators. None of them has seen an action of the expert.",
    )
    if not wanted:
        return MediaSection(path=None, why_not="Switched off.", **what)
    clips = [rendered.clip("Expert", demonstration)]
    for name, run_path, seed in imitators:
        loaded = load_run(run_path)
        with loaded.arena.make(1, seed=7) as envs:
            (episode,) = collect_episodes(envs, loaded.actor(1, seed), 1)
        clips.append(rendered.clip(name, episode))
    options, path = Arena.of_episodes([demonstration], env_name).options, workdir / "videos/side_by_side.mp4"
    try:
        return MediaSection(path=rendered.write(path, env_name, options, clips, seconds=SECONDS), **what)
    except VideoError as error:
        return MediaSection(path=None, why_not=str(error), **what)
