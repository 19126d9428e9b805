"""CLAM, LAPO and LAOM as a user runs them: labels, video without labels, images, refusals."""

import numpy as np
import pytest
from imitation_data import make_config, write_data

from experiments.configs.baseline import get_config
from experiments.methods import baseline
from experiments.models.loading import load_run
from experiments.runs.metrics import read_rows
from worldmodels.data.episodes import append_episode, load_episodes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), render_size=8)


@pytest.fixture(scope="module")
def clam_run(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("clam") / "run"
    options = dict(num_embodiment=2, unlabelled=str(data / "embodiment"))
    return workdir, baseline.run(make_config(get_config("clam-tiny"), data, **options), workdir)


def test_labels_and_video_are_counted(clam_run, data):
    labelled = load_episodes(data / "embodiment", limit=2)
    assert clam_run[1]["num_actions"] == sum(episode.length for episode in labelled)
    assert clam_run[1]["num_unlabelled"] == 8 and clam_run[1]["label"] == "CLAM"


def test_what_is_learnt_is_logged(clam_run):
    rows = read_rows(clam_run[0] / "metrics.jsonl")
    names = ("forward_loss", "copy_loss", "decoder_loss", "forward_grad_norm", "decoder_grad_norm")
    assert all(f"train/model/{name}" in rows[0] for name in names)
    assert "train/policy/loss" in rows[-1] and np.shape(clam_run[1]["idm_action_mse"]) == (1,)


def test_a_finished_run_acts(clam_run):
    loaded = load_run(clam_run[0])
    with loaded.arena.make(2, seed=0) as envs:
        assert loaded.actor(2)(envs.reset()).shape == (2, 2)


def test_actions_of_unlabelled_episodes_change_nothing(clam_run, data, tmp_path):
    for episode in load_episodes(data / "embodiment"):
        episode.records["pre_action"] = np.full_like(episode.records["pre_action"], 0.5)
        append_episode(tmp_path / "video", episode)
    options = dict(num_embodiment=2, unlabelled=str(tmp_path / "video"))
    config = make_config(get_config("clam-tiny"), data, "observations", **options)
    result = baseline.run(config, tmp_path / "run")
    assert result["return"] == clam_run[1]["return"]


@pytest.mark.parametrize(("method", "setup"), [("lapo", "lpomdp"), ("laom", "lpomdp"), ("laom", "visual")])
def test_a_decoder_is_learnt_afterwards_from_vectors_and_images(data, tmp_path, method, setup):
    config = make_config(get_config(f"{method}-tiny"), data, num_seeds=2, setup=setup)
    config.fit.update(max_updates=8, updates_per_epoch=2, batch_size=2)
    with config.unlocked():
        config.network.image_encoder = dict(name="dreamer_resnet", width=2, blocks=0, minres=4)
    result = baseline.run(config, tmp_path)
    assert np.shape(result["return"]) == (2, 2)
    rows = read_rows(tmp_path / "metrics.jsonl")
    fitted = [name for name in ("model", "decoder", "policy") for row in rows if f"train/{name}/loss" in row]
    assert fitted == ["model"] * 4 + ["decoder"] * 4 + ["policy"] * 4
    assert ("train/model/codes" in rows[0]) == (method == "lapo")


def test_video_of_another_body_is_refused_in_one_sentence(data, tmp_path):
    for episode in load_episodes(data / "embodiment", limit=2):
        value = episode.records["position"]
        episode.records["position"] = np.concatenate([value, value[:, :1]], axis=1)
        append_episode(tmp_path / "video", episode)
    config = make_config(get_config("clam-tiny"), data, unlabelled=str(tmp_path / "video"))
    with pytest.raises(
        ValueError, match="position has size 3 in the unlabelled data, the method was built for 2"
    ):
        baseline.run(config, tmp_path / "run")


def test_labels_are_needed(data, tmp_path):
    config = make_config(get_config("clam-tiny"), data, embodiment=str(data / "observations"))
    with pytest.raises(
        ValueError, match="observations have no actions; CLAM learns from them what actions do"
    ):
        baseline.run(config, tmp_path)


def test_the_published_settings_are_the_default():
    sizes = {name: get_config(name).latent.size for name in ("clam", "lapo", "laom")}
    assert sizes == dict(clam=8, lapo=128, laom=8192)
    clam, lapo, laom = (get_config(name) for name in ("clam", "lapo", "laom"))
    assert (clam.fit.learning_rate, clam.fit.batch_size, clam.fit.grad_clip) == (3e-4, 128, 1.0)
    assert clam.latent.decoder.to_dict() == dict(hidden_size=1024, hidden_layers=3)
    assert lapo.latent.quantizer.to_dict() == dict(codebooks=2, parts=4, codes=64, commitment=0.05)
    assert (laom.latent.max_offset, laom.latent.decoder_weight, laom.latent.target_rate) == (10, 0.001, 0.001)
