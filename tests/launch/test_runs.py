"""Runs as commands, their order, and the axes of the command line."""

import pathlib
import re

import pytest

from launch.grid import grid
from launch.runs import PROJECT, Output, Run, changed_settings, check_settings, in_order, parse_axes, product

ROOT = pathlib.Path("/sweep")


def test_a_run_is_a_command_of_its_main():
    run = Run("a/b/seed_000", "imitate", "imitate:tiny", {"seed": 3, "loss.kl_only": True})
    assert run.command(ROOT, "python") == [
        "python",
        "-u",
        "-m",
        "experiments",
        "imitate",
        "--config=imitate:tiny",
        "--config.seed=3",
        "--config.loss.kl_only=True",
        "--workdir=/sweep/a/b/seed_000",
    ]


def test_outputs_of_other_runs_become_paths_and_needs():
    run = Run(
        "mix", "m", "collect:mix", {"sources": (Output("a", "episodes"), Output("b")), "one": Output("a")}
    )
    assert run.needs == ("a", "b")
    assert "--config.sources=('/sweep/a/episodes', '/sweep/b')" in run.command(ROOT)


def test_runs_are_ordered_by_their_needs():
    last, middle, first = (
        Run("last", "m", "c", {"x": Output("middle")}),
        Run("middle", "m", "c", {"x": Output("first")}),
        Run("first", "m", "c"),
    )
    assert [run.name for run in in_order([last, middle, first])] == ["first", "middle", "last"]


def test_a_need_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="a needs b, which is not part"):
        in_order([Run("a", "m", "c", {"x": Output("b")})])


def test_axes_are_lists_ranges_and_python_values():
    assert parse_axes(["seed=0..2", "task=walk,run", "kl=0.5,True,None", "sources=('a','b'),()"]) == {
        "seed": [0, 1, 2],
        "task": ["walk", "run"],
        "kl": [0.5, True, None],
        "sources": [("a", "b"), ()],
    }


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("'x,y'", ["x,y"]),
        ('"x,y",z', ["x,y", "z"]),
        ("('x,y','z'),()", [("x,y", "z"), ()]),
        ("{'a': 1, 'b': 2},3", [{"a": 1, "b": 2}, 3]),
        ("[1,2],[3]", [[1, 2], [3]]),
        ("don't,care", ["don't", "care"]),
    ],
)
def test_quotes_and_brackets_make_one_value(text, values):
    assert parse_axes([f"embodiment={text}"]) == {"embodiment": values}


@pytest.mark.parametrize("wrong", ["x='a,b", "x=(1,2"])
def test_an_open_quote_or_bracket_is_refused(wrong):
    with pytest.raises(ValueError, match="has an open (quote|bracket)"):
        parse_axes([wrong])


@pytest.mark.parametrize("wrong", ["seed", "seed=", "=3"])
def test_an_axis_without_key_or_value_is_explained(wrong):
    with pytest.raises(ValueError, match="is not KEY=VALUE"):
        parse_axes([wrong])


def test_a_product_varies_the_last_key_fastest():
    assert list(product({"a": [1, 2], "b": [3, 4]})) == [
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        {"a": 2, "b": 3},
        {"a": 2, "b": 4},
    ]


def test_a_grid_names_what_varies():
    runs = grid("imitate:tiny", {"loss.kl_scale": [0, 1], "num_updates": [7], "seed": [0, 12]})
    assert [run.name for run in runs][:2] == [
        "imitate-tiny/kl_scale=0/seed_000",
        "imitate-tiny/kl_scale=0/seed_012",
    ]
    assert runs[0].settings == {"loss.kl_scale": 0, "num_updates": 7, "seed": 0}


def test_keys_that_end_alike_are_named_in_full():
    axes = {"optimizer.learning_rate": [1, 2], "model_optimizer.learning_rate": [3], "loss.kl_scale": [0, 1]}
    assert grid("imitate:tiny", axes)[0].name == "imitate-tiny/learning_rate=1,kl_scale=0/seed_000"
    axes["model_optimizer.learning_rate"] = [3, 4]
    cell = "optimizer.learning_rate=1,model_optimizer.learning_rate=3,kl_scale=0"
    assert grid("imitate:tiny", axes)[0].name == f"imitate-tiny/{cell}/seed_000"


