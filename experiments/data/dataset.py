"""Looks at folders of episodes: statistics, checks; and makes new ones: mixes, images, videos.

    python -m experiments dataset --config=dataset:check --config.data=DIR

The presets say what is done; experiments/configs/dataset.py lists them.
"""

from __future__ import annotations

import collections
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments.data.arena import Arena
from experiments.data.checks import (
    NO_PHYSICS_STATE,
    Checked,
    apart,
    check_files,
    other_task,
    start_of,
    turned,
    unlike,
)
from experiments.data.converters import lerobot_export, minari
from experiments.drawing import video
from experiments.drawing.table import MISSING, Table
from experiments.envs import registry, rendering
from experiments.envs.render_pool import RenderPool
from experiments.runs.directory import RunDirectory
from experiments.runs.paths import folders_of
from experiments.runs.progress import Progress
from worldmodels.data.episode_folders import check_apart, mix_folders, summarise_folder
from worldmodels.data.episodes import (
    Episode,
    EpisodeError,
    read_episode,
    some_episode_paths,
    write_episode,
)
from worldmodels.data.records import stack_records
from worldmodels.files import remove

_SHOWN = 20  # problems that are printed
EXPORTS = {"lerobot": lerobot_export.export, "minari": minari.export}  # datasets of others


def run(config, workdir: str = "", *, fresh: bool = False) -> dict:
    """Does `config.do` (experiments/configs/dataset.py) with the episodes of `config.data`.

    Returns:
      What was found or made; see the function of each action.

    Raises:
      ValueError: no data, no workdir where one is needed, or files that are not as they should be.
    """
    if config.do not in _ACTIONS:
        raise ValueError(f"Unknown action {config.do!r}. Known: {', '.join(_ACTIONS)}.")
    folders = folders_of(config.data)
    if not folders:
        raise ValueError("Which episodes? Pass --config.data=DIR, or several: --config.data=DIR,DIR.")
    check_numbers(config)
    return _ACTIONS[config.do](config, folders, workdir, fresh)


def check_numbers(config) -> None:
    """Raises a ValueError for a number of the config, where the action has it, that nothing could be drawn with."""
    for name, what in (("image_size", "pixels"), ("workers", "processes")):
        if name in config and config[name] < 1:
            raise ValueError(f"{name} is {config[name]}; pass a positive number of {what}: --config.{name}.")
    fps = config.get("fps")
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(
            f"fps is {fps}; pass a positive number of frames per second, --config.fps, or none for the speed of the "
            "simulation."
        )


def statistics(config, folders: Sequence[str], workdir: str, fresh: bool) -> dict:
    """Prints a line per folder that holds episode files; returns {folder: `summarise_folder`}."""
    parents = {path.parent: None for folder in folders for path in some_episode_paths(folder)}
    summaries = {str(parent): summarise_folder(parent) for parent in parents}
    rows = []
    for name, s in summaries.items():
        success = MISSING if s["success_rate"] is None else f"{100 * s['success_rate']:.0f} %"
        returns = [f"{s['return_mean']:.1f} ± {s['return_std']:.1f}"]
        returns += [f"{s[key]:.1f}" for key in ("return_min", "return_max")]
        counts = [str(s["num_episodes"]), str(s["num_records"]), f"{s['length_mean']:.1f}"]
        rows.append([name, *counts, *returns, success])
    headings = ["Folder", "Episodes", "Records", "Length", "Return", "Lowest", "Highest", "Success"]
    print(Table(headings, rows).markdown(), end="")
    return summaries


