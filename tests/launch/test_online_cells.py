"""Cells of the suites that learn online, each carried out from its data to the evaluation of its policy."""

import json

import pytest
from kill_sweep import undisturbed

from experiments import collect
from launch.runs import load_config
from launch.suites import runs_of


def result_of(runs, root):
    """What the last run has left, after all before it."""
    undisturbed(runs, root)
    return json.loads((runs[-1].directory(root) / "DONE").read_text())


def test_a_tiny_cell_of_dmc9_runs_from_data_to_evaluation(tmp_path):
    runs = runs_of("dmc9:tiny", {"method": ["aime-nob-viper"]})
    assert [run.main.partition(".")[2] for run in runs].count("pretrain") == 2  # model and reward
    result = result_of(runs, tmp_path)
    assert len(result["return"][0]) == 2 and 0 <= result["success_any_mean"] <= 1


def test_a_cell_of_metaworld6_runs_on_data_of_ones_own(tmp_path):
    pytest.importorskip("metaworld")
    for name, preset in (("mt39", "scripted-tiny"), ("demonstrations", "scripted-demonstrations")):
        config = load_config(f"collect:{preset}")
        config.update(tasks="push", num_episodes=3, episode_length=10, workers=0)
        if name == "demonstrations":
            config.successful_only = False  # ten steps are too few
        collect.run(config, tmp_path / name)
    data, shown = (str(tmp_path / name / "episodes") for name in ("mt39", "demonstrations"))
    chosen = {"task": ["push"], "dataset": ["mt39"], "method": ["aime-nob-ail"], "model.setup": ["lpomdp"]}
    paths = {"model.embodiment": [data], "nob_ail.embodiment": [data], "nob_ail.demonstrations": [shown]}
    runs = runs_of("metaworld6:trial", chosen | paths)
    result = result_of(runs, tmp_path / "sweep")
    assert len(result["length"][0]) == 2 and set(result["length"][0]) == {10}
