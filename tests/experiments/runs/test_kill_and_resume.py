"""A run that is killed or stopped anywhere and started again ends like one that was never stopped."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from experiments.runs.metrics import read_rows

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]


def start(workdir, *flags):
    command = [
        sys.executable,
        str(HERE / "toy_run.py"),
        f"--config={HERE / 'toy_config.py'}:slow",
        f"--workdir={workdir}",
        "--config.num_updates=60",
        *flags,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=workdir.parent,
    )


def finish(process):
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def without_clock(rows):
    return [{k: v for k, v in row.items() if not k.startswith(("time/", "fps/"))} for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("toy") / "run"
    code, _, errors = finish(start(workdir))
    assert code == 0, errors
    return workdir


def assert_same_run(workdir, reference):
    assert (workdir / "DONE").read_text() == (reference / "DONE").read_text()
    for name in ("metrics.jsonl", "eval.jsonl"):
        assert without_clock(read_rows(workdir / name)) == without_clock(read_rows(reference / name))


def wait_for_rows(process, path, count):
    """Waits until a metrics file has `count` lines, or the process has ended."""
    while process.poll() is None:
        if path.is_file() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.002)


def test_a_run_killed_and_stopped_again_and_again_ends_bit_identical(uninterrupted, tmp_path):
    rng = random.Random(0)
    path = tmp_path / "run" / "metrics.jsonl"
    starts, saved = [], [0]
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        process = start(tmp_path / "run")
        starts.append(started_at(process.stdout.readline()))
        wait_for_rows(process, path, starts[-1] + rng.randint(5, 8))
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(number)
        code, _, errors = finish(process)
        if number == signal.SIGKILL:
            assert code == -number
            saved.append(None)
        else:
            assert code == 128 + number
            assert "The same command continues." in errors
            assert "Traceback" not in errors
            saved.append(read_rows(path)[-1]["update"])
    code, output, errors = finish(start(tmp_path / "run"))
    starts.append(started_at(output))
    assert code == 0, errors
    assert all(last in (None, begun) for last, begun in zip(saved, starts, strict=True)), (saved, starts)
    assert len(set(starts)) > 2, f"the run was not continued from different updates: {starts}"
    assert_same_run(tmp_path / "run", uninterrupted)


def started_at(output):
    """The update that the first line of the output names."""
    first = output.splitlines()[0]
    assert first.startswith("starting at ")
    return int(first.split()[-1])


def test_a_second_run_in_the_same_directory_is_refused(tmp_path):
    process = start(tmp_path / "run")
    process.stdout.readline()
    code, _, errors = finish(start(tmp_path / "run"))
    process.kill()
    process.communicate()
    assert code == 2
    assert f"is in use by process {process.pid}" in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_changed_config_is_refused_with_its_keys(uninterrupted):
    code, _, errors = finish(start(uninterrupted, "--config.optimizer.learning_rate=0.2"))
    assert code == 2
    assert "optimizer.learning_rate was 0.1, is 0.2" in errors
    assert len(errors.strip().splitlines()) == 1
