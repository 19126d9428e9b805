"""Datasets of LeRobot, versions 2.0 to 3.0, as episodes; needs the extra `lerobot` (pyarrow).

A dataset is a folder with meta/info.json. Frame t of an episode has `observation.*`, `action` (chosen on seeing it) and
perhaps `next.reward`, `next.success` and `next.done` (what the action led to). Up to version 2.1 an episode is a
parquet file and an mp4 per camera; in version 3.0 many episodes share files, and meta/episodes says where each is.
What the last action led to is not in the data; see `from_transitions`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np

from experiments.data.converters import files
from experiments.data.converters.resizing import resize
from experiments.drawing.video import ffmpeg
from worldmodels.data.arrays import from_transitions
from worldmodels.data.episode_files import RESERVED_NAMES
from worldmodels.data.episodes import Episode, EpisodeError
from worldmodels.data.records import NOT_SENSORS

_ACTION, _SEEN = "action", "observation."
_STEPS = {"rewards": "next.reward", "successes": "next.success"}


def episodes(config) -> Iterator[tuple[str, Callable[[], Episode]]]:
    """Yields the episodes of the dataset in the folder `config.source`.

    Args:
      config: env ("" if unknown), image_size (pixels, None for those of the source), leave_out (sensors to drop),
        action_low, action_high (bounds of the actions, which become those of [-1, 1]; (): their least and greatest
        values in the dataset), suffix, limit.

    Raises:
      ValueError: pyarrow is not installed, or the folder holds no such dataset.
    """
    dataset = Dataset.open(config.source)
    files.check_has(config.leave_out, dataset.sensors.values(), dataset.root)
    low, high = dataset.action_bounds()
    if config.action_low or config.action_high:
        low, high = (np.asarray(bound, np.float64) for bound in (config.action_low, config.action_high))
    metadata = {"source": f"lerobot:{dataset.root.name}", "control_seconds": 1 / dataset.fps}
    metadata |= {"action_bounds": {"low": low.tolist(), "high": high.tolist()}}
    metadata |= {"environment": config.env} if config.env else {}
    metadata |= {"robot": dataset.info["robot_type"]} if dataset.info.get("robot_type") else {}
    places = dataset.places()
    if short := [place.index for place in places if place.length < 2]:
        listed = f"{', '.join(map(str, short[:5]))}{', ...' if len(short) > 5 else ''}"
        warnings.warn(
            f"{dataset.root}: {len(short)} episodes of one frame ({listed}) are left out, which show nothing of what "
            "their action led to.",
            stacklevel=2,
        )
    for place in [place for place in places if place.length > 1][: config.limit]:

        def make(place=place) -> Episode:
            return dataset.episode(place, (low, high), config, metadata)

        yield f"{place.index}{config.suffix}", make


@dataclasses.dataclass(frozen=True)
class Place:
    """Place of an episode in its files.

    Attributes:
      index: its number. length: of frames. tasks: what was to be done, in words.
      data: parquet file. videos: {camera: (mp4 file, second at which the episode begins)}.
    """

    index: int
    length: int
    tasks: list[str]
    data: Path
    videos: Mapping[str, tuple[Path, float]]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset of LeRobot on this machine.

    Attributes:
      root: its folder. info: what meta/info.json says.
    """

    root: Path
    info: Mapping[str, Any]

    @classmethod
    def open(cls, source: str) -> Self:
        """Opens a folder; raises a ValueError if it holds no dataset of a version that is known."""
        _parquet()
        root = Path(source).expanduser()
        path = root / "meta" / "info.json"
        if not path.is_file():
            raise ValueError(
                f"{root} holds no dataset of LeRobot: there is no meta/info.json; download it first."
            )
        info = _read_json(path)
        version, features, fps = (info.get(name) for name in ("codebase_version", "features", "fps"))
        if not str(version).startswith(("v2.", "v3.")):
            raise ValueError(f"{path} says version {version!r}; known are v2.0, v2.1 and v3.0.")
        action = features.get(_ACTION) if isinstance(features, dict) else None
        known = isinstance(action, dict) and isinstance(action.get("shape"), list)
        if not known or not isinstance(fps, int | float) or fps <= 0:
            raise ValueError(
                f"{path} is damaged: it lacks fps or the shape of the feature {_ACTION!r}; download it again."
            )
        return cls(root, info)

    @property
    def fps(self) -> float:
        """Frames per second."""
        return float(self.info["fps"])

    @property
    def _shares_files(self) -> bool:
        return self.info["codebase_version"].startswith("v3.")

    @property
    def sensors(self) -> dict[str, str]:
        """{feature: sensor that it becomes}: "observation.state" is `state`, "observation.images.top" is `top`."""
        found: dict[str, str] = {}
        for feature in self.info["features"]:
            if not feature.startswith(_SEEN):
                continue
            name = feature.removeprefix(_SEEN).removeprefix("images.").replace(".", "_").replace("/", "_")
            name = f"observed_{name}" if name in (*NOT_SENSORS, *RESERVED_NAMES) else name
            if name in found.values():
                raise ValueError(
                    f"{self.root} has two features that would both be the sensor {name!r}; rename one."
                )
            found[feature] = name
        return found

    def places(self) -> list[Place]:
        """Finds all episodes, by their numbers."""
        meta = self.root / "meta"
        if self._shares_files:
            tables = [_read_table(path) for path in sorted((meta / "episodes").glob("*/*.parquet"))]
            rows = [row for table in tables for row in table.to_pylist()]
        else:
            rows = _read_json_lines(meta / "episodes.jsonl")
        try:
            return sorted((self._place(row) for row in rows), key=lambda place: place.index)
        except (KeyError, IndexError, TypeError, AttributeError, ArithmeticError) as error:
            raise ValueError(
                f"{meta} is damaged ({type(error).__name__}: {error}); download it again."
            ) from error

    def _place(self, row: Mapping[str, Any]) -> Place:
        index, template, videos = int(row["episode_index"]), self.info.get("video_path") or "", {}
        cameras = [name for name in self.sensors if self.info["features"][name]["dtype"] == "video"]
        chunk = {"episode_index": index, "episode_chunk": index // int(self.info.get("chunks_size", 1000))}
        data = chunk | {name: row.get(f"data/{name}") for name in ("chunk_index", "file_index")}
        for camera in cameras:
            video = chunk | {
                name: row.get(f"videos/{camera}/{name}") for name in ("chunk_index", "file_index")
            }
            start = float(row[f"videos/{camera}/from_timestamp"]) if self._shares_files else 0.0
            videos[camera] = self._path(template, video | {"video_key": camera}), start
        length, tasks = int(row["length"]), [str(task) for task in row.get("tasks") or ()]
        return Place(index, length, tasks, self._path(self.info["data_path"], data), videos)

    def _path(self, template: str, fields: Mapping[str, object]) -> Path:
        """Returns a path below the dataset's folder."""
        try:
            path = PurePosixPath(template.format(**fields))
        except ValueError as error:  # as for a number that is missing
            raise KeyError(f"{template}: {error}") from error
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(
                f"{self.root}/meta/info.json names {template!r}, which leads out of the dataset."
            )
        return self.root / path

    def action_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the least and the greatest value of each action, [A]; where both are one, one less and one more."""
        meta, stats = self.root / "meta", []
        if (meta / "stats.json").is_file():
            stats = [_read_json(meta / "stats.json")]
        elif (meta / "episodes_stats.jsonl").is_file():
            stats = [row.get("stats", {}) for row in _read_json_lines(meta / "episodes_stats.jsonl")]
        try:
            low, high = ([np.ravel(each[_ACTION][name]) for each in stats] for name in ("min", "max"))
        except (KeyError, TypeError):
            low = high = []
        if not low:
            paths = {place.data: None for place in self.places()}
            low = high = [
                row for path in paths for row in _column(_read_table(path, [_ACTION]), _ACTION, path)
            ]
        low, high = np.min(low, axis=0).astype(np.float64), np.max(high, axis=0).astype(np.float64)
        size = math.prod(self.info["features"][_ACTION]["shape"])
        if not low.size == high.size == size or not np.isfinite([low, high]).all():
            raise ValueError(
                f"{meta} is damaged: its statistics of {size} actions are {low.tolist()} and {high.tolist()}; "
                "download it again."
            )
        still = low == high
        return low - still, high + still

    def episode(
        self, place: Place, bounds: tuple[np.ndarray, np.ndarray], config, metadata: Mapping
    ) -> Episode:
        """Reads one episode, its actions scaled from `bounds` to [-1, 1]."""
        where, features = f"{self.root}, episode {place.index},", self.info["features"]
        sensors = {name: sensor for name, sensor in self.sensors.items() if sensor not in config.leave_out}
        steps = {name: feature for name, feature in _STEPS.items() if feature in features}
        columns = [name for name in sensors if features[name]["dtype"] != "video"]
        columns += [_ACTION, "frame_index", "task_index", *steps.values()]
        table = _read_table(place.data, columns, place.index)
        if table.num_rows != place.length:
            raise EpisodeError(
                f"{where} has {table.num_rows} frames in {place.data}, its meta says {place.length}."
            )
        table = table.sort_by("frame_index")
        seen = {}
        for feature, sensor in sensors.items():
            dtype = features[feature]["dtype"]
            if dtype == "video":
                values = _read_video(*place.videos[feature], place.length, self.fps, _size(features[feature]))
            else:
                values = (_images if dtype == "image" else _column)(table, feature, place.data)
            if values.ndim == 4 and config.image_size is not None:
                values = resize(values, config.image_size, config.image_size)
            seen[sensor] = values
        actions = _column(table, _ACTION, place.data)
        actions = files.scaled_actions(np.concatenate([np.zeros_like(actions[:1]), actions]), *bounds, where)[
            1:
        ]
        known = {name: _column(table, feature, place.data) for name, feature in steps.items()}
        facts = {**metadata, "episode": place.index} | ({"tasks": place.tasks} if place.tasks else {})
        rewards, successes = known.get("rewards"), known.get("successes")
        with files.ways_out(where):
            (episode,) = from_transitions(seen, actions, rewards, successes=successes, metadata=facts)
        if self.info.get("total_tasks", 1) > 1:
            episode.records["task_id"] = _column(table, "task_index", place.data).reshape(-1)
        return episode


def _parquet() -> Any:
    """Returns pyarrow's module for parquet files, which run no code."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError("Datasets of LeRobot need pyarrow: pip install 'aime-jax[lerobot]'.") from error
    return pyarrow.parquet


def _read_table(path: Path, columns: list[str] | None = None, episode: int | None = None) -> Any:
    """Reads columns of a parquet file, of one episode."""
    filters = None if episode is None else [("episode_index", "=", episode)]
    try:
        return _parquet().read_table(path, columns=columns, filters=filters, partitioning=None)
    except Exception as error:  # whatever a damaged file makes pyarrow raise
        raise EpisodeError(
            f"{path} cannot be read ({' '.join(str(error).split())}); download it again."
        ) from error


def _column(table: Any, name: str, path: Path) -> np.ndarray:
    """Returns a column of numbers as an array [T, d]."""
    column = table.column(name).combine_chunks()
    storage = getattr(column, "storage", column)  # of a matrix
    while hasattr(storage, "flatten") and hasattr(storage.type, "value_type"):
        storage = storage.flatten()
    try:
        return np.asarray(storage.to_numpy(zero_copy_only=False)).reshape(len(column), -1)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise EpisodeError(
            f"{path} has {name!r} of type {column.type}, not numbers; drop it by leave_out."
        ) from error


def _images(table: Any, name: str, path: Path) -> np.ndarray:
    """Returns a column of PNG or JPEG files as images [T, y, x, 3] uint8."""
    from PIL import Image

    encoded = [row and row.get("bytes") for row in table.column(name).to_pylist()]
    if None in encoded:
        raise EpisodeError(
            f"{path} has images {name!r} that are in other files, which are not read; embed them."
        )
    try:
        pictures = [Image.open(io.BytesIO(content)) for content in encoded]
        if other := {picture.mode for picture in pictures} - {"1", "L", "P", "RGB", "RGBA"}:
            raise ValueError(f"their mode is {', '.join(sorted(other))}, as of depth")
        return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    except (OSError, ValueError) as error:
        raise EpisodeError(
            f"{path} has images {name!r} that cannot be read ({error}); drop them by leave_out."
        ) from error


def _size(feature: Mapping[str, Any]) -> tuple[int, int]:
    """Returns (rows, columns) of a camera's pictures, whose channels may be in front."""
    rows, columns, last = feature["shape"]
    return (rows, columns) if last in (1, 3) else (columns, last)


def _read_video(path: Path, start: float, number: int, fps: float, size: tuple[int, int]) -> np.ndarray:
    """Reads pictures of an mp4 from second `start` on: uint8 [number, y, x, 3]."""
    begin = ["-ss", f"{max(0.0, start - 0.5 / fps):.6f}"]
    source = ["-protocol_whitelist", "file", "-f", "mp4", *begin, "-i", f"file:{path}"]
    target = [
        "-frames:v",
        str(number),
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    command = [ffmpeg(), "-nostdin", "-loglevel", "error", *source, *target]
    result = subprocess.run(command, capture_output=True)
    pictures, size_of_one = np.frombuffer(result.stdout, np.uint8), size[0] * size[1] * 3
    if result.returncode or len(pictures) != number * size_of_one:
        reason = " ".join(result.stderr.decode(errors="replace").split())[-200:]
        what = f"{number} pictures of {size[0]} x {size[1]} from second {start:g} on"
        raise EpisodeError(f"{path} does not have {what} ({reason or 'it ends'}).")
    return pictures.reshape(number, *size, 3)


def _read_json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); download it again.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object; download it again.")
    return value


def _read_json_lines(path: Path) -> list[dict]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); download it again.") from error
