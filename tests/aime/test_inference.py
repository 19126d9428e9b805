"""Action inference: the policy supplies the actions of a filter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import make_batch, make_model, make_policy

from aime.inference import infer_actions


@pytest.fixture(scope="module")
def model():
    return make_model()


infer = jax.jit(
    infer_actions, static_argnames=("use_idm", "action_source", "first_action", "observation_noise")
)


def test_filtering_the_inferred_actions_gives_the_inferred_states(model):
    batch = make_batch(actions=False)
    inference = infer(model, make_policy(model), batch)
    output = model.filter(batch.replace(prev_action=inference.actions))
    for ours, again in zip(jax.tree.leaves(inference.output), jax.tree.leaves(output), strict=True):
        np.testing.assert_allclose(ours, again, rtol=1e-4, atol=1e-5)


def test_the_first_action_is_what_the_policy_does_on_zero_features(model):
    policy = make_policy(model)
    inference = infer(model, policy, make_batch(actions=False))
    expected = policy(jnp.zeros((1, model.feature_size))).mode
    np.testing.assert_allclose(inference.actions[:, 0], np.repeat(expected, 3, axis=0), rtol=1e-5)


def test_a_zero_first_action_is_what_data_and_actors_have_there(model):
    inference = infer(model, make_policy(model), make_batch(actions=False), first_action="zero")
    np.testing.assert_array_equal(inference.actions[:, 0], 0.0)
    assert np.abs(inference.actions[:, 1:]).min() > 0


def test_later_actions_come_from_the_features_before_them(model):
    policy = make_policy(model)
    inference = infer(model, policy, make_batch(actions=False))
    features = inference.output.states.features[:, :-1]
    np.testing.assert_allclose(inference.actions[:, 1:], policy(features).mode, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("first_action", ["policy", "zero"])
def test_a_first_record_in_the_middle_begins_anew_as_if_nothing_had_been_before(model, first_action):
    policy, batch = make_policy(model), make_batch(actions=False)
    middle = batch.batch_shape[1] // 2
    batch = batch.replace(is_first=batch.is_first.at[:, middle].set(1.0))
    later = jax.tree.map(lambda x: x[:, middle:], batch)
    whole, alone = (infer(model, policy, b, first_action=first_action) for b in (batch, later))
    for ours, theirs in zip(*(jax.tree.leaves((x.output, x.actions)) for x in (whole, alone)), strict=True):
        np.testing.assert_allclose(ours[:, middle:], theirs, rtol=1e-4, atol=1e-5)


def test_the_batchs_actions_are_not_looked_at(model):
    policy, batch = make_policy(model), make_batch()
    with_actions, without = (infer(model, policy, b) for b in (batch, batch.without_actions()))
    np.testing.assert_array_equal(with_actions.actions, without.actions)


def test_observation_noise_perturbs_what_the_encoder_sees_only_with_a_key(model):
    policy, batch, key = make_policy(model), make_batch(actions=False), jax.random.key(0)
    plain, noisy = (infer(model, policy, batch, key, observation_noise=scale).actions for scale in (0.0, 0.5))
    assert np.abs(plain[:, 1:] - noisy[:, 1:]).max() > 1e-4
    without_key = infer(model, policy, batch, observation_noise=0.5).actions
    np.testing.assert_array_equal(without_key, infer(model, policy, batch).actions)


def test_the_idm_can_supply_the_actions(model):
    inference = infer(model, make_policy(model), make_batch(actions=False), action_source="idm")
    np.testing.assert_allclose(inference.actions, inference.idm.mode, rtol=1e-6)


def test_a_model_without_idm_says_how_to_get_one():
    model = make_model(idm_mode="none")
    with pytest.raises(ValueError, match="idm_mode='detach'"):
        infer_actions(model, make_policy(model), make_batch(actions=False), use_idm=True)
