"""Mains that are killed or told to stop, as subprocesses or in this one, and runs compared to the bit."""

import contextlib
import itertools
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from experiments.runs import directory
from experiments.runs.metrics import MetricsWriter, read_rows
from worldmodels import export, weights
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.episodes import episode_paths, read_episode

ROOT = pathlib.Path(__file__).parent.parent


def environment() -> dict[str, str]:
    """Variables of the subprocesses: this project, on the CPU."""
    return os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def start(module: str, *flags) -> subprocess.Popen:
    """`python -m module flags`."""
    command = [sys.executable, "-m", "experiments", module, *map(str, flags)]
    return subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def stop_after_rows(process: subprocess.Popen, metrics: pathlib.Path, rows: int, number: int) -> int:
    """Sends a signal once the metrics file has so many rows; returns the exit code."""
    while process.poll() is None:
        if metrics.is_file() and metrics.read_bytes().count(b"\n") >= rows:
            process.send_signal(number)
            break
        time.sleep(0.005)
    process.communicate(timeout=240)
    return process.returncode


def killed() -> None:
    """Ends a run of this process at once, as SIGKILL would: nothing more is saved."""
    raise KeyboardInterrupt


def terminated() -> None:
    """Tells a run of this process to stop."""
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def interrupting(owner: object, method: str, call: int, end: Callable[[], None]) -> Iterator[None]:
    """Inside the block, `end` (`killed`, `terminated`) comes before call number `call` of a function, from 1."""
    function, calls = getattr(owner, method), itertools.count(1)

    def interrupted(*args, **kwargs):
        if next(calls) == call:
            end()
        return function(*args, **kwargs)

    expected = {killed: KeyboardInterrupt, terminated: directory.Interrupted}[end]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(expected) as stopped:
        patch.setattr(directory, "PATIENCE", math.inf)  # the round ends, however slow the machine
        patch.setattr(owner, method, interrupted)
        yield
    assert end is killed or stopped.value.signal_number == signal.SIGTERM


@contextlib.contextmanager
def copied_after(rows: int, folder: pathlib.Path, copy: pathlib.Path) -> Iterator[None]:
    """Copies a run's folder once it has written so many rows of metrics: what there is if it is killed then."""
    write, written = MetricsWriter.write, []

    def write_and_copy(self, *args, **options):
        written.append(write(self, *args, **options))
        if len(written) == rows:
            shutil.copytree(folder, copy)
        return written[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetricsWriter, "write", write_and_copy)
        yield
    assert copy.is_dir()


def without_clock(rows: list[dict]) -> list[dict]:
    """Rows without what depends on the clock."""
    return [{k: v for k, v in row.items() if not k.startswith(("time/", "fps/"))} for row in rows]


def assert_same_run(workdir: pathlib.Path, reference: pathlib.Path, checkpoints=("checkpoints",)) -> None:
    """Equal results, metrics and parameters, to the bit."""
    assert (workdir / "DONE").read_text() == (reference / "DONE").read_text()
    for name in ("metrics.jsonl", "eval.jsonl"):
        assert without_clock(read_rows(workdir / name)) == without_clock(read_rows(reference / name))
    for folder in checkpoints:
        (step, arrays), (expected_step, expected) = (kept(d / folder) for d in (workdir, reference))
        assert step == expected_step and arrays.keys() == expected.keys()
        for key in arrays:
            np.testing.assert_array_equal(arrays[key], expected[key], err_msg=key)


def kept(folder: pathlib.Path) -> tuple[object, dict[str, np.ndarray]]:
    """(step, {name: array}) of the newest checkpoint, or (content of model.json, weights) of a model folder."""
    if (folder / export.MODEL).is_file():
        facts = export.read_facts(folder)
        facts["card"].pop("title", None)
        return facts, weights.read(folder)
    return Checkpoints(folder).read()[:2]


def assert_same_episodes(folder: pathlib.Path, reference: pathlib.Path) -> None:
    """The same files, records and metadata, to the bit."""
    paths = [path.relative_to(folder) for path in episode_paths(folder)]
    assert paths == [path.relative_to(reference) for path in episode_paths(reference)]
    for path in paths:
        one, other = read_episode(folder / path), read_episode(reference / path)
        assert one.metadata == other.metadata
        assert one.records.keys() == other.records.keys()
        for name, value in one.records.items():
            np.testing.assert_array_equal(value, other.records[name], err_msg=f"{path} {name}")


SIGKILL, SIGTERM = signal.SIGKILL, signal.SIGTERM
