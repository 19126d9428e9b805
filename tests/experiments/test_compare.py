"""The comparison, end to end on the fake environment: stages, table, figure; what cannot run is left out and said."""

import csv
import json

import numpy as np
import pytest
from imitation_data import make_config, write_data

from experiments import aggregate, compare
from experiments.configs import aggregate as aggregate_config
from experiments.configs.compare import METHODS, get_config

CHOSEN = ("aime", "bco", "ot", "mbbc", "bc")  # one of each kind; the others have tests of their own


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("compare") / "run"
    return workdir, compare.run(make_config(get_config("tiny"), data, methods=CHOSEN), workdir)


def test_every_method_has_scores_of_every_seed(finished):
    _, summary = finished
    assert tuple(summary["returns"]) == CHOSEN and summary["left_out"] == {}
    assert all(np.shape(returns) == (2, 2) for returns in summary["returns"].values())


def test_the_table_tells_iqm_interval_and_probability_of_improvement(finished):
    workdir, summary = finished
    rows = list(csv.DictReader(open(workdir / "table.csv")))
    assert [row["method"] for row in rows] == [compare.LABELS[method] for method in CHOSEN]
    assert rows[0]["improvement"] == "" and rows[1]["improvement"] != ""
    assert "IQM 95% interval" in summary["table"] and "P(AIME better)" in summary["table"]


def test_table_and_figure_are_there(finished):
    workdir, _ = finished
    for name in ("table.csv", "table.md", "figures/comparison.png", "figures/comparison.pdf"):
        assert (workdir / name).stat().st_size > 0


def test_a_finished_comparison_does_nothing_again(finished, data):
    workdir, summary = finished
    assert compare.run(make_config(get_config("tiny"), data, methods=CHOSEN), workdir) == summary


def test_every_known_method_is_compared_unless_chosen_otherwise():
    assert tuple(get_config().methods) == METHODS == tuple(compare.LABELS)


def test_a_method_can_be_added_later(data, tmp_path):
    few = make_config(get_config("tiny"), data, methods=("bco",))
    compare.run(few, tmp_path)
    began = (tmp_path / "bco" / "DONE").stat().st_mtime_ns
    summary = compare.run(make_config(get_config("tiny"), data, methods=("bco", "bc")), tmp_path)
    assert tuple(summary["returns"]) == ("bco", "bc")
    assert (tmp_path / "bco" / "DONE").stat().st_mtime_ns == began


def test_oracles_are_left_out_without_actions_and_vectors_without_vectors(data):
    from worldmodels.episodes import load_episodes

    config = get_config("tiny")
    episodes = load_episodes(data / "observations")
    methods, left_out = compare.applicable(config, "fake-pointmass", episodes)
    assert set(left_out) == {"mbbc", "bc"} and "bco" in methods
    with_images = [
        e.records.update(image=np.zeros((e.num_records, 64, 64, 3), np.uint8)) or e for e in episodes
    ]
    config.setup = "visual"
    assert set(compare.applicable(config, "fake-pointmass", with_images)[1]) == {"gaifo", "ot", "mbbc", "bc"}


def test_unknown_methods_and_missing_folders_are_named(data, tmp_path):
    with pytest.raises(ValueError, match="Unknown method 'dagger'. Known: aime, bco,"):
        compare.run(make_config(get_config("tiny"), data, methods=("dagger",)), tmp_path / "a")
    with pytest.raises(ValueError, match="pass --config.embodiment=DIR"):
        compare.run(make_config(get_config("tiny"), data, embodiment=""), tmp_path / "b")


def write_comparison(folder, returns, expert=100.0):
    folder.mkdir()
    (folder / "DONE").write_text(json.dumps({"returns": returns, "expert": expert}))
    return str(folder)


def test_cells_are_aggregated_in_percent_of_their_own_expert(tmp_path):
    first = write_comparison(tmp_path / "a", {"aime": [[50.0], [70.0]], "bco": [[10.0], [20.0]]})
    second = write_comparison(
        tmp_path / "b", {"aime": [[5.0], [6.0]], "bco": [[1.0], [7.0]], "bc": [[8.0]]}, 10.0
    )
    config = aggregate_config.get_config()
    config.runs = (first, second)
    result = aggregate.run(config, tmp_path / "run")
    # AIME: 50, 70, 50, 60 -> the middle half is 50, 60. BCO(0): 10, 20, 10, 70 -> 10, 20.
    assert result["iqm"] == {"AIME": 55.0, "BCO(0)": 15.0}
    rows = list(csv.DictReader(open(tmp_path / "run" / "table.csv")))
    # AIME wins 4 of 4 pairs in the first cell; in the second 50 and 60 win over 10 and lose to 70.
    assert rows[1]["improvement"].split()[0] == "0.75"
    assert (tmp_path / "run" / "figures" / "comparison.png").stat().st_size > 0


def test_an_unfinished_comparison_is_named(tmp_path):
    with pytest.raises(ValueError, match="is not a finished run of experiments.compare"):
        aggregate.read_scores([str(tmp_path)])
    with pytest.raises(ValueError, match="Which comparisons"):
        aggregate.read_scores([])
