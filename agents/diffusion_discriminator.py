"""DIFO's discriminator (arXiv 2410.05429): which of two diffusion models denoises a transition better.

One network eps(x_t, t, c, s) denoises the next state s' given the state s and a label c, 1 for demonstrations and 0 for
the agent. With the same noise and time for both labels,

    l_c = mean_dims | noise - eps( sqrt(abar_t) s' + sqrt(1 - abar_t) noise, t, c, s ) |^2
    logit = scale (l_0 - l_1)
    loss  = bce_scale * [ -log sigmoid(logit) of the demonstrations, -log sigmoid(-logit) of the agent's ] + l_1
    reward = softplus(logit)

Means are over both halves of the batch, l_1 counts on the half of the demonstrations. Training draws t from all times,
rewards from the middle half, once for each transition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from worldmodels.nets import MLP
from worldmodels.structures import Array

NUM_TIMES = 1000
REWARD_TIMES = (250, 750)
TIME_FREQUENCIES = 8


def cosine_signal(num_times: int = NUM_TIMES) -> np.ndarray:
    """[num_times] abar_t of the cosine schedule (Nichol and Dhariwal 2021), steps of which remove 0.999 at most."""
    shares = np.cos((np.arange(num_times + 1) / num_times + 0.008) / 1.008 * math.pi / 2) ** 2
    kept = 1.0 - np.minimum(1.0 - shares[1:] / shares[:-1], 0.999)
    return np.cumprod(kept).astype(np.float32)


_SIGNAL = cosine_signal()


class Denoiser(nnx.Module):
    """(noisy s' [..., D], time [...] int, label [...], s [..., D]) -> noise [..., D].

    Args:
      size: D.
      hidden_size, hidden_layers: of the MLP; ReLU.
    """

    def __init__(self, size: int, *, hidden_size: int = 1024, hidden_layers: int = 3, rngs: nnx.Rngs):
        sizes: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers)
        self.net = MLP(2 * size + 2 * TIME_FREQUENCIES + 1, size, activation="relu", **sizes, rngs=rngs)

    def __call__(self, noisy: Array, time: Array, label: Array, state: Array) -> Array:
        periods = jnp.broadcast_to(2.0 ** jnp.arange(TIME_FREQUENCIES), (*time.shape, TIME_FREQUENCIES))
        angle = math.pi * (time / NUM_TIMES)[..., None] * periods / 2
        inputs = (noisy, state, jnp.sin(angle), jnp.cos(angle), label[..., None])
        return self.net(jnp.concatenate(inputs, axis=-1))


def denoising_errors(
    denoiser: Callable, state: Array, next_state: Array, time: Array, noise: Array
) -> tuple[Array, Array]:
    """(l_0, l_1), [...] each, of transitions [..., D] at times [...] with noise [..., D]."""
    signal = jnp.asarray(_SIGNAL)[time][..., None]
    noisy = jnp.sqrt(signal) * next_state + jnp.sqrt(1.0 - signal) * noise

    def error(label: float) -> Array:
        predicted = denoiser(noisy, time, jnp.full(time.shape, label), state)
        return ((noise - predicted) ** 2).mean(axis=-1)

    return error(0.0), error(1.0)


def diffusion_losses(
    demonstrated: tuple[Array, Array], own: tuple[Array, Array], key: Array, *, scale: float, bce_scale: float
) -> dict[str, Callable]:
    """{part of the loss: function of the denoiser}; see the module.

    Args:
      demonstrated, own: (s, s'), [N, D] each.
      key: PRNG key, consumed.
    """
    time_key, noise_key = jax.random.split(key)
    shape = (2, *own[0].shape)
    time = jax.random.randint(time_key, shape[:2], 0, NUM_TIMES)
    noise = jax.random.normal(noise_key, shape)
    state, next_state = (jnp.stack(pair) for pair in zip(demonstrated, own, strict=True))

    def errors(denoiser):
        return denoising_errors(denoiser, state, next_state, time, noise)

    def bce(denoiser):
        other, same = errors(denoiser)
        logit = scale * (other - same)
        return bce_scale * 0.5 * (jax.nn.softplus(-logit[0]).mean() + jax.nn.softplus(logit[1]).mean())

    return {"bce": bce, "denoising": lambda denoiser: 0.5 * errors(denoiser)[1][0].mean()}


def diffusion_reward(
    denoiser: Callable, state: Array, next_state: Array, key: Array, *, scale: float
) -> Array:
    """[...] softplus of the logit of transitions [..., D]; `key` is consumed."""
    time_key, noise_key = jax.random.split(key)
    time = jax.random.randint(time_key, state.shape[:-1], *REWARD_TIMES)
    noise = jax.random.normal(noise_key, state.shape)
    other, same = denoising_errors(denoiser, state, next_state, time, noise)
    return jax.nn.softplus(scale * (other - same))
