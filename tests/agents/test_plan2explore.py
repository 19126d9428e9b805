"""Curiosity as a reward of imagination: which networks give it, and what it is worth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import ACTION_SIZE, make_model

from agents.plan2explore import REWARDS, curiosity, rewards_of, side_networks
from worldmodels.dynamics import ImagineOutput
from worldmodels.structures import LatentState

NET = dict(hidden_size=8, hidden_layers=1)
ENSEMBLE = dict(num_members=4, **NET)


def imagined(num=3, horizon=2):
    keys = jax.random.split(jax.random.key(0), 3)
    states = LatentState(
        jax.random.normal(keys[0], (num, horizon + 1, 6)), jax.random.normal(keys[1], (num, horizon + 1, 4))
    )
    actions = jnp.tanh(jax.random.normal(keys[2], (num, horizon, ACTION_SIZE)))
    return ImagineOutput(states=states, actions=actions, policy=None)


def test_disagreement_is_a_tenth_of_the_mean_log_std_of_the_members():
    model, dreams = make_model(ensemble=ENSEMBLE), imagined()
    reward = rewards_of("disagreement")["intrinsic_reward"](model, dreams)
    features = np.asarray(dreams.states.features)
    for n in range(3):
        for t in range(2):
            inputs = np.concatenate([features[n, t], dreams.actions[n, t]])
            members = np.asarray(model.ensemble(jnp.asarray(inputs)))  # [K, E]
            std = np.sqrt(((members - members.mean(axis=0)) ** 2).sum(axis=0) / 3)
            np.testing.assert_allclose(reward[n, t + 1], 0.1 * np.log(std).mean(), rtol=1e-4)


def test_the_first_state_copies_the_reward_of_the_first_step():
    reward = curiosity(make_model(ensemble=ENSEMBLE), imagined())
    assert reward.shape == (3, 3)
    np.testing.assert_array_equal(reward[:, 0], reward[:, 1])


def test_surprise_is_read_off_every_state():
    model, dreams = make_model(reward_probe=dict(target="surprise", **NET)), imagined()
    expected = 0.1 * model.reward_probe(dreams.states.features)[..., 0]
    np.testing.assert_allclose(rewards_of("lbs")["intrinsic_reward"](model, dreams), expected, rtol=1e-5)


@pytest.mark.parametrize("name", REWARDS)
def test_a_model_with_the_side_networks_of_a_reward_gives_it(name):
    options = side_networks(name, ensemble=ENSEMBLE, reward_probe=dict(target="none", **NET))
    model = make_model(**options)
    (reward,) = rewards_of(name).values()
    assert reward(model, imagined()).shape == (3, 3)
    assert (model.ensemble is None) == (name != "disagreement")
    assert ("reward" in model.targets) == (name == "true")


@pytest.mark.parametrize("num_members", [0, 1])
def test_disagreement_with_nobody_to_disagree_says_what_to_set(num_members):
    """Of one member there is no spread: the reward would be NaN, and the run would seem to diverge."""
    with pytest.raises(ValueError, match=r"two or more; set world_model\.ensemble\.num_members"):
        side_networks("disagreement", ensemble=dict(num_members=num_members), reward_probe={})
