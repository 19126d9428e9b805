import numpy as np
import pytest

from experiments.analysis import published_results


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


def test_every_cell_of_the_online_paper_is_there_once():
    cells = published_results.online_cells()
    names = {(c.suite, c.task, c.step, c.method, c.model) for c in cells}
    assert len(cells) == len(names) == 9 * 8 * 4 + 6 * 11 * 3


@pytest.mark.parametrize(
    ("suite", "task", "method", "model", "step", "mean", "std"),
    [
        ("dmc", "walker-run", "AIME-NoB (VIPER)", "", 500_000, 743, 11),
        ("dmc", "cheetah-run", "AIME-NoB (AIL)", "", 1_000_000, 859, 7),
        ("dmc", "cartpole-swingup", "OT", "", 1_000_000, 796, 33),
        ("dmc", "hopper-hop", "AIME", "", 100_000, 10, 7),
        ("dmc", "finger-spin", "BCO(alpha)", "", 200_000, 237, 334),
        ("dmc", "quadruped-run", "PatchAIL", "", 500_000, 191, 117),
        ("metaworld", "hammer", "AIME-NoB (AIL)", "mt50", 500_000, 0.99, 0.02),
        ("metaworld", "push", "AIME", "mt50", 100_000, 0.34, 0.08),
        ("metaworld", "assembly", "BCO(alpha)", "mt50", 200_000, 0.11, 0.09),
        ("metaworld", "disassemble", "AIME-NoB (OT)", "mt39", 200_000, 0.58, 0.19),
        ("metaworld", "sweep", "OT", "", 500_000, 0.04, 0.10),
    ],
)
def test_online_cells_hold_the_published_numbers(suite, task, method, model, step, mean, std):
    env_name = f"metaworld-{task}" if suite == "metaworld" else task
    cell = published_results.online_curve(env_name, method, model)[step]
    assert (cell.mean, cell.std) == (mean, std)
    assert cell.score == {"dmc": "return", "metaworld": "success_any"}[suite]


@pytest.mark.parametrize(
    ("suite", "method", "model", "step", "average", "tolerance"),
    [
        ("dmc", "AIME-NoB (AIL)", "", 500_000, 703, 0.5),
        ("dmc", "PatchAIL", "", 1_000_000, 615, 0.5),
        ("metaworld", "AIME-NoB (VIPER)", "mt50", 500_000, 0.57, 0.0051),
    ],
)
def test_online_cells_average_to_the_published_averages(suite, method, model, step, average, tolerance):
    wanted = (suite, method, model, step)
    chosen = [
        c.mean for c in published_results.online_cells() if (c.suite, c.method, c.model, c.step) == wanted
    ]
    np.testing.assert_allclose(np.mean(chosen), average, atol=tolerance)


def test_a_task_without_a_published_curve_gives_none():
    assert published_results.online_curve("walker-jump", "AIME") == {}
