"""The report over runs: what it reads, what it computes, what it writes."""

import csv
import json

import numpy as np
import pytest

from experiments.analysis import intervals, learning_curves, published_results, report
from experiments.analysis.aggregates import (
    aggregate,
    normalisations,
    notes,
    performance_profile,
    strata,
)
from experiments.analysis.intervals import Improvement, Interval
from experiments.analysis.labels import LABELS, label
from experiments.analysis.scores import read_results
from experiments.analysis.tables import cell_table, improvement_table, success_table
from experiments.configs import report as report_config
from experiments.configs.compare import METHODS
from experiments.drawing.style import MUTED
from launch.suites import SUITES


def report_on(*folders, workdir=""):
    config = report_config.get_config()
    config.runs = tuple(map(str, folders))
    return report.run(config, workdir)


def write_run(
    root, task, method, seed, returns, *, labels=None, expert=10.0, success=None, evals=(), **result
):
    path = root / task / method / f"seed_{seed:03d}"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"setup": "lpomdp", "env": ""}))
    result = {"return": [returns], "expert_return": expert} | result
    for rule, values in (success or {}).items():
        result[f"success_{rule}"] = [values]
    (path / "DONE").write_text(json.dumps(result))
    rows = [{"update": update, "return": [values]} for update, values in evals]
    (path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sweep = root / "sweep" / "s.json"
    sweep.parent.mkdir(exist_ok=True)
    known = json.loads(sweep.read_text()) if sweep.is_file() else {}
    default = {"task": task, "method": method, "seed": seed, "dataset": "mix", "setup": "lpomdp"}
    known[f"{task}/{method}/seed_{seed:03d}"] = {"labels": labels or default}
    sweep.write_text(json.dumps(known))
    return path


@pytest.fixture
def root(tmp_path):
    """Two tasks, two methods, two seeds, and a random policy on the first task."""
    for task, env in (("walk", "walker-walk"), ("run", "walker-run")):
        for method, level in (("aime", 8.0), ("bco", 4.0)):
            for seed in (0, 1):
                labels = {"task": task, "method": method, "dataset": "mix", "setup": "lpomdp", "env": env}
                returns = [level + seed, level + seed + 1]
                evals = [(2, [level / 2]), (4, [level])]
                success = {"any": [1.0, 1.0], "final": [1.0, 0.0], "held": [0.0, 0.0]}
                write_run(
                    tmp_path,
                    task,
                    method,
                    seed,
                    returns,
                    labels=labels | {"seed": seed},
                    evals=evals,
                    success=success,
                )
    path = write_run(tmp_path, "walk", "random", 0, [], labels={"task": "walk", "method": "random"})
    (path / "metrics.jsonl").write_text('{"update": 2, "episode/return": [1.0, 3.0]}\n')
    return tmp_path


def test_cells_hold_the_seeds_of_their_runs(root):
    results = read_results([root])
    assert results.methods == ["AIME", "BCO(0)"] and sorted(results.tasks) == ["run", "walk"]
    assert results.cell("walk", "AIME").returns == [[8.0, 9.0], [9.0, 10.0]]
    assert results.random_return("walk") == 2.0 and results.expert_return("walk") == 10.0


def test_returns_are_normalised_both_ways(root):
    results = read_results([root])
    by_expert, by_both = normalisations(results)
    assert strata(results, "BCO(0)", by_expert)["walk"] == [[40.0, 50.0], [50.0, 60.0]]
    assert strata(results, "BCO(0)", by_both) == {
        "walk": [[25.0, 37.5], [37.5, 50.0]]
    }  # no random policy for run


def test_what_varies_is_part_of_the_name(root):
    labels = {"task": "walk", "method": "aime", "dataset": "random", "setup": "lpomdp", "seed": 0}
    write_run(root, "walk", "aime-random", 0, [1.0], labels=labels)
    assert set(read_results([root]).methods) == {"AIME, mix", "BCO(0), mix", "AIME, random"}


def test_a_run_outside_of_a_sweep_is_named_by_its_directory(tmp_path):
    path = tmp_path / "mine"
    path.mkdir()
    (path / "config.json").write_text('{"env": "walker-walk"}')
    (path / "DONE").write_text('{"return": [[1.0], [2.0]], "expert_return": 4.0}')
    cell = read_results([path]).cells[0]
    assert (cell.task, cell.name, cell.returns) == ("walker-walk", "mine", [[1.0], [2.0]])


def leave(path, config, result):
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    (path / "DONE").write_text(json.dumps(result))


def test_runs_of_one_folder_belong_to_the_tasks_that_they_were_played_in(tmp_path):
    """The environment of an imitation is that of its demonstrations: its config does not name it, its result does."""
    for name, env in (("aime", "walker-walk"), ("aime-running", "walker-run")):
        result = {"return": [[5.0]], "expert_return": 10.0, "environment": {"environment": env}}
        leave(tmp_path / name, {"env": ""}, result)
    leave(tmp_path / "random", {"env": "walker-walk"}, {"num_episodes": 1})
    (tmp_path / "random" / "metrics.jsonl").write_text('{"episode/return": [1.0, 3.0]}\n')
    results = read_results([tmp_path])
    assert [(cell.task, cell.env, cell.name) for cell in results.cells] == [
        ("walker-walk", "walker-walk", "AIME"),
        ("walker-run", "walker-run", "aime-running"),
    ]
    assert (results.random_return("walker-walk"), results.random_return("walker-run")) == (2.0, None)


def test_without_runs_of_the_random_policy_its_return_is_the_one_that_runs_record(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, "walk", "aime", seed, [8.0], random_return=6.0)
    results = read_results([tmp_path])
    assert results.random_return("walk") == 6.0
    assert strata(results, "AIME", normalisations(results)[1]) == {"walk": [[50.0], [50.0]]}


def test_runs_that_record_different_random_policies_are_measured_by_their_own(tmp_path):
    for seed, value in ((0, 6.0), (1, 7.0)):
        write_run(tmp_path, "walk", "aime", seed, [8.5], random_return=value)
    results = read_results([tmp_path])
    assert results.random_return("walk") is None
    assert strata(results, "AIME", normalisations(results)[1]) == {"walk": [[62.5], [50.0]]}


def test_the_figure_of_one_task_measures_runs_by_their_own_random_policies(tmp_path, monkeypatch):
    for seed, value in ((0, -20.0), (1, -40.0)):
        write_run(tmp_path, "walk", "aime", seed, [-15.0], expert=-10.0, random_return=value)
    drawn = []
    figures = "experiments.analysis.aggregate_figures.comparison_figure"
    monkeypatch.setattr(figures, lambda scores, **options: drawn.append((scores, options["random"])))
    results = read_results([tmp_path])
    report.comparison(results, "walk", normalisations(results)[1])
    assert drawn == [({"AIME": [[50.0], [100 * 25 / 30]]}, None)]


def test_unfinished_runs_are_named_and_left_out(root):
    path = root / "walk" / "aime" / "seed_001"
    (path / "DONE").unlink()
    results = read_results([root])
    assert results.unfinished == (path,) and results.cell("walk", "AIME").returns == [[8.0, 9.0]]


def test_nothing_finished_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="launch.sweep status"):
        read_results([tmp_path])
    with pytest.raises(ValueError, match="There is no directory"):
        read_results([tmp_path / "absent"])


