"""SAC: losses against numbers worked out by hand, targets, and the NumPy policy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from agents.sac import (
    Actor,
    NumpyPolicy,
    SACSettings,
    actor_loss,
    create_sac,
    critic_loss,
    make_critic_update,
    make_learn,
    make_policy_update,
    sample_action,
    temperature_loss,
)
from agents.transitions import Replay, Transitions, insert

SETTINGS = SACSettings(hidden_size=8, hidden_layers=1, batch_size=4, initial_temperature=0.5)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def before_and_after():
    """States before and after one update."""
    before = create_sac(3, 2, SETTINGS, KEY)
    between, _ = jax.jit(make_critic_update(SETTINGS))(before, _batch())
    after, _ = jax.jit(make_policy_update(2, SETTINGS))(between, _batch())
    return before, after


def _batch(discount=0.9):
    rng = np.random.default_rng(0)
    return Transitions(
        observation=rng.normal(size=(4, 3)).astype(np.float32),
        action=rng.uniform(-1, 1, (4, 2)).astype(np.float32),
        reward=np.full(4, 2.0, np.float32),
        discount=np.full(4, discount, np.float32),
        next_observation=rng.normal(size=(4, 3)).astype(np.float32),
    )


def _standard_actor(observation):
    return jnp.zeros((*observation.shape[:-1], 2)), jnp.zeros((*observation.shape[:-1], 2))


def _constant_critic(first, second):
    return lambda observation, action: (jnp.full(len(action), first), jnp.full(len(action), second))


def test_the_log_density_of_an_action_is_that_of_the_squashed_gaussian():
    mean, log_std = jnp.array([0.3, -1.0]), jnp.array([-0.5, 0.2])
    action, log_prob = sample_action(mean, log_std, KEY)
    unsquashed = np.arctanh(np.asarray(action, np.float64))
    std = np.exp(np.asarray(log_std, np.float64))
    density = np.exp(-0.5 * ((unsquashed - np.asarray(mean)) / std) ** 2) / (std * np.sqrt(2 * np.pi))
    expected = np.log(density / (1 - np.asarray(action, np.float64) ** 2)).sum()
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4)


def test_the_critic_loss_is_half_the_squared_error_to_the_soft_target():
    batch, alpha = _batch(), 0.5
    _, log_prob = sample_action(*_standard_actor(batch.next_observation), KEY)
    target = 2.0 + 0.9 * (3.0 - alpha * np.asarray(log_prob))  # the smaller of the targets 3 and 4
    expected = (0.5 * (1.0 - target) ** 2 + 0.5 * (-1.0 - target) ** 2).mean()
    loss, _ = critic_loss(
        _constant_critic(1.0, -1.0), _constant_critic(3.0, 4.0), _standard_actor, jnp.log(alpha), batch, KEY
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_after_a_termination_the_target_is_the_reward():
    loss, _ = critic_loss(
        _constant_critic(2.0, 2.0),
        _constant_critic(9.0, 9.0),
        _standard_actor,
        0.0,
        _batch(discount=0.0),
        KEY,
    )
    np.testing.assert_allclose(loss, 0.0, atol=1e-6)


def test_the_actor_loss_is_the_weighted_log_density_minus_the_smaller_value():
    batch, alpha = _batch(), 0.25
    _, log_prob = sample_action(*_standard_actor(batch.observation), KEY)
    loss, metrics = actor_loss(_standard_actor, _constant_critic(5.0, 4.0), jnp.log(alpha), batch, KEY)
    np.testing.assert_allclose(loss, alpha * np.asarray(log_prob).mean() - 4.0, rtol=1e-5)
    np.testing.assert_allclose(metrics["entropy"], -np.asarray(log_prob).mean(), rtol=1e-5)


@pytest.mark.parametrize(("entropy", "sign"), [(-2.0, -1), (0.0, 1)])
def test_the_temperature_rises_while_the_entropy_is_below_its_target(entropy, sign):
    grad = jax.grad(lambda log_alpha: temperature_loss(log_alpha, entropy, KEY, target_entropy=-1.0)[0])(0.0)
    np.testing.assert_allclose(grad, sign, rtol=1e-6)


def test_the_target_follows_the_new_critic(before_and_after):
    before, after = (jax.device_get(state) for state in before_and_after)
    leaves = map(jax.tree.leaves, (before.target_critic, after.critic.model, after.target_critic))
    for old, online, target in zip(*leaves, strict=True):
        np.testing.assert_allclose(target, old + SETTINGS.target_rate * (online - old), rtol=1e-4, atol=1e-6)


def test_an_update_changes_every_array_that_learns(before_and_after):
    for name in ("actor", "critic", "temperature"):
        before, after = (jax.tree.leaves(getattr(state, name).model) for state in before_and_after)
        assert all((a != b).any() for a, b in zip(before, after, strict=True)), name


def test_the_critic_learns_the_reward_without_recompiling():
    settings = dataclasses.replace(SETTINGS, learning_rate=1e-2)
    replay = insert(Replay.create(8, 3, 2), _batch(discount=0.0), 4)
    learn = make_learn(2, settings, 50)
    state = create_sac(3, 2, settings, KEY)
    for _ in range(4):
        ((state, metrics),) = learn([state], [replay])
    assert float(metrics["critic/loss"]) < 0.05
    assert learn._cache_size() == 1


def test_the_actor_may_learn_less_often():
    settings = dataclasses.replace(SETTINGS, actor_every=2)
    replay = insert(Replay.create(8, 3, 2), _batch(), 4)
    ((state, _),) = make_learn(2, settings, 4)([create_sac(3, 2, settings, KEY)], [replay])
    assert (int(state.critic.step), int(state.actor.step), int(state.temperature.step)) == (4, 2, 2)


def test_updates_that_leave_the_actor_behind_are_refused():
    with pytest.raises(ValueError, match="multiple of actor_every"):
        make_learn(2, dataclasses.replace(SETTINGS, actor_every=3), 50)


def test_the_numpy_policy_is_the_actor():
    actor = Actor(3, 2, hidden_size=8, hidden_layers=2, rngs=nnx.Rngs(0))
    observation = _batch().observation
    mean, _ = actor(observation)
    np.testing.assert_allclose(NumpyPolicy(actor)(observation), np.tanh(mean), atol=1e-6)


def test_the_numpy_policy_draws_with_the_actors_standard_deviation():
    actor = Actor(3, 2, hidden_size=8, hidden_layers=2, rngs=nnx.Rngs(0))
    observation = np.broadcast_to(_batch().observation[:1], (4000, 3))
    mean, log_std = (np.asarray(x[0]) for x in actor(observation))
    drawn = np.arctanh(NumpyPolicy(actor)(observation, np.random.default_rng(0)).astype(np.float64))
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0), np.exp(log_std), rtol=0.1)