def test_a_grid_over_tasks_has_a_folder_for_each():
    runs = grid("collect:uniform", {"task": ["walker-walk", "walker-run"]}, "noise")
    assert [run.name for run in runs] == [
        "noise-walker-walk/default/seed_000",
        "noise-walker-run/default/seed_000",
    ]


def test_the_directories_of_a_grid_are_those_that_the_page_on_sweeps_names():
    page = (PROJECT / "docs" / "how-to" / "sweeps.md").read_text()
    config, axes = re.search(
        r"sweep run (imitate:small) --root=runs/grid (.*?)\npython", page, re.DOTALL
    ).groups()
    first, *_, last = (run.name for run in grid(config, parse_axes(axes.replace("\\", "").split())))
    assert f"`runs/grid/{first}` to `.../{last.removeprefix('imitate-small/')}`" in page


def test_options_of_parts_of_the_users_own_are_settings_like_others():
    run = Run("a", "online", "online:tiny", {"reward.name": "my.module:Reward", "reward.options.scale": 2})
    check_settings([run])
    recorded = {"reward": {"name": "my.module:Reward", "options": {"scale": 1}}}
    assert changed_settings(run, recorded) == {"reward.options.scale": (1, 2)}


def test_a_misspelt_key_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="has no key 'num_update'. Did you mean 'num_updates'"):
        check_settings(grid("imitate:tiny", {"num_update": [3]}))


@pytest.mark.parametrize(
    ("axis", "sentence"),
    [
        ("num_updates=abc", "num_updates=abc does not fit the config imitate:tiny: an integer is wanted"),
        ("num_updates=1e3", "num_updates=1000.0 does not fit"),
        ("loss.kl_scale=much", "a number is wanted"),
        ("evaluation.video=3", "True or False is wanted"),
    ],
)
def test_a_value_of_another_type_is_refused_before_anything_runs(axis, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_settings(grid("imitate:tiny", parse_axes([axis])))


def test_values_that_the_main_reads_are_accepted():
    check_settings(grid("imitate:tiny", parse_axes(["loss.kl_scale=1", "num_demonstrations=2", "model=3"])))


@pytest.mark.parametrize("seed", ["a", "-1", "1.5", "True"])
def test_seeds_are_integers_from_zero_on(seed):
    with pytest.raises(ValueError, match="is no seed: those are the integers from 0 on"):
        grid("imitate:tiny", parse_axes([f"seed={seed}"]))


@pytest.mark.parametrize("varied", [{}, {"loss.kl_scale": [0, 1]}])
def test_two_runs_of_a_cell_that_would_train_the_same_seed_are_refused(varied):
    sentence = "With num_seeds=4 the runs seed=0 and seed=3 .* both train seed 3; .* 4 apart, seed=0,4"
    with pytest.raises(ValueError, match=sentence):
        check_settings(grid("imitate:tiny", {**varied, "num_seeds": [4], "seed": [0, 3]}))
    check_settings(grid("imitate:tiny", {**varied, "num_seeds": [4], "seed": [0, 4]}))


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="4..0 is empty; a range goes from the smaller to the larger: 0..4"):
        parse_axes(["seed=4..0"])


def test_a_run_that_is_listed_twice_is_one():
    assert len(grid("imitate:tiny", {"seed": [0, 0, 1]})) == 2


def test_two_runs_of_one_directory_are_refused():
    with pytest.raises(ValueError, match="model=runs/a/m and model=runs/a_m have the same directory"):
        grid("imitate:tiny", {"model": ["runs/a/m", "runs/a_m"]})


def test_a_config_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="There is no config experiments/configs/nothing.py"):
        check_settings(grid("nothing", {"seed": [0]}))
