import os
import pathlib
import subprocess
import sys

import pytest

import worldmodels
from experiments.__main__ import COMMANDS, main
from experiments.runs import command_line as module
from experiments.runs import config_help
from experiments.runs.command_line import Command, UsageError, find_config, is_user_error, launch, parse
from experiments.runs.directory import RunDirectory
from worldmodels import registry

TOY = str(pathlib.Path(__file__).with_name("toy_config.py"))
BARE = Command("toy_run")  # without any default


def error_of(*arguments, command=BARE):
    with pytest.raises(UsageError) as error:
        parse(command, ["main", *arguments])
    assert "\n" not in str(error.value)
    return str(error.value)


class Recorded(Command):
    """A command that does nothing but keep what it is called with."""

    def run(self, config, workdir, **flags):
        CALLS.append((config, workdir, flags))


CALLS = []


class Failing(Command):
    """A command that fails in code of ours."""

    def run(self, config, workdir, **flags):
        scope = {"__name__": "experiments.something"}
        exec(self.module, scope)
        scope["run"]()


def exit_code(command, *arguments):
    return launch(command, ["main", *arguments], owns_process=False)


class Finishing(Command):
    """A command whose run reaches something."""

    def run(self, config, workdir, *, fresh=False, **flags):
        with RunDirectory(workdir, config, fresh=fresh) as directory:
            reached = {"return_mean": 8.04, "by_expert": [80.0, 81.0], "success_any": [[1.0, 0.0]]}
            return directory.result or directory.mark_done(reached)


@pytest.fixture(autouse=True)
def no_compilation_cache(monkeypatch):
    monkeypatch.setattr(module, "set_up_process", lambda: None)


def test_a_finished_command_says_what_was_reached_and_where_and_does_nothing_again(tmp_path, capsys):
    arguments = [f"--config={TOY}", f"--workdir={tmp_path}"]
    for begin in ("Finished", "Finished before, and nothing is done again (--fresh starts over)"):
        assert exit_code(Finishing("toy_run"), *arguments) == 0
        assert capsys.readouterr().out == (
            f"{begin}: return 8.0, 80.5 % of the expert, success 50 %, see {tmp_path}\n"
        )
    (tmp_path / "report.html").touch()
    assert exit_code(Finishing("toy_run"), *arguments) == 0
    assert capsys.readouterr().out.endswith(f"see {tmp_path / 'report.html'}\n")
    assert exit_code(Finishing("toy_run"), *arguments, "--fresh") == 0
    assert capsys.readouterr().out.startswith("Finished: ")


def test_flags_reach_the_run():
    CALLS.clear()
    flags = [
        f"--config={TOY}:slow",
        "--workdir=x",
        "--config.seed=5",
        "--config.optimizer.learning_rate",
        "1",
    ]
    command = Recorded("toy_run", flags={"run": "help"})
    assert exit_code(command, *flags, "--fresh", "--run=y") == 0
    ((config, workdir, extra),) = CALLS
    assert (config.seed, config.optimizer.learning_rate, config.seconds) == (5, 1.0, 0.02)
    assert (workdir, extra) == ("x", {"fresh": True, "run": "y"})
    assert config.is_locked


def test_defaults_make_flags_optional():
    arguments = parse(Command("toy_run", TOY, "runs/x"), ["main", "--config.seed=5"])
    assert (arguments["config"].seed, arguments["workdir"]) == (5, "runs/x")


def test_parsing_twice_is_possible():
    command = Command("toy_run", TOY, "x")
    assert [parse(command, ["main", f"--config.seed={n}"])["config"].seed for n in (1, 2)] == [1, 2]


def test_a_config_is_found_from_any_directory(tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "experiments" / "configs").mkdir(parents=True)
    expected = project / "experiments" / "configs" / "demo.py"
    expected.write_text("")
    monkeypatch.setattr(module, "PROJECT", project)
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
        ("none,my.module:Reward", ("none", "my.module:Reward")),
        ("('none', 'ail')", ("none", "ail")),
        ("('runs/a,b',)", ("runs/a,b",)),  # a name with a comma is written as Python does
    ],
)
def test_names_may_be_listed_with_commas(text, names):
    config = parse(COMMANDS["curves"], ["main", f"--config.runs={text}", "--workdir=x"])["config"]
    assert config.runs == names and config.is_locked


