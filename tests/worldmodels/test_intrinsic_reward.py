"""Disagreement and surprise against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import NET, make_batch, make_model

from worldmodels.intrinsic_reward import disagreement, intrinsic_reward, intrinsic_reward_losses

ENSEMBLE = dict(num_members=3, **NET)


def imagined(model, horizon=4):
    keys = jax.random.split(jax.random.key(0), 2)
    features = jax.random.normal(keys[0], (2, horizon + 1, model.feature_size))
    return features, jax.random.normal(keys[1], (2, horizon, model.action_size))


def losses(model, kl=None):
    batch = make_batch()
    features, embed = jnp.ones((3, 5, model.feature_size)), model.encode(batch.observation)
    kl = jnp.zeros((3, 5)) if kl is None else kl
    return intrinsic_reward_losses(model, batch, features, embed, kl)


@pytest.mark.parametrize(("variant", "statistic"), [("std", np.std), ("variance", np.var)])
def test_disagreement_is_the_mean_log_spread_of_the_members(variant, statistic):
    model = make_model(ensemble=dict(variant=variant, **ENSEMBLE))
    features, actions = imagined(model)
    members = np.asarray(model.ensemble(jnp.concatenate([features[:, :-1], actions], axis=-1)))
    expected = np.log(statistic(members, axis=-2, ddof=1)).mean(-1)
    np.testing.assert_allclose(disagreement(model, features[:, :-1], actions), expected, rtol=1e-3)


def test_the_start_copies_the_reward_of_the_first_step():
    model = make_model(ensemble=ENSEMBLE, intrinsic_scale=0.5)
    features, actions = imagined(model)
    reward = intrinsic_reward(model, features, actions)
    expected = 0.5 * disagreement(model, features[:, :-1], actions)
    np.testing.assert_allclose(reward[:, 1:], expected, rtol=1e-6)
    np.testing.assert_array_equal(reward[:, 0], reward[:, 1])


def test_the_first_version_sums_what_the_second_averages_over_members():
    mean, total = (
        losses(make_model(ensemble=dict(variant=variant, **ENSEMBLE)))[0] for variant in ("std", "variance")
    )
    np.testing.assert_allclose(total, 3 * mean, rtol=1e-5)


def test_the_ensemble_of_a_model_without_actions_reads_features_alone():
    loss, metrics = losses(make_model(ensemble=ENSEMBLE, action_size=0))
    assert np.isfinite(loss) and metrics["emb_prediction_loss"] > 0


def test_the_ensemble_reads_what_the_dynamics_read():
    model = make_model(ensemble=ENSEMBLE, latent_actions=NET | dict(size=3, reads="u"))
    assert losses(model)[1]["emb_prediction_loss"] > 0
    features, _ = imagined(model)
    assert intrinsic_reward(model, features, jnp.zeros((2, 4, 3))).shape == (2, 5)


def test_the_probe_of_the_surprise_learns_the_kl():
    model = make_model(reward_probe=dict(target="surprise", **NET))
    kl = jax.random.uniform(jax.random.key(0), (3, 5))
    loss, metrics = losses(model, kl)
    predicted = model.reward_probe(jnp.ones((3, 5, model.feature_size)))[..., 0]
    np.testing.assert_allclose(loss, np.mean((np.asarray(predicted) - np.asarray(kl)) ** 2), rtol=1e-5)
    assert set(metrics) == {"intrinsic_rewards_probe_loss"}


def test_a_probe_of_the_disagreement_takes_its_place_in_imagination():
    model = make_model(ensemble=ENSEMBLE, reward_probe=dict(target="disagreement", **NET))
    features, actions = imagined(model)
    expected = 0.1 * np.asarray(model.reward_probe(features))[..., 0]
    np.testing.assert_allclose(intrinsic_reward(model, features, actions), expected, rtol=1e-5)
    assert set(losses(model)[1]) == {"emb_prediction_loss", "intrinsic_rewards_probe_loss"}


def test_naming_the_target_is_enough_for_a_probe_and_none_means_none():
    assert make_model(reward_probe=dict(target="surprise")).reward_probe is not None
    assert (
        make_model(reward_probe=dict(target="none", **NET), ensemble=dict(num_members=0)).reward_probe is None
    )


def test_no_gradient_reaches_the_features():
    model = make_model(ensemble=ENSEMBLE, reward_probe=dict(target="surprise", **NET))

    def loss(features, embed):
        return intrinsic_reward_losses(model, make_batch(), features, embed, features.sum(-1))[0]

    inputs = jnp.ones((3, 5, model.feature_size)), jnp.ones((3, 5, model.encoder.out_size))
    for grad in jax.grad(loss, argnums=(0, 1))(*inputs):
        np.testing.assert_array_equal(grad, 0.0)


def test_a_model_without_curiosity_says_so():
    with pytest.raises(ValueError, match="no intrinsic reward; build it with an ensemble or a reward_probe"):
        intrinsic_reward(make_model(), *imagined(make_model()))
    with pytest.raises(ValueError, match="needs an ensemble"):
        make_model(reward_probe=dict(target="disagreement", **NET))
    with pytest.raises(
        ValueError, match="Unknown intrinsic reward 'novelty'. Known: none, disagreement, surprise"
    ):
        make_model(reward_probe=dict(target="novelty", **NET))