def test_aggregates_are_over_tasks_and_the_interquartile_mean_over_their_seeds():
    found = aggregate([[[0.0], [10.0]], [[20.0], [90.0]], [[7.0], [7.0]]], resamples=50)
    assert found.values == {"mean": 67 / 3, "median": 7.0, "iqm": (7 + 7 + 10 + 20) / 4}
    assert (found.num_tasks, found.num_seeds) == (3, 6)
    assert found.intervals["mean"].low <= 67 / 3 <= found.intervals["mean"].high


def test_a_task_with_more_seeds_weighs_no_more_in_mean_and_median():
    found = aggregate([[[0.0]] * 6, [[30.0]] * 2, [[60.0]]], resamples=50)
    assert found.values == {"mean": 30.0, "median": 30.0, "iqm": 30 / 5}  # of 9 seeds, 2 go at each end
    for name in ("mean", "median"):  # equal seeds within tasks: nothing to draw
        assert (found.intervals[name].low, found.intervals[name].high) == (30.0, 30.0)


def test_a_profile_is_the_share_of_seeds_above_a_threshold():
    share, low, high = performance_profile([[[1.0], [3.0]], [[5.0], [7.0]]], np.array([0.0, 2.0, 6.0, 8.0]))
    assert share.tolist() == [1.0, 0.75, 0.25, 0.0]
    assert (low <= share).all() and (share <= high).all()


