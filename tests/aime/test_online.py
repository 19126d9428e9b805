"""One online update: who learns from what."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from models import NET, make_batch, make_model
from parity import COMPILER_OPTIONS

from agents import imagination
from agents.dreamer import Optimizers
from agents.imagination import ImaginationOptions, head_reward, starts, value_networks
from aime.losses import AIMEOptions, action_inference_loss
from aime.online import (
    OnlineBatch,
    OnlineSettings,
    create_online,
    drawn_starts,
    evidence_loss,
    joined,
    make_online_update,
    make_policy_pretraining,
    value_loss,
)
from aime.rewards import REWARDS, RewardInputs
from worldmodels.action_head import TanhGaussianHead
from worldmodels.losses import LossOptions, elbo_loss
from worldmodels.training import gradient_step, make_optimizer

OPTIMIZERS = Optimizers(*(make_optimizer(1e-2, 100.0) for _ in range(3)))
SETTINGS = OnlineSettings(
    value_scale=0.5,
    target_rate=0.1,
    num_starts=4,
    average=0.75,
    model_loss=LossOptions(free_nats=0.0),
    imagination=ImaginationOptions(horizon=3),
)
SOUGHT = {"ail_reward": head_reward("ail_reward")}


def compiled(function):
    """`function` jitted, optimised little: compiling takes longer than running."""
    return jax.jit(function, compiler_options=COMPILER_OPTIONS)


def world(head="ail_reward"):
    targets = ("position", "velocity", *([head] if head else []))
    return make_model(targets=targets, idm_mode="none")


def policy_of(model, seed=3):
    return TanhGaussianHead(model.feature_size, model.action_size, rngs=nnx.Rngs(seed), **NET)


def batches(relabels=True):
    explained, shown = (make_batch(3, 5, seed=seed, actions=False) for seed in (9, 10))
    return OnlineBatch(make_batch(3, 5), explained, shown if relabels else None)


def created_reward(model, name="ail"):
    inputs = RewardInputs(make_batch(2, 5, actions=False), jnp.full((2, 5), 0.2), model.encoder.out_size)
    return REWARDS.make(inputs, name=name, hidden_size=8, hidden_layers=1)


def created(reward_name="ail"):
    """(state, reward, update) before the first update."""
    model = world(f"{reward_name}_reward" if reward_name else None)
    reward = created_reward(model, reward_name) if reward_name else None
    head = reward.head if reward else None
    networks = value_networks([head], model.feature_size, jax.random.key(1), **NET) if head else {}
    inputs = (model, policy_of(model), networks, reward, OPTIMIZERS, jax.random.key(0))
    return create_online(*inputs, average=True), make_online_update(OPTIMIZERS, SETTINGS, reward)


@functools.cache
def updated():
    """(state before, after one update, after two, metrics)."""
    state, update = created()
    update = compiled(update)
    once, _ = update(state, batches())
    return state, once, *update(once, batches())


@functools.cache
def pretrained():
    """(state before, after an update of the policy's pretraining, metrics)."""
    state = updated()[0]
    update = compiled(make_policy_pretraining(OPTIMIZERS, SETTINGS))
    return state, *update(state, batches().demonstration)


def moved(before, after):
    return [bool((x != y).any()) for x, y in zip(*map(jax.tree.leaves, (before, after)), strict=True)]


def test_model_policy_critic_and_discriminator_all_learn():
    before, _, after, metrics = updated()
    for name in ("model", "policy"):
        assert any(moved(getattr(before, name).model, getattr(after, name).model))
    assert all(moved(before.critic.train.model, after.critic.train.model))
    assert any(moved(before.reward.model, after.reward.model))
    assert int(after.step) == 2
    groups = {name.split("/")[0] for name in metrics}
    assert groups == {"model", "policy", "value", "reward"}
    assert all(np.isfinite(value).all() for value in metrics.values())


def test_a_round_is_discriminator_model_policy_critic_target():
    """Each with what those before it have become, and states as the model inferred them before its update."""
    state, after, _, _ = updated()
    reward, batch = created_reward(state.model.model), batches()

    @compiled
    def by_hand(state, batch):
        rewarding, rewarded, _ = reward.relabel(state.reward, state.model.model, batch.model, batch.shown)
        loss = functools.partial(elbo_loss, options=SETTINGS.model_loss)
        model, _, inferred = gradient_step(loss, OPTIMIZERS.model, state.model, rewarded)

        def seek(policy, key):
            start_key, key = jax.random.split(key)
            start = drawn_starts(inferred.states, SETTINGS.num_starts, start_key)
            evidence_key, value_key = jax.random.split(key)
            evidence, metrics = evidence_loss(
                policy, model.model, batch.demonstration, evidence_key, SETTINGS
            )
            value, (_, imagined) = value_loss(
                policy, model.model, state.critic.target, start, value_key, SETTINGS, SOUGHT
            )
            return evidence + value, (metrics, imagined)

        policy, _, imagined = gradient_step(seek, OPTIMIZERS.policy, state.policy)
        critic, _, _ = gradient_step(imagination.value_loss, OPTIMIZERS.critic, state.critic.train, imagined)
        target = jax.tree.map(lambda new, old: 0.1 * new + 0.9 * old, critic.model, state.critic.target)
        return rewarding.model, model.model, policy.model, critic.model, target

    expected = by_hand(state, batch)
    ours = after.reward.model, after.model.model, after.policy.model, after.critic.train.model
    for one, other in zip(*map(jax.tree.leaves, ((*ours, after.critic.target), expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_targets_follow_the_critic_by_their_rate():
    before, _, after, _ = updated()
    gap = jax.tree.map(lambda x, y: jnp.abs(x - y).max(), before.critic.target, after.critic.target)
    assert 0 < max(jax.tree.leaves(gap)) <= 2 * 0.1 * 2e-2


def test_without_a_reward_there_is_no_critic():
    state, update = created(None)
    after, metrics = jax.eval_shape(update, state, batches(relabels=False))
    assert after.critic is None
    assert {name.split("/")[0] for name in metrics} == {"model", "policy"}


def test_pretraining_of_the_policy_leaves_everything_else_alone():
    before, after, metrics = pretrained()
    assert any(moved(before.policy.model, after.policy.model)) and int(after.step) == 1
    assert not any(
        moved((before.model, before.critic, before.reward), (after.model, after.critic, after.reward))
    )
    assert "policy/loss" in metrics


def test_the_evidence_is_that_of_offline_aime_and_both_parts_have_a_weight():
    model, policy = world(), policy_of(world())
    batch, demonstration = batches().model, batches().demonstration
    critic = value_networks(["ail_reward"], model.feature_size, jax.random.key(1), **NET)
    start = starts(model.filter(batch).states)

    @compiled
    def losses(aime_scale, value_scale):
        scales = dict(aime_scale=aime_scale, value_scale=value_scale, policy_loss=AIMEOptions())
        settings = dataclasses.replace(SETTINGS, **scales)
        evidence, _ = evidence_loss(policy, model, demonstration, None, settings)
        value, _ = value_loss(policy, model, critic, start, None, settings, SOUGHT)
        return evidence, value, action_inference_loss(policy, demonstration, model, None)[0]

    (evidence, value, alone), (twice, thrice, _) = losses(1.0, 1.0), losses(2.0, 3.0)
    np.testing.assert_allclose((twice, thrice), (2 * evidence, 3 * value), rtol=1e-5)
    np.testing.assert_allclose(evidence, alone, rtol=1e-5)


PARTS = {"evidence": {"x": jnp.array([400.0, 0.0])}, "value": {"x": jnp.array([0.0, 8.0])}}


def test_published_the_gradient_is_the_sum_and_the_metrics_say_whose_it_is():
    total, metrics = joined(PARTS, dataclasses.replace(SETTINGS, grad_clip=100.0))
    np.testing.assert_array_equal(total["x"], [400.0, 8.0])
    expected = dict(evidence_grad_norm=400.0, value_grad_norm=8.0, evidence_value_cosine=0.0, clipped=1.0)
    expected |= dict(value_share=8 / 408, grad_norm=np.hypot(400, 8))
    assert metrics == pytest.approx(expected)


def test_parts_that_are_clipped_alone_weigh_alike():
    total, metrics = joined(PARTS, dataclasses.replace(SETTINGS, grad_clip=100.0, part_clip=5.0))
    np.testing.assert_allclose(total["x"], [5.0, 5.0], rtol=1e-6)
    assert metrics["value_share"] == pytest.approx(0.5) and metrics["clipped"] == 0
    assert metrics["evidence_clipped"] == metrics["value_clipped"] == 1
    _, metrics = joined(PARTS, dataclasses.replace(SETTINGS, part_clip=40.0))
    assert metrics["value_clipped"] == 0 and metrics["value_share"] == pytest.approx(8 / 48)


def test_the_average_follows_the_policy_in_every_update_of_it():
    start, once, twice, _ = updated()
    for state, after in (pretrained()[:2], (start, once), (once, twice)):
        expected = jax.tree.map(lambda x, y: 0.75 * x + 0.25 * y, state.average, after.policy.model)
        for one, other in zip(*map(jax.tree.leaves, (after.average, expected)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
        assert any(moved(state.average, after.average))


def test_starts_are_distinct_states_of_the_batch():
    states = world().filter(batches().model).states
    start = drawn_starts(states, 7, jax.random.key(0))
    rows = {tuple(row) for row in np.asarray(states.features).reshape(15, -1).round(5).tolist()}
    drawn = {tuple(row) for row in np.asarray(start.features).round(5).tolist()}
    assert len(drawn) == 7 and drawn <= rows
    assert drawn_starts(states, None, jax.random.key(0)).deter.shape[0] == 15


def test_the_model_must_predict_the_reward_that_is_sought():
    state, _ = created()
    state = state.replace(model=state.model.replace(model=world(None)))
    with pytest.raises(ValueError, match="does not predict 'ail_reward'"):
        jax.eval_shape(
            lambda policy: value_loss(
                policy,
                state.model.model,
                state.critic.target,
                starts(state.model.model.dynamics.initial(2, 1)),
                None,
                SETTINGS,
                SOUGHT,
            ),
            state.policy.model,
        )
