"""The main job, end to end, on the fake environment."""

import contextlib
import csv
import functools

import numpy as np
import pytest

from experiments.configs import demo as demo_config
from experiments.runs.stages import Stages
from experiments.studies import demo


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("demo") / "run"
    in_a_process = Stages.beside

    @contextlib.contextmanager
    def beside(stages, name, main, config):
        if name == "expert":  # one suffices: a process imports and traces everything anew
            with in_a_process(stages, name, main, config) as wait:
                yield wait
        else:
            yield functools.partial(stages.run, name, main, config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stages, "beside", beside)
        return workdir, demo.run(demo_config.get_config("tiny"), workdir)


def test_the_table_has_every_method_with_many_and_with_one_demonstration(finished):
    workdir, _ = finished
    with open(workdir / "tables" / "results.csv") as file:
        rows = list(csv.DictReader(file))
    methods = [name + few for name in ("AIME", "BCO(0)", "BC oracle") for few in ("", ", 1 demonstration")]
    assert [row["method"] for row in rows] == ["Random", *methods, "Expert"]
    assert [row["num_demonstrations"] for row in rows[1:3]] == ["3", "1"]


def test_every_promised_file_is_there(finished):
    workdir, _ = finished
    for name in ("tables/results.md", "scores.csv", "report.html", "seconds.json", "DONE"):
        assert (workdir / name).stat().st_size > 0
    for name in ("comparison", "curves_fake-pointmass_update"):
        assert (workdir / "figures" / f"{name}.png").stat().st_size > 0
    page = (workdir / "report.html").read_text()
    assert "What the world model foresees" in page and "3 demonstrations without actions" in page


def test_the_report_begins_with_a_conclusion_and_explains_its_words(finished):
    workdir, _ = finished
    page = (workdir / "report.html").read_text()
    assert 'class="lead">AIME reaches ' in page
    for words in (
        "lpomdp: vectors without velocities",
        "coloured (noise that is",
        "BC oracle is behaviour cloning",
    ):
        assert words in page


def test_demonstrations_for_imitation_hold_no_actions_and_the_oracles_do(finished):
    from worldmodels.data.episodes import load_episodes

    workdir, _ = finished
    observed = load_episodes(workdir / "demonstrations" / "episodes")
    oracle = load_episodes(workdir / "oracle" / "episodes")
    for ours, theirs in zip(observed, oracle, strict=True):
        np.testing.assert_array_equal(ours.records["position"], theirs.records["position"])
        assert ours.records["pre_action"].shape[-1] == 0 and theirs.records["pre_action"].shape[-1] == 2


def test_a_finished_demo_does_nothing_again(finished):
    workdir, result = finished
    assert demo.run(demo_config.get_config("tiny"), workdir) == result


def test_few_demonstrations_are_refused_where_the_world_model_is_told_of_all(tmp_path):
    config = demo_config.get_config("tiny")
    config.relevance, config.few_demonstrations = True, 1
    with pytest.raises(ValueError, match="set few_demonstrations=0"):
        demo.run(config, tmp_path / "run")


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(
        ValueError, match="Unknown preset 'walkr'. Known: '', first, noise, walker, visual, tiny"
    ):
        demo_config.get_config("walkr")


def test_unknown_published_data_are_refused_with_the_known_names_and_nothing_is_touched(finished):
    workdir, result = finished
    config = demo_config.get_config("tiny")
    config.published_data = "rndom"
    with pytest.raises(ValueError, match="Unknown published data 'rndom'. Known: random, p2e, .*stand"):
        demo.run(config, workdir, fresh=True)
    assert demo.run(demo_config.get_config("tiny"), workdir) == result
