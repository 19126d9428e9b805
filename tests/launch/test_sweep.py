"""The command line: dry runs, status, mistakes; and a small sweep whose processes are killed."""

import json
import pathlib

import pytest
from kill_sweep import assert_same, disturbed, make_runs, undisturbed

from launch import slurm, sweep
from launch.attempts import hold, write_sweep
from launch.local import LocalSweep, slots
from launch.runs import Run, load_config


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


def test_every_run_imports_what_the_user_has_named(capsys, tmp_path, own_code):
    own_code("my.module", "First, Second = 1, 2")
    code, out, _ = call(
        *(capsys, "run", "imitate:tiny", "--backend=print", f"--root={tmp_path}", "seed=0,1"),
        *("--import=my.module:First", "--import=my.module:Second"),
    )
    assert code == 0 and out.count("--import=my.module:First,my.module:Second ") == 2
    code, _, errors = call(capsys, "run", "imitate:tiny", f"--root={tmp_path}", "--import=my.module:Third")
    assert code == 2 and "the module 'my.module' has no 'Third'" in errors


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


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--jobs=-3", "At least one run at a time: --jobs is -3"),
        ("--per_gpu=2", "--per_gpu=2 needs to know the GPUs, e.g. --gpus=0,1"),
        ("--gpus=0,1,0", "GPU 0 is listed twice"),
        ("--restarts=-1", "--restarts is -1"),
        ("--stall_minutes=0", "--minutes and --stall_minutes must be positive"),
        ("--root=/dev/null", "--root=/dev/null is a file; give a directory"),
        ("--root=/dev/null/below", "/dev/null/below"),
    ],
)
def test_wrong_flags_are_refused(capsys, flag, sentence):
    code, _, errors = call(capsys, "run", "imitate:tiny", "seed=0", flag)
    assert code == 2 and sentence in errors and len(errors.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            ("--gpus=0,1", "--jobs=4"),
            "--jobs=4 is for runs without --gpus; --per_gpu says how many share one",
        ),
        (("--gpus=0,1", "--backend=slurm"), "Slurm gives GPUs, e.g. --sbatch gpus_per_node=1"),
    ],
)
def test_flags_of_which_one_would_be_ignored_are_refused(capsys, tmp_path, flags, sentence):
    code, _, errors = call(capsys, "run", "imitate:tiny", "seed=0", f"--root={tmp_path}", *flags)
    assert code == 2 and sentence in errors


@pytest.mark.parametrize(("flags", "expected"), [((), 100), (("--jobs=1",), 1), (("--jobs=7",), 7)])
def test_jobs_of_an_array_run_as_many_at_a_time_as_said(capsys, tmp_path, monkeypatch, flags, expected):
    asked = {}
    monkeypatch.setattr(slurm, "submit", lambda runs, root, **options: asked.update(options) or {})
    call(capsys, "run", "imitate:tiny", "seed=0..1", "--backend=slurm", f"--root={tmp_path}", *flags)
    assert asked["parallelism"] == expected


def test_wrong_flags_are_refused_in_a_dry_run_too(capsys, tmp_path):
    code, out, _ = call(
        capsys, "run", "imitate:tiny", "seed=0", "--jobs=-3", "--dry_run", f"--root={tmp_path}"
    )
    assert code == 2 and not out


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--sbatch", "partition=gpu"), "is for --backend=slurm"),
        (("--backend=slurm", "--sbatch", "partition=gpu", "seed=0"), "seed=0 is no option of sbatch"),
        (("--backend=slurm", "--sbatch", "num_updates=3"), "num_updates=3 is no option of sbatch"),
    ],
)
def test_axes_after_sbatch_are_refused(capsys, tmp_path, flags, sentence):
    code, _, errors = call(capsys, "run", "imitate:tiny", f"--root={tmp_path}", *flags)
    assert code == 2 and sentence in errors


