"""A model whose dynamics read latent actions is pretrained, imitates, acts, goes online and is kept as any other."""

import json

import numpy as np
import pytest
from imitation_data import config_of, write_data
from interruption import assert_same_run, copied_after

from experiments.analysis import evaluate, export, inspect_run
from experiments.configs import baseline as baseline_config
from experiments.configs import dreamer as dreamer_config
from experiments.configs import evaluate as evaluate_config
from experiments.configs import export as export_config
from experiments.configs import imitate as imitate_config
from experiments.configs import inspect_run as inspect_config
from experiments.configs import online as online_config
from experiments.configs import pretrain as pretrain_config
from experiments.methods import baseline, dreamer, imitate, online, pretrain
from worldmodels.checkpoints import Checkpoints
from worldmodels.export import load

U = 3  # of actions there are two


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def pretrain_config_of(data, **changes):
    folders = dict(embodiment=str(data / "embodiment"), unlabelled=str(data / "observations")) | changes
    latent = dict(latent_actions__reads="u", latent_actions__size=U)
    return config_of(pretrain_config, **folders, num_episodes=2, **latent)


@pytest.fixture(scope="module")
def model(data):
    """A run of pretrain, and a copy of it that was killed and has continued."""
    again = data / "again"
    with copied_after(2, data / "model", again):
        pretrain.run(pretrain_config_of(data), data / "model")
    assert Checkpoints(again / "checkpoints").latest_step() == 2 and not (again / "DONE").exists()
    pretrain.run(pretrain_config_of(data), again)
    return data / "model"


@pytest.fixture(scope="module")
def policy(data, model):
    config = config_of(imitate_config, model=str(model), demonstrations=str(data / "demonstrations"))
    imitate.run(config, data / "policy")
    return data / "policy"


def test_a_killed_pretraining_ends_bit_identical_and_is_told_in_the_model_card(data, model):
    assert_same_run(data / "again", model, ("checkpoints", "model"))
    rows = [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]
    assert {"train/model/action_nll", "train/model/unlabelled/latent_action_kl"} < set(rows[-1] | rows[0])
    assert "| dynamics read | latent actions" in (model / "model" / "README.md").read_text()
    assert f"actions 2, read as latent actions of {U}" in repr(load(model).seed(0).world_model)


def test_its_policy_decides_on_latent_actions_and_what_is_done_is_decoded(policy, data, tmp_path):
    export.run(export_config.get_config(), "", run=str(policy), to=str(tmp_path / "exported"))
    kept = load(tmp_path / "exported")
    assert kept.policy.mean_net.out_size == U and kept.world_model.action_size == 2
    result = evaluate.run(config_of(evaluate_config), "", run=str(policy))
    assert np.shape(result["return"]) == (1, 2) and np.isfinite(result["return"]).all()
    assert "action_mse" in inspect_run.run(config_of(inspect_config), "", run=str(policy))
    tracking = dict(planner="tracking", demonstrations=str(data / "observations"))
    assert np.isfinite(
        evaluate.run(config_of(evaluate_config, **tracking), "", run=str(policy))["return"]
    ).all()


def test_its_inverse_model_takes_part_in_imitation_and_the_model_may_learn_beside(model, data, tmp_path):
    folders = dict(demonstrations=str(data / "observations"), embodiment=str(data / "embodiment"))
    config = config_of(imitate_config, model=str(model), loss__idm_mode="regularizer", **folders)
    assert np.isfinite(imitate.run(config, tmp_path)["return_mean"])


def test_online_its_decoder_and_its_posterior_of_u_learn_too(model, policy, data, tmp_path):
    folders = dict(demonstrations=str(data / "demonstrations"), embodiment=str(data / "embodiment"))
    config = config_of(
        online_config, model=str(model), policy_from=str(policy), reward__name="ail", **folders
    )
    assert np.isfinite(online.run(config, tmp_path / "online")["return_mean"])
    before, after = (load(run).seed(0).world_model.latent_actions for run in (model, tmp_path / "online"))
    for part in ("encoder", "decoder", "prior"):
        one, other = (getattr(latent, part).mean_net.layers[0].kernel for latent in (before, after))
        assert np.abs(np.asarray(one) - np.asarray(other)).max() > 0, part


def test_dreamer_begins_with_it(model, tmp_path):
    config = config_of(dreamer_config, model=str(model), env="fake-pointmass", setup="lpomdp")
    dreamer.run(config, tmp_path / "dreamer")
    assert load(tmp_path / "dreamer").seed(0).policy.mean_net.out_size == U


def test_what_makes_no_sense_is_one_sentence(model, data, tmp_path):
    config = config_of(
        baseline_config, "mbbc-tiny", model=str(model), demonstrations=str(data / "demonstrations")
    )
    with pytest.raises(
        ValueError, match="MBBC regresses actions, .* trained with latent_actions.reads=action"
    ):
        baseline.run(config, tmp_path / "mbbc")
    with pytest.raises(ValueError, match="Dynamics read latent actions where some actions are unknown; pass"):
        pretrain.run(pretrain_config_of(data, unlabelled=""), tmp_path / "model")
