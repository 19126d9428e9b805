"""BCV-LR as a user runs it: rounds that play with noise, with and without features."""

import numpy as np
import pytest
from imitation_data import make_config, write_data
from interruption import assert_same_run

from experiments.configs.baseline import get_config
from experiments.methods import baseline, baseline_bcv_lr
from experiments.models.loading import load_run
from experiments.runs.metrics import read_rows
from worldmodels.data.episodes import load_episodes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def config_of(data):
    return make_config(get_config("bcv_lr-tiny"), data, "observations")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("bcv_lr") / "run"
    return workdir, baseline.run(config_of(data), workdir)


def test_video_is_watched_once_and_every_round_aligns_and_clones(run, data):
    workdir, result = run
    rows = read_rows(workdir / "seeds" / "0" / "metrics.jsonl")
    watched = ["train/video/loss" in row for row in rows]
    assert watched == [True, False, False]
    assert all("train/model/decoder_loss" in row and "train/policy/loss" in row for row in rows)
    assert not any("train/features/loss" in row for row in rows), "positions are not encoded"
    assert result["num_episodes"] == [6] and result["label"] == "BCV-LR"
    assert result["num_actions"] == sum(episode.length for episode in load_episodes(data / "embodiment"))


def test_it_plays_with_noise_and_is_evaluated_without(run):
    loaded = load_run(run[0])
    with loaded.arena.make(1, seed=0) as envs:
        records = envs.reset()
        calm = [loaded.actor(1)(records) for _ in range(2)]
    np.testing.assert_array_equal(*calm)
    played = load_episodes(run[0] / "seeds" / "0" / "episodes")
    jumps = np.abs(np.diff(np.concatenate([episode.records["pre_action"][1:] for episode in played]), axis=0))
    assert jumps.mean() > 0.2, "noise of 0.5 makes successive actions differ"


def test_a_round_that_is_interrupted_is_repeated_and_ends_the_same(run, data, tmp_path, monkeypatch):
    aligned = baseline_bcv_lr.LatentLearner._learn

    def killed(self, number, body, split):
        if number == 1:
            raise KeyboardInterrupt
        aligned(self, number, body, split)

    monkeypatch.setattr(baseline_bcv_lr.LatentLearner, "_learn", killed)
    with pytest.raises(KeyboardInterrupt):
        baseline.run(config_of(data), tmp_path / "run")
    monkeypatch.undo()
    baseline.run(config_of(data), tmp_path / "run")
    assert_same_run(tmp_path / "run" / "seeds" / "0", run[0] / "seeds" / "0")


def test_features_of_encoded_sensors_are_learnt_first(data, tmp_path):
    config = make_config(get_config("bcv_lr-tiny"), data, num_rounds=0)
    with config.unlocked():
        config.network.encoder = dict(name="mlp", hidden_size=8, hidden_layers=1)
    result = baseline.run(config, tmp_path / "run")
    rows = read_rows(tmp_path / "run" / "seeds" / "0" / "metrics.jsonl")
    assert np.shape(result["return"]) == (1, 2) and "train/features/prototypes" in rows[0]


def test_the_published_settings_are_the_default():
    config = get_config("bcv_lr")
    assert (config.num_rounds * config.episodes_per_round, config.noise, config.forward_weight) == (
        100,
        0.5,
        1e-5,
    )
    assert (config.video.max_updates, config.video.batch_size, config.video.learning_rate) == (
        50_000,
        128,
        3e-4,
    )
    assert config.features.to_dict() == dict(
        size=128, prototypes=512, rate=0.05, temperature=0.1, target_temperature=0.05, iterations=3
    )
    assert (config.fit.learning_rate, config.fit.batch_size, config.latent.size) == (1e-3, 512, 128)
