"""Features of single frames by prototypes: a frame is assigned to the prototypes of the next one.

BCV-LR's first stage (arXiv 2512.21586), after ProtoRL (Yarats et al. 2021): a slow copy encodes the next frame and
assigns it to prototypes, all of them about equally often (Sinkhorn); the frame's own assignment is to be the same.
Images are not shifted at random, as nowhere in the baselines.

Frames of one scene are much alike, and encoders that begin as these do make them nearly parallel: all are assigned
alike, and what is learnt is that they are (results/latent-images.md). So projections are standardised over the batch,
and the assignment that is to be met is sharper than the one that meets it, as in SwAV (Caron et al. 2020), whose
temperatures these are. ProtoRL has one temperature, 0.1, and orthogonal initial weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from agents.frame_stack import FrameStack
from worldmodels.nets import linear
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics


class Prototypes(FrameStack):
    """Encoder of a frame, projector and prototypes, and a slow copy of encoder and projector.

    Args:
      sizes: as of `FrameStack`.
      num_frames: of who uses the features; here each frame is encoded alone.
      size: of the projections.
      prototypes: how many.
      rate: of the copy, per update.
      temperature: of a frame's own assignment.
      target_temperature: of that of the next frame.
      iterations: of Sinkhorn.
      rngs: initialisation.
      **frames: the other arguments of `FrameStack`.
    """

    def __init__(
        self,
        sizes: Mapping,
        *,
        num_frames: int = 1,
        size: int = 128,
        prototypes: int = 512,
        rate: float = 0.05,
        temperature: float = 0.1,
        target_temperature: float = 0.05,
        iterations: int = 3,
        rngs: nnx.Rngs,
        **frames,
    ):
        super().__init__(sizes, num_frames=num_frames, rngs=rngs, **frames)
        self.projector = linear(self.encoder.out_size, size, rngs=rngs)
        self.prototypes = nnx.Param(jax.random.normal(rngs.params(), (prototypes, size)))
        self.slow_encoder = jax.tree.map(jnp.copy, self.encoder)
        self.slow_projector = jax.tree.map(jnp.copy, self.projector)
        self.temperature, self.target_temperature = temperature, target_temperature
        self.rate, self.iterations = rate, iterations

    def before_update(self) -> Prototypes:
        """Returns the network that the next loss is taken of: the copy has moved."""
        moved = nnx.merge(*nnx.split(self))
        moved.slow_encoder = optax.incremental_update(self.encoder, self.slow_encoder, self.rate)
        moved.slow_projector = optax.incremental_update(self.projector, self.slow_projector, self.rate)
        return moved


def sinkhorn_assignments(scores: Array, iterations: int) -> Array:
    """[N, K] scores -> assignments whose rows sum to 1 and whose columns are about equally large."""

    def normalise(_, scores):
        scores = scores - jax.nn.logsumexp(scores, axis=0, keepdims=True)
        return scores - jax.nn.logsumexp(scores, axis=1, keepdims=True)

    return jnp.exp(jax.lax.fori_loop(0, iterations, normalise, scores))


def prototype_loss(net: Prototypes, batch: SequenceBatch, key: Array | None = None) -> tuple[Array, Metrics]:
    """Cross-entropy of a frame's assignment to that of the next frame by the slow copy, nats.

    Args:
      net: of single frames.
      batch: windows [B, T, ...] of two records and more; their actions, if any, are not looked at. They are compared
        with each other: the loss of a window alone says nothing.
      key: unused; a loss takes one.

    Returns:
      The loss; metrics, of how many prototypes are in use, `prototypes`, and between how many one frame is undecided,
      `undecided`: exponentials of the entropies of the mean assignment and of a frame's. Where all frames are assigned
      alike nothing has been learnt, and both are the number of prototypes.
    """

    def scores(record: int, encoder, projector) -> Array:
        frame = {name: net.standardizer(name, batch.observation[name][:, record]) for name in net.names}
        projected = jax.nn.standardize(projector(encoder(frame)), axis=0, epsilon=1e-12)
        return unit(projected) @ unit(net.prototypes[...]).T

    following = scores(1, net.slow_encoder, net.slow_projector) / net.target_temperature
    target = jax.lax.stop_gradient(sinkhorn_assignments(following, net.iterations))
    own = jax.nn.log_softmax(scores(0, net.encoder, net.projector) / net.temperature)
    loss = -(target * own).sum(axis=-1).mean()
    metrics = {"prototypes": perplexity(target.mean(axis=0)), "undecided": perplexity(target).mean()}
    return loss, {"loss": loss, **metrics}


def perplexity(probabilities: Array) -> Array:
    """[..., K] -> [...] exponential of the entropy."""
    return jnp.exp(-(probabilities * jnp.log(probabilities + 1e-9)).sum(axis=-1))


def unit(vectors: Array) -> Array:
    """[..., d] of length 1."""
    return vectors / (jnp.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)
