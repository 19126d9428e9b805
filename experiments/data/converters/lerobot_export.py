"""Episodes as a dataset of LeRobot, version 3.0; needs the extra `lerobot` (pyarrow)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.converters.files import unscaled_actions
from experiments.drawing.video import png_bytes
from worldmodels.data.episodes import Episode, EpisodeError, read_episode
from worldmodels.files import written

_FILE_BYTES = 100e6  # of LeRobot's data files, about
_TYPES = {"timestamp": "float32", "next.reward": "float32", "next.done": "bool", "next.success": "bool"}
_TYPES |= dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")


def export(paths: Sequence[Path], target: Path, fps: float | None = None) -> dict:
    """Writes a dataset of LeRobot, version 3.0, with images in the parquet files.

    Frame t has the observation of record t and the action, reward and success of record t + 1, so that the last
    observation of an episode has no place there.

    Args:
      paths: episodes.
      target: the folder, which appears complete or not at all.
      fps: frames per second; None: as the metadata say.

    Returns:
      {"num_episodes", "num_frames"}.

    Raises:
      ValueError: pyarrow is missing, or an episode has no actions or does not say how fast it is.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ValueError("Datasets of LeRobot need pyarrow: pip install 'aime-jax[lerobot]'.") from error
    with written(target) as root:
        dataset = _LeRobot(root)
        for path in paths:
            dataset.add(read_episode(path), path, fps)
        dataset.finish()
    return {"num_episodes": len(dataset.rows), "num_frames": dataset.num_frames}


class _LeRobot:
    """A dataset that is being written.

    Attributes:
      rows: of meta/episodes. num_frames: so far.
    """

    def __init__(self, root: Path):
        self.rows: list[dict] = []
        self.num_frames = 0
        self._root = root
        self._statistics: list[dict] = []
        self._tasks: dict[str, int] = {}
        self._features: dict[str, dict] = {}
        self._facts: dict[str, object] = {}
        self._pending: list[Any] = []
        self._file = 0

    def add(self, episode: Episode, path: Path, fps: float | None) -> None:
        """Adds an episode, read from `path`."""
        import pyarrow as pa

        fps = _rate(episode, path, fps)
        facts = {"fps": fps, "robot_type": episode.metadata.get("robot") or "unknown"}
        index, number, task = len(self.rows), episode.length, _task(episode)
        columns, steps = _frames(episode, path), np.arange(number)
        columns |= {"timestamp": steps / fps, "frame_index": steps, "index": self.num_frames + steps}
        columns["episode_index"] = np.full(number, index)
        columns["task_index"] = np.full(number, self._tasks.setdefault(task, len(self._tasks)))
        features = {name: _feature(name, values) for name, values in columns.items()}
        self._features, self._facts = self._features or features, self._facts or facts
        if (features, facts) != (self._features, self._facts):
            raise EpisodeError(f"{path} has another robot, speed, sensors or actions than those before it.")
        chunk, file = divmod(self._file, 1000)
        row = {"episode_index": index, "tasks": [task], "length": number}
        row |= {"data/chunk_index": chunk, "data/file_index": file, "dataset_from_index": self.num_frames}
        row |= {"dataset_to_index": self.num_frames + number}
        statistics = {name: _statistics(values) for name, values in columns.items()}
        row |= {f"stats/{name}/{key}": value for name, of in statistics.items() for key, value in of.items()}
        self.rows.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        self._statistics.append(statistics)
        self.num_frames += number
        self._pending.append(pa.table({name: _arrow(name, values) for name, values in columns.items()}))
        if sum(table.nbytes for table in self._pending) > _FILE_BYTES:
            self._flush()

    def finish(self) -> None:
        """Writes what is left, and what the dataset says of itself."""
        import pyarrow as pa

        self._flush()
        names = list(self._tasks)
        tasks = pa.table({"task_index": pa.array(range(len(names)), pa.int64()), "task": names})
        self._write(
            "meta/tasks.parquet", tasks.replace_schema_metadata({"pandas": json.dumps(_INDEXED_BY_TASK)})
        )
        self._write("meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(self.rows))
        info = {
            "codebase_version": "v3.0",
            **self._facts,
            "total_episodes": len(self.rows),
            "total_frames": self.num_frames,
            "total_tasks": len(names),
            "chunks_size": 1000,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": None,
            "features": self._features,
        }
        for name, value in (("info", info), ("stats", _joined(self._statistics))):
            (self._root / "meta" / f"{name}.json").write_text(json.dumps(value, indent=4))

    def _flush(self) -> None:
        if self._pending:
            chunk, file = divmod(self._file, 1000)
            self._write(f"data/chunk-{chunk:03d}/file-{file:03d}.parquet", *self._pending)
            self._pending, self._file = [], self._file + 1

    def _write(self, name: str, *tables: Any) -> None:
        """Writes tables into one file, a group of rows each, so that an episode is read without the others."""
        import pyarrow.parquet as pq

        (self._root / name).parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(self._root / name, tables[0].schema) as writer:
            for table in tables:
                writer.write_table(table)


# What pandas needs to read the tasks with their texts as index, as LeRobot does.
_INDEXED_BY_TASK = {
    "index_columns": ["task"],
    "column_indexes": [],
    "columns": [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": dtype, "metadata": None}
        for name, kind, dtype in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ],
    "pandas_version": "2.0.0",
}


def _frames(episode: Episode, path: Path) -> dict[str, np.ndarray]:
    """Returns {feature: [T - 1, ...]} of the steps of an episode."""
    records, actions = episode.records, unscaled_actions(episode, path)
    images = [name for name in episode.sensors if records[name].ndim == 4]
    named = {name: f"observation.{'images.' * (name in images)}{name}" for name in episode.sensors}
    columns = {feature: records[name][:-1] for name, feature in named.items()}
    columns |= {
        "action": actions,
        "next.reward": records["reward"][1:],
        "next.done": records["is_last"][1:],
    }
    if "success" in records:
        columns["next.success"] = records["success"][1:]
    return columns


def _rate(episode: Episode, path: Path, fps: float | None) -> float:
    if not fps and (seconds := episode.metadata.get("control_seconds")):
        fps = 1 / seconds
    if not fps:
        raise EpisodeError(f"{path} does not say how fast it is; pass frames per second: --config.fps.")
    rate = round(fps, 6)
    return int(rate) if rate == int(rate) else rate


def _task(episode: Episode) -> str:
    """Returns what was to be done, in words, as far as it is known."""
    tasks = episode.metadata.get("tasks") or [
        episode.metadata.get("task") or episode.metadata.get("environment")
    ]
    return str(tasks[0] or "")


def _feature(name: str, values: np.ndarray) -> dict:
    """Returns what info.json says of a feature."""
    if values.ndim == 4:
        names = ["height", "width", "channels"]
        return {"dtype": "image", "shape": list(values.shape[1:]), "names": names}
    shape = list(values.shape[1:]) or [1]
    return {"dtype": _TYPES.get(name, "float32"), "shape": shape, "names": None}


def _arrow(name: str, values: np.ndarray) -> Any:
    """Returns a column of a parquet file."""
    import pyarrow as pa

    if values.ndim == 4:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        return pa.array([{"bytes": png_bytes(image), "path": None} for image in values], kind)
    if values.ndim == 1:
        return pa.array(values.astype(_TYPES[name]))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).ravel()), values.shape[1])


