"""What can be said of Slurm without one; `make test-slurm` checks it on a real one."""

import json
import os
import pathlib
import signal
import threading

import pytest

from launch import slurm
from launch.attempts import read_attempts
from launch.runs import Output, Run
from launch.suites import runs_of


def test_levels_put_runs_after_those_that_they_need():
    runs = [Run("a", "m", "c"), Run("b", "m", "c", {"x": Output("a")}), Run("c", "m", "c")]
    assert [[run.name for run in level] for level in slurm.levels(runs)] == [["a", "c"], ["b"]]


def test_needs_that_are_done_do_not_count():
    assert slurm.levels([Run("b", "m", "c", {"x": Output("done")})]) == [
        [Run("b", "m", "c", {"x": Output("done")})]
    ]


def test_a_suite_has_few_levels():
    assert len(slurm.levels(runs_of("walker18"))) == 4  # data, mixture, models, policies


def test_a_job_says_what_it_lacks(tmp_path):
    with pytest.raises(RuntimeError, match="b needs a, which is not done"):
        slurm.RunInJob(str(tmp_path))(Run("b", "m", "c", {"x": Output("a")}))


def test_a_job_fails_if_its_run_does(toy, tmp_path):
    with pytest.raises(RuntimeError, match="exit code 1; its log says why"):
        slurm.RunInJob(str(tmp_path))(toy("bad", "fail"))


def test_a_preempted_job_passes_the_signal_on(toy, tmp_path):
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(RuntimeError, match="exit code -15"):
        slurm.RunInJob(str(tmp_path))(toy("long", "sleep"))


def test_the_end_of_the_time_stops_the_run_amid_waiting_for_it(toy, tmp_path):
    pytest.importorskip("submitit")
    job, run = slurm.RunInJob(str(tmp_path)), toy("long", "sleep")
    before = signal.signal(signal.SIGUSR2, lambda *unused: job.checkpoint(run))  # as submitit does
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGUSR2))
    timer.start()
    with pytest.raises(RuntimeError, match="exit code -15"):
        job(run)
    signal.signal(signal.SIGUSR2, before)
    assert read_attempts(tmp_path, run.name)[-1]["code"] == -signal.SIGTERM


def test_a_job_carries_its_run_out(toy, tmp_path):
    assert slurm.RunInJob(str(tmp_path))(toy("good")) == 0


def test_without_slurm_other_backends_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="use --backend=local or --backend=print"):
        slurm.submit([Run("a", "m", "c")], tmp_path, name="s")


def test_the_queue_is_read_by_run(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "squeue").write_text("#!/bin/sh\necho 7_0 RUNNING\necho 7_1 PENDING\necho 9 RUNNING\n")
    (programs / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    (tmp_path / "slurm").mkdir()
    jobs = {"a": "7_0", "b": "7_1", "c": "7_2"}
    pathlib.Path(tmp_path / "slurm" / "jobs.json").write_text(json.dumps(jobs))
    assert slurm.queued(tmp_path) == {"a": "RUNNING", "b": "PENDING"}
