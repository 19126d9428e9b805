import numpy as np
import pytest

from experiments.analysis import published_results
from experiments.envs.metaworld_tasks import SETS
from launch.paper_suites import DMC9


def test_every_cell_of_the_paper_is_there_once():
    cells = published_results.cells()
    names = {(c.embodiment, c.dataset, c.task, c.method, c.setup) for c in cells}
    assert len(cells) == len(names) == (6 * 3 + 6 * 4) * 2 * 3


@pytest.mark.parametrize(
    "name, mean, std",
    [
        (("cheetah-runbackward", "random", "lpomdp", "AIME"), 97.3, 9.7),
        (("cheetah-runbackward", "random", "lpomdp", "BCO(0)"), 80.8, 1.3),
        (("walker-walk", "stand", "lpomdp", "AIME"), 93.4, 6.8),
        (("walker-walk", "stand", "lpomdp", "BCO(0)"), 14.2, 8.0),
        (("walker-run", "mix", "visual", "AIME"), 61.1, 12.9),
    ],
)
def test_cells_hold_the_published_numbers(name, mean, std):
    *cell, method = name
    found = published_results.cells_of(*cell)[method]
    np.testing.assert_allclose([found.mean, found.std], [mean, std], atol=0.051)


@pytest.mark.parametrize(
    "embodiment, method, setup, average",
    [
        ("walker", "AIME", "visual", 63.8),
        ("walker", "BCO(0)", "mdp", 63.5),
        ("cheetah", "AIME", "lpomdp", 39.5),
        ("cheetah", "BCO(0)", "visual", 17.0),
    ],
)
def test_cells_average_to_the_published_averages(embodiment, method, setup, average):
    chosen = [
        c.mean
        for c in published_results.cells()
        if (c.embodiment, c.method, c.setup) == (embodiment, method, setup)
    ]
    assert abs(np.mean(chosen) - average) < 0.06


def test_an_environment_without_published_cells_gives_none():
    assert published_results.cells_of("fake-pointmass", "random", "mdp") == {}


def test_unknown_data_are_refused_with_the_known_names():
    with pytest.raises(ValueError, match="'noise'. Known: random, p2e, stand, .*pass one of them"):
        published_results.check_dataset("noise")


def test_papers_and_caption_say_where_the_numbers_come_from():
    first, second = published_results.papers()
    assert "2312.02019" in first and "2404.18896" in second
    assert "1 policy x 100 episodes, 100 demonstrations" in published_results.caption()


TASKS = {"dmc": DMC9, "metaworld": SETS["metaworld6"]}


@pytest.mark.parametrize(("suite", "count"), [("dmc", 8), ("metaworld", 11)])
def test_every_curve_of_the_online_paper_is_there_once_with_all_its_seeds(suite, count):
    for task in TASKS[suite]:
        curves = published_results.online_curves(suite, task)
        assert len(curves) == len({(c.method, c.model) for c in curves}) == count
        for curve in curves:
            seeds = 10 if suite == "metaworld" and curve.method == "AIME" else 5
            end = {"AIME": 0}.get(curve.method, {"dmc": 1_000_000, "metaworld": 500_000}[suite])
            assert (len(curve.scores), curve.steps[-1]) == (seeds, end)
            assert all(len(scores) == len(curve.steps) for scores in curve.scores.values())


@pytest.mark.parametrize(
    ("env_name", "method", "model", "seed", "step", "score"),
    [  # dmc-results.json and metaworld-results.json, by hand
        ("walker-run", "AIME-NoB (AIL)", "", "7", 100_000, 709.2171100355404),
        ("walker-run", "BCO(alpha)", "", "2", 20_000, 54.41853318201167),
        ("metaworld-hand-insert", "AIME-NoB (AIL)", "mt50", "7", 100_000, 41),
        ("metaworld-hand-insert", "AIME-NoB (VIPER)", "mt39", "42", 60_000, 9),
    ],
)
def test_points_are_those_of_the_source(env_name, method, model, seed, step, score):
    curve = published_results.online_curve(env_name, method, model=model)
    assert curve.scores[seed][curve.steps.index(step)] == round(score)


@pytest.mark.parametrize(
    ("env_name", "method", "model", "step", "mean", "std"),
    [  # means and sample standard deviations of the files before they were rounded
        ("walker-run", "AIME-NoB (VIPER)", "", 500_000, 743, 11),
        ("cartpole-swingup", "OT", "", 1_000_000, 796, 33),
        ("hopper-hop", "AIME", "", 0, 10, 7),
        ("quadruped-run", "PatchAIL", "", 500_000, 191, 117),
        ("metaworld-push", "AIME", "mt50", 0, 34, 8),
        ("metaworld-assembly", "BCO(alpha)", "mt50", 200_000, 11, 9),
        ("metaworld-disassemble", "AIME-NoB (OT)", "mt39", 200_000, 58, 19),
    ],
)
def test_seeds_average_to_the_published_means(env_name, method, model, step, mean, std):
    curve = published_results.online_curve(env_name, method, model=model)
    scores = [of_seed[curve.steps.index(step)] for of_seed in curve.scores.values()]
    np.testing.assert_allclose([np.mean(scores), np.std(scores, ddof=1)], [mean, std], atol=1)


def test_an_online_run_goes_by_its_reward_and_its_data():
    online = published_results.online_curve
    assert online("walker-run", "AIME-v2 (AIL)", reward="ail").label == "AIME-NoB (AIL), published"
    assert online("metaworld-push", "OT", reward="ot").label == "AIME-NoB (OT), mt39, published"
    assert online("metaworld-push", "mine", "ot", "mt50").label == "AIME-NoB (OT), mt50, published"
    assert online("walker-run", "mine", reward="true") is online("walker-jump", "OT") is None
