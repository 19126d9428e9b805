"""Latent action models: what happened between two observations, learnt without labels and decoded with a few.

    z = f(o_{t-F+1..t}, o_{t+k})     an inverse model
    o_{t+1} = g(o_{t-F+1..t}, z)     a forward model
    a = d(z)                         a decoder, from the windows whose actions are known
    z = pi(o_{t-F+1..t})             a policy of latent actions, cloned from demonstrations; it acts as d(pi(o))

Three methods differ in their options: CLAM (arXiv 2505.04999: continuous z, k = 1, the decoder is learnt with the
model), LAPO (arXiv 2312.10812: z of codes, k = 1, the decoder afterwards) and LAOM (arXiv 2502.00379: k up to 10, the
forward model predicts an embedding, a little supervision by a linear decoder, another decoder afterwards).

What differs from the papers: the networks are those of the project's baselines (ELU, one encoder per frame, images by
its convolutional encoder and decoder and not augmented); one optimizer, Adam, trains all parts of a model; the best
weights on held-out windows are kept; codes move by the gradient of a codebook loss instead of by averages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from agents.bc import true_actions
from agents.frame_stack import FrameStack, policy_frames
from agents.iidm import ForwardNet, squared_error
from worldmodels.nets import MLP
from worldmodels.sequences import mean_of_rows, recorded
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics

SPACES = ("observation", "embedding")
EMBEDDING = "embedding"


class LatentNet(FrameStack):
    """Observations of F successive records -> latent action.

    Args:
      sizes: as of `FrameStack`.
      latent_size: Z.
      hidden_size, hidden_layers: of the MLP behind the frames; ELU.
      rngs: initialisation.
      **frames: the other arguments of `FrameStack`.
    """

    def __init__(
        self,
        sizes: Mapping,
        latent_size: int,
        *,
        hidden_size: int = 128,
        hidden_layers: int = 2,
        rngs: nnx.Rngs,
        **frames,
    ):
        super().__init__(sizes, rngs=rngs, **frames)
        options: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers)
        self.latent_head = MLP(self.merger.out_size, latent_size, rngs=rngs, **options)

    def latent(self, observation: Mapping[str, Array]) -> Array:
        """{sensor: [..., F, d] or [..., F, y, x, 3]}, oldest first -> [..., Z]."""
        return self.latent_head(self.merged(observation))


class LatentPolicy(LatentNet):
    """A policy of latent actions that acts by a decoder.

    Args:
      sizes: as of `FrameStack`. action_size: A. latent_size: Z.
      decoder: `hidden_size` and `hidden_layers` of the decoder.
      rngs: initialisation.
      **options: the other arguments of `LatentNet`.
    """

    def __init__(
        self,
        sizes: Mapping,
        action_size: int,
        *,
        latent_size: int,
        decoder: Mapping,
        rngs: nnx.Rngs,
        **options,
    ):
        super().__init__(sizes, latent_size, rngs=rngs, **options)
        self.decoder = make_decoder(latent_size, action_size, decoder, rngs)

    def __call__(self, observation: Mapping[str, Array]) -> Array:
        """{sensor: [..., F, d]}, oldest first -> action [..., A] in [-1, 1]."""
        return self.decoder(self.latent(observation))


def make_decoder(latent_size: int, action_size: int, options: Mapping, rngs: nnx.Rngs) -> MLP:
    """Makes the network [..., Z] -> [..., A] in [-1, 1]."""
    return MLP(latent_size, action_size, output_activation="tanh", rngs=rngs, **options)


class Quantizer(nnx.Module):
    """[..., Z] -> the nearest codes, [..., Z]: Z is cut into parts, which choose from the codes of their codebook.

    Args:
      latent_size: Z, which the number of parts divides.
      codebooks: C. parts: L parts of Z per codebook. codes: K vectors of size Z / (C L) in each codebook.
      commitment: weight of the loss that draws z to its code.
      rngs: initialisation, uniform in ±1/K.
    """

    def __init__(
        self,
        latent_size: int,
        *,
        codebooks: int = 2,
        parts: int = 4,
        codes: int = 64,
        commitment: float = 0.05,
        rngs: nnx.Rngs,
    ):
        size, rest = divmod(latent_size, codebooks * parts)
        if rest or not size:
            raise ValueError(
                f"A latent action of size {latent_size} cannot be cut into {codebooks} x {parts} parts; choose a "
                f"multiple of {codebooks * parts}."
            )
        init = jax.random.uniform(
            rngs.params(), (codebooks, codes, size), minval=-1 / codes, maxval=1 / codes
        )
        self.codes, self.parts, self.commitment = nnx.Param(init), parts, commitment

    def __call__(self, latent: Array) -> tuple[Array, Array, Metrics]:
        """Chooses codes.

        Returns:
          [..., Z] codes, with the gradient of `latent`; [] the loss of codes and commitment; {"codes": share of the
          codes that this batch uses}.
        """
        table = self.codes[...]  # [C, K, S]
        num_books, num_codes, size = table.shape
        cut = latent.reshape(-1, num_books, self.parts, size)
        distance = ((cut[..., None, :] - table[None, :, None]) ** 2).sum(axis=-1)  # [N, C, L, K]
        chosen = jax.nn.one_hot(distance.argmin(axis=-1), num_codes)
        codes = jnp.einsum("nclk,cks->ncls", chosen, table).reshape(latent.shape)
        sg = jax.lax.stop_gradient
        loss = ((sg(latent) - codes) ** 2).mean() + self.commitment * ((latent - sg(codes)) ** 2).mean()
        used = (chosen.sum(axis=(0, 2)) > 0).astype(jnp.float32).mean()
        return latent + sg(codes - latent), loss, {"codes": used}


class LatentActionModel(nnx.Module):
    """Inverse model, forward model and decoder.

    Args:
      sizes: as of `FrameStack`. action_size: A.
      num_frames: F, frames of the forward model; the inverse model reads one more, the future.
      latent_size: Z.
      decoder: `hidden_size` and `hidden_layers` of the decoder.
      space: of what the forward model predicts: the next "observation", or its "embedding" by a copy of the inverse
        model's encoder that follows it; of sensors that are not encoded the two are the same.
      target_rate: of the copy, per update.
      residual: whether the forward model predicts by how much the embedding changes, as the skip connections of LAPO's
        and BCV-LR's U-Net let it.
      quantizer: options of `Quantizer`; None, or codes=0, leaves z continuous.
      hidden_size, hidden_layers: of the inverse and the forward model.
      rngs: initialisation.
      **frames: the other arguments of `FrameStack`.
    """

    def __init__(
        self,
        sizes: Mapping,
        action_size: int,
        *,
        num_frames: int,
        latent_size: int,
        decoder: Mapping,
        space: str = "observation",
        target_rate: float = 0.001,
        residual: bool = False,
        quantizer: Mapping | None = None,
        hidden_size: int = 128,
        hidden_layers: int = 2,
        rngs: nnx.Rngs,
        **frames,
    ):
        if space not in SPACES:
            raise ValueError(f"Unknown space of predictions {space!r}. Known: {', '.join(SPACES)}.")
        heads: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, rngs=rngs)
        self.inverse = LatentNet(sizes, latent_size, num_frames=num_frames + 1, **heads, **frames)
        quantised = quantizer is not None and quantizer.get("codes") != 0
        self.quantizer = Quantizer(latent_size, rngs=rngs, **(quantizer or {})) if quantised else None
        self.decoder = make_decoder(latent_size, action_size, decoder, rngs)
        self.num_frames, self.space = num_frames, space
        self.target_rate, self.residual = target_rate, residual
        self.forward: ForwardNet | MLP
        if space == "observation":
            self.forward = ForwardNet(sizes, latent_size, num_frames=num_frames, **heads, **frames)
            self.target_encoder = None
        else:
            embed_size = self.inverse.encoder.out_size
            self.forward = MLP(num_frames * embed_size + latent_size, embed_size, **heads)
            self.target_encoder = jax.tree.map(jnp.copy, self.inverse.encoder)

    def before_update(self) -> LatentActionModel:
        """Returns the model that the next loss is taken of: the copy of the encoder has moved towards the encoder."""
        if self.target_encoder is None:
            return self
        moved = nnx.merge(*nnx.split(self))
        moved.target_encoder = optax.incremental_update(
            self.inverse.encoder, self.target_encoder, self.target_rate
        )
        return moved

    def latent(self, observation: Mapping[str, Array], offset: Array | int = 1) -> Array:
        """Infers latent actions, before they are quantised.

        Args:
          observation: windows {sensor: [B, T, ...]} of T >= F + max(offset) records.
          offset: k, or [B] int32.

        Returns:
          [B, Z] of record F - 1.
        """
        rows, num_frames = jnp.arange(next(iter(observation.values())).shape[0]), self.num_frames
        future = jnp.broadcast_to(num_frames - 1 + jnp.asarray(offset), rows.shape)
        frames = {
            name: jnp.concatenate([value[:, :num_frames], value[rows, future][:, None]], axis=1)
            for name, value in observation.items()
        }
        return self.inverse.latent(frames)

    def predict(self, observation: Mapping[str, Array], latent: Array) -> dict[str, Array]:
        """Predicts record F of windows from F frames and [B, Z], as `target` gives it."""
        frames = policy_frames(observation, self.num_frames)
        if isinstance(self.forward, ForwardNet):
            return self.forward(frames, latent)
        embed = jax.lax.stop_gradient(self._embed(self.inverse.encoder, frames))  # [B, F, E]
        inputs = jnp.concatenate([embed.reshape(len(embed), -1), latent], axis=-1)
        return {EMBEDDING: self.forward(inputs) + (embed[:, -1] if self.residual else 0)}

    def target(self, observation: Mapping[str, Array], record: int) -> dict[str, Array]:
        """Returns what record number `record` of windows is in the space of the predictions, {name: [B, ...]}."""
        one = {name: observation[name][:, record] for name in self.inverse.names}
        if isinstance(self.forward, ForwardNet):
            return self.forward.target(one)
        return {EMBEDDING: jax.lax.stop_gradient(self._embed(self.target_encoder, one))}

    def _embed(self, encoder, observation: Mapping[str, Array]) -> Array:
        net = self.inverse
        return encoder({name: net.standardizer(name, observation[name]) for name in net.names})


def latent_action_loss(
    model: LatentActionModel,
    batch: SequenceBatch,
    labelled: SequenceBatch | None,
    key: Array,
    *,
    max_offset: int = 1,
    decoder_weight: float = 0.0,
) -> tuple[Array, Metrics]:
    """Error of the next observation, predicted with the latent action; of the labelled windows that of the action, too.

    Windows whose episode ends before record F, so that the last one is repeated there, do not count. CLAM takes the
    second part in every second update with weight 1, which is half the weight in every update.

    Args:
      model: of F frames.
      batch: windows [B, F + max_offset, ...]; their actions, if any, are not looked at.
      labelled: windows as long, with actions; None leaves out the decoder, as on held-out windows.
      key: of the offset, uniform in 1..max_offset.
      max_offset: how far ahead the inverse model may look.
      decoder_weight: of the decoder's error, whose gradient reaches the inverse model.

    Returns:
      The loss; metrics, among them `copy_loss`, the error of predicting that nothing changes: a forward model that is
      not well below it has learnt nothing.
    """
    frozen, num_frames = jax.lax.stop_gradient(model), model.num_frames
    keys = jax.random.split(key)
    following, known = model.target(batch.observation, num_frames), recorded(batch.is_last)[:, num_frames]

    def forward_part(model: LatentActionModel, latent: Array) -> tuple[Array, Metrics]:
        quantised, loss = latent, jnp.zeros(())
        metrics: Metrics = {}
        if model.quantizer is not None:
            quantised, loss, metrics = model.quantizer(latent)
        error = squared_error(model.predict(batch.observation, quantised), following, known)
        return error + loss, {"forward_loss": error, "code_loss": loss, **metrics}

    latent = model.latent(batch.observation, _offsets(batch, max_offset, keys[0]))
    loss, metrics = forward_part(model, latent)
    present = model.target(batch.observation, num_frames - 1)
    metrics |= {"copy_loss": squared_error(present, following, known)}
    if labelled is None or not decoder_weight:
        return loss, {"loss": loss, **metrics}
    action = true_actions(labelled, "A decoder of latent actions")[:, num_frames]
    done = recorded(labelled.is_last)[:, num_frames]

    def decoder_part(model: LatentActionModel, latent: Array) -> Array:
        return decoder_weight * mean_of_rows((model.decoder(latent) - action) ** 2, done)

    inferred = model.latent(labelled.observation, _offsets(labelled, max_offset, keys[1]))
    decoder_loss = decoder_part(model, inferred)
    # The parts' gradients where they meet, at the latent actions.
    pulls = {
        "forward": jax.grad(lambda z: forward_part(frozen, z)[0])(jax.lax.stop_gradient(latent)),
        "decoder": jax.grad(lambda z: decoder_part(frozen, z))(jax.lax.stop_gradient(inferred)),
    }
    norms = {f"{name}_grad_norm": jnp.linalg.norm(pull) for name, pull in pulls.items()}
    total = loss + decoder_loss
    return total, {"loss": total, "decoder_loss": decoder_loss / decoder_weight, **metrics, **norms}


def _offsets(batch: SequenceBatch, max_offset: int, key: Array) -> Array | int:
    size = (batch.is_first.shape[0],)
    return 1 if max_offset == 1 else jax.random.randint(key, size, 1, max_offset + 1)


def decoder_loss(
    model: LatentActionModel, batch: SequenceBatch, key: Array | None = None
) -> tuple[Array, Metrics]:
    """Mean squared error of the decoded latent action to the true one; only the decoder has a gradient.

    Args:
      model: of F frames.
      batch: windows [B, T > F, ...] with actions; the latent action is of record F - 1 and looks one record ahead.
      key: unused; a loss takes one.
    """
    action = true_actions(batch, "A decoder of latent actions")[:, model.num_frames]
    latent = jax.lax.stop_gradient(model.latent(batch.observation))
    loss = mean_of_rows((model.decoder(latent) - action) ** 2, recorded(batch.is_last)[:, model.num_frames])
    return loss, {"loss": loss}


def latent_cloning_loss(
    policy: LatentPolicy, batch: SequenceBatch, model: LatentActionModel, key: Array | None = None
) -> tuple[Array, Metrics]:
    """Mean squared error of the policy's latent action to the one that the frozen model infers, on demonstrations.

    It is that before quantisation (LAPO); the policy's decoder has no gradient.

    Args:
      policy: of F frames.
      batch: windows [B, F + 1, ...]; their actions, if any, are not looked at.
      model: of F frames, frozen.
      key: unused; a loss takes one.
    """
    target = jax.lax.stop_gradient(model.latent(batch.observation))
    latent = policy.latent(policy_frames(batch.observation, policy.num_frames))
    loss = mean_of_rows((latent - target) ** 2, recorded(batch.is_last)[:, policy.num_frames])
    return loss, {"loss": loss}


def with_parts_of(module: nnx.Module, source: nnx.Module, *names: str) -> nnx.Module:
    """Returns a module with copies of the named parts of another one, which has them under the same names."""
    result = nnx.merge(*nnx.split(module))
    for name in names:
        setattr(result, name, jax.tree.map(jnp.copy, getattr(source, name)))
    return result
