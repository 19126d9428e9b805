"""Whether the images of episodes stand as the simulator draws the same states again.

Files may be of anyone: what a file says of its environment runs no code that the file chooses, and what nothing can be
drawn from spoils the check of that file alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments.envs import registry, rendering
from experiments.envs.interface import EnvironmentFailure
from experiments.envs.render_pool import RenderPool
from experiments.data.checks import orientation
from worldmodels.data.episodes import Episode

# What is said of files, such as the published ones, that hold nothing to draw from.
NO_PHYSICS_STATE = (
    "the images are not compared with drawn ones, because there is no physics_state; say of which environment they "
    "are, --config.env=NAME, or look at some (experiments/configs/dataset.py:export)"
)


def last_record(episode: Episode) -> Episode:
    """Only the last image and physics state, of which thousands may be kept."""
    kept = {name: episode.records[name][-1:].copy() for name in ("image", "physics_state")}
    return Episode(kept, episode.metadata)


def first_record(episode: Episode, env_name: str, start: np.ndarray) -> Episode:
    """Only the first image, beside the physics state of some start of an episode: floor and sky say how it stands."""
    records = {"image": episode.records["image"][:1].copy(), "physics_state": start[None]}
    return Episode(records, {"environment": env_name})


def start_of(env_name: str) -> np.ndarray:
    """The physics state of a start of an episode, [P]; a ValueError where there is none."""
    environment = registry.make(env_name)
    try:
        environment.reset(seed=0)
        state = environment.physics_state()
    finally:
        environment.close()
    if state is None:
        raise ValueError(f"{env_name} has no physics states to draw; leave --config.env empty.")
    return np.asarray(state, np.float64)


def turned(episodes: Sequence[tuple[Path, Episode]]) -> Iterator[tuple[Path, str]]:
    """(path, sentence) of files whose kept image is not what the physics state beside it looks like."""
    if not episodes:
        return
    if rendering.find_backend() is None:
        print("Images are not compared with drawn ones: OpenGL does not work here.")
        return
    for key, group in itertools.groupby(episodes, key=lambda item: _drawing(item[1])):
        group = list(group)
        try:
            pool = _pool(*key)
        except Exception as error:  # whatever an environment says that cannot be made
            print(
                f"Note: images of {len(group)} files from {group[0][0]} on are not compared with drawn ones: {error}"
            )
            continue
        with pool:
            for path, episode in group:
                try:
                    sentence = _compared(pool, episode)
                except (rendering.RenderingError, EnvironmentFailure) as error:  # perhaps of this machine
                    print(f"Note: from {path} on images are not compared with drawn ones: {error}")
                    return
                if sentence:
                    yield path, sentence


def _pool(name: str | None, size: tuple[int, int], camera: object, quality: object) -> RenderPool:
    """What draws like that; raises whatever keeps it from drawing."""
    if not name:
        raise ValueError("they do not say which environment they are from.")
    if registry.imports_code(name):
        raise ValueError(f"their environment {name!r} would import code of their choice.")
    return RenderPool(name, 1, size=size, camera=camera, quality=quality)


def _compared(pool: RenderPool, episode: Episode) -> str | None:
    """What is wrong with the kept image of an episode."""
    try:
        drawn = pool.render(episode.records["physics_state"], episode.metadata.get("seed"))[0]
    except (rendering.RenderingError, EnvironmentFailure):
        raise
    except (
        Exception
    ) as error:  # whatever a simulator says to a state, a seed or a camera that it does not have
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"its last physics state cannot be drawn ({reason})"
    accident = orientation(episode.records["image"][0], drawn)
    return f"the images are {accident}, judged by a drawn picture" if accident else None


def _drawing(episode: Episode) -> tuple:
    """(environment, size, camera, quality) by which the images of an episode were drawn."""
    how = episode.metadata.get("rendering") or {}
    size = episode.records["image"].shape[1:3]
    return episode.metadata.get("environment"), size, how.get("camera"), how.get("quality", "published")
