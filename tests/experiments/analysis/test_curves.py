"""Curves of finished runs over what they differ in."""

import csv

import numpy as np
import pytest

from experiments.analysis import curves
from experiments.configs.curves import get_config
from experiments.runs.metrics import MetricsWriter
from experiments.runs.settings import write_json


def row(**changes):
    same = {
        "run": "a",
        "episodes": 80,
        "units": 64,
        "model_updates": 10,
        "demonstrations": 5,
        "policy_updates": 9,
    }
    scores = {
        "by_expert": [50.0, 70.0],
        "evidence_true": [1.0, 1.0],
        "evidence_inferred": [2.0, 2.0],
        "action_mse": [0.1, 0.1],
    }
    return same | scores | changes


def test_runs_that_differ_in_one_setting_make_a_curve_in_its_order():
    groups = curves.curves_over([row(units=128), row(units=64), row(units=64, episodes=20)], "units")
    assert [[each["units"] for each in group] for group in groups.values()] == [[64, 128]]


def test_a_setting_that_all_runs_share_has_no_curve(tmp_path):
    assert curves.draw("", [row(), row(units=128)], "episodes", tmp_path) is None


def test_the_table_has_a_line_for_every_run_and_the_figure_is_written(tmp_path):
    rows = [row(), row(run="b", units=128)]
    table = curves.runs_table(rows)
    assert table.rows[1][:8] == ["b", "80", "128", "10", "5", "9", "60.0", "50 70"]
    assert table.csv().splitlines()[2].startswith("b,80,128,10,5,9,50 70,")
    assert [(row["run"], row["seed"], row["by_expert"]) for row in curves.seed_rows(rows)][1] == (
        "a",
        1,
        70.0,
    )
    curves.draw("Title", rows, "units", tmp_path)
    assert (tmp_path / "score_by_units.png").is_file()


def test_without_runs_it_says_what_to_name(tmp_path):
    with pytest.raises(ValueError, match="Name finished runs"):
        curves.run(get_config(), tmp_path)


@pytest.fixture
def three_runs(tmp_path):
    """Runs of two seeds in one program, of two members, and of one seed."""
    for name, config in (("joint", {"num_seeds": 2}), ("members", {"num_seeds": 2}), ("alone", {})):
        write_json(tmp_path / name / "config.json", config)
    for home, losses in (
        ("joint", [1.0, 3.0]),
        ("members/seeds/0", 5.0),
        ("members/seeds/1", 7.0),
        ("alone", 9.0),
    ):
        with MetricsWriter(tmp_path / home) as writer:
            for update in (1, 2):
                writer.write({"train/loss": np.array(losses) * update}, update=update)
    with MetricsWriter(tmp_path / "alone", {"update": 2}) as writer:
        writer.write_eval({"update": 2, "return": [[1.0, 3.0]]})
    return tmp_path


def test_any_metric_of_any_runs_is_one_csv_by_run_seed_and_clock(three_runs):
    config = get_config()
    config.runs, config.metric = (str(three_runs),), "train/loss"
    curves.run(config, three_runs / "out")
    with open(three_runs / "out" / "metric.csv") as file:
        rows = [
            (row["run"], row["seed"], row["update"], float(row["train/loss"])) for row in csv.DictReader(file)
        ]
    first = {
        ("alone", "0"): 9.0,
        ("joint", "0"): 1.0,
        ("joint", "1"): 3.0,
        ("members", "0"): 5.0,
        ("members", "1"): 7.0,
    }
    assert rows == [(*who, str(update), loss * update) for who, loss in first.items() for update in (1, 2)]
    assert (three_runs / "out" / "metric.png").is_file()
    config.metric = "eval/return"
    assert curves.run(config, three_runs / "out")["rows"] == 1


def test_a_metric_that_no_run_has_is_one_sentence_with_the_known_names(three_runs):
    config = get_config()
    config.runs, config.metric = (str(three_runs / "joint"),), "train/los"
    with pytest.raises(ValueError, match="No run has the metric .* Did you mean 'train/loss'"):
        curves.run(config, three_runs / "out")
