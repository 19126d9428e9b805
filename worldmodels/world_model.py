"""The world model: encoder, dynamics, decoders, probes, inverse dynamics and curiosity, in one pytree."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from worldmodels import describe
from worldmodels.action_head import TanhGaussianHead
from worldmodels.architecture import EMBEDDING, Architecture
from worldmodels.decoders import DECODERS
from worldmodels.distributions import Distribution
from worldmodels.dynamics import Dynamics
from worldmodels.encoders import ObservationEncoder, Standardizer, scaled_image, split_sizes
from worldmodels.latent_actions import LatentActions
from worldmodels.min_gru import MinGRU
from worldmodels.nets import MLP, EnsembleMLP, set_compute_dtype
from worldmodels.registry import Registry
from worldmodels.representation import REPRESENTATIONS
from worldmodels.rssm import RSSM
from worldmodels.sequences import scan_time
from worldmodels.structures import Array, FilterOutput, LatentState, SequenceBatch
from worldmodels.temporal_distance import TemporalDistance

DYNAMICS = Registry("dynamics", {"rssm": RSSM, "min_gru": MinGRU}, base=Dynamics)
RSSM_ALONE = ("family", "hidden_layers")  # options of the RSSM that no other dynamics of the project have


class WorldModel(nnx.Module):
    """A latent-variable model of observations given actions.

    Args:
      sizes: {sensor: d, or (y, x) of an image} of every sensor that the model may read or predict.
      action_size: A; 0 makes the model action-free (VIPER).
      statistics: {sensor: (mean [d], std [d])}: these sensors are standardised before they are encoded and scored.
      rngs: initialisation.
      **options: what else `Architecture` has.
    """

    def __init__(
        self,
        sizes: Mapping[str, int | tuple[int, int]],
        *,
        action_size: int,
        statistics: Mapping[str, tuple] | None = None,
        rngs: nnx.Rngs,
        **options,
    ):
        arch = Architecture(sizes=sizes, action_size=action_size, **options)
        self.inputs, self.action_size, self.idm_mode = arch.inputs, action_size, arch.idm_mode
        self.standardizer = Standardizer(sizes, statistics, arch.clip)
        networks = dict(encoder=arch.encoder or dict(name="mlp"))
        networks["image_encoder"] = arch.image_encoder or dict(name="cnn_ha")
        self.encoder = ObservationEncoder({n: sizes[n] for n in self.inputs}, rngs=rngs, **networks)
        embed_size = self.encoder.out_size
        # The name of the first dynamics, under which the weights of all are stored.
        self.rssm = make_dynamics(embed_size, arch.read_size, arch.dynamics or {}, arch.rssm or {}, rngs)
        images, _ = split_sizes(sizes)
        sizes = {**sizes, EMBEDDING: embed_size}
        decoders, probes = arch.decoders(images), arch.probe_decoders(images)
        self.targets = tuple(decoders)
        self.decoders = make_heads(self.feature_size, sizes, decoders, rngs)
        self.probes = make_heads(self.feature_size, sizes, probes, rngs)
        self.baseline_probes = make_heads(embed_size, sizes, probes if arch.baseline_probes else {}, rngs)
        in_size, idm = self.feature_size + embed_size, dict(arch.idm or {}, rngs=rngs)
        self.idm = None if arch.idm_mode == "none" else TanhGaussianHead(in_size, action_size, **idm)
        self.ensemble_variant, ensemble, self.reward_probe_target, probe = arch.networks()
        in_size = self.feature_size + arch.read_size
        self.ensemble = EnsembleMLP(in_size, embed_size, rngs=rngs, **ensemble) if ensemble else None
        self.reward_probe = None if probe is None else MLP(self.feature_size, 1, rngs=rngs, **probe)
        self.intrinsic_scale = arch.intrinsic_scale
        self.momentum = arch.momentum
        follows = EMBEDDING in arch.targets and arch.momentum is not None and arch.momentum < 1.0
        self.momentum_encoder = jax.tree.map(jnp.copy, self.encoder) if follows else None
        latent = functools.partial(LatentActions, self.feature_size, embed_size, action_size, rngs=rngs)
        self.latent_actions = None if arch.latent_actions is None else latent(**arch.latent_actions)
        taught = functools.partial(REPRESENTATIONS.make, self.feature_size, embed_size, rngs=rngs)
        self.representation = None if arch.representation is None else taught(**arch.representation)
        told = functools.partial(TemporalDistance, self.feature_size, embed_size, rngs=rngs)
        distance = arch.temporal_distance or {}
        self.temporal_distance = told(**distance) if distance and distance.get("size") != 0 else None
        set_compute_dtype(self, arch.compute_dtype)

    def __repr__(self) -> str:
        sensors = f"{', '.join(self.inputs)} -> {', '.join(self.targets)}"
        size = f"features {self.feature_size}, actions {self.action_size}"
        size += f", read as latent actions of {self.read_size}" if self.codec is not None else ""
        return f"WorldModel({sensors}; {size}; {describe.parameters(self)})"

    __str__ = __repr__

    @property
    def dynamics(self) -> Dynamics:
        """Transition model of the latent state."""
        return self.rssm

    @property
    def feature_size(self) -> int:
        """F, what policies and value functions read."""
        return self.dynamics.feature_size

    @property
    def codec(self) -> LatentActions | None:
        """Latent actions that the dynamics read in the place of actions, and policies decide on; None: they do not."""
        latent = self.latent_actions
        return latent if latent is not None and latent.reads == "u" else None

    @property
    def read_size(self) -> int:
        """R, size of what the dynamics read and policies decide on: A, or U of latent actions."""
        return self.dynamics.action_size

    @property
    def inverse(self) -> TanhGaussianHead | None:
        """Inverse model of what policies decide on: [..., F + E] of a state and the next embedding -> over [..., R]."""
        return self.idm if self.codec is None else self.codec.inverse

    def read(self, features: Array, action: Array) -> Array:
        """[..., R] that the dynamics read of an action [..., A] in a state [..., F]: it, or the mode of q(u | s, a)."""
        return action if self.codec is None else self.codec.code(features, action, None)

    def action(self, features: Array, decision: Array) -> Array:
        """[..., A] that a decision [..., R] in a state [..., F] comes to: it, or the mode of p(a | s, u)."""
        return decision if self.codec is None else self.codec.action(features, decision, None)

    def encode(self, observation: Mapping[str, Array]) -> Array:
        """{sensor: [..., d]} in raw units -> embedding [..., E]."""
        return self.encoder(self._standardized(observation))

    def _standardized(self, observation: Mapping[str, Array]) -> dict[str, Array]:
        return {n: self.standardizer(n, observation[n]) for n in self.inputs if n in observation}

    def with_embedding(self, batch: SequenceBatch) -> SequenceBatch:
        """Adds the target of the decoder "emb" to the batch: the stopped embedding (of the momentum encoder)."""
        if EMBEDDING not in self.decoders or EMBEDDING in batch.observation:
            return batch
        encoder = self.encoder if self.momentum_encoder is None else self.momentum_encoder
        embed = jax.lax.stop_gradient(encoder(self._standardized(batch.observation)))
        return batch.replace(observation={**batch.observation, EMBEDDING: embed})

    def before_update(self) -> WorldModel:
        """Returns the model that the next loss is taken of: slow copies have moved towards what they are copies of."""
        model = jax.tree.map(lambda x: x, self)
        if self.momentum_encoder is not None:
            model.momentum_encoder = optax.incremental_update(
                self.encoder, self.momentum_encoder, self.momentum
            )
        if self.temporal_distance is not None:
            model.temporal_distance = self.temporal_distance.before_update()
        return model

    def with_noise(self, observation: Mapping[str, Array], scale: float, key: Array) -> dict[str, Array]:
        """Adds Gaussian noise of std `scale` (standardised units) to the vectors that are encoded."""
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
        actions = self.actions_for_filter(batch)
        if self.codec is None:
            return self.dynamics.filter(embed, actions, batch.is_first, key)
        # Which latent action an action is depends on the state that it left.
        return self.dynamics.filter_steps(embed, actions, batch.is_first, key, read=self.codec.code)

    def rollout(self, state: LatentState, actions: Array) -> LatentState:
        """Predicts the states after each of the actions [B, H, A], leaves [B, H, ...], along modes."""
        if self.codec is None:
            return self.dynamics.rollout(state, actions)

        def step(state, action):
            state = self.dynamics.predict(state, self.read(state.features, action), None)
            return state, state

        return scan_time(step, state, actions)[1]

    def decode(self, features: Array) -> dict[str, Distribution]:
        """[..., F] -> {target: distribution over its (standardised) value}, in the published order."""
        return {name: self.decoders[name](features) for name in self.targets}

    def target(self, batch: SequenceBatch, name: str) -> Array | None:
        """Returns the target of the decoder or probe `name`: standardised [B, T, d], images in 0..1; or None."""
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


def make_dynamics(
    embed_size: int, action_size: int, options: Mapping, rssm: Mapping, rngs: nnx.Rngs
) -> Dynamics:
    """Makes the dynamics that the options name; see `WorldModel`."""
    options = {"name": "rssm", **options}
    if options["name"] in DYNAMICS.names():
        alone = () if options["name"] == "rssm" else RSSM_ALONE
        options = {name: value for name, value in rssm.items() if name not in alone} | options
    return DYNAMICS.make(embed_size, action_size, rngs=rngs, **options)


def make_heads(in_size: int, sizes: Mapping, decoders: Mapping[str, Mapping], rngs: nnx.Rngs) -> nnx.Dict:
    """Makes {name: decoder} from {name: its options}; a head that is no sensor has size 1."""
    return nnx.Dict(
        {
            name: DECODERS.make(in_size, sizes.get(name, 1), rngs=rngs, **options)
            for name, options in decoders.items()
        }
    )
