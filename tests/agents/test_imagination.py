"""Actor and critic in imagination, against loops in plain Python and on models made by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from models import compiled, make_model

from agents import imagination
from agents.values import ReturnRange
from worldmodels.action_head import TanhGaussianHead
from worldmodels.two_hot import two_hot

HORIZON, GAMMA, LAMBDA = 3, 0.9, 0.8
PLAIN = imagination.ImaginationOptions(HORIZON, discount=GAMMA, lambda_=LAMBDA, entropy_scale=0.0)
OPTIONS = dict(rewards={"reward": imagination.head_reward("reward")}, options=PLAIN)


@functools.cache
def parts():
    """(model with reward and termination heads, policy, critics, starts)."""
    model = make_model(predict_reward=True)
    policy = TanhGaussianHead(model.feature_size, 2, hidden_size=8, hidden_layers=1, rngs=nnx.Rngs(1))
    critics = imagination.value_networks(
        ["reward"], model.feature_size, jax.random.key(2), hidden_size=8, hidden_layers=1
    )
    start = model.dynamics.initial(3)
    start = start.replace(stoch=jax.random.normal(jax.random.key(3), start.stoch.shape))
    return model, policy, critics, start


@functools.cache
def imagined(key_seed=4):
    model, policy, critics, start = parts()
    key = None if key_seed is None else jax.random.key(key_seed)
    return imagination.imagine(model, policy, critics, start, key, **OPTIONS)


def test_imagination_is_the_model_stepped_one_action_at_a_time():
    model, policy, _, state = parts()
    result = imagined(None)
    for t in range(HORIZON):
        np.testing.assert_allclose(result.features[:, t], state.features, rtol=1e-4, atol=1e-6)
        action = policy(state.features).mode
        np.testing.assert_allclose(result.actions[:, t], action, rtol=1e-4, atol=1e-6)
        state = model.dynamics.predict(state, action, None)
    np.testing.assert_allclose(result.features[:, HORIZON], state.features, rtol=1e-4, atol=1e-6)


def test_rewards_terminations_and_values_are_read_off_all_states():
    model, _, critics, _ = parts()
    result = imagined()
    assert result.features.shape[:2] == (3, HORIZON + 1)
    heads = model.decode(result.features)
    np.testing.assert_allclose(result.reward["reward"], heads["reward"].mean()[..., 0], rtol=1e-5)
    np.testing.assert_allclose(result.terminal, heads["is_terminal"].probs[..., 0], rtol=1e-5)
    np.testing.assert_allclose(result.value["reward"], critics["reward"](result.features)[..., 0], rtol=1e-5)


def test_returns_weights_and_losses_equal_loops_over_time():
    _, policy, critics, start = parts()
    result = imagined()
    r, v, p = (
        np.asarray(x, np.float64) for x in (result.reward["reward"], result.value["reward"], result.terminal)
    )
    n, h = len(r), HORIZON
    returns, weight = np.zeros((n, h + 1)), np.ones((n, h + 1))
    returns[:, h] = v[:, h]
    for t in reversed(range(h)):
        following = (1 - LAMBDA) * v[:, t + 1] + LAMBDA * returns[:, t + 1]
        returns[:, t] = r[:, t] + GAMMA * (1 - p[:, t]) * following
    for t in range(h):
        weight[:, t + 1] = weight[:, t] * GAMMA * (1 - p[:, t])
    np.testing.assert_allclose(result.returns["reward"], returns[:, :h], rtol=1e-4)
    np.testing.assert_allclose(result.weight, weight, rtol=1e-5)

    expected = -np.mean([weight[i, t] * returns[i, t + 1] for i in range(n) for t in range(h - 1)])
    entropy = np.asarray(result.entropy).sum(axis=-1).mean()
    model = parts()[0]
    options = OPTIONS | dict(options=dataclasses.replace(PLAIN, entropy_scale=0.5))
    loss, (metrics, _) = imagination.policy_loss(policy, model, critics, start, jax.random.key(4), **options)
    np.testing.assert_allclose(loss, expected - 0.5 * entropy, rtol=1e-4)
    assert metrics.keys() >= {"imagination_loss", "reward_return", "imagined_entropy"}

    loss, _ = imagination.value_loss(critics, result)
    errors = [weight[i, t] * (returns[i, t] - v[i, t]) ** 2 for i in range(n) for t in range(h)]
    np.testing.assert_allclose(loss, 0.5 * np.mean(errors), rtol=1e-4)


def test_nothing_counts_after_a_certain_termination():
    model, policy, critics, start = parts()
    model = jax.tree.map(lambda x: x, model)  # a copy whose head can be changed
    bias = model.decoders["is_terminal"].net.head.bias
    bias[...] = jnp.full_like(bias[...], 50.0)
    result = imagination.imagine(model, policy, critics, start, jax.random.key(4), **OPTIONS)
    np.testing.assert_allclose(result.returns["reward"], result.reward["reward"][:, :-1], rtol=1e-6)
    np.testing.assert_array_equal(result.weight[:, 1:], 0.0)


def test_a_model_without_terminations_discounts_evenly():
    model = make_model(predict_reward=True, predict_terminal=False)
    _, policy, critics, start = parts()
    result = imagination.imagine(model, policy, critics, start, jax.random.key(4), **OPTIONS)
    np.testing.assert_allclose(result.weight[0], GAMMA ** np.arange(HORIZON + 1), rtol=1e-6)


def test_the_losses_of_several_rewards_add_up():
    model, policy, critics, start = parts()
    key, networks = jax.random.key(4), {"reward": critics["reward"], "cost": critics["reward"]}
    options = OPTIONS | dict(
        rewards={
            "reward": OPTIONS["rewards"]["reward"],
            "cost": lambda m, x: -x.actions[..., 0].sum() * jnp.ones((3, HORIZON + 1)),
        }
    )
    both, _ = imagination.policy_loss(policy, model, networks, start, key, **options)
    parts_of_it = []
    for name in networks:
        one = options | dict(rewards={name: options["rewards"][name]})
        loss, _ = imagination.policy_loss(policy, model, {name: networks[name]}, start, key, **one)
        parts_of_it.append(loss)
    np.testing.assert_allclose(both, sum(parts_of_it), rtol=1e-5)


def test_starts_are_all_states_without_a_gradient():
    model = parts()[0]
    states = model.dynamics.initial(2, 3).replace(stoch=jnp.arange(24.0).reshape(2, 3, 4))
    flat = imagination.starts(states)
    np.testing.assert_array_equal(flat.stoch, jnp.arange(24.0).reshape(6, 4))
    gradient = jax.grad(lambda s: imagination.starts(s).stoch.sum())(states)
    assert not jnp.any(gradient.stoch)


def test_the_policy_gradient_does_not_reach_the_policy_through_its_own_input():
    """With a critic of the actions' effect only, d loss / d policy is that of actions at fixed features."""
    model, policy, critics, start = parts()

    def through_stopped_features(policy):
        return imagination.policy_loss(policy, model, critics, start, None, **OPTIONS)[0]

    def through_fixed_features(policy, features):
        state, states = start, [start]
        for _ in range(HORIZON):
            action = policy(features[:, len(states) - 1]).mode
            state = model.dynamics.predict(state, action, None)
            states.append(state)
        f = jnp.stack([s.features for s in states], axis=1)
        reward = model.decoders["reward"](f).mean()[..., 0]
        discount = GAMMA * (1 - imagination.termination(model, f))
        value = critics["reward"](f)[..., 0]
        returns, following = [], value[:, -1]
        for k in reversed(range(HORIZON)):
            following = reward[:, k] + discount[:, k] * ((1 - LAMBDA) * value[:, k + 1] + LAMBDA * following)
            returns.insert(0, following)
        weight = [jnp.ones(3)]
        for k in range(HORIZON):
            weight.append(weight[-1] * discount[:, k])
        return -jnp.mean(jnp.stack([w * r for w, r in zip(weight, returns[1:], strict=False)]))

    ours = compiled(jax.grad(through_stopped_features))(policy)
    expected = compiled(jax.grad(through_fixed_features))(policy, imagined(None).features)
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-6)


