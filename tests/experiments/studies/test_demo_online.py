"""The online job, end to end, on the fake environment."""

import csv

import pytest

from experiments.configs import demo_online as demo_config
from experiments.studies import demo_online


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("demo-online") / "run"
    return workdir, demo_online.run(demo_config.get_config("tiny"), workdir)


def test_the_table_has_what_was_given_offline_aime_and_every_variant(finished):
    workdir, result = finished
    with open(workdir / "table.csv") as file:
        rows = {row["Method"]: row for row in csv.DictReader(file)}
    assert list(rows) == [
        "Embodiment data (fake-pointmass)",
        "AIME (offline)",
        "AIME-v2, VIPER",
        "Demonstrations",
    ]
    assert rows["AIME-v2, VIPER"]["Environment steps"] == str(2 * 25)
    assert float(rows["Demonstrations"]["success_final"]) == 1.0
    assert set(result["success"]) == set(rows)


def test_every_promised_file_is_there(finished):
    workdir, _ = finished
    for name in ("table.csv", "table.md", "report.html", "seconds.json", "DONE", "figures/success.png"):
        assert (workdir / name).stat().st_size > 0


def test_a_finished_job_does_nothing_again(finished):
    workdir, result = finished
    assert demo_online.run(demo_config.get_config("tiny"), workdir) == result


def test_embodiment_data_of_the_task_itself_are_refused(tmp_path):
    config = demo_config.get_config("tiny")
    config.body_may_hold_task = False
    with pytest.raises(ValueError, match="must be of other tasks than 'fake-pointmass'"):
        demo_online.run(config, tmp_path / "run")
