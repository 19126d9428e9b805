"""Runs on this machine: order, number, failures, kills, hangs."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from launch.attempts import (
    Attempt,
    Kind,
    give_another_chance,
    last_line,
    log_path,
    read_attempts,
    state_of,
    was_interrupted,
    write_sweep,
)
from launch.local import LocalSweep, slots


def kinds(root, runs, **options):
    states = LocalSweep(runs, root, options.pop("slots", slots(2)), **options).run()
    return {name.removeprefix("toy/"): state.kind for name, state in states.items()}


def test_runs_wait_for_those_that_they_need(toy, tmp_path):
    runs = [toy("first", "slow"), toy("second", needs=["first"]), toy("third", needs=["second"])]
    assert kinds(tmp_path, runs, slots=slots(3)) == dict.fromkeys(("first", "second", "third"), Kind.DONE)
    ends = [(tmp_path / run.name / "DONE").stat().st_mtime for run in runs]
    begins = [(tmp_path / run.name / "began").stat().st_mtime for run in runs]
    assert begins[1] >= ends[0] and begins[2] >= ends[1]


def test_a_failure_is_told_with_the_last_line_and_stops_only_what_needs_it(toy, tmp_path):
    runs = [toy("broken", "fail"), toy("after", needs=["broken"]), toy("other")]
    assert kinds(tmp_path, runs) == {"broken": Kind.FAILED, "after": Kind.WAITING, "other": Kind.DONE}
    assert state_of(tmp_path, runs[0]).detail == "exit code 1: it broke"
    assert state_of(tmp_path, runs[1]).detail == "for toy/broken"


def test_finished_runs_are_skipped_and_failed_ones_too(toy, tmp_path):
    runs = [toy("good"), toy("bad", "fail")]
    kinds(tmp_path, runs)
    kinds(tmp_path, runs)
    assert [len(read_attempts(tmp_path, run.name)) for run in runs] == [1, 1]


def test_a_run_that_is_done_with_other_settings_is_left_and_so_is_what_needs_it(recorded_toy, tmp_path):
    make, leave = recorded_toy
    leave(tmp_path, make("a", 1))
    runs = [make("a", 2), make("b", 1, needs=["a"])]
    assert kinds(tmp_path, runs) == {"a": Kind.OTHER, "b": Kind.WAITING}
    assert state_of(tmp_path, runs[0]).detail == "size 1 -> 2"
    assert read_attempts(tmp_path, "toy/a") == read_attempts(tmp_path, "toy/b") == []


def test_the_root_of_a_sweep_may_move(recorded_toy, tmp_path):
    make, leave = recorded_toy
    run = make("b", 1, needs=["a"])
    leave(tmp_path / "here", run)
    (tmp_path / "here").rename(tmp_path / "there")
    assert state_of(tmp_path / "there", run).kind == Kind.DONE


def test_the_main_may_be_asked_about_other_settings(recorded_toy, tmp_path):
    make, leave = recorded_toy
    leave(tmp_path, make("a", 1))
    run = make("a", 2)
    states = LocalSweep([run], tmp_path, slots(), again=[run.name]).run()
    assert len(read_attempts(tmp_path, run.name)) == 1  # the toy has left its config as it was
    assert states[run.name].kind == Kind.OTHER


def test_a_failed_run_can_be_given_another_chance(toy, tmp_path):
    runs = [toy("bad", "fail once")]
    assert kinds(tmp_path, runs) == {"bad": Kind.FAILED}
    give_another_chance(tmp_path, "toy/bad")
    assert kinds(tmp_path, runs) == {"bad": Kind.DONE}


def test_a_killed_run_starts_again(toy, tmp_path):
    assert kinds(tmp_path, [toy("killed", "kill once")]) == {"killed": Kind.DONE}
    assert [attempt["code"] for attempt in read_attempts(tmp_path, "toy/killed")] == [-9, 0]


def test_a_run_that_is_killed_again_and_again_has_failed(toy, tmp_path):
    assert kinds(tmp_path, [toy("killed", "kill")], max_restarts=2) == {"killed": Kind.FAILED}
    state = state_of(tmp_path, toy("killed", "kill"), max_restarts=2)
    assert state.detail == "stopped 3 times, last by SIGKILL"


def test_a_run_without_a_sign_of_life_is_killed_and_starts_again(toy, tmp_path):
    assert kinds(tmp_path, [toy("hung", "hang once")], stall_seconds=3.0) == {"hung": Kind.DONE}
    assert "without a sign of life" in read_attempts(tmp_path, "toy/hung")[0]["reason"]


def test_a_run_that_ends_without_done_has_failed(toy, tmp_path):
    assert kinds(tmp_path, [toy("odd", "no end")]) == {"odd": Kind.FAILED}
    assert "without toy/odd/DONE" in state_of(tmp_path, toy("odd")).detail


def test_a_signal_stops_the_runs_and_the_sweep(toy, tmp_path):
    runs = [toy("long", "sleep"), toy("next", needs=["long"])]
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        kinds(tmp_path, runs)
    assert read_attempts(tmp_path, "toy/long")[-1]["code"] == -signal.SIGTERM
    assert state_of(tmp_path, runs[0]).kind == Kind.INTERRUPTED


def test_a_run_of_another_launcher_is_waited_for(toy, tmp_path):
    run = toy("shared", "slow")
    workdir = tmp_path / run.name
    workdir.mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments", "toys.toy", "--config.what=slow", f"--workdir={workdir}"]
    )
    (workdir / ".lock").write_text(f"process {process.pid} on {os.uname().nodename}")
    threading.Thread(target=process.wait).start()
    time.sleep(0.1)
    assert state_of(tmp_path, run).kind == Kind.RUNNING
    assert kinds(tmp_path, [run]) == {"shared": Kind.DONE}
    assert read_attempts(tmp_path, run.name) == []


def test_runs_share_gpus_and_their_memory(toy, tmp_path):
    places = slots(gpus=["0", "3"], per_gpu=2)
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places] == ["0", "3", "0", "3"]
    kinds(tmp_path, [toy("a")], slots=places[:1])
    assert last_line(log_path(tmp_path, "toy/a")) == "began end 0 0.425"


def test_the_old_name_of_the_share_of_memory_does_not_reach_a_run(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    given, start = {}, subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, env, **rest: given.update(env) or start(*args, env=env, **rest)
    )
    Attempt(toy("a"), tmp_path, slots(gpus=["0"])[0]).finish()
    assert "XLA_CLIENT_MEM_FRACTION" in given and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in given


def test_at_least_one_run_at_a_time():
    with pytest.raises(ValueError, match="At least one run at a time"):
        slots(0)


@pytest.mark.parametrize(
    ("code", "expected"), [(-9, True), (143, True), (130, True), (0, False), (1, False), (2, False)]
)
def test_kills_and_saved_stops_are_no_failures(code, expected):
    assert was_interrupted(code) == expected


def test_a_sweep_on_disk_grows(toy, tmp_path):
    from launch.attempts import read_sweeps

    write_sweep(tmp_path, "s", [toy("a")])
    write_sweep(tmp_path, "s", [toy("b", needs=["a"])])
    assert [kept.run for kept in read_sweeps(tmp_path)] == [toy("a"), toy("b", needs=["a"])]