OWN_REWARD = (
    "--config.reward.name=my.module:Reward",
    "--config.reward.options.scale=2",
    "--config.reward.model=DIR",
)
OWN_ENCODER = ("--config.world_model.encoder.name=my.module:Encoder", "--config.world_model.encoder.width=8")


def test_a_part_of_ones_own_has_options_that_no_config_lists():
    reward = parse(COMMANDS["online"], ["main", *OWN_REWARD, "--workdir=x"])["config"].reward
    assert (reward.name, reward.model, reward.options.scale) == ("my.module:Reward", "DIR", 2)
    config = parse(COMMANDS["pretrain"], ["main", *OWN_ENCODER, "--workdir=x"])["config"]
    assert config.world_model.encoder.to_dict() == {"name": "my.module:Encoder", "width": 8}
    assert config.is_locked and config.world_model.encoder.is_locked


def test_options_of_the_projects_own_parts_are_checked():
    message = error_of("--config=pretrain", "--config.world_model.encoder.width=8", "--workdir=x")
    assert "no key 'world_model.encoder.width'" in message


def test_what_files_name_is_imported_if_the_user_says_so(own_code):
    own_code("my.module", "Name = 1")
    own_code("my.other", "First, Second = 1, 2")
    arguments = (
        f"--config={TOY}",
        "--workdir=x",
        "--import=my.module:Name",
        "--import=my.other:First,my.other:Second",
    )
    assert exit_code(Recorded("toy_run"), *arguments) == 0
    assert all(map(registry.is_loaded, ("my.module:Name", "my.other:First", "my.other:Second")))


def test_a_misspelt_flag_gets_a_suggestion():
    assert "Did you mean: workdir" in error_of(f"--config={TOY}", "--wrkdir=x")


def test_missing_flags_are_named():
    assert error_of("--workdir=x").startswith("--config is required")
    assert error_of(f"--config={TOY}").startswith("--workdir is required")
    assert error_of(command=COMMANDS["evaluate"]).startswith("--run is required")
    assert error_of("--run=x", command=COMMANDS["export"]).startswith("--to is required")
    assert "'plane'" in error_of("--config.plane=x", "--run=x", command=COMMANDS["evaluate"])


def test_a_stray_argument_is_refused():
    assert "Unexpected argument 'tiny'" in error_of(f"--config={TOY}", "--workdir=x", "tiny")


def test_a_config_that_does_not_load_is_one_sentence(tmp_path):
    (tmp_path / "broken.py").write_text("import nonsense")
    assert "No module named 'nonsense'" in error_of(f"--config={tmp_path / 'broken.py'}", "--workdir=x")


def test_arguments_without_a_flag_are_for_the_key_that_lists_them():
    command = Command("toy_run", "curves", "x", listed="runs")
    assert parse(command, ["main", "a", "b"])["config"].runs == ("a", "b")


