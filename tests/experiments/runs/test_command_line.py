import os
import pathlib
import subprocess
import sys

import pytest

from experiments.runs import command_line as module
from experiments.runs.command_line import UsageError, find_config, is_user_error, launch, parse
from worldmodels import registry

TOY = str(pathlib.Path(__file__).with_name("toy_config.py"))


def error_of(*arguments, **options):
    with pytest.raises(UsageError) as error:
        parse(["main", *arguments], **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def run_and_record(calls):
    def run(config, workdir, *, fresh=False, **flags):
        calls.append((config, workdir, fresh, flags))

    run.__module__ = __name__
    return run


def exit_code(run, *arguments, **options):
    with pytest.raises(SystemExit) as exit_:
        launch(run, argv=["main", *arguments], owns_process=False, **options)
    return exit_.value.code or 0


@pytest.fixture(autouse=True)
def no_compilation_cache(monkeypatch):
    monkeypatch.setattr(module, "set_up_process", lambda: None)


def test_flags_reach_the_run():
    calls = []
    flags = [
        f"--config={TOY}:slow",
        "--workdir=x",
        "--config.seed=5",
        "--config.optimizer.learning_rate",
        "1",
    ]
    assert exit_code(run_and_record(calls), *flags, "--fresh", "--run=y", flags={"run": "help"}) == 0
    ((config, workdir, fresh, extra),) = calls
    assert (config.seed, config.optimizer.learning_rate, config.seconds) == (5, 1.0, 0.02)
    assert (workdir, fresh, extra) == ("x", True, {"run": "y"})
    assert config.is_locked


def test_defaults_make_flags_optional():
    arguments = parse(["main", "--config.seed=5"], default_config=TOY, default_workdir="runs/x")
    assert (arguments["config"].seed, arguments["workdir"]) == (5, "runs/x")


def test_parsing_twice_is_possible():
    assert [parse(["main", f"--config.seed={n}"], TOY, "x")["config"].seed for n in (1, 2)] == [1, 2]


def test_a_config_is_found_from_any_directory(tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "experiments" / "configs").mkdir(parents=True)
    expected = project / "experiments" / "configs" / "demo.py"
    expected.write_text("")
    monkeypatch.setattr(module, "_PROJECT", project)
    monkeypatch.chdir(tmp_path)
    for name in ("experiments/configs/demo.py", "configs/demo.py", "demo.py", "demo"):
        assert find_config(f"{name}:tiny") == f"{expected}:tiny"
    (tmp_path / "demo.py").write_text("")
    assert find_config("demo.py") == "demo.py"


def test_an_unknown_config_lists_the_known():
    message = error_of("--config=nonsense.py", "--workdir=x")
    assert "There is no config file 'nonsense.py'. Known: " in message


def test_an_unknown_preset_is_the_sentence_of_the_config():
    assert error_of(f"--config={TOY}:huge", "--workdir=x") == "Unknown preset 'huge'. Known: '', 'slow'."


@pytest.mark.parametrize(
    ("key", "guess"), [("sed", "seed"), ("optimizer.learning_rat", "optimizer.learning_rate")]
)
def test_a_misspelt_key_gets_a_suggestion(key, guess):
    message = error_of(f"--config={TOY}", f"--config.{key}=1", "--workdir=x")
    assert f"no key {key!r}. Did you mean {guess!r}? Known: " in message


def test_a_value_of_the_wrong_type_is_named():
    assert "--config.seed=abc" in error_of(f"--config={TOY}", "--config.seed=abc", "--workdir=x")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("none,ail", ("none", "ail")),
        ("none, ail,", ("none", "ail")),
        ("none", ("none",)),
        ("('none', 'ail')", ("none", "ail")),
        ("('runs/a,b',)", ("runs/a,b",)),  # a name with a comma is written as Python does
    ],
)
def test_names_may_be_listed_with_commas(text, names):
    config = parse(["main", f"--config.runs={text}"], "curves", "runs/x")["config"]
    assert config.runs == names and config.is_locked


OWN_REWARD = (
    "--config.reward.name=my.module:Reward",
    "--config.reward.options.scale=2",
    "--config.reward.model=DIR",
)
OWN_ENCODER = ("--config.world_model.encoder.name=my.module:Encoder", "--config.world_model.encoder.width=8")


