"""The command line: dry runs, status, mistakes; and a small sweep whose processes are killed."""

import pathlib

import pytest
from kill_sweep import assert_same, disturbed, make_runs, undisturbed

from launch import sweep
from launch.attempts import write_sweep
from launch.local import LocalSweep, slots


def call(capsys, *arguments):
    code = sweep.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_dry_run_prints_every_run_and_does_nothing(capsys, tmp_path):
    code, out, _ = call(capsys, "run", "walker18:tiny", "--dry_run", f"--root={tmp_path / 'sweep'}")
    assert code == 0 and "8 runs: 3 ready, 5 waiting" in out
    assert "walker18-tiny-pointmass/aime-mix-lpomdp/seed_000  [waiting]" in out
    assert "needs walker18-tiny-model/mix-lpomdp/seed_000" in out and not (tmp_path / "sweep").exists()


def test_axes_may_follow_flags(capsys, tmp_path):
    _, out, _ = call(
        capsys, "run", "cheetah24", "--dry_run", f"--root={tmp_path}", "setup=mdp", "dataset=run", "seed=0"
    )
    assert "cheetah24-flip/aime-run-mdp/seed_000" in out and "visual" not in out


def test_commands_can_be_printed(capsys, tmp_path):
    code, out, _ = call(
        capsys, "run", "imitate:tiny", "seed=0..1", "--backend=print", f"--root={tmp_path}", "--name=mine"
    )
    assert code == 0 and len(out.splitlines()) == 2
    assert out.splitlines()[1].endswith(f"--config.seed=1 --workdir={tmp_path}/mine/default/seed_001")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "walk"), "'walk' is neither a suite"),
        (("run", "walker18", "seed"), "is not KEY=VALUE"),
        (("run", "imitate:tiny", "num_update=3"), "Did you mean 'num_updates'"),
        (("run", "imitate:huge", "seed=0"), "Unknown preset 'huge'"),
        (("status",), "There is no sweep in"),
        (("report",), "There is no sweep in"),
    ],
)
def test_mistakes_are_told_in_one_sentence(capsys, tmp_path, arguments, sentence):
    code, _, errors = call(capsys, *arguments, f"--root={tmp_path}")
    assert code == 2 and sentence in errors and len(errors.strip().splitlines()) == 1


def test_status_lists_what_is_not_done(capsys, toy, tmp_path):
    runs = [toy("good"), toy("bad", "fail"), toy("after", needs=["bad"])]
    write_sweep(tmp_path, "s", runs)
    LocalSweep(runs, tmp_path, slots()).run()
    capsys.readouterr()
    code, out, _ = call(capsys, "status", f"--root={tmp_path}")
    assert code == 1 and "3 runs: 1 done, 1 failed, 1 waiting" in out
    assert "failed      toy/bad  exit code 1: it broke" in out and "toy/good" not in out


def test_a_sweep_whose_processes_are_killed_ends_identical(tmp_path):
    runs = make_runs(3)
    undisturbed(runs, tmp_path / "undisturbed")
    killed = disturbed(len(runs), tmp_path / "disturbed", kills=3)
    assert killed.total() == 3
    for run in runs:
        assert_same(run, pathlib.Path(tmp_path / "disturbed"), tmp_path / "undisturbed")