def check(config, folders: Sequence[str], workdir: str, fresh: bool) -> dict:
    """Checks every file; prints what is wrong and what is unusual.

    Returns:
      {"files": number, "problems": {path: [sentences]}, "notes": {sentence: number of files}}.

    Raises:
      EpisodeError: there are problems.
    """
    problems: dict[str, list[str]] = {}
    notes: collections.Counter[str] = collections.Counter()
    first: dict[Path, tuple[str, Checked]] = {}  # of each folder: name of a file, and what it is like
    drawable: list[tuple[Path, Episode]] = []
    paths = [path for folder in folders for path in some_episode_paths(folder)]
    start = start_of(config.env) if config.draw and config.env else None
    with Progress(len(paths), "Checking files") as bar:
        for path, checked in check_files(paths, config.env, start, seconds=config.seconds):
            found, unusual = [*checked.problems], [*checked.notes]
            if checked.shapes:
                name, other = first.setdefault(path.parent, (path.name, checked))
                found += unlike(checked, other, name)
                unusual += other_task(checked, other, name)
                folder, origin = next((folder, checked) for folder, (_, checked) in first.items())
                unusual += apart(checked, origin, folder) if folder != path.parent else ()
                if checked.drawable is not None:
                    drawable.append((path, checked.drawable))
                elif config.draw and "image" in checked.shapes:
                    unusual.append(NO_PHYSICS_STATE)
            if found:
                problems[str(path)] = found
            notes.update(unusual)
            bar.update(1)
    if config.draw:
        for path, sentence in turned(drawable):
            problems.setdefault(str(path), []).append(sentence)
    for note, number in notes.items():
        print(f"Note: in {number} of {len(paths)} files {note}.")
    for file, sentence in list((p, s) for p, sentences in problems.items() for s in sentences)[:_SHOWN]:
        print(f"{file}: {sentence.rstrip('.')}.")
    if problems:
        raise EpisodeError(
            f"{len(problems)} of {len(paths)} files are not as they should be; the lines above say why."
        )
    print(f"All {len(paths)} files are as they should be.")
    return {"files": len(paths), "problems": problems, "notes": dict(notes)}


def mix(config, folders: Sequence[str], workdir: str, fresh: bool) -> dict:
    """Copies some episodes of several folders into WORKDIR/episodes; returns `summarise_folder` of it."""
    target = Path(_required(workdir)) / "episodes"
    mix_folders(folders, target, limit=config.limit, mode=config.mode, seed=config.seed)
    print(f"{target} holds the mix.")
    return summarise_folder(target)


def render(config, folders: Sequence[str], workdir: str, fresh: bool) -> dict:
    """Copies episodes into WORKDIR/episodes with `image` drawn from their physics states; continues if interrupted.

    Episodes without physics states are played again: in an environment of the user's own from their seed, elsewhere, as
    those of TD-MPC2, from their first observation, where the environment can be put into it.

    Returns:
      {"num_episodes": number, "num_images": number drawn by this call}.
    """
    check_apart(folders, Path(_required(workdir)) / "episodes")
    with RunDirectory(_required(workdir), config, fresh) as directory:
        pairs = list(_sources_and_targets(folders, directory / "episodes"))
        missing = [(source, target) for source, target in pairs if not target.exists()]
        num_images = 0
        with Progress(len(pairs), "Rendering", initial=len(pairs) - len(missing)) as bar:
            for arena, group in itertools.groupby(missing, key=lambda pair: _arena_of(pair[0])):
                for target, episode in _rendered(config, arena, group, workers=config.workers):
                    write_episode(target, episode)
                    num_images += episode.num_records
                    bar.update(1)
                    directory.stop_if_interrupted()
        return directory.mark_done({"num_episodes": len(pairs), "num_images": num_images})


def _sources_and_targets(folders: Sequence[str], target: Path) -> Iterator[tuple[Path, Path]]:
    """Files under the same names, below a folder of its own for each source if there are several."""
    for number, folder in enumerate(folders):
        root = target if len(folders) == 1 else target / str(number)
        for path in some_episode_paths(folder):
            yield path, root / path.relative_to(Path(folder).expanduser())


def _arena_of(path: Path) -> Arena:
    """Returns the environment that a file names."""
    episode = read_episode(path, keys=())
    name = episode.metadata.get("environment")
    if not name:
        raise EpisodeError(f"{path} does not say which environment it is from, so that nothing can be drawn.")
    try:
        return Arena.of_episodes([episode], registry.trusted(name, f"{path} names"))
    except ValueError as error:
        raise EpisodeError(str(error)) from None


