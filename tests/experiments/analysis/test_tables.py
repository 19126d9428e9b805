import csv
import io

import pytest

from experiments.analysis.tables import MethodScores, results_table

RANDOM = MethodScores("Random", [[10.0, 20.0, 30.0]], is_method=False)
AIME = MethodScores("AIME", [[170.0, 190.0], [160.0, 160.0]], num_demonstrations=20, published=97.3)
EXPERT = MethodScores("Expert", [[200.0, 200.0]], is_method=False)


def make_table(**changes):
    return results_table([RANDOM, AIME, EXPERT], **({"random": 20.0, "expert": 200.0} | changes))


def test_rows_hold_raw_and_both_normalised_scores():
    row = make_table().numbers[1]
    assert (row["return"], row["by_expert"], row["lowest_seed"]) == (170.0, 85.0, 80.0)
    assert row["by_random_and_expert"] == pytest.approx(100 * 150 / 180)


def test_the_interval_is_in_percent_of_the_expert():
    row = make_table().numbers[1]
    assert row["by_expert_high"] == pytest.approx(85 + 12.7062 * 5, abs=1e-3)


def test_counts_are_of_seeds_episodes_and_demonstrations():
    row = make_table().numbers[1]
    assert (row["num_seeds"], row["num_episodes"], row["num_demonstrations"]) == (2, 2, 20)


def test_csv_reads_back_with_one_value_per_column():
    rows = list(csv.DictReader(io.StringIO(make_table().csv())))
    assert [row["method"] for row in rows] == ["Random", "AIME", "Expert"]
    assert float(rows[1]["by_expert"]) == 85.0 and rows[0]["published"] == ""
    assert rows[1]["seed_returns"] == "180 160"


def test_columns_without_any_value_are_not_shown_to_readers():
    table = results_table([RANDOM], random=None, expert=None)
    assert "Published %" not in table.headings and "% above random" not in table.headings


@pytest.mark.parametrize("expert", [20.0, 5.0, -1.0])
def test_an_expert_no_better_than_random_leaves_the_score_undefined(expert):
    assert make_table(expert=expert).numbers[1]["by_random_and_expert"] is None


def test_one_episode_gives_no_interval():
    table = results_table([MethodScores("AIME", [[1.0]])], random=0.0, expert=2.0)
    assert table.rows[0][table.headings.index("95% interval")] == "–"


def test_rounding_error_reads_as_zero():
    table = results_table([MethodScores("Random", [[0.1, 0.2]])], random=0.1 + 0.2 - 0.15, expert=1.0)
    assert table.rows[0][table.headings.index("% above random")] == "0.0"


def test_the_caption_says_what_normalises_and_how_intervals_are_made():
    caption = make_table().caption
    assert "a return of 200.0" in caption and "Student t over 2 seeds for AIME" in caption


def test_a_table_without_rows_is_refused():
    with pytest.raises(ValueError, match="no rows"):
        results_table([], random=0.0, expert=1.0)


def compared(**returns):
    rows = [MethodScores(name, seeds) for name, seeds in returns.items()]
    return results_table([RANDOM, *rows, EXPERT], random=None, expert=100.0, compared=True)


def test_a_comparison_adds_the_probability_that_aime_is_better_and_for_machines_the_iqm():
    table = compared(AIME=[[40.0], [45.0]], BCO=[[20.0], [42.5]])
    _, aime, bco, _ = table.numbers
    assert aime["iqm"] == 42.5 and aime["improvement"] is None and aime["iqm_interval"] == (40.0, 45.0)
    assert bco["improvement"][0] == 0.75
    assert " 0.75 " in table.markdown() and "P(AIME better)" in table.headings
    assert "P(AIME better)" not in make_table().headings


def test_the_random_policy_and_the_expert_are_not_compared():
    table = compared(AIME=[[40.0], [45.0]], BCO=[[20.0], [42.5]])
    for row in (table.rows[0], table.rows[-1]):
        assert row[table.headings.index("P(AIME better)")] == "–"


@pytest.mark.parametrize(("seeds", "is_said"), [([[20.0, 42.5]], True), ([[20.0], [42.5]], False)])
def test_intervals_of_a_single_seed_are_said_to_say_nothing_about_others(seeds, is_said):
    caption = compared(AIME=[[40.0], [45.0]], BCO=seeds).caption
    assert ("nothing about other seeds" in caption) == is_said


def test_the_steps_of_methods_that_learn_in_the_environment_are_shown():
    rows = [MethodScores("AIME", [[1.0]]), MethodScores("AIME-v2", [[1.0]], num_env_steps=20000)]
    table = results_table(rows, random=None, expert=None)
    assert [row[table.headings.index("Simulator steps")] for row in table.rows] == ["–", "20,000"]
