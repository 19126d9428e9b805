"""The evidence of true and inferred actions, and what steers an online policy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import NET, compiled, make_batch, make_model, make_policy

from agents.imagination import ImaginationOptions, head_reward, value_networks
from aime.analysis import action_evidence, gradient_balance, imagined_and_realised, mean_evidence
from aime.losses import AIMEOptions
from aime.online import OnlineSettings


def test_true_actions_are_scored_as_the_filter_scores_them():
    model, batch = make_model(), make_batch()
    result = action_evidence(model, make_policy(model), batch, None)
    expected = mean_evidence(model, batch, model.filter(batch, None))
    np.testing.assert_allclose(result["evidence_true"], expected, rtol=1e-6)


def test_a_policy_that_repeats_the_true_actions_explains_as_much_as_they_do():
    model = make_model()
    constant = make_policy(model)
    action = constant(jnp.zeros((1, model.feature_size))).mode
    batch = make_batch()
    batch = batch.replace(prev_action=jnp.broadcast_to(action, batch.prev_action.shape))
    always = lambda features: constant(jnp.zeros_like(features))  # noqa: E731
    result = compiled(lambda: action_evidence(model, always, batch, None))()
    np.testing.assert_allclose(result["evidence_inferred"], result["evidence_true"], rtol=1e-5)
    assert result["action_mse"] < 1e-12


def settings_with(entropy_scale, value_scale) -> OnlineSettings:
    return OnlineSettings(
        value_scale=value_scale,
        policy_loss=AIMEOptions(entropy_scale=entropy_scale),
        imagination=ImaginationOptions(horizon=3, entropy_scale=entropy_scale),
    )


def test_each_part_of_the_gradient_has_its_own_weight():
    model = make_model(targets=("position", "velocity", "ail_reward"), idm_mode="none")
    batch, critic = make_batch(), value_networks(["ail_reward"], model.feature_size, jax.random.key(1), **NET)
    states, sought = model.filter(batch).states, {"ail_reward": head_reward("ail_reward")}

    arguments = (make_policy(model), model, critic, batch, states, jax.random.key(0))

    @compiled
    def parts(entropy_scale, value_scale):
        return gradient_balance(
            *arguments, rewards=sought, settings=settings_with(entropy_scale, value_scale)
        )

    def balance(*scales):
        return {name: float(value) for name, value in parts(*scales).items()}

    once, twice = balance(0.1, 1.0), balance(0.2, 1.0)
    assert twice == pytest.approx(once | {"entropy_grad_norm": 2 * once["entropy_grad_norm"]}, rel=1e-4)
    other = balance(0.1, 3.0)
    assert other["value_grad_norm"] == pytest.approx(3 * once["value_grad_norm"], rel=1e-4)
    assert other["evidence_grad_norm"] == pytest.approx(once["evidence_grad_norm"], rel=1e-4)
    assert -1 <= once["evidence_value_cosine"] <= 1


def test_imagined_returns_are_compared_with_those_of_the_same_states():
    model = make_model(idm_mode="none")
    rewards = np.array([9.0, 1.0, 2.0, 4.0], np.float32)

    def one(model, imagined):
        return jnp.ones(imagined.states.features.shape[:2])

    found = imagined_and_realised(
        model,
        make_policy(model),
        lambda features: jnp.full((*features.shape[:-1], 1), 7.0),
        make_batch(1, 4),
        rewards,
        jax.random.key(0),
        reward=one,
        horizon=2,
        discount=0.5,
    )
    assert found["imagined_return"] == 1.5
    assert found["realised_return"] == np.mean(
        [1 + 0.5 * 2, 2 + 0.5 * 4]
    )  # of two states; others are too late
    assert (found["critic_mean"], found["critic_std"]) == (7.0, 0.0)
