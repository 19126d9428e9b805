"""DynaMo: an encoder of frames learns which latent actions lead from one to the next (Cui et al., arXiv 2409.12192).

    p_t = I(z_1..t)                    inverse dynamics of embeddings z; p has few numbers
    z^_{t+1} = F(z_1..t, p_2..t+1)     forward dynamics, which see the future through p alone
    L = mean_t 1 - cos(z^_{t+1}, sg z_{t+1}) + 0.04 mean_{i != j} Cov(z)_ij^2

From windows of observations; nobody's actions are read. The form is that of the public configurations but one: the
target is the stopped embedding itself (for Block Pushing that of a moving average), both dynamics are causal
transformers. What differs: encoders of the project, PyTorch's initialisation; Adam without decay and warm-up, whose
gradient is clipped as a whole, where the public code clips those of encoder, inverse and forward dynamics each.

Embeddings get shorter while they are learnt: the covariance falls with the fourth power of their length, which cosines
do not see, and no term holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from agents.causal_transformer import CausalTransformer
from worldmodels.encoders import FrameEncoder
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics


class DynaMo(FrameEncoder):
    """Encoder of frames, inverse and forward dynamics.

    Args:
      sizes: as of `FrameEncoder`.
      num_frames: T >= 2, records of a window.
      latent_size: of p.
      layers, heads, width: of both transformers.
      rngs: initialisation.
      **frames: the other arguments of `FrameEncoder`.

    Raises:
      ValueError: windows of one record, in which nothing leads on.
    """

    def __init__(
        self,
        sizes: Mapping,
        *,
        num_frames: int,
        latent_size: int = 8,
        layers: int = 6,
        heads: int = 6,
        width: int = 120,
        rngs: nnx.Rngs,
        **frames,
    ):
        if num_frames < 2:
            raise ValueError(
                f"DynaMo learns from successive records, not from {num_frames}; give at least 2."
            )
        super().__init__(sizes, rngs=rngs, **frames)
        size = self.encoder.out_size
        options: dict[str, Any] = dict(length=num_frames, layers=layers, heads=heads, width=width, rngs=rngs)
        self.inverse = CausalTransformer(size, latent_size, **options)
        self.forward = CausalTransformer(size + latent_size, size, **options)

    def predict(self, embed: Array) -> Array:
        """[B, T, E] -> predictions of records 1..T - 1, [B, T - 1, E]."""
        latent = self.inverse(embed)[:, 1:]
        return self.forward(jnp.concatenate([embed[:, :-1], latent], axis=-1))


def dynamo_loss(
    net: DynaMo, batch: SequenceBatch, key: Array | None = None, *, covariance_scale: float = 0.04
) -> tuple[Array, Metrics]:
    """Cosine distance of predicted to stopped embeddings, and what their dimensions have in common.

    Args:
      net: of windows of T records.
      batch: windows [B, T, ...]; their actions, if any, are not looked at.
      key: unused; a loss takes one.
      covariance_scale: of the mean squared covariance of two dimensions.

    Returns:
      The loss; metrics, among them `copy_loss`, the distance if nothing changed, below which a forward model should be,
      and `embed_std`, of their length, too. Both vanish where all embeddings are one.
    """
    embed = net.encode(batch.observation)
    following = jax.lax.stop_gradient(embed[:, 1:])
    dynamics = cosine_distance(net.predict(embed), following)
    covariance = off_diagonal_covariance(embed.reshape(-1, embed.shape[-1]))
    loss = dynamics + covariance_scale * covariance
    metrics = {"loss": loss, "dynamics_loss": dynamics, "covariance_loss": covariance}
    metrics["copy_loss"] = cosine_distance(embed[:, :-1], following)
    return loss, metrics | {"embed_std": embed.std(axis=(0, 1)).mean()}


def cosine_distance(x: Array, y: Array) -> Array:
    """Returns the mean of 1 - cos of vectors [..., E]."""
    return optax.losses.cosine_distance(x, y, epsilon=1e-8).mean()


def off_diagonal_covariance(rows: Array) -> Array:
    """Returns the mean over i != j of the squared sample covariance of dimensions i and j of [N, E]; 0 for E = 1."""
    number, size = rows.shape
    centred = rows - rows.mean(axis=0, keepdims=True)
    covariance = centred.T @ centred / (number - 1)
    off_diagonal = jnp.sum(covariance**2) - jnp.sum(jnp.diagonal(covariance) ** 2)
    return off_diagonal / max(size * (size - 1), 1)
