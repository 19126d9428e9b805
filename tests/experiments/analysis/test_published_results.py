import numpy as np
import pytest

from experiments.analysis import published_results


def test_every_cell_of_the_paper_is_there_once():
    cells = published_results.cells()
    names = {(c.embodiment, c.dataset, c.task, c.method, c.setup) for c in cells}
    assert len(cells) == len(names) == (6 * 3 + 6 * 4) * 2 * 3


def test_the_embodiment_data_are_known_by_name():
    assert {"random", "p2e", "mix", "stand", "runbackward"} <= set(published_results.datasets())


@pytest.mark.parametrize(
    "name, mean, std",
    [
        (("cheetah", "random", "runbackward", "AIME", "lpomdp"), 97.3, 9.7),
        (("cheetah", "random", "cheetah-runbackward", "BCO(0)", "lpomdp"), 80.8, 1.3),
        (("walker", "stand", "walk", "AIME", "lpomdp"), 93.4, 6.8),
        (("walker", "stand", "walk", "BCO(0)", "lpomdp"), 14.2, 8.0),
        (("walker", "mix", "run", "AIME", "visual"), 61.1, 12.9),
    ],
)
def test_cells_hold_the_published_numbers(name, mean, std):
    cell = published_results.cell(*name)
    np.testing.assert_allclose([cell.mean, cell.std], [mean, std], atol=0.051)


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


def test_cells_of_an_environment_are_found_by_method():
    assert set(published_results.cells_of("cheetah-runbackward", "random", "lpomdp")) == {"AIME", "BCO(0)"}


def test_an_environment_without_published_cells_gives_none():
    assert published_results.cells_of("fake-pointmass", "random", "mdp") == {}


def test_an_unknown_cell_is_refused_with_the_known_values():
    with pytest.raises(ValueError, match="dataset 'noise'. Known: random, p2e, run, runbackward, flip"):
        published_results.cell("cheetah", "noise", "run", "AIME", "mdp")


def test_expert_returns_are_published_for_seven_tasks():
    assert published_results.expert_return("cheetah-runbackward") == 218.5
    with pytest.raises(ValueError, match="Known: cheetah-flip, "):
        published_results.expert_return("hopper-hop")


def test_the_source_names_paper_and_repository():
    source = published_results.source()
    assert "2312.02019" in source.paper and source.repository.startswith("https://github.com/")
    assert (source.policies, source.episodes) == (1, 100)


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
    cell = published_results.online_curve(suite, task, method, model)[step]
    assert (cell.mean, cell.std) == (mean, std)


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


def test_an_unknown_online_cell_lists_the_known_ones():
    with pytest.raises(ValueError, match="No published result for task 'walker-jump'. Known: 'walker-run'"):
        published_results.online_curve("dmc", "walker-jump", "AIME")


def test_the_online_source_says_where_and_what():
    found = published_results.online_source()
    assert "2404.18896" in found["source"]["paper"] and found["suites"]["dmc"]["seeds"] == 5
