"""A number as a distribution over bins (DreamerV3, arXiv 2301.04104): two-hot targets, and networks that predict so.

The bins are dense around zero and reach e^20, so that returns of any size are learnt with gradients of one size. A
fresh network says exactly 0 of everything: its last layer is zero, and the bins are symmetric.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct

from worldmodels.nets import MLP
from worldmodels.registry import Registry
from worldmodels.structures import Array

NUM_BINS = 255
LARGEST_LOG = 20.0  # bins reach symexp of this


def symexp(x: np.ndarray) -> np.ndarray:
    """sign(x) (exp|x| - 1), the inverse of symlog."""
    return np.sign(x) * np.expm1(np.abs(x))


# The one half is the mirror of the other to the bit, which numbers spaced from end to end are not.
_NEGATIVE = symexp(np.linspace(-LARGEST_LOG, 0.0, NUM_BINS // 2 + 1))
BINS = np.concatenate([_NEGATIVE, -_NEGATIVE[-2::-1]]).astype(np.float32)


def two_hot(value: Array) -> Array:
    """[...] -> [..., NUM_BINS] weights of the two bins around a value, with the value as mean; beyond the ends, one."""
    value = jnp.clip(value, BINS[0], BINS[-1])
    above = jnp.clip(jnp.searchsorted(BINS, value, side="right"), 1, NUM_BINS - 1)
    low, high = jnp.asarray(BINS)[above - 1], jnp.asarray(BINS)[above]
    share = ((value - low) / (high - low))[..., None]
    lower = jax.nn.one_hot(above - 1, NUM_BINS)
    return (1.0 - share) * lower + share * jax.nn.one_hot(above, NUM_BINS)


class TwoHot(struct.PyTreeNode):
    """Distribution of numbers, with what a decoder's distribution has.

    Attributes:
      logits: [..., NUM_BINS] float32.
    """

    logits: Array

    def mean(self) -> Array:
        """[...] expectation; pairs of opposite bins are added first, so that even odds give exactly 0."""
        weighted = jax.nn.softmax(self.logits) * jnp.broadcast_to(BINS, self.logits.shape)
        half = NUM_BINS // 2
        return (weighted[..., :half] + weighted[..., : -half - 1 : -1]).sum(axis=-1) + weighted[..., half]

    mode = mean

    def log_prob(self, value: Array) -> Array:
        """[...] nats: minus the cross-entropy with the two-hot value."""
        return (two_hot(jax.lax.stop_gradient(value)) * jax.nn.log_softmax(self.logits)).sum(axis=-1)

    def stddev(self) -> Array:
        """[...] ones: a cross-entropy is in nats already, and not reweighted by the spread of the prediction."""
        return jnp.ones(self.logits.shape[:-1])


class TwoHotMLP(MLP):
    """[..., in_size] -> [..., out_size], means of a `TwoHot` each; arguments as of `MLP`."""

    def __init__(self, in_size: int, out_size: int = 1, *, rngs: nnx.Rngs, **options):
        super().__init__(in_size, out_size * NUM_BINS, zero_init=True, rngs=rngs, **options)
        self.out_size = out_size

    def distribution(self, x: Array) -> TwoHot:
        """[..., in_size] -> the distribution over [..., out_size] numbers."""
        logits = super().__call__(x).astype(jnp.float32)
        return TwoHot(logits.reshape(*logits.shape[:-1], self.out_size, NUM_BINS))

    def __call__(self, x: Array) -> Array:
        return self.distribution(x).mean()


VALUE_NETWORKS = Registry("value network", {"mlp": MLP, "two_hot": TwoHotMLP}, base=MLP)
