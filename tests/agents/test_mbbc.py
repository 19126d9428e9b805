"""MBBC: which state goes with which action, its two losses, weights recovered exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, struct
from linear_world import WEIGHTS, dataset

from agents.fitting import FitSettings, FitState, fit
from agents.mbbc import following_actions, mbbc_loss
from worldmodels.action_head import TanhGaussianHead
from worldmodels.data.dataset import windows
from worldmodels.structures import Array


@struct.dataclass
class _Features:
    features: Array


@struct.dataclass
class _Output:
    states: _Features


@struct.dataclass
class SeesEverything:
    """Stands for a world model: the latent state is the observation."""

    unused: Array

    def filter(self, batch, key):
        return _Output(_Features(batch.observation["x"]))


MODEL = SeesEverything(jnp.zeros(()))


def make_policy(hidden_layers=0):
    return TanhGaussianHead(2, 2, hidden_layers=hidden_layers, rngs=nnx.Rngs(0))


def demonstrator():
    """The policy whose mode is the demonstrator."""
    policy = make_policy()
    policy.mean_net.head.kernel[...] = jnp.asarray(WEIGHTS)
    policy.mean_net.head.bias[...] = jnp.zeros(2)
    return policy


def test_the_state_goes_with_the_action_that_follows_it():
    batch = windows(dataset(0, demonstrated=True, length=6), jnp.arange(10))
    loss, metrics = mbbc_loss(demonstrator(), batch, MODEL, None)
    np.testing.assert_allclose(loss, 0.0, atol=1e-10)
    np.testing.assert_allclose(metrics["action_mse"], 0.0, atol=1e-10)


def test_the_likelihood_is_that_of_the_policy():
    batch = windows(dataset(0, demonstrated=True, length=6), jnp.arange(10))
    policy = demonstrator()
    loss, _ = mbbc_loss(policy, batch, MODEL, None, use_log_prob=True)
    expected = -policy(batch.observation["x"][:, :-1]).log_prob(batch.prev_action[:, 1:]).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_a_chunk_goes_with_the_actions_that_follow_its_state():
    batch = windows(dataset(0, demonstrated=True, length=6), jnp.arange(10))
    features, following, known = following_actions(batch, MODEL, None, 3)
    assert known.all() and known.shape == following.shape
    np.testing.assert_array_equal(features, batch.observation["x"][:, :3])
    for step in range(3):
        now = following[:, :, 2 * step : 2 * step + 2]
        np.testing.assert_array_equal(now, batch.prev_action[:, step + 1 : step + 4])
    policy = TanhGaussianHead(2, 6, hidden_layers=0, rngs=nnx.Rngs(0))
    loss, _ = mbbc_loss(policy, batch, MODEL, None, chunk=3)
    np.testing.assert_allclose(loss, ((policy(features).mode - following) ** 2).mean(), rtol=1e-6)


def test_what_is_repeated_behind_the_end_of_an_episode_is_not_learnt():
    """Of windows of six records whose episodes have four, by either loss and by chunks."""
    batch = windows(dataset(0, demonstrated=True, length=6), jnp.arange(10))
    ended = jax.tree.map(lambda x: x.at[:, 4:].set(x[:, 3:4]), batch)
    ended = ended.replace(is_last=ended.is_last.at[:, 3:].set(1.0))
    whole = jax.tree.map(lambda x: x[:, :4], batch)
    for options in ({}, {"use_log_prob": True}):
        losses = [mbbc_loss(make_policy(), each, MODEL, None, **options)[0] for each in (ended, whole)]
        np.testing.assert_allclose(*losses, rtol=1e-6)
    _, _, known = following_actions(ended, MODEL, None, 3)
    np.testing.assert_array_equal(known[0, :, ::2], [[1, 1, 1], [1, 1, 0], [1, 0, 0]])


def test_a_fit_recovers_the_demonstrators_weights():
    settings = FitSettings(
        learning_rate=0.02, batch_size=32, patience=None, max_updates=800, updates_per_epoch=100
    )
    data = dataset(0, demonstrated=True, length=3)
    state = FitState.create(make_policy(), settings, jax.random.key(0))
    state = fit(state, data, mbbc_loss, settings, MODEL)
    np.testing.assert_allclose(state.best_model.mean_net.head.kernel[...], WEIGHTS, atol=0.01)


def test_demonstrations_without_actions_are_refused():
    batch = windows(dataset(0, demonstrated=True, with_actions=False), jnp.arange(2))
    with pytest.raises(ValueError, match="MBBC needs the true actions, but these windows have none"):
        mbbc_loss(make_policy(), batch, MODEL, None)
