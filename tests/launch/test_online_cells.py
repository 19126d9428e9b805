"""Cells of the suites that learn online, each carried out from its data to the evaluation of its policy.

BCO(alpha) stands for all methods here: those of AIME-NoB take a minute to compile
(tests/experiments/methods/test_online.py).
"""

import json

import pytest
from kill_sweep import undisturbed

from experiments.methods import collect
from launch.runs import load_config
from launch.suites import runs_of


def result_of(runs, root):
    """What the last run has left, after all before it."""
    undisturbed(runs, root)
    return json.loads((runs[-1].directory(root) / "DONE").read_text())


def test_a_tiny_cell_of_dmc9_runs_from_its_expert_to_the_evaluation(tmp_path):
    runs = runs_of("dmc9:tiny", {"method": ["bco-alpha"]})
    assert [run.config.partition(":")[2] for run in runs][-2:] == ["mix", "bco_alpha-tiny"]
    assert len(result_of(runs, tmp_path)["return"][0]) == 2


def test_a_cell_of_metaworld6_runs_on_data_of_ones_own(tmp_path, monkeypatch):
    pytest.importorskip("metaworld")
    monkeypatch.chdir(tmp_path)
    for name, preset in (("mt39", "scripted-tiny"), ("demonstrations", "scripted-demonstrations")):
        config = load_config(f"collect:{preset}")
        config.update(tasks="push", num_episodes=3, episode_length=10, workers=0)
        if name == "demonstrations":
            config.successful_only = False  # ten steps are too few
        collect.run(config, tmp_path / name)
        folder = tmp_path / "data" / "metaworld" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(tmp_path / name / "episodes")
    chosen = {"task": ["push"], "dataset": ["mt39"], "method": ["bco-alpha"], "bco_alpha.setup": ["mdp"]}
    result = result_of(runs_of("metaworld6:trial", chosen), tmp_path / "sweep")
    assert len(result["return"][0]) == 2
