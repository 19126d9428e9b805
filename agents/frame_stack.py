"""Networks that read a few successive observations: policies and inverse models of the imitation baselines.

`FrameStackNet` is encoder per frame -> merger of the frames -> MLP -> tanh (AIME, baselines). With the frames
up to now it is a deterministic policy; with one more frame, the future, it is an inverse dynamics model.

The encoder is that of the world models, `worldmodels.encoders.ObservationEncoder`; images are not augmented, as
published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels.encoders import FrameEncoder
from worldmodels.nets import MLP, layer_norm, linear
from worldmodels.registry import Registry
from worldmodels.structures import Array


class ConcatMerger(nnx.Module):
    """[..., F, E] -> [..., F * E]: embeddings one after the other, oldest first."""

    def __init__(self, num_frames: int, embed_size: int, *, rngs: nnx.Rngs):
        self.out_size = num_frames * embed_size

    def __call__(self, embed: Array) -> Array:
        return embed.reshape(*embed.shape[:-2], self.out_size)


class FlareMerger(nnx.Module):
    """[..., F, E] -> [..., E]: embeddings and their flow.

    flow_i = x_{i+1} - sg(x_i); all flows and x_2 ... x_F, then Linear and LayerNorm (Shang et al. 2021,
    "Reinforcement learning with latent flow").
    """

    def __init__(self, num_frames: int, embed_size: int, *, rngs: nnx.Rngs):
        self.layer = linear(2 * (num_frames - 1) * embed_size, embed_size, rngs=rngs)
        self.norm = layer_norm(embed_size, rngs=rngs)
        self.out_size = embed_size

    def __call__(self, embed: Array) -> Array:
        later = embed[..., 1:, :]
        flow = later - jax.lax.stop_gradient(embed[..., :-1, :])
        merged = jnp.concatenate([flow, later], axis=-2)  # [..., 2 (F - 1), E]
        return self.norm(self.layer(merged.reshape(*merged.shape[:-2], -1)))


MERGERS = Registry("merger", {"concat": ConcatMerger, "flare": FlareMerger}, base=nnx.Module)


class FrameStack(FrameEncoder):
    """Observations of F successive records -> features, by an encoder of each frame and a merger.

    Args:
      sizes: as of `FrameEncoder`.
      num_frames: F.
      merger: "concat" or "flare"; a single frame has no flow and is concatenated, as published.
      rngs: initialisation.
      **frames: the other arguments of `FrameEncoder`; by default they are the published ones.
    """

    def __init__(self, sizes: Mapping, *, num_frames: int, merger: str = "concat", rngs: nnx.Rngs, **frames):
        if num_frames < 1:
            raise ValueError(f"A stack of {num_frames} frames is empty; give at least 1.")
        super().__init__(sizes, rngs=rngs, **frames)
        MERGERS.get(merger)
        name = merger if num_frames > 1 else "concat"
        self.merger = MERGERS.make(num_frames, self.encoder.out_size, name=name, rngs=rngs)
        self.num_frames = num_frames

    def merged(self, observation: Mapping[str, Array]) -> Array:
        """{sensor: [..., F, d] or [..., F, y, x, 3]}, oldest first -> features [..., merger.out_size]."""
        embed = self.encode(observation)
        if embed.shape[-2] != self.num_frames:
            raise ValueError(
                f"The network reads {self.num_frames} frames and was given {embed.shape[-2]}; "
                "sample windows of one record more than the policy's stack."
            )
        return self.merger(embed)


class FrameStackNet(FrameStack):
    """Observations of F successive records -> action in [-1, 1].

    Args:
      sizes: as of `FrameStack`.
      action_size: A.
      hidden_size, hidden_layers: of the MLP; ELU.
      rngs: initialisation.
      **frames: the other arguments of `FrameStack`.
    """

    def __init__(
        self,
        sizes: Mapping,
        action_size: int,
        *,
        hidden_size: int = 128,
        hidden_layers: int = 2,
        rngs: nnx.Rngs,
        **frames,
    ):
        super().__init__(sizes, rngs=rngs, **frames)
        options: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, rngs=rngs)
        self.head = MLP(self.merger.out_size, action_size, output_activation="tanh", **options)

    def __call__(self, observation: Mapping[str, Array]) -> Array:
        """{sensor: [..., F, d] or [..., F, y, x, 3]}, oldest first -> [..., A]."""
        return self.head(self.merged(observation))


def policy_frames(observation: Mapping[str, Array], num_frames: int) -> dict[str, Array]:
    """Returns what a policy sees of windows {sensor: [B, T, ...]} before the action that leads to record F."""
    return {name: value[:, :num_frames] for name, value in observation.items()}


def with_encoder_of(policy: FrameStackNet, source: nnx.Module) -> FrameStackNet:
    """Returns the policy with a copy of the frame encoder of another network (its head and merger stay).

    BCO(0) starts its policy from the encoder of the inverse model, IIDM from that of the forward model; the
    identity encoder has nothing to copy.
    """
    graph, encoder, *rest = nnx.split(policy, nnx.PathContains("encoder"), ...)
    _, trained, *_ = nnx.split(source, nnx.PathContains("encoder"), ...)
    return nnx.merge(graph, jax.tree.map(lambda _, new: jnp.copy(new), encoder, trained), *rest)


def with_fixed_encoders(module: Any) -> Any:
    """Returns the module with frame encoders that have no gradient."""
    graph, encoders, *rest = nnx.split(module, nnx.PathContains("encoder"), ...)
    return nnx.merge(graph, jax.lax.stop_gradient(encoders), *rest)
