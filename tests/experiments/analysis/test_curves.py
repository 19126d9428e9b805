"""Curves of finished runs over what they differ in."""

import pytest

from experiments.analysis import curves
from experiments.configs.curves import get_config


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
        "evidence_true": [1.0],
        "evidence_inferred": [2.0],
        "action_mse": [0.1],
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
    curves.draw("Title", rows, "units", tmp_path)
    assert (tmp_path / "score_by_units.png").is_file()


def test_without_runs_it_says_what_to_name(tmp_path):
    with pytest.raises(ValueError, match="Name finished runs"):
        curves.run(get_config(), tmp_path)
