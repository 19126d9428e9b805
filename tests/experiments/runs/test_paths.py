"""Paths in configs: several folders in one value, and runs that are found from elsewhere and after a move."""

import json
import pathlib
import re
import shutil

import pytest
from imitation_data import write_data

from experiments.configs import baseline as baseline_config
from experiments.configs import surrogate as surrogate_config
from experiments.methods import baseline_data, baseline_recipes, surrogate
from experiments.runs.directory import RunDirectory
from experiments.runs.paths import folders_of, joined
from experiments.runs.settings import RunError, config_changes, read_config


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", []),
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a, b ,", ["a", "b"]),
        ("'a,b'", ["a,b"]),
        ("'a,b', c", ["a,b", "c"]),
        ("it's", ["it's"]),
        (["a,b", "c"], ["a,b", "c"]),
    ],
)
def test_a_value_names_one_folder_or_several(value, names):
    assert folders_of(value) == folders_of(joined(names)) == names


def test_a_folder_with_a_comma_in_its_name_needs_no_quotes_if_it_is_alone(tmp_path):
    (tmp_path / "a,b").mkdir()
    assert folders_of(f"{tmp_path}/a,b") == [f"{tmp_path}/a,b"]


def test_no_file_opens_the_folders_of_a_config_in_another_way():
    opened = re.compile(
        r"(load_episodes|episode_paths)\(\s*(\w*config|settings)\b(?!\.source)|split\(\",\"\)"
    )
    experiments = pathlib.Path(__file__).parents[3] / "experiments"
    texts = {path: path.read_text() for path in sorted(experiments.rglob("*.py"))}
    found = [f"{path}: {match[0]}" for path, text in texts.items() for match in opened.finditer(text)]
    names = (
        "data/scripted.py",
        "runs/command_line.py",
        "runs/own_parts.py",
        "runs/loggers.py",
        "envs/sensors.py",
    )  # names
    assert [line for line in found if not any(f"{name}:" in line for name in names)] == []


@pytest.mark.parametrize("method", ["surrogate", "baseline"])
def test_methods_read_all_folders_of_a_list(tmp_path, method):
    data = write_data(tmp_path)
    several = f"{data}/demonstrations,{data}/demonstrations"
    if method == "surrogate":
        config = dict(surrogate_config.get_config("gaifo-tiny"), demonstrations=several)
        assert len(surrogate.load_data(config).demonstrations) == 8
    else:
        config = dict(baseline_config.get_config("bc-tiny"), demonstrations=several)
        assert len(baseline_data.load_data(config, baseline_recipes.BC).shown.episodes) == 8


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with data, and a run on them by relative paths."""
    for name in ("project/data/a,b", "project/data/c", "project/model"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    config = {
        "embodiment": "'data/a,b',data/c",
        "loss": {"model": "model"},
        "method": "data",
        "sources": ["model"],
    }
    RunDirectory("runs/x", config).close()
    return tmp_path / "project"


def paths_in(root):
    data = f"'{root}/data/a,b',{root}/data/c"
    return {
        "embodiment": data,
        "loss": {"model": f"{root}/model"},
        "method": "data",
        "sources": [f"{root}/model"],
    }


def test_paths_mean_the_same_from_every_directory(project, monkeypatch):
    monkeypatch.chdir(project.parent)
    assert read_config("project/runs/x") == paths_in(project)


def test_paths_follow_a_run_that_is_moved_with_its_data(project, monkeypatch):
    monkeypatch.chdir(project.parent)
    shutil.move(project, project.parent / "moved")
    assert read_config("moved/runs/x") == paths_in(project.parent / "moved")


def test_a_run_that_is_moved_alone_finds_its_data_where_they_are(project):
    shutil.move("runs/x", project.parent / "x")
    assert read_config(project.parent / "x") == paths_in(project)


def test_the_same_folders_by_other_paths_continue_a_run(project, monkeypatch):
    monkeypatch.chdir(project / "data")
    config = {
        "embodiment": "'a,b',c",
        "loss": {"model": "../model"},
        "method": "data",
        "sources": ["../model"],
    }
    RunDirectory("../runs/x", config).close()
    with pytest.raises(RunError, match="embodiment was .*, is .*data/c'"):
        RunDirectory("../runs/x", config | {"embodiment": "c,c"})


def test_the_same_command_continues_a_moved_run(project, monkeypatch):
    moved = project.parent / "moved"
    shutil.move(project, moved)
    monkeypatch.chdir(moved)
    config = {
        "embodiment": "'data/a,b',data/c",
        "loss": {"model": "model"},
        "method": "data",
        "sources": ["model"],
    }
    RunDirectory("runs/x", config).close()
    assert json.loads((moved / "runs/x/config.json").read_text()) == paths_in(moved)


def test_the_relative_paths_of_earlier_releases_begin_where_the_run_was_started(project, monkeypatch):
    run = project / "runs" / "x"
    (run / "config.json").write_text(json.dumps({"embodiment": "data/c", "model": "gone"}))
    monkeypatch.chdir("/")
    assert read_config(run) == {"embodiment": f"{project}/data/c", "model": "gone"}


def test_data_that_are_gone_do_not_change_a_config(project):
    shutil.rmtree("data")
    assert "embodiment" not in config_changes(read_config("runs/x"), {"embodiment": "'data/a,b',data/c"})
