"""Dreamer's update: who learns, in what order, and what stays frozen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from models import ACTION_SIZE, compiled, make_batch, make_model

from agents import imagination
from agents.dreamer import Optimizers, create_dreamer, freeze, make_dreamer_update, make_model_update
from worldmodels.action_head import TanhGaussianHead
from worldmodels.losses import LossOptions, elbo_loss

RATE = 0.1
LOSS = LossOptions(free_nats=0.0)
OPTIONS = dict(
    rewards={"reward": imagination.head_reward("reward")},
    model_loss=LOSS,
    imagination_options=imagination.ImaginationOptions(3, discount=0.9, lambda_=0.8, entropy_scale=0.0),
    target_rate=0.5,
)


def optimizers(**changes):
    return Optimizers(**(dict.fromkeys(("model", "policy", "critic"), optax.sgd(RATE)) | changes))


def create(chosen):
    model = make_model(predict_reward=True)
    size = dict(hidden_size=8, hidden_layers=1)
    policy = TanhGaussianHead(model.feature_size, ACTION_SIZE, rngs=nnx.Rngs(1), **size)
    networks = imagination.value_networks(["reward"], model.feature_size, jax.random.key(2), **size)
    return create_dreamer(model, policy, networks, chosen, jax.random.key(3))


@functools.cache
def updated():
    """(state before, state after one update, its metrics)."""
    before = create(optimizers())
    after, metrics = compiled(make_dreamer_update(optimizers(), **OPTIONS))(before, make_batch())
    return before, after, metrics


def assert_same(tree, other, **tolerance):
    for x, y in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


def test_the_policy_learns_in_the_updated_model_from_the_states_inferred_before():
    before, after, _ = updated()
    key = jax.random.fold_in(before.model.key, 0)
    _, (_, output) = elbo_loss(before.model.model, make_batch(), key, LOSS)
    start = imagination.starts(output.states)
    loss = functools.partial(
        imagination.policy_loss, rewards=OPTIONS["rewards"], options=OPTIONS["imagination_options"]
    )
    key = jax.random.fold_in(before.policy.key, 0)
    args = (after.model.model, before.critic.target, start, key)
    grads, _ = compiled(jax.grad(loss, has_aux=True))(before.policy.model, *args)
    expected = jax.tree.map(lambda p, g: p - RATE * g, before.policy.model, grads)
    assert_same(after.policy.model, expected, rtol=1e-4, atol=1e-6)


def test_the_world_model_learns_from_the_batch_alone():
    before, after, _ = updated()
    alone, metrics = compiled(make_model_update(optimizers(), model_loss=LOSS))(before, make_batch())
    assert_same(alone.model.model, after.model.model, rtol=1e-4, atol=1e-6)
    assert_same(alone.policy.model, before.policy.model)
    assert "model/loss" in metrics and int(alone.step) == 1


def test_the_target_critic_follows_the_updated_critic():
    before, after, _ = updated()
    halfway = jax.tree.map(lambda t, o: (t + o) / 2, before.critic.target, after.critic.train.model)
    assert_same(after.critic.target, halfway, rtol=1e-5, atol=1e-7)


def test_metrics_are_grouped_by_learner():
    *_, metrics = updated()
    assert {"model/loss", "policy/imagination_loss", "policy/grad_norm", "value/reward_value_loss"} <= set(
        metrics
    )


def test_frozen_parameters_stay_and_the_others_learn():
    before = create(optimizers())
    names = [
        jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(before.model.model)
    ]
    is_frozen = ["reward" not in name for name in names]
    chosen = optimizers(model=freeze(optax.adam(RATE), is_frozen))
    before = create(chosen)
    after, _ = compiled(make_model_update(chosen, model_loss=LOSS))(before, make_batch())
    leaves = zip(
        jax.tree.leaves(before.model.model), jax.tree.leaves(after.model.model), is_frozen, strict=True
    )
    assert all(bool(jnp.all(x == y)) == frozen for x, y, frozen in leaves)
