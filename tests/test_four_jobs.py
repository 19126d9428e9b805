"""The four jobs of a new user: the code and the commands of their pages, in the order of the page."""

import pathlib
import runpy
import shlex

import pytest

from experiments.__main__ import main

FOUR_JOBS = pathlib.Path(__file__).parent.parent / "results" / "four_jobs.py"
JOBS, carry_out = (runpy.run_path(str(FOUR_JOBS))[name] for name in ("JOBS", "carry_out"))
COMMANDS = {"own environment": 7, "own arrays": 5, "LeRobot data": 5, "own method": 6}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_done_by_the_commands_of_its_page(name, own_code, tmp_path, monkeypatch, capsys):
    def run(command: str) -> None:
        assert main(shlex.split(command)) == 0, f"{command}\n{capsys.readouterr().err}"

    if name == "LeRobot data":
        pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    commands, lines, _ = carry_out(JOBS[name], run, own_code)
    assert commands == COMMANDS[name] and lines <= 80