def _rendered(
    config, arena: Arena, pairs: Iterator[tuple[Path, Path]], *, workers: int
) -> Iterator[tuple[Path, Episode]]:
    """(target, episode with images) of one environment, drawn by several processes."""
    size = (config.image_size, config.image_size)
    how = rendering.describe(size, config.camera, config.render_quality)
    episodes: dict[Path, Episode] = {}
    drawing = dict(size=size, camera=config.camera, quality=config.render_quality)
    with RenderPool(arena.name, workers, options=arena.options, **drawing) as pool:

        def jobs():
            for source, target in pairs:
                episodes[target] = episode = read_episode(source)
                yield target, _drawing_call(pool, episode, source)

        for target, drawn in pool.at_once(jobs()):
            episode = episodes.pop(target)
            metadata = {**episode.metadata, "rendering": how}
            if isinstance(drawn, tuple):
                played, physics_states = drawn
                yield target, _played_again(episode, played, physics_states, metadata)
            else:
                yield target, Episode({**episode.records, "image": drawn}, metadata)


def _drawing_call(pool: RenderPool, episode: Episode, source: Path) -> Callable:
    """Returns a call that draws an episode: from its physics states, or by playing it again from its start."""
    records = episode.records
    if "physics_state" in records:
        return functools.partial(pool.render, records["physics_state"], episode.metadata.get("seed"))
    seed = episode.metadata.get("seed")
    if ":" in str(episode.metadata.get("environment")) and seed is not None and records["pre_action"].size:
        return functools.partial(pool.play_again, seed, records["pre_action"], records["reward"])
    if "state" in records and records["pre_action"].size:
        return functools.partial(pool.replay, records["state"][0], records["pre_action"])
    raise EpisodeError(
        f"{source} has no physics_state to draw from, nor `state` and actions to be played again by; published files "
        "have none, and demonstrations without actions are stripped of it."
    )


def _played_again(episode: Episode, records: list, physics_states: list, metadata: dict) -> Episode:
    """Plays the episode in the simulator: all of its records are new, since pictures and sensors must agree.

    The metadata keep how far `state` went from the stored one, because simulators of other versions differ.
    """
    stacked = stack_records(records)
    if physics_states[0] is not None:
        stacked["physics_state"] = np.stack(physics_states)
    stacked["is_last"] = np.arange(len(records)) == len(records) - 1
    error = np.abs(stacked["state"] - episode.records["state"][: len(records)]).max()
    return Episode(stacked, {**metadata, "played_again": True, "state_error": float(error)})


def export(config, folders: Sequence[str], workdir: str, fresh: bool) -> dict:
    """Writes one episode as a video, or all as a dataset of `EXPORTS`; returns {"path", "num_frames"}."""
    if config.format in EXPORTS:
        all_paths = [path for folder in folders for path in some_episode_paths(folder)]
        target = Path(_required(workdir)) / config.format
        if fresh:
            remove(target)
        if target.exists():
            raise ValueError(f"{target} exists; choose another --workdir, or --fresh to replace it.")
        found = EXPORTS[config.format](all_paths, target, config.fps)
        print(f"{target}: {found['num_episodes']} episodes, {found['num_frames']} steps.")
        return found | {"path": str(target)}
    if config.format not in ("mp4", "gif"):
        raise ValueError(f"Unknown format {config.format!r}. Known: mp4, gif, {', '.join(EXPORTS)}.")
    paths = some_episode_paths(folders[0])
    if not 0 <= config.episode < len(paths):
        raise ValueError(
            f"{folders[0]} holds {len(paths)} episodes, numbered from 0; there is no {config.episode}."
        )
    episode = read_episode(paths[config.episode])
    if config.recorded and "image" in episode.records:
        frames = episode.records["image"]
        frames = video.enlarged(frames, max(1, config.image_size // frames.shape[1]))
    else:
        path = paths[config.episode]
        (_, drawn), *_ = _rendered(config, _arena_of(path), iter([(path, Path())]), workers=1)
        frames = drawn.records["image"]
    fps = config.fps or 1 / episode.metadata.get("control_seconds", 0.04)
    path = Path(_required(workdir)) / f"episode.{config.format}"
    {"mp4": video.write_mp4, "gif": video.write_gif}[config.format](path, np.asarray(frames), fps)
    print(f"{path}: {len(frames)} frames of {paths[config.episode]}, return {episode.return_:.1f}.")
    return {"path": str(path), "num_frames": len(frames)}


def _required(workdir: str) -> str:
    if not workdir:
        raise ValueError("Where shall it be written? Pass --workdir=DIR.")
    return str(Path(workdir).expanduser())


_ACTIONS = {
    "statistics": statistics,
    "check": check,
    "mix": mix,
    "render": render,
    "export": export,
}
