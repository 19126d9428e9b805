"""Latent distributions as plain pytrees, and output distributions.

Latents (`Gaussian`, `Categorical`) are carried through `lax.scan`, so they hold parameters only and build a distrax
distribution at the point of use. They are sampled from noise drawn beforehand for the whole sequence: drawing it
inside the scan costs more than the model's step. `noise=None` gives the mode, with the gradient of a sample.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import distrax
import jax
import jax.numpy as jnp
from flax import struct

from worldmodels.structures import Array

Distribution: TypeAlias = distrax.Distribution
ESTIMATORS = ("straight_through", "reinmax")
HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
TANH_CLIP = 0.999  # actions are clipped to this before atanh
MAX_ENTROPY_STD = 0.8742  # base std of the tanh-Normal nearest to uniform (AIME-v2 implementation)


class Gaussian(struct.PyTreeNode):
    """Diagonal Gaussian latent.

    Attributes:
      mean, std: [..., S] float32.
    """

    mean: Array
    std: Array

    def sample(self, noise: Array | None) -> Array:
        """[..., S] reparameterised sample; `noise` [..., S] is standard normal, None gives the mean."""
        return self.mean if noise is None else self.mean + self.std * noise

    def kl(self, other: Gaussian) -> Array:
        """[..., S] nats per dimension of KL(self || other)."""
        return distrax.Normal(self.mean, self.std).kl_divergence(distrax.Normal(other.mean, other.std))


class Categorical(struct.PyTreeNode):
    """Several independent categoricals, one-hot and flattened, with an estimate of the sample's gradient.

    Attributes:
      logits: [..., N, C] float32.
      estimator: "straight_through" (Dreamer-v2; AIME-v2) or "reinmax" (Liu et al. 2023, second order).
    """

    logits: Array
    estimator: str = struct.field(pytree_node=False, default="straight_through")

    def sample(self, noise: Array | None) -> Array:
        """[..., N * C] one-hot; `noise` [..., N, C] is Gumbel, None gives the most likely classes."""
        scores = self.logits if noise is None else self.logits + noise
        one_hot = jax.nn.one_hot(jnp.argmax(scores, axis=-1), self.logits.shape[-1])
        surrogate = self._surrogate(one_hot)
        sample = one_hot + (surrogate - jax.lax.stop_gradient(surrogate))  # exactly one-hot, in float32 too
        return sample.reshape(*sample.shape[:-2], -1)

    def _surrogate(self, one_hot: Array) -> Array:
        """[..., N, C] whose gradient stands for that of the sample."""
        probs = jax.nn.softmax(self.logits, axis=-1)
        if self.estimator == "straight_through":
            return probs
        # ReinMax, algorithm 2: pi_1 = softmax(sg(ln((D + pi) / 2) - theta) + theta), and 2 pi_1 - pi / 2.
        halfway = jnp.log((one_hot + probs) / 2)
        shifted = jax.lax.stop_gradient(halfway - self.logits) + self.logits
        return 2 * jax.nn.softmax(shifted, axis=-1) - probs / 2

    def kl(self, other: Categorical) -> Array:
        """[..., N] nats per categorical of KL(self || other).

        Log-probabilities end at those of float32's eps, as where the published implementation builds distributions from
        probabilities (PyTorch clamps them): a class that is surely out costs 16 nats at most and gives no gradient.
        """
        eps = jnp.finfo(jnp.float32).eps
        probs, others = jax.nn.softmax(self.logits), jax.nn.softmax(other.logits)
        ours, theirs = (jnp.log(jnp.clip(x, eps, 1 - eps)) for x in (probs, others))
        return (probs * (ours - theirs)).sum(axis=-1)


def balanced_kl(posterior, prior, balance: float | None = None) -> Array:
    """Element-wise KL(posterior || prior) in nats, with optional balancing.

    `balance * KL(sg(q) || p) + (1 - balance) * KL(q || sg(p))` changes gradients, not the value (Dreamer-v2, eq. 2).

    Args:
      posterior, prior: Gaussian or Categorical, leaves [..., S].
      balance: weight of the term that trains the prior; None means the plain KL.

    Returns:
      [..., S] (Gaussian) or [..., N] (Categorical).
    """
    if balance is None:
        return posterior.kl(prior)
    sg = jax.lax.stop_gradient
    return balance * sg(posterior).kl(prior) + (1 - balance) * posterior.kl(sg(prior))


def with_free_nats(kl: Array, free_nats: float) -> Array:
    """`kl` [..., S] unchanged in value; no gradient where its sum over S is below `free_nats`.

    The published rule: the sum is clamped, spread evenly over the dimensions, and made straight-through so that
    logged values stay unclamped.
    """
    if free_nats <= 0.0:
        return kl
    clamped = jnp.maximum(kl.sum(axis=-1, keepdims=True), free_nats) / kl.shape[-1]
    return clamped + jax.lax.stop_gradient(kl - clamped)


class Normal(distrax.Normal):
    """Normal output whose log-density leaves out the constant 0.5 log(2 pi) (AIME-v2): -log std - z² / 2."""

    def log_prob(self, value: Array) -> Array:
        return super().log_prob(value) + HALF_LOG_2PI


def normal(mean: Array, std: Array, constant: bool = False) -> Distribution:
    """Normal output in float32, without the constant of the log-density (AIME-v2) or with it (AIME v1)."""
    mean, std = mean.astype(jnp.float32), std.astype(jnp.float32)
    return distrax.Normal(mean, std) if constant else Normal(mean, std)


class Bernoulli(distrax.Bernoulli):
    """Bernoulli output whose `mode` is the probability, as the published discounts use it."""

    def mode(self) -> Array:
        return self.probs

    def mean(self) -> Array:
        return self.probs

    def log_prob(self, value: Array) -> Array:
        """Log-probability with logits clipped where PyTorch clamps probabilities (to 1.2e-7)."""
        logits = jnp.clip(self.logits, -15.9423847, 15.9423847)
        return value * jax.nn.log_sigmoid(logits) + (1.0 - value) * jax.nn.log_sigmoid(-logits)


class TanhNormal(struct.PyTreeNode):
    """Action distribution: a = tanh(mean + std * noise), every dimension on its own.

    Attributes:
      mean, std: [..., A] of the Gaussian under the tanh.
    """

    mean: Array
    std: Array

    def sample(self, noise: Array | None) -> Array:
        """[..., A] reparameterised; `noise` is standard normal, None gives `mode`."""
        return self.mode if noise is None else jnp.tanh(self.mean + self.std * noise)

    @property
    def mode(self) -> Array:
        """[..., A] tanh(mean): not the true mode, the published choice."""
        return jnp.tanh(self.mean)

    def log_prob(self, action: Array) -> Array:
        """[..., A] log-density per dimension; keeps the Gaussian constant, clips actions to ±0.999 as published."""
        action = jnp.clip(action, -TANH_CLIP, TANH_CLIP)
        base = distrax.Normal(self.mean, self.std).log_prob(jnp.arctanh(action))
        return base - jnp.log(1.0 - action**2)

    def kl(self, other: TanhNormal) -> Array:
        """[..., A] nats per dimension; the tanh is the same bijection on both sides and cancels."""
        return distrax.Normal(self.mean, self.std).kl_divergence(distrax.Normal(other.mean, other.std))

    def entropy(self) -> Array:
        """[..., A] minus the KL to the tanh-Normal nearest to uniform: at most 0 (AIME-v2's surrogate)."""
        reference = TanhNormal(jnp.zeros_like(self.mean), jnp.full_like(self.std, MAX_ENTROPY_STD))
        return -self.kl(reference)
