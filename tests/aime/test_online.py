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

from agents.dreamer import Optimizers
from agents.imagination import ImaginationOptions, head_reward, starts, value_loss, value_networks
from aime.losses import AIMEOptions, action_inference_loss
from aime.online import (
    OnlineBatch,
    OnlineSettings,
    create_online,
    drawn_starts,
    make_online_update,
    make_policy_pretraining,
    policy_loss,
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
    model_loss=LossOptions(free_nats=0.0),
    imagination=ImaginationOptions(horizon=3),
)


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
    state = create_online(model, policy_of(model), networks, reward, OPTIMIZERS, jax.random.key(0))
    return state, make_online_update(OPTIMIZERS, SETTINGS, reward)


@functools.cache
def updated():
    """(state before, state after two updates, metrics)."""
    state, update = created()
    update = compiled(update)
    after, _ = update(state, batches())
    after, metrics = update(after, batches())
    return state, after, metrics


def moved(before, after):
    return [bool((x != y).any()) for x, y in zip(*map(jax.tree.leaves, (before, after)), strict=True)]


def test_model_policy_critic_and_discriminator_all_learn():
    before, after, metrics = updated()
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
    state, update = created()
    reward, batch = created_reward(state.model.model), batches()

    @compiled
    def by_hand(state, batch):
        rewarding, rewarded, _ = reward.relabel(state.reward, state.model.model, batch.model, batch.shown)
        loss = functools.partial(elbo_loss, options=SETTINGS.model_loss)
        model, _, inferred = gradient_step(loss, OPTIMIZERS.model, state.model, rewarded)

        def seek(policy, key):
            start_key, loss_key = jax.random.split(key)
            start = drawn_starts(inferred.states, SETTINGS.num_starts, start_key)
            sought = dict(rewards={"ail_reward": head_reward("ail_reward")}, settings=SETTINGS)
            parts = (model.model, state.critic.target, batch.demonstration, start, loss_key)
            return policy_loss(policy, *parts, **sought)

        policy, _, imagined = gradient_step(seek, OPTIMIZERS.policy, state.policy)
        critic, _, _ = gradient_step(value_loss, OPTIMIZERS.critic, state.critic.train, imagined)
        target = jax.tree.map(lambda new, old: 0.1 * new + 0.9 * old, critic.model, state.critic.target)
        return rewarding.model, model.model, policy.model, critic.model, target

    after, _ = compiled(update)(state, batch)
    expected = by_hand(state, batch)
    ours = after.reward.model, after.model.model, after.policy.model, after.critic.train.model
    for one, other in zip(*map(jax.tree.leaves, ((*ours, after.critic.target), expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_targets_follow_the_critic_by_their_rate():
    before, after, _ = updated()
    gap = jax.tree.map(lambda x, y: jnp.abs(x - y).max(), before.critic.target, after.critic.target)
    assert 0 < max(jax.tree.leaves(gap)) <= 2 * 0.1 * 2e-2


def test_without_a_reward_there_is_no_critic():
    state, update = created(None)
    after, metrics = jax.eval_shape(update, state, batches(relabels=False))
    assert after.critic is None
    assert {name.split("/")[0] for name in metrics} == {"model", "policy"}


def test_pretraining_of_the_policy_leaves_everything_else_alone():
    before, _, _ = updated()
    after, metrics = compiled(make_policy_pretraining(OPTIMIZERS, SETTINGS))(before, batches().demonstration)
    assert any(moved(before.policy.model, after.policy.model)) and int(after.step) == 1
    assert not any(
        moved((before.model, before.critic, before.reward), (after.model, after.critic, after.reward))
    )
    assert "policy/loss" in metrics


def test_the_policys_loss_is_the_weighted_sum_of_both():
    model, batch, demonstration = world(), batches().model, batches().demonstration
    critic = value_networks(["ail_reward"], model.feature_size, jax.random.key(1), **NET)
    start = starts(model.filter(batch).states)

    @compiled
    def loss(policy, aime_scale, value_scale):
        settings = dataclasses.replace(
            SETTINGS,
            aime_scale=aime_scale,
            value_scale=value_scale,
            policy_loss=AIMEOptions(),
            imagination=ImaginationOptions(horizon=3, entropy_scale=0.0),
        )
        rewards = {"ail_reward": head_reward("ail_reward")}
        options = dict(rewards=rewards, settings=settings)
        return policy_loss(policy, model, critic, demonstration, start, None, **options)[0]

    policy = policy_of(model)
    aime, value = loss(policy, 1.0, 0.0), loss(policy, 0.0, 1.0)
    np.testing.assert_allclose(loss(policy, 2.0, 3.0), 2 * aime + 3 * value, rtol=1e-4)
    alone = compiled(lambda p: action_inference_loss(p, demonstration, model, None)[0])
    np.testing.assert_allclose(aime, alone(policy), rtol=1e-5)


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
            lambda policy: policy_loss(
                policy,
                state.model.model,
                state.critic.target,
                batches().demonstration,
                starts(state.model.model.dynamics.initial(2, 1)),
                None,
                rewards={"ail_reward": head_reward("ail_reward")},
                settings=SETTINGS,
            ),
            state.policy.model,
        )
