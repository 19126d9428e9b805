"""A small transformer over the records of a window, each of which sees itself and those before it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels.nets import MLP, layer_norm, linear
from worldmodels.structures import Array


class CausalTransformer(nnx.Module):
    """[B, T, in_size] -> [B, T, out_size]; output t depends on inputs 0..t.

    Blocks as in GPT-2: LayerNorm before attention and before an MLP of four times the width, residuals around both.

    Args:
      length: T, at most.
      layers: blocks. heads: of the attention, which divide `width`.
      width: of the tokens.
      rngs: initialisation, PyTorch's of linear layers; positions are normal with std 0.02.

    Raises:
      ValueError: the heads do not divide the width.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        length: int,
        layers: int,
        heads: int,
        width: int,
        rngs: nnx.Rngs,
    ):
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}; choose a multiple of {heads}.")
        self.tokens = linear(in_size, width, rngs=rngs)
        self.positions = nnx.Param(0.02 * jax.random.normal(rngs.params(), (length, width)))
        self.blocks = nnx.List([Block(width, heads, rngs=rngs) for _ in range(layers)])
        self.norm, self.head = layer_norm(width, rngs=rngs), linear(width, out_size, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.tokens(x)
        x = x + jnp.broadcast_to(self.positions[...][None, : x.shape[1]], x.shape)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Block(nnx.Module):
    """[B, T, width] -> the same: causal attention, then an MLP."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs):
        self.attention_norm, self.mlp_norm = layer_norm(width, rngs=rngs), layer_norm(width, rngs=rngs)
        self.inputs, self.mixed = linear(width, 3 * width, rngs=rngs), linear(width, width, rngs=rngs)
        hidden: dict[str, Any] = dict(hidden_size=4 * width, hidden_layers=1)
        self.mlp = MLP(width, width, activation="gelu_exact", rngs=rngs, **hidden)
        self.heads = heads

    def __call__(self, x: Array) -> Array:
        parts = jnp.split(self.inputs(self.attention_norm(x)), 3, axis=-1)
        query, key, value = (part.reshape(*part.shape[:-1], self.heads, -1) for part in parts)
        mixed = jax.nn.dot_product_attention(query, key, value, is_causal=True)
        x = x + self.mixed(mixed.reshape(x.shape))
        return x + self.mlp(self.mlp_norm(x))
