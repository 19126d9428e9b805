"""Networks that end in a distribution over actions: policies and inverse dynamics models."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx

from worldmodels import describe
from worldmodels.distributions import TanhNormal
from worldmodels.nets import MLP
from worldmodels.structures import Array

MIN_STD = 1e-6


class TanhGaussianHead(nnx.Module):
    """[..., in_size] -> TanhNormal over [..., A]: two separate MLPs for mean and std (policies and IDMs)."""

    def __init__(
        self,
        in_size: int,
        action_size: int,
        *,
        hidden_size: int = 128,
        hidden_layers: int = 2,
        norm: str | None = None,
        min_std: float = MIN_STD,
        rngs: nnx.Rngs,
    ):
        options: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, norm=norm)
        self.mean_net = MLP(in_size, action_size, rngs=rngs, **options)
        self.std_net = MLP(in_size, action_size, output_activation="softplus", rngs=rngs, **options)
        self.min_std = min_std

    def __repr__(self) -> str:
        return f"TanhGaussianHead({describe.parameters(self)})"

    __str__ = __repr__

    def __call__(self, x: Array) -> TanhNormal:
        mean, std = self.mean_net(x).astype(jnp.float32), self.std_net(x).astype(jnp.float32)
        return TanhNormal(mean, std + self.min_std)
