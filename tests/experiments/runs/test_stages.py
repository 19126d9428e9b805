"""Stages in processes of their own: what they return, print and say when they fail."""

import pytest

from experiments.runs.directory import RunDirectory
from experiments.runs.stages import Stages


def succeed(config, workdir):
    with RunDirectory(workdir, config) as directory:
        print("at work")
        return directory.mark_done({"value": config["value"]})


def fail(config, workdir):
    raise ValueError("This one needs a folder.")


def test_a_stage_beside_others_returns_its_result_and_prints_to_its_log(tmp_path):
    with Stages(tmp_path).beside("stage", succeed, {"value": 3}) as wait:
        assert wait()["value"] == 3
    assert "at work" in (tmp_path / "stage.log").read_text()


def test_the_log_of_a_stage_that_failed_says_why(tmp_path):
    with (
        pytest.raises(ValueError, match=r"The stage 'stage' failed; .*stage.log says why"),
        Stages(tmp_path).beside("stage", fail, {}) as wait,
    ):
        wait()
    assert "This one needs a folder." in (tmp_path / "stage.log").read_text()
