"""DIFO's diffusion model as a discriminator, against hand-made numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from agents import diffusion_discriminator as diffusion


def knows_all(noisy, time, label, state):
    """Predicts the noise where the label is 1 and the next state is 3; else nothing."""
    signal = jnp.asarray(diffusion.cosine_signal())[time][..., None]
    noise = (noisy - jnp.sqrt(signal) * 3.0) / jnp.sqrt(1.0 - signal)
    return jnp.where(label[..., None] == 1.0, noise, 0.0)


def test_the_schedule_falls_from_one_to_zero_along_a_cosine():
    signal = diffusion.cosine_signal()
    assert signal.shape == (1000,) and (np.diff(signal) < 0).all()
    expected = np.cos((0.5 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(signal[499], expected, rtol=1e-3)
    assert signal[0] > 0.999 and signal[-1] < 1e-4


def test_errors_are_of_the_same_noise_for_both_labels():
    state, noise = jnp.zeros((2, 2)), jnp.array([[1.0, 3.0], [2.0, 0.0]])
    time = jnp.array([500, 100])
    other, same = diffusion.denoising_errors(knows_all, state, jnp.full((2, 2), 3.0), time, noise)
    np.testing.assert_allclose(other, [5.0, 2.0], rtol=1e-5)
    np.testing.assert_allclose(same, 0.0, atol=1e-4)


def test_the_parts_of_the_loss_and_the_reward():
    """The mean over both halves; whoever denoises all with label 1 has the logit 10 times the squared noise."""
    shown = jnp.zeros((4, 2)), jnp.full((4, 2), 3.0)
    own = jnp.zeros((4, 2)), jnp.full((4, 2), 3.0)
    key = jax.random.key(0)
    parts = diffusion.diffusion_losses(shown, own, key, scale=10.0, bce_scale=0.1)
    noise = np.asarray(jax.random.normal(jax.random.split(key)[1], (2, 4, 2)))
    logit = 10.0 * (noise**2).mean(axis=-1)
    expected = 0.1 * np.mean([np.log1p(np.exp(-logit[0])).mean(), np.log1p(np.exp(logit[1])).mean()])
    np.testing.assert_allclose(parts["bce"](knows_all), expected, rtol=1e-2)
    np.testing.assert_allclose(
        parts["denoising"](lambda *_: jnp.zeros((2, 4, 2))), 0.5 * (noise[0] ** 2).mean(), rtol=1e-5
    )
    reward = diffusion.diffusion_reward(knows_all, *own, key, scale=10.0)
    noise = np.asarray(jax.random.normal(jax.random.split(key)[1], (4, 2)))
    np.testing.assert_allclose(reward, np.log1p(np.exp(10.0 * (noise**2).mean(axis=-1))), rtol=1e-2)


def test_rewards_draw_times_from_the_middle_half():
    def clock(noisy, time, label, state):
        times.append(time)
        return noisy

    times = []
    diffusion.diffusion_reward(clock, jnp.zeros((500, 1)), jnp.zeros((500, 1)), jax.random.key(0), scale=1.0)
    assert 250 <= times[0].min() < 270 and 730 < times[0].max() < 750


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_a_denoiser_predicts_noise_of_the_next_states_shape(shape):
    denoiser = diffusion.Denoiser(4, hidden_size=8, hidden_layers=1, rngs=nnx.Rngs(0))
    time = jnp.zeros(shape[:-1], jnp.int32)
    assert denoiser(jnp.zeros(shape), time, jnp.zeros(shape[:-1]), jnp.zeros(shape)).shape == shape
