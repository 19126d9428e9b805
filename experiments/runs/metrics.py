"""Metrics of a run: JSON lines, loggers and videos. The only place where device arrays become floats.

`metrics.jsonl` has one row per call of `write`, `eval.jsonl` one per evaluation, with a list entry per
episode. A run that continues from a checkpoint drops the rows written after it, so that the files end as
those of a run that was never stopped. For this to hold, write everything that belongs to an update before
saving its checkpoint. Only keys that start with `time/` or `fps/` may depend on the clock: every row has `time/unix`
and `time/processor`, the seconds that all processors have given to this process since it started.
"""

import json
import math
import os
import pathlib
import sys
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.drawing import video
from experiments.runs.loggers import Loggers, MetricsError, disk_error, finite_mean
from worldmodels.describe import shortened
from worldmodels.files import write_atomically

_NOTHING = {"update": 0, "env_step": 0, "agent_step": 0, "episode": 0}


class Diverged(MetricsError):
    """A loss, or something else that is learnt by, is NaN or infinite."""


class MetricsWriter:
    """Writes the metrics of a run into its directory, and shows them in its loggers (`experiments.runs.loggers`).

    Args:
      run: the opened `RunDirectory`, or a directory, which has events of TensorBoard alone.
      start: clocks of the checkpoint that the run continues from, {"update": n, ...}. Rows that are beyond one of them
        are dropped; where all are 0 nothing was restored, and all rows are dropped.
    """

    def __init__(self, run: str | os.PathLike, start: Mapping[str, int] = _NOTHING):
        self.path = pathlib.Path(run).expanduser().absolute()
        loggers = getattr(run, "loggers", None)
        self._is_mine = loggers is None  # those of a run stay open to its end
        self._loggers = Loggers(self.path, {}) if loggers is None else loggers
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._metrics = _open_rows(self.path / "metrics.jsonl", start)
            self._evals = _open_rows(self.path / "eval.jsonl", start)
        except OSError as error:
            raise disk_error(self.path, error) from error
        self._loggers.open(start)

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def write(
        self,
        metrics: Mapping[str, Any],
        *,
        update: int,
        env_step: int = 0,
        agent_step: int = 0,
        episode: int = 0,
    ) -> dict[str, Any]:
        """Appends a row to `metrics.jsonl` and returns it.

        Args:
          metrics: {slash-grouped name: scalar or short vector}; vectors, one entry per seed, become lists.
          update, env_step, agent_step, episode: see `experiments.runs.progress.Clocks`.
        """
        values = to_numbers(metrics)
        clocks = {"update": update, "env_step": env_step, "agent_step": agent_step, "episode": episode}
        clocks = {name: int(value) for name, value in clocks.items()}
        row = clocks | values | _seconds()
        self._append(self._metrics, row)
        self._loggers.write(values, clocks)
        return row

    def write_eval(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Appends an evaluation to `eval.jsonl` and returns it.

        Args:
          row: per-episode lists, the clocks (0 if absent), and whatever identifies the evaluation. Loggers show means
            over episodes, under `eval/` unless the name has a group.
        """
        values = _NOTHING | to_numbers(row)
        self._append(self._evals, values | _seconds())
        clocks = {name: values[name] for name in _NOTHING}
        shown = {
            name if "/" in name else f"eval/{name}": value
            for name, value in values.items()
            if name not in clocks
        }
        self._loggers.write(shown, clocks)
        return values

    def write_video(
        self, name: str, frames: np.ndarray, fps: float, *, update: int = 0
    ) -> pathlib.Path | None:
        """Writes `videos/<name>.mp4` and shows it in TensorBoard; warns and returns None without an encoder.

        Args:
          frames: [T, H, W, 3] uint8.
          fps: frames per second.
        """
        path = self.path / "videos" / f"{name}.mp4"
        try:
            video.write_mp4(path, frames, fps)
        except video.VideoError as error:
            warnings.warn(f"No video: {error}", stacklevel=2)
            return None
        self._loggers.picture(name, video.gif_bytes(frames, fps), frames.shape[1:3], update)
        return path

    def write_scalars(self, metrics: Mapping[str, Any], *, update: int = 0) -> None:
        """Shows numbers, and the means of lists of numbers, in TensorBoard alone; what is all NaN is left out."""
        means = {n: finite_mean(v if isinstance(v, list) else [v]) for n, v in to_numbers(metrics).items()}
        finite = {n: mean for n, mean in means.items() if math.isfinite(mean)}
        self._loggers.write(finite, _NOTHING | {"update": update})

    def write_image(self, name: str, image: np.ndarray, *, update: int = 0) -> None:
        """Shows an image, [H, W, 3] uint8, in TensorBoard."""
        self._loggers.picture(name, video.png_bytes(image), image.shape[:2], update)

    def close(self) -> None:
        """Closes all files. May be called twice."""
        self._metrics.close()
        self._evals.close()
        if self._is_mine:
            self._loggers.close()

    def _append(self, file, row: Mapping[str, Any]) -> None:
        try:
            file.write(json.dumps(_strict(row)) + "\n")
            file.flush()
        except OSError as error:
            raise disk_error(self.path, error) from error


def to_numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Moves a dict of device arrays to the host at once; scalars become numbers, vectors lists.

    Floats below double precision become the shortest decimal that reads back as the same number.
    """
    values = list(metrics.values())
    if "jax" in sys.modules:
        values = sys.modules["jax"].device_get(values)
    return {name: _plain(value) for name, value in zip(metrics, values, strict=True)}


def check_finite(metrics: Mapping[str, Any], update: int) -> None:
    """Raises a `Diverged` that names the update and the metrics that are NaN or infinite.

    Args:
      metrics: {name: scalar or array}, on device or not, or a row that `write` returned.
    """
    bad = [name for name, value in to_numbers(metrics).items() if not is_finite(value)]
    if bad:
        raise Diverged(
            f"Training has diverged: at update {update} these metrics are not finite: {shortened(bad)}. "
            "Lower the learning rate or clip the gradient; the last checkpoint is from before."
        )


def read_rows(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Rows of a `.jsonl` file, without a last one that was being written. No file: no rows."""
    path = pathlib.Path(path)
    return [row for _, row in _parse(path)] if path.is_file() else []


def last_elbo(workdir: str | os.PathLike, prefix: str, length: int) -> dict[str, list[float | None]]:
    """Reads the evidence lower bound of the newest batches that a training has logged.

    Args:
      workdir: of the run. prefix: of the metrics. length: records of a window.

    Returns:
      {"elbo_per_record": [num_seeds] nats, None where it was not finite}, or {} where nothing was logged.
    """
    seeds = last_values(workdir, prefix).get("elbo")
    if seeds is None:
        return {}
    return {"elbo_per_record": [None if value is None else round(value / length, 3) for value in seeds]}


def last_values(workdir: str | os.PathLike, prefix: str) -> dict[str, list[float | None]]:
    """Reads the newest metrics with a prefix: {name without it: [num_seeds], None where it was not finite}."""
    rows = [
        {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
        for row in read_rows(pathlib.Path(workdir, "metrics.jsonl"))
    ]
    found: dict[str, Any] = next(filter(None, reversed(rows)), {})
    return {name: value if isinstance(value, list) else [value] for name, value in found.items()}


def _seconds() -> dict[str, float]:
    return {"time/unix": round(time.time(), 3), "time/processor": round(time.process_time(), 3)}


def _open_rows(path: pathlib.Path, start: Mapping[str, int]):
    """Drops the rows after `start`, atomically, and opens the file for appending."""

    def is_kept(row: Mapping[str, Any]) -> bool:
        return any(start.values()) and all(row.get(name, 0) <= count for name, count in start.items())

    if path.is_file():
        lines = [line for line, row in _parse(path) if is_kept(row)]
        kept = "".join(lines)
        if len(kept.encode()) != path.stat().st_size:
            write_atomically(path, kept)
    return open(path, "a")


def _parse(path: pathlib.Path) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yields (line, row); a line cut short by a kill has no end or is not JSON, and is left out."""
    with open(path, errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if line.endswith("\n") and isinstance(row, dict):
                yield line, row


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if not hasattr(value, "dtype"):
        return value
    array = np.asarray(value)
    if array.ndim:
        return [_plain(entry) for entry in array]
    if array.dtype.kind in "biu":
        return array.item()
    if array.dtype == np.float64:
        return float(array)
    return float(str(array.astype(np.float32)))


def is_finite(value: Any) -> bool:
    """False if a number, or one in a nested list, is NaN or infinite."""
    if isinstance(value, list):
        return all(map(is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _strict(value: Any) -> Any:
    """JSON knows no NaN: it becomes null."""
    if isinstance(value, dict):
        return {name: _strict(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_strict(entry) for entry in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


class DivergenceWatch:
    """Looks at the rows of metrics of a program that trains several seeds.

    Args:
      num_seeds: of the program; metrics that are lists of this length have an entry per seed.
    """

    def __init__(self, num_seeds: int):
        self._num_seeds = num_seeds
        self.diverged: set[int] = set()

    def check(self, row: Mapping[str, Any], update: int) -> None:
        """Reports on stderr every seed that has diverged since the last call.

        Args:
          row: as `MetricsWriter.write` returned it.
          update: number of updates so far.

        Raises:
          Diverged: all seeds have diverged, or a metric without an entry per seed is not finite.
        """
        bad = {seed: self._not_finite(row, seed) for seed in range(self._num_seeds)}
        for seed, names in bad.items():
            if names and seed not in self.diverged and len(self.diverged) + 1 < self._num_seeds:
                print(
                    f"Seed {seed} of {self._num_seeds} has diverged: at update {update} its {shortened(names)} are "
                    "not finite. It keeps its last finite state, and the others continue.",
                    file=sys.stderr,
                )
            if names:
                self.diverged.add(seed)
        of_all = {name: value for name, value in row.items() if not self._per_seed(value)}
        check_finite(row if len(self.diverged) == self._num_seeds else of_all, update)

    def _not_finite(self, row: Mapping[str, Any], seed: int) -> list[str]:
        return [name for name, value in row.items() if self._per_seed(value) and not is_finite(value[seed])]

    def _per_seed(self, value: Any) -> bool:
        return isinstance(value, list) and len(value) == self._num_seeds


def diverged_among(results: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, int]]]:
    """`diverged_result` of seeds that ran one after the other; `results` with `diverged` and `num_updates`.

    Raises:
      Diverged: all of them have diverged.
    """
    diverged = [bool(result.get("diverged")) for result in results]
    if all(diverged):
        raise Diverged(
            f"Training has diverged, all {len(results)} seeds. Lower the learning rate or clip the gradient."
        )
    return diverged_result(diverged, [result["num_updates"] for result in results])


def diverged_result(diverged: Iterable[bool], steps: Iterable[int]) -> dict[str, list[dict[str, int]]]:
    """Returns the entry of a result on diverged seeds: nothing if there are none.

    Args:
      diverged: [num_seeds].
      steps: [num_seeds] finite updates made.

    Returns:
      {"diverged": [{"seed": index, "updates": made}, ...]} or {}.
    """
    seeds = [
        {"seed": seed, "updates": int(step)}
        for seed, (bad, step) in enumerate(zip(diverged, steps, strict=True))
        if bad
    ]
    return {"diverged": seeds} if seeds else {}
