"""The disagreement reward against loops, and its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import ACTION_SIZE, make_model

from agents.plan2explore import disagreement_reward
from worldmodels.rssm import ImagineOutput
from worldmodels.types import RSSMState

ENSEMBLE = dict(num_members=4, hidden_size=8, hidden_layers=1)


def imagined(num=3, horizon=2):
    keys = jax.random.split(jax.random.key(0), 3)
    states = RSSMState(
        jax.random.normal(keys[0], (num, horizon + 1, 6)), jax.random.normal(keys[1], (num, horizon + 1, 4))
    )
    actions = jnp.tanh(jax.random.normal(keys[2], (num, horizon, ACTION_SIZE)))
    return ImagineOutput(states=states, actions=actions, policy=None)


def test_disagreement_is_a_tenth_of_the_mean_log_std_of_the_members():
    model, dreams = make_model(ensemble=ENSEMBLE), imagined()
    reward = disagreement_reward(model, dreams)
    features = np.asarray(dreams.states.features)
    for n in range(3):
        for t in range(2):
            inputs = np.concatenate([features[n, t], dreams.actions[n, t]])
            members = np.asarray(model.ensemble(jnp.asarray(inputs)))  # [K, E]
            std = np.sqrt(((members - members.mean(axis=0)) ** 2).sum(axis=0) / 3)
            np.testing.assert_allclose(reward[n, t + 1], 0.1 * np.log(std).mean(), rtol=1e-4)


def test_the_first_state_copies_the_reward_of_the_first_step():
    reward = disagreement_reward(make_model(ensemble=ENSEMBLE), imagined())
    assert reward.shape == (3, 3)
    np.testing.assert_array_equal(reward[:, 0], reward[:, 1])


def test_members_that_agree_give_a_low_but_finite_reward():
    model = make_model(ensemble=ENSEMBLE)
    for parameter in (*model.ensemble.kernels, *model.ensemble.biases):
        parameter[...] = jnp.zeros_like(parameter[...])
    reward, different = (disagreement_reward(m, imagined()) for m in (model, make_model(ensemble=ENSEMBLE)))
    assert jnp.all(jnp.isfinite(reward)) and jnp.all(reward < different)


def test_a_model_without_an_ensemble_says_so():
    with pytest.raises(ValueError, match=r"world_model\.ensemble"):
        disagreement_reward(make_model(), imagined())
