"""The comparison, end to end on the fake environment: stages, table, figure; what cannot run is left out and said."""

import csv
import json
import re

import numpy as np
import pytest
from imitation_data import done_at_once, make_config, write_data

from experiments.analysis.labels import label
from experiments.configs import aggregate as aggregate_config
from experiments.configs import surrogate
from experiments.configs.compare import METHODS, get_config
from experiments.runs.settings import RunError, write_json
from experiments.studies import aggregate, compare
from worldmodels.data.episodes import append_episode, load_episodes

CHOSEN = ("aime", "bco", "ot", "mbbc", "bc")  # one of each kind; the others have tests of their own
SHOWN = dict(num_demonstrations=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def grown(data, tmp_path_factory):
    """(workdir, summary, when BCO was done) of BCO(0) with two demonstrations, to which BC is added later."""
    workdir = tmp_path_factory.mktemp("compare") / "run"
    compare.run(make_config(get_config("tiny"), data, methods=("bco",), **SHOWN), workdir)
    began = (workdir / "bco" / "DONE").stat().st_mtime_ns
    options = dict(methods=("bco", "bc"), random_return=3.0)
    return workdir, compare.run(make_config(get_config("tiny"), data, **options, **SHOWN), workdir), began


@pytest.fixture(scope="module")
def finished(data, grown):
    """(workdir, summary) of all methods: the rest is added to `grown`."""
    workdir, *_ = grown
    return workdir, compare.run(make_config(get_config("tiny"), data, methods=CHOSEN, **SHOWN), workdir)


def test_every_method_has_scores_of_every_seed(finished):
    _, summary = finished
    assert tuple(summary["returns"]) == CHOSEN and summary["left_out"] == {}
    assert all(np.shape(returns) == (2, 2) for returns in summary["returns"].values())


def test_the_table_has_iqm_and_probability_of_improvement(finished):
    workdir, summary = finished
    rows = list(csv.DictReader(open(workdir / "tables" / "results.csv")))
    assert [row["method"] for row in rows] == ["AIME", "BCO(0)", "OT", "MBBC oracle", "BC oracle"]
    assert rows[0]["improvement"] == "" and rows[1]["improvement"] != "" and rows[0]["iqm"] != ""
    assert "P(AIME better)" in summary["table"]


def test_every_promised_file_is_there(finished):
    workdir, _ = finished
    for name in ("tables/results.md", "scores.csv", "figures/comparison.png", "report.html"):
        assert (workdir / name).stat().st_size > 0


def test_a_finished_comparison_does_nothing_again(finished, data):
    workdir, summary = finished
    assert compare.run(make_config(get_config("tiny"), data, methods=CHOSEN, **SHOWN), workdir) == summary


def test_every_known_method_is_compared_unless_chosen_otherwise():
    assert get_config().methods == METHODS and sorted(METHODS) == sorted(compare.METHODS.names())


@pytest.mark.parametrize("name", [name for name in compare.METHODS.names() if name != "aime"])
def test_every_registered_method_says_what_it_is(name):
    method = compare.METHODS.get(name)
    assert label(name) == method.label and method.paper
    assert set(method.needs) <= {"embodiment", "actions", "world model", "vectors", "two episodes"}
    config = compare.CONFIGS[method.command].get_config(f"{method.preset}-tiny")
    assert config.method == name and set(method.options) <= set(config.options)


def test_a_method_and_the_return_of_the_random_policy_can_be_added_later(grown):
    workdir, summary, began = grown
    assert tuple(summary["returns"]) == ("bco", "bc")
    assert (workdir / "bco" / "DONE").stat().st_mtime_ns == began


def test_the_expert_is_the_whole_folder_as_in_every_stage(grown, data):
    workdir, summary, _ = grown
    expert = np.mean([episode.return_ for episode in load_episodes(data / "demonstrations")])
    stage = json.loads((workdir / "bco" / "DONE").read_text())
    assert summary["expert"] == stage["expert_return"] == pytest.approx(expert)


def test_oracles_are_left_out_without_actions_and_vectors_without_vectors(data):
    config = get_config("tiny")
    episodes, body = load_episodes(data / "observations"), load_episodes(data / "embodiment")
    methods, left_out = compare.applicable(config, "fake-pointmass", episodes, body)
    assert set(left_out) == {"mbbc", "bc"} and "bco" in methods
    with_images = [
        e.records.update(image=np.zeros((e.num_records, 64, 64, 3), np.uint8)) or e for e in episodes
    ]
    config.setup = "visual"
    _, left_out = compare.applicable(config, "fake-pointmass", with_images, body)
    blind = {"smodice", "lobsdice", "fb", "pidm", *surrogate.METHODS}
    assert set(left_out) == {*blind, "mbbc", "bc"}


def test_the_world_model_is_told_of_no_demonstrations_but_those_that_the_methods_see(data):
    config = make_config(get_config("small-walker"), data, num_demonstrations=2)
    relevance = compare.pretraining(config).relevance
    assert (relevance.demonstrations, relevance.num_demonstrations) == (config.demonstrations, 2)


@pytest.mark.parametrize(("num_demonstrations", "num_body"), [(1, 2), (2, 1)])
def test_bco_alpha_is_left_out_where_there_is_no_episode_to_validate_on(data, num_demonstrations, num_body):
    episodes = load_episodes(data / "demonstrations", num_demonstrations)
    body = load_episodes(data / "embodiment", num_body)
    _, left_out = compare.applicable(get_config("tiny"), "fake-pointmass", episodes, body)
    assert set(left_out) == {"bco_alpha", "bcv_lr"} and "needs two demonstrations" in left_out["bco_alpha"]


def test_what_learns_from_embodiment_data_is_left_out_where_they_have_no_actions(data):
    episodes, body = load_episodes(data / "demonstrations"), load_episodes(data / "observations")
    methods, _ = compare.applicable(get_config("tiny"), "fake-pointmass", episodes, body)
    assert methods == [*surrogate.METHODS, "bc"]


def test_episodes_that_lack_a_sensor_are_refused_before_any_stage(data, tmp_path):
    for episode in load_episodes(data / "demonstrations"):
        del episode.records["velocity"]
        append_episode(tmp_path / "blind", episode)
    config = make_config(get_config("tiny"), data, setup="mdp", demonstrations=str(tmp_path / "blind"))
    with pytest.raises(ValueError, match="lack velocity, which set-up 'mdp' of 'fake-pointmass' needs"):
        compare.run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "pretrain").exists()