def test_published_figures_stand_beside_ours(root):
    results = read_results([root])
    table = cell_table(results, normalisations(results)[0])
    assert table.headings == ["Task", "AIME", "AIME, published", "BCO(0)", "BCO(0), published"]
    walk = next(row for row in table.rows if row[0] == "walk")
    assert (walk[2], walk[4]) == ("80.9", "53.5")  # AIME (NeurIPS 2023), walker, mix, lpomdp


def test_success_is_shown_by_three_rules(root):
    row = success_table(read_results([root])).numbers[0]
    assert [row[f"success_{rule}"] for rule in ("any", "final", "held")] == [100.0, 50.0, 0.0]


def test_the_table_of_improvements_has_every_pair_both_ways(root):
    from experiments.analysis.aggregates import improvements

    results = read_results([root])
    found = improvements(results, normalisations(results)[0], resamples=50)
    assert found["AIME", "BCO(0)"].probability == 1.0
    assert found["BCO(0)", "AIME"].probability == 0.0
    rows = improvement_table(found, normalisations(results)[0]).numbers
    assert [(row["method"], row["over"], row["probability"], row["num_tasks"]) for row in rows] == [
        ("AIME", "BCO(0)", 1.0, 2),
        ("BCO(0)", "AIME", 0.0, 2),
    ]


def test_the_figure_of_improvements_says_what_it_leaves_out(monkeypatch):
    def pair(probability):
        return Improvement(probability, Interval(probability, probability, ""), 1)

    pairs = {("a", "b"): pair(0.9), ("b", "a"): pair(0.1), ("a", "c"): pair(0.2), ("c", "a"): pair(0.8)}
    drawn, text = report.drawn_pairs(pairs)
    assert list(drawn) == [("a", "b"), ("c", "a")] and "highest of" not in text
    monkeypatch.setattr(report, "MAX_PAIRS", 1)
    drawn, text = report.drawn_pairs(pairs)
    assert list(drawn) == [("a", "b")] and "the 1 highest of 2 pairs" in text and "improvement.csv" in text


def test_a_run_counts_once_however_often_its_folder_is_given(root):
    results = read_results([root, root / "walk", root / "walk" / ".." / "walk" / "aime", root])
    assert [len(cell.runs) for cell in results.cells] == [2, 2, 2, 2]
    assert results.methods == ["AIME", "BCO(0)"] and results.random["walk"] == [1.0, 3.0]


def test_runs_are_measured_by_their_own_experts_and_the_report_says_so(tmp_path, capsys):
    write_run(tmp_path / "a", "walk", "aime", 0, [8.0])
    write_run(tmp_path / "b", "walk", "aime", 0, [8.0], expert=20.0)
    folders = [tmp_path / "a", tmp_path / "b"]
    results = read_results(folders)
    assert strata(results, "AIME", normalisations(results)[0]) == {"walk": [[80.0], [40.0]]}
    report_on(*folders, workdir=tmp_path / "out")
    said, page = capsys.readouterr().out, (tmp_path / "out" / "report.html").read_text()
    for text in (said, page):
        assert "walk: the runs have different experts (returns 10.0, 20.0)" in text
        assert "walk, AIME: seed 0 comes from 2 directories" in text
    assert "Runs of walk have different experts" in (tmp_path / "out" / "tables" / "returns.md").read_text()