def test_a_part_of_ones_own_has_options_that_no_config_lists():
    reward = parse(["main", *OWN_REWARD], "online", "runs/x")["config"].reward
    assert (reward.name, reward.model, reward.options.scale) == ("my.module:Reward", "DIR", 2)
    config = parse(["main", *OWN_ENCODER], "pretrain", "runs/x")["config"]
    assert config.world_model.encoder.to_dict() == {"name": "my.module:Encoder", "width": 8}
    assert config.is_locked and config.world_model.encoder.is_locked


def test_options_of_the_projects_own_parts_are_checked():
    message = error_of("--config=pretrain", "--config.world_model.encoder.width=8", "--workdir=x")
    assert "no key 'world_model.encoder.width'" in message


def test_what_files_name_is_imported_if_the_user_says_so(own_code):
    own_code("my.module", "Name = 1")
    arguments = (f"--config={TOY}", "--workdir=x", "--import=my.module:Name")
    assert exit_code(run_and_record([]), *arguments) == 0 and registry.is_loaded("my.module:Name")


def test_a_misspelt_flag_gets_a_suggestion():
    assert "Did you mean: workdir" in error_of(f"--config={TOY}", "--wrkdir=x")


def test_missing_flags_are_named():
    assert error_of("--workdir=x").startswith("--config is required")
    assert error_of(f"--config={TOY}").startswith("--workdir is required")


def test_a_stray_argument_is_refused():
    assert "Unexpected argument 'tiny'" in error_of(f"--config={TOY}", "--workdir=x", "tiny")


def test_a_config_that_does_not_load_is_one_sentence(tmp_path):
    (tmp_path / "broken.py").write_text("import nonsense")
    assert "No module named 'nonsense'" in error_of(f"--config={tmp_path / 'broken.py'}", "--workdir=x")


def test_help_lists_the_flags(capsys):
    calls = []
    assert exit_code(run_and_record(calls), "--help", default_config=TOY) == 0
    assert not calls
    output = capsys.readouterr().out
    assert "--workdir" in output
    assert "--config" in output


def test_an_error_of_the_user_is_one_sentence(capsys):
    def run(config, workdir, *, fresh):
        raise ValueError("Unknown task 'x'.\nKnown: a, b.")

    run.__globals__["__name__"] = "experiments.something"
    try:
        assert exit_code(run, f"--config={TOY}", "--workdir=x") == 2
        assert capsys.readouterr().err == "Error: Unknown task 'x'. Known: a, b. (--debug shows where)\n"
        with pytest.raises(ValueError, match="Unknown task"):
            launch(run, argv=["main", f"--config={TOY}", "--workdir=x", "--debug"], owns_process=False)
    finally:
        run.__globals__["__name__"] = __name__


def test_an_error_inside_a_library_keeps_its_traceback():
    import numpy as np

    with pytest.raises(ValueError) as error:
        np.zeros(3).reshape(2, 2) if False else np.stack([])
    assert not is_user_error(error.value)


def test_what_the_system_says_of_a_file_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")

    def run(config, workdir, *, fresh):
        (tmp_path / "file" / "folder").mkdir()  # raised inside pathlib

    run.__globals__["__name__"] = "experiments.something"
    try:
        assert exit_code(run, f"--config={TOY}", "--workdir=x") == 2
    finally:
        run.__globals__["__name__"] = __name__
    expected = f"Error: Cannot read or write {tmp_path}/file/folder: Not a directory. (--debug shows where)\n"
    assert capsys.readouterr().err == expected


def test_an_assertion_keeps_its_traceback():
    with pytest.raises(AssertionError) as error:
        raise AssertionError
    assert not is_user_error(error.value)


def test_a_program_starts_again_once_with_huge_pages(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\nfrom experiments.runs.command_line import use_huge_pages\n"
        "print(os.getpid(), sys.argv[1:], flush=True)\nuse_huge_pages()\nprint(os.environ['GLIBC_TUNABLES'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    environment["PYTHONPATH"] = str(pathlib.Path(module.__file__).parents[2])
    lines = subprocess.run(
        [sys.executable, script, "--a", "b c"], env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert lines[0] == lines[1]
    assert lines[0].endswith("['--a', 'b c']")
    assert lines[2] == "glibc.malloc.hugetlb=1"


def test_missing_opengl_is_an_error_of_the_user():
    from experiments.envs.rendering import RenderingError

    assert is_user_error(RenderingError("Images cannot be rendered."))