def test_help_prints_the_docstring_of_the_config_and_every_key_with_its_value_and_comment(capsys):
    assert main(["baseline", "--help", "--config=baseline:mbbc-small"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Trains policies on demonstrations." in lines
    assert sum(line.startswith("  --workdir=DIR ") for line in lines) == 1
    keys = {line.split("=")[0].strip(): line for line in lines if line.startswith("  --config.")}
    config = parse(COMMANDS["baseline"], ["baseline", "--config=baseline:mbbc-small", "--workdir=x"])[
        "config"
    ]
    assert keys.keys() == {f"--config.{key}" for key, _ in config_help.flat(config)}
    assert keys["--config.num_demonstrations"].split() == ["--config.num_demonstrations=None", "None:", "all"]
    # Its default stands in a signature, and so does its meaning.
    assert keys["--config.fit.max_updates"].split()[0] == "--config.fit.max_updates=3600"
    assert keys["--config.fit.max_updates"].endswith("whatever the losses; None means no limit")


def test_help_of_a_config_made_of_others_has_their_comments(capsys):
    assert main(["compare", "--help"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "--config.iidm.method=iidm" in lines
    assert "--config.mbbc.length=50 records per window" in lines
    assert "--config.pretrain.world_model.standardize=False published: raw observations" in lines
    dtype = next(line for line in lines if line.startswith("--config.pretrain.world_model.compute_dtype="))
    assert dtype.startswith('--config.pretrain.world_model.compute_dtype=float32 "float32" or "bfloat16", of')


def test_help_of_a_config_without_a_default_preset_is_its_docstring(capsys):
    assert main(["dataset", "--help"]) == 0
    output = capsys.readouterr().out
    assert "Looks at folders of episodes" in output and "--config.data" not in output.splitlines()[-1]


def test_an_error_of_the_user_is_one_sentence(capsys):
    command = Failing("def run(): raise ValueError(\"Unknown task 'x'.\\nKnown: a, b.\")")
    assert exit_code(command, f"--config={TOY}", "--workdir=x") == 2
    assert capsys.readouterr().err == "Error: Unknown task 'x'. Known: a, b. (--debug shows where)\n"
    with pytest.raises(ValueError, match="Unknown task"):
        exit_code(command, f"--config={TOY}", "--workdir=x", "--debug")


def test_an_error_inside_a_library_keeps_its_traceback():
    import numpy as np

    with pytest.raises(ValueError) as error:
        np.zeros(3).reshape(2, 2) if False else np.stack([])
    assert not is_user_error(error.value)


def test_what_the_system_says_of_a_file_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "folder"
    command = Failing(f"import pathlib\ndef run(): pathlib.Path({str(path)!r}).mkdir()")  # raised in pathlib
    assert exit_code(command, f"--config={TOY}", "--workdir=x") == 2
    expected = f"Error: Cannot read or write {path}: Not a directory. (--debug shows where)\n"
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


def test_what_our_code_warns_of_is_a_sentence_and_what_others_do_says_where():
    ours, others = str(module.PROJECT / "worldmodels" / "data" / "episodes.py"), "/somewhere/robot.py"
    message = UserWarning("Actions are large.")
    assert module.format_warning(message, UserWarning, ours, 7) == "Warning: Actions are large.\n"
    assert module.format_warning(message, UserWarning, others, 7).startswith(
        "/somewhere/robot.py:7: UserWarning: "
    )


def test_missing_opengl_is_an_error_of_the_user():
    from experiments.envs.rendering import RenderingError

    assert is_user_error(RenderingError("Images cannot be rendered."))


def test_help_and_mistakes_are_answered_before_jax_is_imported(tmp_path):
    lines = [
        *("", "--help", "imitate --help", "compare --help", "dataset --help"),
        *("imitat", "my.module", "imitate --wrkdir=x", "imitate --workdir=x --config.sed=1", "imitate"),
        *("imitate --workdir=x --config=imitate:huge", "imitate --workdir=x --config.seed=one"),
    ]
    code = f"""if True:
        import sys
        from experiments.__main__ import main
        codes = [main(line.split()) for line in {lines!r}]
        assert codes == 5 * [0] + 7 * [2], codes
        slow = {{"jax", "flax", "distrax", "numpy", "matplotlib"}} & sys.modules.keys()
        assert not slow, slow
    """
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("\n") == result.stderr.count("Error: ") == 7


@pytest.mark.parametrize("arguments", [["--help"], ["imitate", "--help"]])
def test_help_may_be_read_in_part(arguments):
    reader, writer = os.pipe()
    os.close(reader)  # as `| head -1` does
    command = [sys.executable, "-m", "experiments", *arguments]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=module.PROJECT)
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"aime-jax {worldmodels.__version__}\n"


def test_the_console_script_is_the_command_line(tmp_path):
    setup = (module.PROJECT / "setup.py").read_text()
    assert '"aime-jax=experiments.__main__:console"' in setup
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "verb.py").write_text('"""Does it."""\n')
    code = "import sys; from experiments.__main__ import console; sys.exit(console())"
    environment = os.environ | {"PYTHONPATH": str(module.PROJECT)}
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.append({str(module.PROJECT)!r}); {code}"]
    result = subprocess.run(
        [*command, "package.verb", "--help"], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert result.returncode == 0, result.stderr
    assert "Does it." in result.stdout