def test_the_target_follows_the_critic_after_its_step():
    model, _, critics, _ = parts()
    optimizer = optax.sgd(0.1)
    before = imagination.Critic.create(critics, optimizer, jax.random.key(0))
    after, metrics = imagination.update_critic(before, imagined(), optimizer, target_rate=0.25)
    assert metrics.keys() >= {"reward_value_loss", "reward_value", "grad_norm"}
    triples = zip(
        *(jax.tree.leaves(t) for t in (before.target, after.train.model, after.target)), strict=True
    )
    for old, online, new in triples:
        np.testing.assert_allclose(new, 0.75 * old + 0.25 * online, rtol=1e-5, atol=1e-7)
    loss, _ = imagination.value_loss(critics, imagined())
    assert imagination.value_loss(after.train.model, imagined())[0] < loss


# DreamerV3 ---------------------------------------------------------------------------------------------------------

V3 = dataclasses.replace(imagination.DREAMER_V3, horizon=HORIZON, discount=GAMMA, lambda_=LAMBDA)


@functools.cache
def two_hot_critic():
    """A two-hot critic whose network and target differ, as after some updates."""
    networks, targets = (
        imagination.value_networks(
            ["reward"], parts()[0].feature_size, jax.random.key(seed), name="two_hot", hidden_size=8
        )
        for seed in (5, 6)
    )
    for shift, pair in ((0.5, networks), (-0.5, targets)):
        bias = pair["reward"].head.bias
        bias[...] = shift * jnp.linspace(-1.0, 1.0, 255)
    critic = imagination.Critic.create(networks, optax.sgd(0.1), jax.random.key(0), V3)
    return critic.replace(
        target=targets, ranges={"reward": ReturnRange(jnp.float32(-300.0), jnp.float32(500.0))}
    )