def test_a_run_without_an_expert_is_measured_by_that_of_its_task(tmp_path):
    write_run(tmp_path, "walk", "aime", 0, [8.0])
    write_run(tmp_path, "walk", "dreamer", 0, [9.0], expert=None)
    results = read_results([tmp_path])
    assert strata(results, "dreamer", normalisations(results)[0]) == {"walk": [[90.0]]}


def test_tasks_that_cannot_be_normalised_are_named_with_the_reason(root, capsys):
    write_run(root, "fall", "aime", 0, [1.0], expert=-5.0)
    write_run(root, "sit", "aime", 0, [1.0], expert=None)
    path = write_run(root, "run", "random", 0, [], labels={"task": "run", "method": "random"})
    (path / "metrics.jsonl").write_text('{"episode/return": [10.0, 30.0]}\n')
    report_on(root)
    said, page = capsys.readouterr().out, (root / "report" / "report.html").read_text()
    for text in (said, page):
        assert (
            "fall: not in the aggregates in % of expert, because" in text and "-5.0, is not above 0.0" in text
        )
        assert "sit: not in the aggregates in % of expert, because no return of an expert" in text
        assert "run: not in the aggregates in % between random and expert, because" in text


def test_runs_that_belong_together_need_no_notes(root):
    path = write_run(root, "run", "random", 0, [], labels={"task": "run", "method": "random"})
    (path / "metrics.jsonl").write_text('{"episode/return": [1.0]}\n')
    results = read_results([root])
    assert notes(results, normalisations(results)) == []


def test_a_report_has_tables_figures_scores_and_a_page(root):
    (root / "walk" / "aime" / "seed_000" / "videos").mkdir()
    (root / "walk" / "aime" / "seed_000" / "videos" / "evaluation.mp4").write_bytes(b"0")
    result = report_on(root)
    out = root / "report"
    for name in result["tables"]:
        assert all((out / "tables" / f"{name}.{suffix}").is_file() for suffix in ("csv", "md", "tex"))
    for name in result["figures"]:
        assert all((out / "figures" / f"{name}.{suffix}").is_file() for suffix in ("png", "pdf"))
    drawn = {"aggregates_by_expert", "profiles_by_expert", "improvement", "curves_walk_update"}
    assert drawn <= set(result["figures"]) and "improvement" in result["tables"]
    rows = list(csv.DictReader(open(out / "scores.csv")))
    assert len(rows) == 8 and rows[0]["by_expert"] and rows[0]["success_final"] == "0.5"
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == len(result["figures"]) and "data:video/mp4" in page
    assert "http" not in page.replace("http-equiv", "")
    before = {path: path.read_bytes() for path in (out / "tables").iterdir()}
    report_on(root)
    assert {path: path.read_bytes() for path in (out / "tables").iterdir()} == before


