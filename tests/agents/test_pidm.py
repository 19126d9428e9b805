"""PIDM: its losses in numbers, what they may see, and actions recovered without distilling anything."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from linear_world import WEIGHTS, dataset

from agents.fitting import FitSettings, FitState, fit
from agents.pidm import (
    Foresight,
    PredictivePolicy,
    foresight_loss,
    predictive_inverse_loss,
    with_foresight,
)
from worldmodels.structures import SequenceBatch

LINEAR = dict(num_frames=1, hidden_layers=0)


def make_batch(action=None):
    """Two windows of four records; x is 10 window + record^2."""
    x = 10.0 * jnp.arange(2)[:, None, None] + (jnp.arange(4.0) ** 2)[None, :, None]
    flags = jnp.zeros((2, 4))
    return SequenceBatch({"x": x}, action, None, flags, flags, flags)


def make_foresight(bias, std=1.0):
    """Foresees that x grows by `bias`."""
    foresight = Foresight({"x": 1}, rngs=nnx.Rngs(0), **LINEAR)
    foresight.change.head.kernel[...] = jnp.zeros((1, 1))
    foresight.change.head.bias[...] = jnp.array([bias])
    foresight.log_std[...] = jnp.log(jnp.array([std]))
    return foresight


def test_windows_longer_than_an_episode_teach_nothing_of_its_repeated_last_record():
    """The second window ends at its record 1, which is repeated: one step ahead it is known, two or three it is not."""
    policy, certain = (
        Recorded({"x": 1}, 1, horizon=3, rngs=nnx.Rngs(0), **LINEAR),
        make_foresight(0.0, std=1e-6),
    )
    whole = make_batch(jnp.zeros((2, 4, 1)))
    is_last = whole.is_last.at[0, 3].set(1.0).at[1, 1:].set(1.0)
    x = whole.observation["x"].at[1, 2:].set(whole.observation["x"][1, 1])
    short = whole.replace(is_last=is_last, observation={"x": x})
    inverse = jax.jit(lambda seed: predictive_inverse_loss(policy, short, certain, jax.random.key(seed))[0])
    # In k steps x of the first window grows by k^2, which the inverse model calls k; the second adds 1 where k = 1.
    found = {round(float(inverse(seed)), 3) for seed in range(40)}
    assert found == {1.0, 4.0, 9.0, (1 + 1) / 2, (4 + 1) / 2, (9 + 1) / 2}
    foresee = jax.jit(foresight_loss, static_argnames="horizon")
    for horizon, expected in ((1, [1, 1]), (2, [16]), (3, [81])):
        error = foresee(make_foresight(0.0), short, horizon=horizon)[1]["error"]
        assert float(error) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("horizon", [1, 2])
def test_foresight_is_the_likelihood_of_what_is_seen_some_steps_later(horizon):
    loss, metrics = jax.jit(functools.partial(foresight_loss, horizon=horizon))(
        make_foresight(3.0, std=2.0), make_batch()
    )
    error = horizon**2 - 3.0
    assert float(metrics["error"]) == pytest.approx(error**2)
    assert float(loss) == pytest.approx(0.5 * (error / 2) ** 2 + np.log(2 * np.sqrt(2 * np.pi)))


class Recorded(PredictivePolicy):
    """An inverse model that says what it is asked: how far x is to grow, divided by the number of steps."""

    def invert(self, frames, future, offset):
        steps = jnp.broadcast_to(jnp.asarray(offset), future.shape[:1])
        return (future - frames["x"][:, 0]) / steps[:, None]


def test_the_inverse_model_sees_what_happened_up_to_the_horizon_and_regresses_the_action_that_came_first():
    # x grows by k^2 in k steps: the inverse model says k where the true action is 0.
    action = jnp.full((2, 4, 1), jnp.nan).at[:, 1].set(0.0)
    policy = Recorded({"x": 1}, 1, horizon=3, rngs=nnx.Rngs(0), **LINEAR)
    certain = make_foresight(0.0, std=1e-6)
    loss = jax.jit(
        lambda seed: predictive_inverse_loss(policy, make_batch(action), certain, jax.random.key(seed))[0]
    )
    found = {round(float(loss(seed)), 3) for seed in range(40)}
    assert found == {(j * j + k * k) / 2 for j in (1, 2, 3) for k in (1, 2, 3)}


def test_targets_are_disturbed_as_much_as_the_foresight_errs():
    action = jnp.zeros((2, 4, 1))
    policy = Recorded({"x": 1}, 1, horizon=1, rngs=nnx.Rngs(0), **LINEAR)
    loss = lambda seed: predictive_inverse_loss(  # noqa: E731
        policy, make_batch(action), make_foresight(0.0, std=0.5), jax.random.key(seed)
    )[0]
    mean = jax.jit(lambda: jax.vmap(loss)(jnp.arange(2000)).mean())()
    assert float(mean) == pytest.approx(1 + 0.5**2, rel=0.1)


def test_the_foresight_is_frozen_while_the_inverse_model_learns():
    policy = with_foresight(PredictivePolicy({"x": 1}, 1, rngs=nnx.Rngs(0), **LINEAR), make_foresight(1.0))
    batch = make_batch(jnp.ones((2, 4, 1)))
    loss = lambda both: predictive_inverse_loss(*both[:1], batch, both[1], jax.random.key(0))[0]  # noqa: E731
    gradient = jax.jit(jax.grad(loss))((policy, make_foresight(1.0)))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves([gradient[0].foresight, gradient[1]]))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient[0].head.head.bias))


def test_images_and_an_empty_horizon_are_refused():
    with pytest.raises(ValueError, match="PIDM foresees vectors, and image is an image"):
        Foresight({"x": 2, "image": (32, 32)}, rngs=nnx.Rngs(0), **LINEAR)
    with pytest.raises(ValueError, match="A horizon of 0 steps foresees nothing"):
        PredictivePolicy({"x": 2}, 2, horizon=0, rngs=nnx.Rngs(0), **LINEAR)


def test_the_demonstrators_actions_are_recovered_from_observations():
    settings = FitSettings(
        learning_rate=0.01, batch_size=32, patience=None, max_updates=1000, updates_per_epoch=500
    )
    sizes = dict(num_frames=1, hidden_size=16, hidden_layers=1)
    shown, body = dataset(1, demonstrated=True, with_actions=False), dataset(0, demonstrated=False)
    foresight = Foresight({"x": 2}, rngs=nnx.Rngs(0), **sizes)
    state = FitState.create(foresight, settings, jax.random.key(0))
    foresight = fit(state, shown, functools.partial(foresight_loss, horizon=1), settings).best_model
    policy = with_foresight(PredictivePolicy({"x": 2}, 2, horizon=1, rngs=nnx.Rngs(1), **sizes), foresight)
    state = FitState.create(policy, settings, jax.random.key(1))
    policy = fit(state, body, predictive_inverse_loss, settings, foresight).best_model
    x = dataset(2, demonstrated=True).observation["x"][::2]
    error = jax.jit(lambda policy: ((policy({"x": x[:, None]}) - jnp.tanh(x @ WEIGHTS)) ** 2).mean())(policy)
    assert error < 0.02, f"actions of the demonstrator have a variance of 0.3, the error is {error}"