@functools.cache
def v3_loss():
    """(critic, loss of the policy, its metrics, what was imagined)."""
    model, policy, _, start = parts()
    critic = two_hot_critic()
    options = dict(rewards=OPTIONS["rewards"], options=V3, ranges=critic.ranges)
    judges = critic.judges(V3)
    loss, (metrics, result) = imagination.policy_loss(
        policy, model, judges, start, jax.random.key(4), **options
    )
    return critic, loss, metrics, result


def test_dreamer_v3s_policy_follows_the_scaled_advantages_of_its_critic():
    critic, loss, metrics, result = v3_loss()
    returns, value = result.returns["reward"], result.value["reward"]
    network = critic.train.model["reward"]
    np.testing.assert_allclose(value, network(result.features)[..., 0], rtol=1e-4)
    low, high = np.percentile(returns, [5, 95])
    scale = (0.99 * 500 + 0.01 * high) - (0.99 * -300 + 0.01 * low)
    np.testing.assert_allclose(metrics["reward_return_scale"], scale, rtol=1e-5)
    log_prob = parts()[1](result.features[:, :-1]).log_prob(result.actions).sum(axis=-1)
    gained = np.mean(result.weight[:, :-1] * log_prob * (returns - value[:, :-1]) / scale)
    entropy = result.entropy.sum(axis=-1).mean()
    np.testing.assert_allclose(loss, -gained - 3e-4 * entropy, rtol=1e-3, atol=1e-6)


def test_dreamer_v3s_critic_learns_by_cross_entropy_and_is_held_back_by_its_target():
    critic, _, _, result = v3_loss()
    after, metrics = imagination.update_critic(critic, result, optax.sgd(0.1), 0.02, V3)
    network, features, weight = critic.train.model["reward"], result.features[:, :-1], result.weight[:, :-1]
    log_odds = jax.nn.log_softmax(network.distribution(features).logits[..., 0, :])

    def cross_entropy(target):
        return -np.mean(weight * (two_hot(target) * log_odds).sum(axis=-1))

    np.testing.assert_allclose(
        metrics["reward_value_loss"], cross_entropy(result.returns["reward"]), rtol=1e-4
    )
    slow = critic.target["reward"](features)[..., 0]
    np.testing.assert_allclose(metrics["slow_loss"], cross_entropy(slow), rtol=1e-4)

    def total(networks):
        return imagination.value_loss(networks, result)[0] + imagination.slow_loss(
            networks, critic.target, result
        )

    grads = jax.grad(total)(critic.train.model)
    np.testing.assert_allclose(metrics["grad_norm"], optax.global_norm(grads), rtol=1e-3)
    assert metrics["return_grad_norm"] > 0 and metrics["slow_grad_norm"] > 0
    triples = zip(*map(jax.tree.leaves, (critic.train.model, grads, after.train.model)), strict=True)
    for old, grad, new in triples:
        np.testing.assert_allclose(new, old - 0.1 * grad, rtol=1e-3, atol=1e-5)
    assert after.ranges == result.ranges


def test_normalised_returns_only_rescale_the_gradient_through_the_model():
    model, policy, critics, start = parts()
    options = dict(OPTIONS, options=dataclasses.replace(PLAIN, normalise_returns=True))
    ranges = {"reward": ReturnRange(jnp.float32(-100.0), jnp.float32(100.0))}
    plain, _ = imagination.policy_loss(policy, model, critics, start, None, **OPTIONS)
    scaled, (metrics, _) = imagination.policy_loss(
        policy, model, critics, start, None, **options, ranges=ranges
    )
    np.testing.assert_allclose(scaled, plain / metrics["reward_return_scale"], rtol=1e-5)


@pytest.mark.parametrize("option", ["gradient", "bootstrap"])
def test_an_unknown_choice_is_refused(option):
    with pytest.raises(ValueError, match=f"Unknown {option} 'none'. Known: "):
        imagination.ImaginationOptions(**{option: "none"})


# Mistakes ----------------------------------------------------------------------------------------------------------


def test_a_reward_that_the_model_does_not_predict_is_named():
    _, policy, critics, start = parts()
    with pytest.raises(ValueError, match="does not predict 'reward'.*predict_reward"):
        imagination.imagine(make_model(), policy, critics, start, None, **OPTIONS)


def test_a_reward_without_a_critic_is_named():
    model, policy, _, start = parts()
    with pytest.raises(ValueError, match="Every reward needs a critic"):
        imagination.imagine(model, policy, {}, start, None, **OPTIONS)
