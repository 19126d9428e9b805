"""What can be wrong with an episode file, found without training on it.

Alignment is the rule of `worldmodels.data.episodes`: record t has what is known on arrival, `pre_action[t]` led to it.
Orientation of images is judged against a picture drawn again from the physics state: whichever of the usual
accidents (upside down, mirrored, rotated, rows and columns or red and blue exchanged) fits it best.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from experiments.envs import registry, rendering
from experiments.envs.interface import EnvironmentFailure
from experiments.envs.render_pool import RenderPool
from experiments.envs.sensors import LAYOUTS, sensor_layout
from worldmodels.data.episode_files import open_file
from worldmodels.data.episodes import Episode, EpisodeError, read_arrays
from worldmodels.data.records import FLAGS, REQUIRED, ROUNDING, canonical_records
from worldmodels.data.setups import differences

ACCIDENTS = {
    "as it should be": lambda image: image,
    "upside down": lambda image: image[::-1],
    "mirrored": lambda image: image[:, ::-1],
    "rotated by 180 degrees": lambda image: image[::-1, ::-1],
    "with rows and columns exchanged": lambda image: image.swapaxes(0, 1),
    "with red and blue exchanged": lambda image: image[..., ::-1],
}
_CLEARLY = 0.7  # another orientation counts if its error is below this share of the present one's


@dataclasses.dataclass(frozen=True)
class Checked:
    """Findings on one file.

    Attributes:
      shapes: {array: shape of one record}; empty if the file cannot be used.
      metadata: of the episode.
      drawable: one image with its physics state, to be compared with a drawn picture; None if there is none.
      problems: what is wrong.
      notes: what is unusual, such as dtypes.
    """

    shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    metadata: Mapping = dataclasses.field(default_factory=dict)
    drawable: Episode | None = None
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()


def check_file(path: Path, env_name: str = "", start: np.ndarray | None = None) -> Checked:
    """Reads one file and judges it.

    Args:
      path: the file.
      env_name, start: environment and physics state of a start, for a file that has images and no physics states.
    """
    try:
        arrays, metadata = read_arrays(path)
        notes = [*ignored_entries(path), *unusual_arrays(arrays)]
        missing = [name for name in REQUIRED if name not in arrays]
        if missing:
            lacks = f"lacks {', '.join(missing)}; it has {', '.join(sorted(arrays)) or 'no other array'}"
            return Checked(problems=[lacks], notes=notes)
        episode = Episode(canonical_records(arrays, path), metadata)
    except EpisodeError as error:
        return Checked(problems=[str(error).removeprefix(str(path)).lstrip(": ")])
    problems = [*alignment(episode.records), *empty_images(episode.records), *missing_sensors(episode)]
    shapes = {name: value.shape[1:] for name, value in episode.records.items() if name != "success"}
    return Checked(shapes, metadata, _drawable(episode, env_name, start), problems, notes)


def check_files(
    paths: Sequence[Path], env_name: str = "", start: np.ndarray | None = None, *, seconds: float
) -> Iterator[tuple[Path, Checked]]:
    """Yields (path, `check_file`) of each file, read by a process of its own, since HDF5 may never finish or crash.

    Args:
      paths, env_name, start: as for `check_file`.
      seconds: after which a file counts as unreadable.
    """
    context, worker = multiprocessing.get_context("spawn"), None
    try:
        for path in paths:
            if worker is None:
                here, there = context.Pipe()
                worker = context.Process(target=_serve, args=(there, env_name, start), daemon=True)
                worker.start()
                there.close()
                here.recv()  # it is ready
            here.send(path)
            try:
                if here.poll(seconds):
                    yield path, here.recv()
                    continue
                reason = f"cannot be read within {seconds:g} s"
            except EOFError:
                reason = "ends the process that reads it"
            yield path, Checked(problems=[f"{reason}; it may be damaged: move it elsewhere or make it again"])
            worker.kill()
            worker.join()
            worker = None
    finally:
        if worker is not None:
            worker.kill()
            worker.join()


def _serve(connection: Connection, env_name: str, start: np.ndarray | None) -> None:
    """Checks files until the other end of the connection is closed."""
    connection.send(None)
    with contextlib.suppress(EOFError):
        while True:
            connection.send(check_file(connection.recv(), env_name, start))


def ignored_entries(path: Path) -> Iterator[str]:
    """Lists what is at the top of a file and not read as an array."""
    with open_file(path) as file:
        for name, kind in sorted(file.ignored.items()):
            yield f"{name!r} is {kind}; it is ignored"


def unusual_arrays(arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Images and flags that are stored as floating-point numbers, as in some published files."""
    for name, value in sorted(arrays.items()):
        if value.ndim == 4 and value.dtype != np.uint8:
            yield f"image {name!r} is stored as {value.dtype}, four times or more the bytes of uint8"
        if name in FLAGS and value.dtype.kind == "f":
            yield f"{name!r} is stored as {value.dtype}"