def test_images_stay_on_disk_and_only_the_vectors_of_the_set_up_are_read(tmp_path):
    data = write_data(tmp_path, render_size=64, episode_length=4)
    shown, body = compare.read_data(make_config(get_config("tiny"), data))
    assert shown.episodes[0].sensors == body[0].sensors == ("position",)
    assert (len(shown.episodes), len(body)) == (4, 2)


@pytest.mark.parametrize(
    ("rewards", "random", "unit", "shown"),
    [
        (-5.0, -900.0, "is not above 0: 0% is the random policy, 100% the expert.", {"BCO(0)": 50.0}),
        (-5.0, None, "Scores are plain returns: .* with a lower one of the random policy", {}),
        (0.0, -900.0, "Scores are plain returns: the demonstrations record no rewards.", {}),
    ],
)
def test_an_expert_without_a_return_above_0_is_said(
    data, tmp_path, monkeypatch, capsys, rewards, random, unit, shown
):
    for episode in load_episodes(data / "demonstrations"):
        episode.records["reward"][1:] = rewards
        append_episode(tmp_path / "data", episode)
    expert = load_episodes(tmp_path / "data")[0].return_

    def done(config, stages, methods):
        result = {"return": [[(expert + random) / 2]] if random else [[-1.0]]} | (
            {"expert_return": expert} if expert else {}
        )
        for method in methods:
            write_json(stages.path(method) / "DONE", result)
        return dict.fromkeys(methods, result)

    monkeypatch.setattr(compare, "run_methods", done)
    config = make_config(get_config("tiny"), data, methods=("bco", "ot"), random_return=random)
    config.demonstrations = str(tmp_path / "data")
    compare.run(config, tmp_path / "run")
    said = capsys.readouterr().out
    assert re.search(unit, said) and re.search(unit, (tmp_path / "run" / "report.html").read_text())
    rows = {row["method"]: row for row in csv.DictReader(open(tmp_path / "run" / "tables" / "results.csv"))}
    assert {
        name: float(row["by_random_and_expert"])
        for name, row in rows.items()
        if row["by_random_and_expert"] and name in shown
    } == shown
    assert (tmp_path / "run" / "figures" / "comparison.png").is_file() == bool(shown)
    assert not any(row["by_expert"] for row in rows.values())


def test_unknown_published_data_are_refused_and_absent_ones_are_said(data, tmp_path, capsys, monkeypatch):
    config = make_config(get_config("tiny"), data, published_data="rndom")
    with pytest.raises(ValueError, match="Unknown published data 'rndom'. Known: .*random.*; pass one"):
        compare.run(config, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(compare, "run_methods", done_at_once)
    compare.run(make_config(get_config("tiny"), data, published_data="random"), tmp_path / "b")
    absent = "Without published numbers: there are none for 'random' data, 'fake-pointmass', set-up 'lpomdp'."
    assert absent in capsys.readouterr().out


def test_the_world_model_of_finished_stages_is_not_trained_any_further(data, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "run_methods", done_at_once)
    config = make_config(get_config("tiny"), data)
    compare.run(config, tmp_path)
    config.aime.num_updates += 10
    compare.run(config, tmp_path)
    config.pretrain.num_updates += 10
    with pytest.raises(RunError, match="another config: pretrain.num_updates was"):
        compare.run(config, tmp_path)


def test_unknown_methods_and_missing_folders_are_named(data, tmp_path):
    with pytest.raises(ValueError, match="Unknown method 'dagger'. Known: aime, gaifo,"):
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
    rows = list(csv.DictReader(open(tmp_path / "run" / "tables" / "improvement.csv")))
    # AIME wins 4 of 4 pairs in the first cell; in the second 50 and 60 win over 10 and lose to 70.
    assert (rows[0]["method"], rows[0]["over"], rows[0]["probability"]) == ("AIME", "BCO(0)", "0.75")
    assert (tmp_path / "run" / "report.html").stat().st_size > 0


def test_an_unfinished_comparison_is_named(tmp_path):
    with pytest.raises(ValueError, match="is not a finished run of `compare`"):
        aggregate.read_comparisons([str(tmp_path)])
    with pytest.raises(ValueError, match="Which comparisons"):
        aggregate.read_comparisons([])
