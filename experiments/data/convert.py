"""Converts other people's data into folders of episodes.

    python -m experiments convert --config=convert:patchail --config.source=FILE --workdir=DIR

Episodes are written to `DIR/episodes`. An interrupted conversion continues with the same command; nothing is ever
half-written, and files that run code when they are opened are refused.
"""

from __future__ import annotations

import pathlib
import time

from experiments.data.converters import files, lerobot, minari, patchail, robomimic, tdmpc2
from experiments.runs.directory import FREE_TO_CHANGE, RunDirectory
from experiments.runs.progress import Progress
from worldmodels.data.episode_folders import summarise_folder
from worldmodels.data.episodes import SUFFIXES, episode_paths, write_episode

CONVERTERS = {
    "patchail": patchail.episodes,
    "tdmpc2": tdmpc2.chunk_episodes,
    "tdmpc2-expert": tdmpc2.expert_episodes,
    "minari": minari.episodes,
    "lerobot": lerobot.episodes,
    "robomimic": robomimic.episodes,
    "files": files.episodes,
}


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Converts what `config.source` names (experiments/configs/convert.py) into `workdir/episodes`.

    Returns:
      Statistics of all episodes that are there, `summarise_folder`.

    Raises:
      ValueError: a source of another kind, damaged, or one that asks for code to be run; nothing of it is.
    """
    if config.format not in CONVERTERS:
        raise ValueError(f"Unknown format {config.format!r}. Known: {', '.join(CONVERTERS)}.")
    if not config.source:
        raise ValueError("What shall be converted? Pass --config.source=PATH.")
    if config.suffix not in SUFFIXES:
        raise ValueError(
            f"Episodes are {' or '.join(SUFFIXES)} files, not {config.suffix!r}; set config.suffix."
        )
    _check_apart(config, pathlib.Path(workdir) / "episodes")
    with RunDirectory(workdir, config, fresh, allow_changes=(*FREE_TO_CHANGE, "limit")) as directory:
        if directory.done:
            return directory.result
        number, seconds = _convert(config, directory)
        if not episode_paths(directory / "episodes"):
            raise ValueError(f"{config.source} gave no episode; is it of the format {config.format!r}?")
        result = directory.mark_done(summarise_folder(directory / "episodes"))
        rate = f", {number / seconds:.1f} per second" if number else ""
        print(f"Converted {number} episodes{rate}; {result['num_episodes']} are in {directory / 'episodes'}.")
        return result


def _check_apart(config, target: pathlib.Path) -> None:
    """Refuses a folder that would be read and written at once: no dataset may hold two files of one number."""
    source, target = (pathlib.Path(path).expanduser().resolve() for path in (config.source, target))
    nested = config.format == "files" and target.is_relative_to(source)  # it reads the folders in it too
    if source.is_dir() and (source.is_relative_to(target) or nested):
        raise ValueError(
            f"The episodes would be written to {target}, among those of the source {source}; choose another --workdir."
        )


def _convert(config, directory: RunDirectory) -> tuple[int, float]:
    """Writes what is not there yet; returns how many that were, and the seconds."""
    folder = directory / "episodes"
    folder.mkdir(exist_ok=True)
    number, began = 0, time.perf_counter()
    with Progress(0, f"Converting {config.format}") as bar:
        for name, make in CONVERTERS[config.format](config):
            path = folder / name
            if not path.exists():
                write_episode(path, make())
                number += 1
            bar.update(1)
            directory.stop_if_interrupted()
    return number, time.perf_counter() - began
