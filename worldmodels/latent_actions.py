"""Latent actions: what moves a body between two observations, before it is known which command did.

    p(u | s)       what the body tends to do
    q(u | s, o')   what has been done, seen from the next observation: an inverse model
    q(u | s, a)    what has been done, given the action
    p(a | s, u)    the action that does it

Alles et al., *Latent Action World Models for Control with Unlabeled Trajectories*, arXiv 2512.10016. Their dynamics
read actions; those that read u itself are our derivation. No code of theirs is public; the networks are ours. Latent
actions are in (-1, 1), as actions are.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx

from worldmodels.action_head import TanhGaussianHead
from worldmodels.distributions import TanhNormal
from worldmodels.structures import Array

DECODERS = ("gaussian", "identity")
READS = ("action", "u")


class LatentActions(nnx.Module):
    """The four distributions; the loss is in `aime.latent_actions`.

    Args:
      feature_size: F. embed_size: E. action_size: A.
      size: U of a latent action; None: A.
      reads: what the dynamics read: "action", decoded where it is not known, or "u", which policies then decide on, and
        which is decoded only where a robot acts.
      decoder: "gaussian", or "identity": the latent action is the action, and q(u | s, a) is certain.
      kl_scale: weight of the KL between latent actions. With that of the bound, 1, they may carry nothing: the state's
        posterior sees the next observation anyway, at the same price (results/latent-actions.md).
      inverse_scale: weight of the actions' bound in which u comes from q(u | s, o'). With 0 labels do not teach the
        inverse model, and what it infers need not be what was done (results/latent-actions.md).
      hidden_size, hidden_layers: of every network.
      min_std: of every standard deviation.
    """

    def __init__(
        self,
        feature_size: int,
        embed_size: int,
        action_size: int,
        *,
        size: int | None = None,
        reads: str = "action",
        decoder: str = "gaussian",
        kl_scale: float = 0.1,
        inverse_scale: float = 1.0,
        hidden_size: int = 128,
        hidden_layers: int = 2,
        min_std: float = 0.01,
        rngs: nnx.Rngs,
    ):
        if decoder not in DECODERS:
            raise ValueError(f"Unknown decoder of latent actions {decoder!r}. Known: {', '.join(DECODERS)}.")
        if reads not in READS:
            raise ValueError(f"Dynamics read {' or '.join(READS)}, not latent_actions.reads={reads!r}.")
        self.reads, self.size = reads, action_size if size is None else size
        self.is_identity, self.kl_scale = decoder == "identity", kl_scale
        self.inverse_scale = inverse_scale
        if self.is_identity and self.size != action_size:
            raise ValueError(
                f"With decoder=identity a latent action has the size of an action, {action_size}, not {self.size}."
            )
        options: dict[str, Any] = dict(
            hidden_size=hidden_size, hidden_layers=hidden_layers, min_std=min_std, rngs=rngs
        )

        def head(in_size: int, out_size: int) -> TanhGaussianHead:
            return TanhGaussianHead(in_size, out_size, **options)

        self.prior = head(feature_size, self.size)
        self.inverse = head(feature_size + embed_size, self.size)
        self.encoder = None if self.is_identity else head(feature_size + action_size, self.size)
        self.decoder = None if self.is_identity else head(feature_size + self.size, action_size)

    def encode(self, features: Array, action: Array) -> TanhNormal:
        """q(u | s, a), [..., F] and [..., A] -> [..., U]."""
        assert self.encoder is not None, "an identity has no networks"
        return self.encoder(jnp.concatenate([features, action], axis=-1))

    def decode(self, features: Array, code: Array) -> TanhNormal:
        """p(a | s, u), [..., F] and [..., U] -> [..., A]."""
        assert self.decoder is not None, "an identity has no networks"
        return self.decoder(jnp.concatenate([features, code], axis=-1))

    def code(self, features: Array, action: Array, noise: Array | None) -> Array:
        """[..., U] drawn from q(u | s, a); `noise` [..., U] is standard normal, None takes the mode."""
        return action if self.is_identity else self.encode(features, action).sample(noise)

    def action(self, features: Array, code: Array, noise: Array | None) -> Array:
        """[..., A] drawn from p(a | s, u); `noise` [..., A] is standard normal, None takes the mode."""
        return code if self.is_identity else self.decode(features, code).sample(noise)