def test_a_value_of_another_type_shows_in_a_dry_run(capsys, tmp_path):
    code, _, errors = call(
        capsys, "run", "imitate:tiny", "num_updates=abc", "--dry_run", f"--root={tmp_path}"
    )
    assert code == 2 and "This will not run: num_updates=abc does not fit" in errors


def test_a_second_launcher_in_the_same_root_is_refused(capsys, tmp_path):
    with hold(tmp_path):
        code, _, errors = call(capsys, "run", "imitate:tiny", "seed=0", f"--root={tmp_path}")
    assert code == 2 and f"{tmp_path} is in use by the launcher process" in errors


def finish(root, name, config):
    """Leaves what a main would, `config` with all its keys."""
    (root / name).mkdir(parents=True)
    (root / name / "config.json").write_text(json.dumps(config.to_dict()))
    (root / name / "DONE").write_text("{}")


def test_a_change_of_settings_is_told(capsys, tmp_path):
    finish(tmp_path, "collect-uniform-tiny/default/seed_000", load_config("collect:uniform-tiny"))
    command = ("run", "collect:uniform-tiny", "seed=0", f"--root={tmp_path}", "--dry_run")
    code, out, _ = call(capsys, *command)
    assert code == 0 and "1 runs: 1 done" in out
    code, out, _ = call(capsys, *command, "num_episodes=50")
    assert code == 1 and "[done with other settings: num_episodes " in out and "-> 50]" in out


def test_only_commands_that_are_left_are_printed(capsys, tmp_path):
    finish(tmp_path, "collect-uniform-tiny/default/seed_000", load_config("collect:uniform-tiny"))
    command = ("run", "collect:uniform-tiny", "seed=0..1", f"--root={tmp_path}", "--backend=print")
    code, out, errors = call(capsys, *command)
    assert code == 0 and len(out.splitlines()) == 1 and "seed_001" in out
    assert errors == "Left out: 1 done.\n"


def test_status_says_what_the_launcher_has_said_of_a_run_that_was_killed_too_often(capsys, toy, tmp_path):
    runs = [toy("killed", "kill")]
    write_sweep(tmp_path, "s", runs, restarts=1)
    LocalSweep(runs, tmp_path, slots(), max_restarts=1).run()
    capsys.readouterr()
    code, out, _ = call(capsys, "status", f"--root={tmp_path}")
    assert code == 1 and "failed      toy/killed  stopped 2 times, last by SIGKILL" in out


def test_status_lists_what_is_not_done(capsys, toy, tmp_path):
    runs = [toy("good"), toy("bad", "fail"), toy("after", needs=["bad"])]
    write_sweep(tmp_path, "s", runs)
    LocalSweep(runs, tmp_path, slots()).run()
    capsys.readouterr()
    code, out, _ = call(capsys, "status", f"--root={tmp_path}")
    assert code == 1 and "3 runs: 1 done, 1 failed, 1 waiting" in out
    assert "failed      toy/bad  exit code 1: it broke" in out and "toy/good" not in out


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ("collect:uniform-tiny", {"a_key_that_is_no_more": 1}),
        ("collect:a_preset_that_is_no_more", {}),
        ("a_config_that_is_no_more", {}),
    ],
)
def test_status_of_a_sweep_of_an_earlier_version_takes_what_is_done_for_done(
    capsys, tmp_path, config, settings
):
    write_sweep(tmp_path, "s", [Run("s/old", "collect", config, settings)])
    finish(tmp_path, "s/old", load_config("collect:uniform-tiny"))
    code, out, _ = call(capsys, "status", f"--root={tmp_path}")
    assert code == 0 and "1 runs: 1 done" in out


def test_a_sweep_whose_processes_are_killed_ends_identical(tmp_path):
    runs = make_runs(3)
    undisturbed(runs, tmp_path / "undisturbed")
    killed = disturbed(len(runs), tmp_path / "disturbed", kills=3)
    assert killed.total() == 3
    for run in runs:
        assert_same(run, pathlib.Path(tmp_path / "disturbed"), tmp_path / "undisturbed")