def _statistics(values: np.ndarray) -> dict[str, list]:
    """Returns least, greatest, mean and standard deviation of each dimension, of images of each colour in 0..1."""
    axes = (0, 1, 2) if values.ndim == 4 else (0,)
    flat = values.astype(np.float64) / (255 if values.ndim == 4 else 1)
    found = {"min": flat.min(axes), "max": flat.max(axes), "mean": flat.mean(axes), "std": flat.std(axes)}
    shape = (3, 1, 1) if values.ndim == 4 else (-1,)
    return {name: value.reshape(shape).tolist() for name, value in found.items()} | {"count": [len(values)]}


def _joined(episodes: Sequence[Mapping[str, Mapping[str, list]]]) -> dict[str, dict[str, list]]:
    """Returns the statistics of all episodes from those of each."""
    joined = {}
    for name in episodes[0]:
        each = {key: np.array([of[name][key] for of in episodes], np.float64) for key in episodes[0][name]}
        weight = (each["count"][:, 0] / each["count"].sum()).reshape(-1, *[1] * (each["mean"].ndim - 1))
        mean = np.sum(weight * each["mean"], axis=0)
        variance = np.sum(weight * (each["std"] ** 2 + (each["mean"] - mean) ** 2), axis=0)
        values = {
            "min": each["min"].min(0),
            "max": each["max"].max(0),
            "mean": mean,
            "std": np.sqrt(variance),
        }
        joined[name] = {key: value.tolist() for key, value in values.items()} | {
            "count": [int(each["count"].sum())]
        }
    return joined