@pytest.fixture
def one_task(tmp_path):
    """AIME, which does not learn in the environment, and a method that does; both define success."""
    rates = {"any": [1.0, 0.0], "final": [0.0, 0.0], "held": [0.0, 0.0]}
    write_run(tmp_path, "walk", "aime", 0, [6.0, 8.0], success=rates)
    path = write_run(tmp_path, "walk", "aime-v2-ail", 0, [9.0, 9.0], success=rates)
    rows = [
        {"update": n, "env_step": 100 * n, "return": [[float(n), 9.0]], "success_any": [[0.0, 1.0]]}
        for n in (1, 5)
    ]
    (path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_on_one_task_methods_stand_in_rows_and_single_seeds_are_not_compared(one_task):
    result = report_on(one_task)
    assert result["tables"] == ["results", "success", "steadiness"] and "comparison" in result["figures"]
    rows = list(csv.DictReader(open(one_task / "report" / "tables" / "results.csv")))
    assert [(row["method"], row["by_expert"]) for row in rows] == [("AIME", "70"), ("AIME-v2 (AIL)", "90")]
    assert [row["num_env_steps"] for row in rows] == ["", "500"]
    assert [row["num_seeds"] for row in rows] == ["1", "1"] and rows[1]["improvement"] == ""


def test_methods_without_a_curve_are_level_lines_beside_those_that_have_one(one_task):
    figures = learning_curves.curves(read_results([one_task]), "walk")
    assert list(figures) == [("env_step", "return"), ("env_step", "success_any")]
    for figure, level in zip(figures.values(), (7.0, 50.0), strict=True):
        (axes,) = figure.axes
        assert level in [line.get_ydata()[0] for line in axes.get_lines()]
        assert "AIME" in [text.get_text() for text in axes.texts]


def test_steadiness_is_the_mean_step_between_evaluations_of_methods_that_learn_in_the_environment(one_task):
    table = learning_curves.steadiness_table(read_results([one_task]))
    assert [row[0] for row in table.rows] == ["AIME-v2 (AIL)"]
    assert (
        table.numbers[0] | {"score": "success_any", "change": 0.0, "best": 50.0, "last": 50.0}
        == table.numbers[0]
    )
    up_and_down = np.array([[0.0, 80.0, 20.0, 100.0], [50.0, np.nan, 40.0, 40.0]])
    assert learning_curves.steadiness(up_and_down) == pytest.approx(((80 + 60 + 80) / 6 + 10 / 4, 75.0, 70.0))


def test_every_known_method_has_a_label_and_others_go_by_their_names():
    assert [label(name) for name in ("bco_alpha", "bco-alpha", "mine")] == [
        "BCO(alpha)",
        "BCO(alpha)",
        "mine",
    ]
    assert all(label(method) != method for method in METHODS)
    for suite in SUITES.values():
        assert all(label(method) != method for method in suite.methods)
    published = {cell.method for cell in published_results.cells()}
    assert published <= set(LABELS.values())


def test_the_label_that_a_run_of_an_own_method_records_is_in_the_report(tmp_path):
    own = "my.module:HuberBC"
    path = write_run(tmp_path, "walk", own, 0, [1.0], label="Huber BC")
    (path / "config.json").write_text(json.dumps({"method": own}))
    write_run(tmp_path, "walk", "rate=0.1", 0, [1.0], label="Huber BC")  # of a grid, named by what varies
    assert read_results([tmp_path]).methods == ["Huber BC", "rate=0.1"]


@pytest.mark.parametrize(
    ("env", "score", "x", "y", "setting"),
    [  # means of five seeds, by hand from the authors' files; the last one is between two evaluations
        (
            "walker-run",
            "return",
            [0, 50_000, 80_000],
            [48.5, 524.3, 629.4],
            "from images, 10 demonstrations;",
        ),
        ("metaworld-hand-insert", "success_any", [0, 20_000], [0.6, 4.0], "from images, "),
    ],
)
def test_published_curves_stand_behind_ours_by_the_same_steps(tmp_path, env, score, x, y, setting):
    path = write_run(
        tmp_path, "mine", "seed", 0, [700.0], labels={"task": "mine", "method": "seed", "env": env}
    )
    (path / "config.json").write_text(json.dumps({"reward": {"name": "ail"}}))
    rows = [{"update": n, "env_step": n * x[-1], "return": [[7.0]], "success_any": [[0.5]]} for n in (0, 1)]
    (path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn = learning_curves.curves(read_results([tmp_path]), "mine")
    (axes,) = drawn["env_step", score].axes
    (theirs,) = [
        line for line in axes.get_lines() if line.get_color() == MUTED and len(line.get_xdata()) == len(x)
    ]
    np.testing.assert_allclose(theirs.get_xdata(), x)
    np.testing.assert_allclose(theirs.get_ydata(), y, atol=0.3)
    assert sum(t.get_text().startswith("AIME-NoB (AIL), ") for t in axes.texts) == 1
    assert setting in drawn["env_step", score].get_supxlabel()
    other = drawn["env_step", "return" if score == "success_any" else "success_any"]
    assert "AIME-NoB" not in other.get_supxlabel()


def test_seeds_that_diverged_are_named(tmp_path):
    write_run(tmp_path, "walk", "aime", 0, [1.0], diverged=[{"seed": 0, "updates": 3}])
    report_on(tmp_path)
    assert "Seeds that diverged" in (tmp_path / "report" / "report.html").read_text()


def test_a_directory_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ValueError, match="There is no directory .*absent"):
        report_on(tmp_path / "absent")


def test_a_report_of_nothing_says_what_it_needs():
    with pytest.raises(ValueError, match="python -m experiments report DIR"):
        report_on()


def test_intervals_of_one_seed_are_those_of_its_episodes():
    assert intervals.summarise([[1.0, 3.0]]).interval.kind == "Student t over 2 episodes"


def test_the_seeds_inside_a_run_are_not_runs(tmp_path):
    path = write_run(tmp_path, "walk", "bco-alpha", 0, [1.0])
    inside = path / "seeds" / "0"
    inside.mkdir(parents=True)
    (inside / "config.json").write_text("{}")
    (inside / "DONE").write_text('{"return": [1.0], "diverged": true}')
    (unfinished := path / "seeds" / "1").mkdir()
    (unfinished / "config.json").write_text("{}")
    results = read_results([tmp_path])
    assert (results.methods, results.tasks, results.unfinished) == (["BCO(alpha)"], ["walk"], ())
    assert read_results([inside]).cells[0].runs[0].diverged == [0]  # but may be asked for


def test_the_flat_list_of_a_single_agent_is_one_seed(tmp_path):
    path = write_run(tmp_path, "walk", "dreamer", 0, [1.0])
    (path / "DONE").write_text('{"return": [1.0, 3.0], "success_any": [0.0, 1.0]}')
    (path / "eval.jsonl").write_text('{"update": 1, "return": [1.0, 5.0]}\n')
    (run,) = read_results([tmp_path]).cells[0].runs
    assert (run.returns, run.success["any"]) == ([[1.0, 3.0]], [[0.0, 1.0]])
    assert run.curve["return"].tolist() == [[3.0]]


@pytest.mark.parametrize(
    "file, text, why",
    [
        ("DONE", "{", "DONE is damaged"),
        ("DONE", '{"return": [[1.0, NaN]]}', "not finite"),
        ("DONE", '{"return": [[1.0], []]}', "shape"),
        ("DONE", '{"return": ["x"]}', "'return' in DONE"),
    ],
)
def test_an_unreadable_run_is_named_and_the_others_are_read(root, file, text, why):
    path = root / "walk" / "aime" / "seed_000"
    (path / file).write_text(text)
    results = read_results([root])
    ((named, said),) = results.unreadable
    assert named == path and why in said
    assert results.cell("walk", "AIME").returns == [[9.0, 10.0]]


def test_a_report_names_unreadable_runs(tmp_path, capsys):
    write_run(tmp_path, "walk", "aime", 0, [1.0])
    path = write_run(tmp_path, "walk", "aime", 1, [1.0])
    (path / "DONE").write_text("{")
    report_on(tmp_path)
    assert f"Not readable, and left out: {path}: " in capsys.readouterr().out
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Not readable" in page and str(path) in page


def test_nothing_readable_says_what_is_wrong(tmp_path):
    path = write_run(tmp_path, "walk", "aime", 0, [1.0])
    (path / "DONE").write_text("{")
    with pytest.raises(ValueError, match="seed_000 is unreadable: .*DONE is damaged"):
        read_results([tmp_path])
