"""The world model: encoder, RSSM, decoders, probes, inverse dynamics and disagreement ensemble in one pytree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels.decoders import make_decoder
from worldmodels.distributions import Distribution, TanhNormal
from worldmodels.encoders import ObservationEncoder, Standardizer, scaled_image, split_sizes
from worldmodels.nets import MLP, EnsembleMLP
from worldmodels.rssm import RSSM
from worldmodels.types import Array, FilterOutput, SequenceBatch

IDM_MODES = ("none", "end2end", "detach")
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
        options = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, norm=norm)
        self.mean_net = MLP(in_size, action_size, rngs=rngs, **options)
        self.std_net = MLP(in_size, action_size, output_activation="softplus", rngs=rngs, **options)
        self.min_std = min_std

    def __call__(self, x: Array) -> TanhNormal:
        return TanhNormal(self.mean_net(x), self.std_net(x) + self.min_std)


class WorldModel(nnx.Module):
    """A latent-variable model of observations given actions.

    Args:
      sizes: {sensor: d, or (y, x) of an image} of every sensor that the model may read or predict.
      inputs: sensors that are encoded, in the published order of the sensor layout.
      targets: sensors that are decoded; "reward" and "is_terminal" are switched by `predict_reward` and
        `predict_terminal`, further heads (size 1 unless in `sizes`) by naming them here.
      probes: sensors that are predicted from stopped features, without influence on the model.
      action_size: A; 0 makes the model action-free (VIPER).
      rssm: options of `RSSM`.
      encoder, decoder, probe, binary: options of the vector encoder and of the decoders, each with its `name`.
      image_encoder, image_decoder: the same for images; `cnn_ha` by default.
      heads: {target: options of its decoder} where they are not those above.
      predict_terminal, predict_reward: adds these heads.
      idm_mode: "none", "end2end" or "detach": the inverse dynamics model, and whether its loss shapes the model.
      idm: options of the inverse dynamics model.
      ensemble: options of the disagreement ensemble (num_members, hidden_size, hidden_layers), or None.
      statistics: {sensor: (mean [d], std [d])}: these sensors are standardised before they are encoded and scored.
      rngs: initialisation.
    """

    def __init__(
        self,
        sizes: Mapping[str, int | tuple[int, int]],
        *,
        inputs: Sequence[str],
        targets: Sequence[str],
        probes: Sequence[str] = (),
        action_size: int,
        rssm: Mapping,
        encoder: Mapping,
        decoder: Mapping,
        probe: Mapping | None = None,
        binary: Mapping | None = None,
        image_encoder: Mapping | None = None,
        image_decoder: Mapping | None = None,
        heads: Mapping[str, Mapping] | None = None,
        predict_terminal: bool = True,
        predict_reward: bool = False,
        idm_mode: str = "detach",
        idm: Mapping | None = None,
        ensemble: Mapping | None = None,
        statistics: Mapping[str, tuple] | None = None,
        rngs: nnx.Rngs,
    ):
        if idm_mode not in IDM_MODES:
            raise ValueError(f"Unknown idm_mode {idm_mode!r}. Known: {', '.join(IDM_MODES)}.")
        check_sensors(sizes, (*inputs, *probes))
        self.inputs, self.idm_mode, self.action_size = tuple(inputs), idm_mode, action_size
        self.standardizer = Standardizer(sizes, statistics)
        input_sizes = {name: sizes[name] for name in inputs}
        image_encoder, image_decoder = (
            image_encoder or dict(name="cnn_ha"),
            image_decoder or dict(name="cnn_ha"),
        )
        self.encoder = ObservationEncoder(
            input_sizes, encoder=encoder, image_encoder=image_encoder, rngs=rngs
        )
        embed_size = self.encoder.out_size
        self.rssm = RSSM(embed_size, action_size, rngs=rngs, **rssm)
        feature_size = self.rssm.feature_size

        binary = binary or dict(name="binary")
        images, _ = split_sizes(sizes)
        special = dict(heads or {})
        heads = [(name, image_decoder if name in images else decoder) for name in targets]
        heads += [("reward", decoder)] if predict_reward else []
        heads += [("is_terminal", binary)] if predict_terminal else []
        heads = [(name, special.get(name, options)) for name, options in heads]
        self.decoders = nnx.Dict(
            {
                name: make_decoder(feature_size, sizes.get(name, 1), rngs=rngs, **options)
                for name, options in heads
            }
        )
        self.targets = tuple(name for name, _ in heads)
        probe = probe or decoder
        self.probes = nnx.Dict(
            {name: make_decoder(feature_size, sizes[name], rngs=rngs, **probe) for name in probes}
        )
        self.baseline_probes = nnx.Dict(
            {name: make_decoder(embed_size, sizes[name], rngs=rngs, **probe) for name in probes}
        )
        self.idm = (
            TanhGaussianHead(feature_size + embed_size, action_size, rngs=rngs, **(idm or {}))
            if idm_mode != "none"
            else None
        )
        self.ensemble = (
            EnsembleMLP(feature_size + action_size, embed_size, rngs=rngs, **ensemble)
            if ensemble is not None
            else None
        )

    @property
    def feature_size(self) -> int:
        """D + S, what policies and value functions read."""
        return self.rssm.feature_size

    def encode(self, observation: Mapping[str, Array]) -> Array:
        """{sensor: [..., d]} in raw units -> embedding [..., E]."""
        known = {
            name: self.standardizer(name, observation[name]) for name in self.inputs if name in observation
        }
        return self.encoder(known)

    def perturb(self, observation: Mapping[str, Array], scale: float, key: Array) -> dict[str, Array]:
        """The observation with Gaussian noise of std `scale` (standardised units) on the vectors that are encoded."""
        names = sorted(self.encoder.vector_names)
        noisy = dict(observation)
        for name, name_key in zip(names, jax.random.split(key, len(names)), strict=True):
            value = observation[name]
            unit = jnp.broadcast_to(self.standardizer.unit(name), value.shape)
            noisy[name] = value + scale * unit * jax.random.normal(name_key, value.shape)
        return noisy

    def actions_for_filter(self, batch: SequenceBatch) -> Array:
        """[B, T, A] actions of the batch; empty for an action-free model; an error for demonstrations without any."""
        if self.action_size == 0:
            return jnp.zeros((*batch.batch_shape, 0))
        if batch.prev_action is None:
            raise ValueError(
                "The world model's ELBO needs actions, but batch.prev_action is None. For demonstrations without "
                "actions use aime.losses.action_inference_loss."
            )
        if batch.prev_action.shape[-1] != self.action_size:
            raise ValueError(
                f"The actions have size {batch.prev_action.shape[-1]}, the model was built for {self.action_size}. "
                "Use data of the same body."
            )
        return batch.prev_action

    def filter(
        self, batch: SequenceBatch, key: Array | None = None, embed: Array | None = None
    ) -> FilterOutput:
        """Infers the states of `batch` given its actions; `key=None` takes modes. Leaves [B, T, ...]."""
        embed = self.encode(batch.observation) if embed is None else embed
        return self.rssm.filter(embed, self.actions_for_filter(batch), batch.is_first, key)

    def decode(self, features: Array) -> dict[str, Distribution]:
        """[..., F] -> {target: distribution over its (standardised) value}, in the published order."""
        return {name: self.decoders[name](features) for name in self.targets}

    def target(self, batch: SequenceBatch, name: str) -> Array | None:
        """What the decoder or probe `name` is scored on: standardised [B, T, d], images in 0..1; or None."""
        value = batch.target(name)
        if value is not None and value.ndim == 5:
            return scaled_image(value)
        return None if value is None else self.standardizer(name, value)

    def predict(self, features: Array, names: Sequence[str] | None = None) -> dict[str, Array]:
        """[..., F] -> {target or probe: mean prediction [..., d] in raw units}."""
        heads = {
            **{name: self.probes[name] for name in self.probes},
            **{n: self.decoders[n] for n in self.targets},
        }
        names = tuple(heads) if names is None else names
        return {name: self.standardizer.inverse(name, heads[name](features).mean()) for name in names}


def check_sensors(sizes: Mapping[str, int], names: Sequence[str]) -> None:
    """Raises if a named sensor has no size."""
    unknown = [name for name in names if name not in sizes]
    if unknown:
        raise ValueError(
            f"Unknown sensors {', '.join(unknown)}; the data has {', '.join(sorted(sizes))}. "
            "Choose another observation set-up or other data."
        )