def empty_images(records: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Images in which there is nothing to see."""
    for name, value in sorted(records.items()):
        if value.ndim != 4:
            continue
        if value.max() <= 1:
            yield f"image {name!r} never exceeds 1 of 255, as if it had been scaled to 0..1 before it was made uint8"
        elif value.min() == value.max():
            yield f"image {name!r} has one value everywhere, {value.min()}, and no content"


def alignment(records: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Lists what contradicts the alignment rule in records of an episode."""
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
    if np.abs(action).max(initial=0) > 1 + ROUNDING:
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


def unlike(checked: Checked, other: Checked, other_name: str) -> Iterator[str]:
    """In what a file differs from another one of its folder."""
    here, there = checked.shapes, other.shapes
    yield from (f"lacks {name}, which {other_name} has" for name in sorted(there.keys() - here))
    yield from (f"has {name}, which {other_name} lacks" for name in sorted(here.keys() - there))
    for name in sorted(here.keys() & there):
        if here[name] != there[name]:
            yield f"{name!r} has shape {list(here[name])} per record, in {other_name} {list(there[name])}"
    for name, mine, theirs in differences(checked.metadata, other.metadata):
        yield f"the {name} is {mine}, in {other_name} {theirs}"


def other_task(checked: Checked, other: Checked, other_name: str) -> Iterator[str]:
    """In which task of the same body a file was played, if that is another than in the first of its folder."""
    here, there = (str(each.metadata.get("environment")) for each in (checked, other))
    if here != there and "body" not in {name for name, *_ in differences(checked.metadata, other.metadata)}:
        yield f"the task is {here}, in {other_name} {there}"


def apart(checked: Checked, other: Checked, folder: Path) -> Iterator[str]:
    """In what keeps a file from being learnt from together with those of another folder."""
    for what, mine, theirs in differences(checked.metadata, other.metadata):
        yield f"the {what} is {mine}, in {folder} {theirs}, so that they are not learnt from together"


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
    best = min(fits, key=fits.__getitem__)
    present = fits.get("as it should be", np.inf)
    return best if best != "as it should be" and fits[best] < _CLEARLY * present else None


def _some(indices: np.ndarray) -> str:
    shown = ", ".join(map(str, indices[:5]))
    return f"{shown}, ..." if len(indices) > 5 else shown or "none"


# What is said of files, such as the published ones, that hold nothing to draw from.
NO_PHYSICS_STATE = (
    "the images are not compared with drawn ones, because there is no physics_state; say of which environment they "
    "are, --config.env=NAME, or look at some (--config=dataset:export)"
)


def _drawable(episode: Episode, env_name: str, start: np.ndarray | None) -> Episode | None:
    """Returns the last image and its physics state, or the first image and `start`: floor and sky say how it stands."""
    records = episode.records
    if "image" not in records:
        return None
    if "physics_state" in records:
        kept = {name: records[name][-1:].copy() for name in ("image", "physics_state")}
        return Episode(kept, episode.metadata)
    if start is None:
        return None
    return Episode(
        {"image": records["image"][:1].copy(), "physics_state": start[None]}, {"environment": env_name}
    )


def start_of(env_name: str) -> np.ndarray:
    """Returns the physics state of a start of an episode, [P]; a ValueError where there is none."""
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
    """(path, sentence) of files whose kept image does not show its physics state."""
    if not episodes:
        return
    if rendering.find_backend() is None:
        print("Images are not compared with drawn ones: OpenGL does not work here.")
        return
    for key, alike in itertools.groupby(episodes, key=lambda item: _drawing(item[1])):
        group = list(alike)
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


def _pool(name: str | None, size: tuple[int, int], camera: int | str | None, quality: str) -> RenderPool:
    """Opens a renderer of that kind; raises whatever keeps it from drawing."""
    if not name:
        raise ValueError("they do not say which environment they are from.")
    if registry.imports_code(name):
        raise ValueError(f"their environment {name!r} would import code of their choice.")
    return RenderPool(name, 1, size=size, camera=camera, quality=quality)


def _compared(pool: RenderPool, episode: Episode) -> str | None:
    """Compares the kept image of an episode with a new one; returns what is wrong with it."""
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
