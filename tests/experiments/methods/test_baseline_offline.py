"""Offline baselines as a user runs them: tiny runs, what they draw, exact continuation, refusals."""

import numpy as np
import pytest
from imitation_data import make_config, write_data
from interruption import assert_same_run

from experiments.configs.baseline import get_config
from experiments.methods import baseline, baseline_offline
from experiments.models.loading import load_run
from experiments.runs.metrics import read_rows


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """(workdir, result) of LobsDICE, two seeds."""
    workdir = tmp_path_factory.mktemp("lobsdice") / "run"
    return workdir, baseline.run(make_config(get_config("lobsdice-tiny"), data, num_seeds=2), workdir)


def test_its_policies_are_scored_logged_and_open_again(finished):
    workdir, result = finished
    assert np.shape(result["return"]) == (2, 2) and np.shape(result["action_mse"]) == (2,)
    assert result["num_updates"] == 6 and result["label"] == "LobsDICE"
    rows = read_rows(workdir / "metrics.jsonl")
    assert [row["update"] for row in rows] == [2, 4, 6]
    names = ("discriminator/grad_norm", "value/initial_grad_norm", "value/penalty_grad_norm", "policy/loss")
    assert all(len(rows[-1][f"train/{name}"]) == 2 for name in names)
    loaded = load_run(workdir)
    with loaded.arena.make(2, seed=0) as envs:
        assert loaded.actor(2).__call__(envs.reset()).shape == (2, 2)


def test_it_needs_no_actions_of_the_demonstrations_and_continues_to_the_bit(data, tmp_path, monkeypatch):
    config = make_config(get_config("smodice-tiny"), data, "observations")
    result = baseline.run(config, tmp_path / "whole")
    assert "action_mse" not in result

    def killed(self, policies, final):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(baseline_offline.OfflineRun, "_evaluate", killed)
        baseline.run(config, tmp_path / "again")
    baseline.run(config, tmp_path / "again")
    assert_same_run(tmp_path / "again", tmp_path / "whole", ("checkpoints", "model"))


def test_demonstrations_prompt_the_policies_of_forward_backward(data, tmp_path):
    result = baseline.run(make_config(get_config("fb-tiny"), data, "observations", num_seeds=2), tmp_path)
    assert np.shape(result["return"]) == (2, 2)
    row = read_rows(tmp_path / "metrics.jsonl")[-1]
    assert {f"train/model/{part}_grad_norm" for part in ("successor", "visit", "orthonormal")} <= row.keys()
    prompts = load_run(tmp_path).policies.prompt[...]
    np.testing.assert_allclose(np.linalg.norm(prompts, axis=-1), 2.0, rtol=1e-5)  # of 4 dimensions
    assert not np.allclose(*prompts)


def test_value_and_policy_see_embodiment_data_alone_and_first_windows_are_first(data):
    config = make_config(get_config("smodice-tiny"), data)
    run = baseline_offline.OfflineRun(None, baseline_offline.SMODICE(config.to_dict()))
    body, shown, first = run.datasets()
    assert shown.prev_action is None and shown.num_episodes == 4
    assert body.num_episodes == first.num_windows == 8 and body.num_windows > 8
    np.testing.assert_array_equal(body.is_first[first.starts], 1.0)


def test_images_are_refused(data, monkeypatch):
    images = baseline_offline.FrameStackBaseline

    def with_image(self, config):
        self.data = type("Data", (), {"arch": {"sizes": {"image": (8, 8)}}})

    monkeypatch.setattr(images, "__init__", with_image)
    with pytest.raises(ValueError, match="SMODICE learns from vectors, and the set-up has the images image"):
        baseline_offline.SMODICE({})
