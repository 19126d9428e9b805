"""The four jobs of a new user: the code and the commands of their pages, in the order of the page."""

import functools
import importlib
import json
import os
import pathlib
import runpy
import shlex
import sys

import numpy as np
import pytest
from imitation_data import done_at_once

from experiments.__main__ import main
from experiments.analysis.scores import read_results
from experiments.configs import compare as compare_config
from experiments.data.folders import hide_actions
from experiments.studies import compare
from worldmodels import registry
from worldmodels.data.episodes import append_episode, load_episodes

FOUR_JOBS = pathlib.Path(__file__).parent.parent / "results" / "four_jobs.py"
JOBS, carry_out = (runpy.run_path(str(FOUR_JOBS))[name] for name in ("JOBS", "carry_out"))
COMMANDS = {"own environment": 7, "own arrays": 5, "LeRobot data": 5, "own method": 6}
HUBER = "my.module:HuberBC"


def command(line: str) -> None:
    assert main(shlex.split(line)) == 0, line


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """(name of a job) -> (the directory in which it has been done, commands, lines of Python)."""
    own = tmp_path_factory.mktemp("own")

    def write(module: str, code: str) -> None:
        path = own.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
        importlib.invalidate_caches()

    @functools.cache
    def do(name: str) -> tuple[pathlib.Path, int, int]:
        folder = tmp_path_factory.mktemp("job")
        os.chdir(folder)
        commands, lines, _ = carry_out(JOBS[name], command, write)
        return folder, commands, lines

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_loaded", {})
        patch.syspath_prepend(str(own))
        patch.chdir(own)  # and back at the end
        yield do
    for loaded in [name for name in sys.modules if name.partition(".")[0] == "my"]:
        del sys.modules[loaded]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_done_by_the_commands_of_its_page(name, user):
    if name == "LeRobot data":
        pytest.importorskip("pyarrow")
    _, commands, lines = user(name)
    assert commands == COMMANDS[name] and lines <= 80


def test_a_baseline_of_ones_own_is_trained_by_its_name_and_by_its_preset(user, monkeypatch):
    folder, *_ = user("own method")
    monkeypatch.chdir(folder)
    shown = "--config.demonstrations=runs/expert/demonstrations"
    command(f"baseline --config=baseline:{HUBER}-tiny {shown} --workdir=runs/preset")
    for run in ("huber", "preset"):
        result = json.loads((folder / "runs" / run / "DONE").read_text())
        assert np.shape(result["return"]) == (1, 2) and result["label"] == "Huber BC"


def test_a_baseline_of_ones_own_is_compared(user):
    folder, *_ = user("own method")
    summary = json.loads((folder / "runs" / "compare" / "DONE").read_text())
    assert summary["labels"] == {"aime": "AIME", "bc": "BC oracle", HUBER: "Huber BC"}
    assert "| Huber BC " in summary["table"]
    # As a report of a sweep reads them, which knows no class of the user's.
    runs = [folder / "runs" / "compare" / name for name in ("bc", "my.module.HuberBC")]
    assert read_results(runs).methods == ["BC oracle", "Huber BC"]


def test_a_baseline_of_ones_own_that_needs_actions_is_left_out_where_there_are_none(
    user, tmp_path, monkeypatch
):
    folder, *_ = user("own method")
    for episode in load_episodes(folder / "runs" / "expert" / "demonstrations"):
        append_episode(tmp_path / "hidden", hide_actions(episode))
    monkeypatch.setattr(compare, "run_methods", done_at_once)
    config = compare_config.get_config("tiny")
    config.update(demonstrations=str(tmp_path / "hidden"), methods=("bco", HUBER))
    config.embodiment = str(folder / "runs" / "noise" / "episodes")
    left_out = {HUBER: "the demonstrations have no actions."}
    assert compare.run(config, tmp_path / "run")["left_out"] == left_out
