"""The online job, end to end, on the fake environment."""

import csv

import pytest

from experiments.configs import demo_online as demo_config
from experiments.studies import demo_online


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("demo-online") / "run"
    return workdir, demo_online.run(demo_config.get_config("tiny"), workdir)


def test_the_tables_have_offline_aime_and_every_variant(finished):
    workdir, result = finished
    with open(workdir / "tables" / "results.csv") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["AIME", "AIME-v2 (VIPER)", "Expert"]
    assert (rows["AIME"]["num_env_steps"], rows["AIME-v2 (VIPER)"]["num_env_steps"]) == ("", str(2 * 25))
    with open(workdir / "tables" / "success.csv") as file:
        assert [row["method"] for row in csv.DictReader(file)] == list(result["success"]) == list(rows)[:2]


def test_the_page_says_what_there_was_to_learn_from(finished):
    workdir, _ = finished
    page = (workdir / "report.html").read_text()
    assert "Demonstrations: 3 episodes" in page and "final 100%" in page


def test_every_promised_file_is_there(finished):
    workdir, _ = finished
    for name in ("tables/success.md", "scores.csv", "report.html", "seconds.json", "DONE"):
        assert (workdir / name).stat().st_size > 0
    assert (workdir / "figures" / "curves_fake-pointmass_env_step_success.png").stat().st_size > 0


def test_a_finished_job_does_nothing_again(finished):
    workdir, result = finished
    assert demo_online.run(demo_config.get_config("tiny"), workdir) == result


def test_embodiment_data_of_the_task_itself_are_refused(tmp_path):
    config = demo_config.get_config("tiny")
    config.body_may_hold_task = False
    with pytest.raises(ValueError, match="must be of other tasks than 'fake-pointmass'"):
        demo_online.run(config, tmp_path / "run")
