"""A discriminator between what was demonstrated and what the agent did, and the reward it gives.

Of single embeddings (AIME-NoB with AIL) or of transitions (GAIfO): what is put side by side in the input decides.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels.nets import MLP
from worldmodels.structures import Array
from worldmodels.training import Metrics

PENALTY_SCALE = 10.0


class Discriminator(nnx.Module):
    """[..., D] -> [...] logit of the probability D(x) that the input was demonstrated; sizes as in AIME-NoB."""

    def __init__(
        self,
        in_size: int,
        *,
        hidden_size: int = 1024,
        hidden_layers: int = 3,
        activation: str = "elu",
        rngs: nnx.Rngs,
    ):
        sizes: dict[str, Any] = {"hidden_size": hidden_size, "hidden_layers": hidden_layers}
        self.net = MLP(in_size, 1, activation=activation, **sizes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.net(x)[..., 0]


def discriminator_loss(
    discriminator: Discriminator,
    demonstrated: Array,
    own: Array,
    key: Array,
    *,
    penalty_scale: float = PENALTY_SCALE,
) -> tuple[Array, Metrics]:
    """Binary cross-entropy of demonstrated (1) against own (0) inputs, and the gradient penalty.

    -E log D(demonstrated) - E log(1 - D(own)) + penalty_scale * E (|grad logit(mix)| - 1)^2

    Args:
      discriminator: that learns.
      demonstrated, own: [B, D] each.
      key: PRNG key, consumed: mixes every pair at random.
      penalty_scale: weight of the penalty (Gulrajani et al. 2017).

    Returns:
      Scalar loss; metrics.
    """
    logit_demonstrated, logit_own = discriminator(demonstrated), discriminator(own)
    entropy = jax.nn.softplus(-logit_demonstrated).mean() + jax.nn.softplus(logit_own).mean()
    penalty = gradient_penalty(discriminator, demonstrated, own, key)
    loss = entropy + penalty_scale * penalty
    return loss, {
        "loss": loss,
        "cross_entropy": entropy,
        "gradient_penalty": penalty,
        "logit_demonstrated": logit_demonstrated.mean(),
        "logit_own": logit_own.mean(),
    }


def gradient_penalty(discriminator: Discriminator, demonstrated: Array, own: Array, key: Array) -> Array:
    """E (|grad logit(x)| - 1)^2 at x = u demonstrated + (1 - u) own, u uniform for each pair; inputs [B, D]."""
    share = jnp.broadcast_to(jax.random.uniform(key, (own.shape[0], 1)), own.shape)
    mix = share * demonstrated + (1.0 - share) * own
    gradient = jax.vmap(jax.grad(discriminator))(mix)
    # The norm has no derivative at 0, where a dead network starts.
    norm = jnp.sqrt((gradient**2).sum(axis=-1) + 1e-12)
    return ((norm - 1.0) ** 2).mean()


def adversarial_reward(logit: Array) -> Array:
    """log D - log(1 - D) (AIRL, Fu et al. 2018): the logit itself, [...]."""
    return jax.nn.log_sigmoid(logit) - jax.nn.log_sigmoid(-logit)
