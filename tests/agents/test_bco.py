"""BCO(0): its two losses in numbers, what they may see, and actions recovered from observations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from agents.bco import bco_loss, inverse_dynamics_loss
from agents.fitting import FitSettings, FitState, fit
from agents.frame_stack import FrameStackNet
from agents.loop import collect_episodes
from agents.noise import UniformActor
from experiments.envs.vector import VectorEnvironment
from worldmodels.data.dataset import SequenceDataset, windows
from worldmodels.structures import SequenceBatch


def make_batch(action=None, is_last=None):
    """Two windows of three records; the position is 10 * window + record."""
    position = 10.0 * jnp.arange(2)[:, None, None] + jnp.arange(3.0)[None, :, None]
    flags = jnp.zeros((2, 3))
    return SequenceBatch(
        observation={"position": position},
        prev_action=action,
        reward=None,
        is_first=flags,
        is_last=flags if is_last is None else is_last,
        is_terminal=flags,
    )


class Mean:
    """Stands for a network: the mean position of its frames."""

    def __init__(self, num_frames):
        self.num_frames = num_frames

    def __call__(self, observation):
        assert observation["position"].shape[1] == self.num_frames
        return observation["position"].mean(axis=1)


def test_the_inverse_model_reads_all_records_of_a_window():
    action = jnp.full((2, 3, 1), jnp.nan).at[:, -1, 0].set(jnp.array([3.0, 11.0]))
    loss, _ = inverse_dynamics_loss(Mean(3), make_batch(action))
    assert float(loss) == pytest.approx((1 - 3) ** 2 / 2)


def test_the_inverse_model_does_not_learn_what_led_behind_the_end_of_an_episode():
    action = jnp.full((2, 3, 1), jnp.nan).at[:, -1, 0].set(jnp.array([3.0, 1e6]))
    ended = jnp.zeros((2, 3)).at[1, 1].set(1.0)
    loss, _ = inverse_dynamics_loss(Mean(3), make_batch(action, ended))
    assert float(loss) == pytest.approx((1 - 3) ** 2)


def test_the_policy_regresses_the_action_of_the_inverse_model():
    loss, _ = bco_loss(Mean(2), make_batch(), Mean(3))
    assert float(loss) == pytest.approx(0.5**2)


def test_the_policy_does_not_see_true_actions():
    bco_loss(Mean(2), make_batch(action=None), Mean(3))
    loss, _ = bco_loss(Mean(2), make_batch(action=jnp.full((2, 3, 1), jnp.nan)), Mean(3))
    assert np.isfinite(loss)


def test_an_inverse_model_without_actions_to_learn_is_refused():
    with pytest.raises(ValueError, match="An inverse dynamics model needs the true actions"):
        inverse_dynamics_loss(Mean(3), make_batch())


def test_the_inverse_model_is_frozen_while_the_policy_learns():
    make = lambda n: FrameStackNet({"position": 1}, 1, num_frames=n, hidden_size=4, rngs=nnx.Rngs(n))  # noqa: E731
    grads = jax.grad(lambda idm: bco_loss(make(2), make_batch(), idm)[0])(make(3))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads))


def collect(num_episodes, seed):
    with VectorEnvironment("fake-pointmass", 4, seed=seed) as envs:
        return collect_episodes(envs, UniformActor(4, 2, seed=seed), num_episodes)


def test_actions_are_recovered_from_positions_alone():
    options = dict(length=4, sensors=["position"], with_reward=False)
    embodiment = SequenceDataset.create(collect(80, seed=0), **options)
    unseen = SequenceDataset.create(collect(8, seed=1), **options)
    settings = FitSettings(
        learning_rate=3e-3, training_fraction=0.9, patience=None, max_updates=2000, updates_per_epoch=500
    )
    moments = {"position": (np.zeros(2), np.full(2, 0.1))}
    idm = FrameStackNet(
        {"position": 2}, 2, num_frames=4, hidden_size=64, statistics=moments, rngs=nnx.Rngs(0)
    )
    state = fit(
        FitState.create(idm, settings, jax.random.key(0)), embodiment, inverse_dynamics_loss, settings
    )
    error, _ = inverse_dynamics_loss(state.best_model, windows(unseen, np.arange(unseen.num_windows)))
    assert error < 0.03, f"uniform actions have a variance of 0.33, the error is {error}"
