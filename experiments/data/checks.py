"""What can be wrong with an episode file, found without training on it.

Alignment is the rule of `worldmodels.structures`: record t holds what is known on arrival, `pre_action[t]` led to it.
Orientation of images is judged against a picture drawn again from the physics state: whichever of the usual
accidents (upside down, mirrored, rotated, rows and columns or red and blue exchanged) fits it best.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.envs import registry, rendering
from experiments.envs.interface import EnvironmentFailure
from experiments.envs.render_pool import RenderPool
from experiments.envs.sensors import LAYOUTS, sensor_layout
from worldmodels.data.episodes import Episode, EpisodeError, read_arrays
from worldmodels.data.records import FLAGS, canonical_records

ACCIDENTS = {
    "as it should be": lambda image: image,
    "upside down": lambda image: image[::-1],
    "mirrored": lambda image: image[:, ::-1],
    "rotated by 180 degrees": lambda image: image[::-1, ::-1],
    "with rows and columns exchanged": lambda image: image.swapaxes(0, 1),
    "with red and blue exchanged": lambda image: image[..., ::-1],
}
_CLEARLY = 0.7  # another orientation counts if its error is below this share of the present one's


def check_file(path: Path) -> tuple[Episode | None, list[str], list[str]]:
    """Reads one file and judges it.

    Returns:
      The episode, or None if it cannot be used; what is wrong; and what is only unusual, such as dtypes.
    """
    try:
        arrays, metadata = read_arrays(path)
        notes = list(unusual_arrays(arrays))
        missing = [name for name in ("pre_action", "reward", *FLAGS) if name not in arrays]
        if missing:
            return None, [f"lacks {', '.join(missing)}; it has {', '.join(sorted(arrays))}"], notes
        episode = Episode(canonical_records(arrays, path), metadata)
    except EpisodeError as error:
        return None, [str(error).removeprefix(str(path)).lstrip(": ")], []
    return episode, [*alignment(episode.records), *missing_sensors(episode)], notes


def unusual_arrays(arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Images and flags that are stored as floating-point numbers, as in some published files, and black images."""
    for name, value in sorted(arrays.items()):
        if value.ndim == 4 and value.dtype != np.uint8:
            yield f"image {name!r} is stored as {value.dtype}, four times or more the bytes of uint8"
        if value.ndim == 4 and value.dtype.kind in "bu" and value.max(initial=0) <= 1:
            yield f"image {name!r} never exceeds 1, as if it had been scaled to 0..1 before it was made uint8"
        if name in FLAGS and value.dtype.kind == "f":
            yield f"{name!r} is stored as {value.dtype}"


def alignment(records: Mapping[str, np.ndarray]) -> Iterator[str]:
    """What contradicts the alignment rule in records of an episode."""
    num_records = len(records["is_first"])
    firsts, lasts = (np.flatnonzero(records[name]) for name in ("is_first", "is_last"))
    if firsts.tolist() != [0]:
        yield f"is_first is set at records {_some(firsts)}; expected record 0 alone"
    if lasts.tolist() != [num_records - 1]:
        yield f"is_last is set at records {_some(lasts)}; expected the last, {num_records - 1}, alone"
    if np.any(records["is_terminal"] & ~records["is_last"]):
        yield "is_terminal is set before the last record"
    action = records["pre_action"]
    if np.any(action[0] != 0):
        shifted = len(action) > 1 and not np.any(action[-1])
        hint = "; the last one is zero, so that actions may be one record early" if shifted else ""
        yield f"pre_action of record 0 is not zero, though nothing led to it{hint}"
    if np.abs(action).max(initial=0) > 1 + 1e-6:
        yield f"pre_action reaches {np.abs(action).max():g}; expected at most 1 in size"
    if records["reward"][0] != 0:
        yield "the reward of record 0 is not zero, though no action earned it"


def missing_sensors(episode: Episode) -> Iterator[str]:
    """Vectors that the environment named by the metadata has and the episode has not."""
    name = episode.metadata.get("environment") or ""
    if name.partition("-")[0] not in LAYOUTS or ":" in name or "source" in episode.metadata:
        return  # of others the layout is not known, and converted data have their own sensors
    try:
        tabular = [sensor.name for sensor in sensor_layout(name) if sensor.modality == "tabular"]
    except ValueError as error:
        yield f"the environment is not known ({str(error).rstrip('.')})"
        return
    missing = [sensor for sensor in tabular if sensor not in episode.records]
    if missing:
        yield f"{name} has the sensors {', '.join(missing)}, the file has not"


def orientation(image: np.ndarray, drawn: np.ndarray) -> str | None:
    """Judges an image against the same state drawn again, both uint8 [y, x, 3].

    Returns:
      What happened to the image, or None if nothing did, or no orientation fits clearly better.
    """
    fits = {}
    for name, undo in ACCIDENTS.items():
        candidate = undo(image)
        if candidate.shape == drawn.shape:
            fits[name] = float(np.abs(candidate.astype(np.float32) - drawn).mean())
    if not fits:
        return f"of size {list(image.shape[:2])} where {list(drawn.shape[:2])} was drawn"
    best = min(fits, key=fits.get)
    present = fits.get("as it should be", np.inf)
    return best if best != "as it should be" and fits[best] < _CLEARLY * present else None


def _some(indices: np.ndarray) -> str:
    shown = ", ".join(map(str, indices[:5]))
    return f"{shown}, ..." if len(indices) > 5 else shown or "none"


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
    # Whatever a simulator says of a state, a seed or a camera that it does not have.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"its last physics state cannot be drawn ({reason})"
    accident = orientation(episode.records["image"][0], drawn)
    return f"the images are {accident}, judged by a drawn picture" if accident else None


def _drawing(episode: Episode) -> tuple:
    """(environment, size, camera, quality) by which the images of an episode were drawn."""
    how = episode.metadata.get("rendering") or {}
    size = episode.records["image"].shape[1:3]
    return episode.metadata.get("environment"), size, how.get("camera"), how.get("quality", "published")
