"""The world model: encoder, RSSM, decoders, probes, inverse dynamics and what makes it curious, in one pytree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels import describe
from worldmodels.decoders import DECODERS
from worldmodels.distributions import Distribution, TanhNormal
from worldmodels.dynamics import Dynamics
from worldmodels.encoders import ObservationEncoder, Standardizer, scaled_image, split_sizes
from worldmodels.min_gru import MinGRU
from worldmodels.nets import MLP, EnsembleMLP, set_compute_dtype
from worldmodels.registry import Registry
from worldmodels.rssm import RSSM
from worldmodels.structures import Array, FilterOutput, SequenceBatch

IDM_MODES = ("none", "end2end", "detach")
ENSEMBLE_VARIANTS = ("std", "variance")
REWARD_PROBE_TARGETS = ("none", "disagreement", "surprise")
MIN_STD = 1e-6
EMBEDDING = "emb"  # the published name of the embedding as a target
DYNAMICS = Registry("dynamics", {"rssm": RSSM, "min_gru": MinGRU}, base=Dynamics)
RSSM_ALONE = ("family", "hidden_layers")  # options of the RSSM that no other dynamics of the project have


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

    def __repr__(self) -> str:
        return f"TanhGaussianHead({describe.parameters(self)})"

    __str__ = __repr__

    def __call__(self, x: Array) -> TanhNormal:
        mean, std = self.mean_net(x).astype(jnp.float32), self.std_net(x).astype(jnp.float32)
        return TanhNormal(mean, std + self.min_std)


class WorldModel(nnx.Module):
    """A latent-variable model of observations given actions.

    Args:
      sizes: {sensor: d, or (y, x) of an image} of every sensor that the model may read or predict.
      inputs: sensors that are encoded, in the published order of the sensor layout; all by default, as `targets`.
      targets: sensors that are decoded; "emb" is the stopped embedding of the observation; "reward" and "is_terminal"
        are switched by `predict_reward` and `predict_terminal`; name further heads here (size 1 unless in `sizes`).
      probes: sensors that are predicted from stopped features, without influence on the model.
      action_size: A; 0 makes the model action-free (VIPER).
      rssm: options of `RSSM`.
      dynamics: `name` of the dynamics, "rssm" by default, and its own options. The project's others take the sizes of
        `rssm` where they are given none.
      encoder, decoder, probe, binary: options of the vector encoder (default: `mlp`) and of the decoders (`dmlp`), each
        with its `name`.
      image_encoder, image_decoder, image_probe: the same for images; `cnn_ha` by default.
      heads: {target: options of its decoder} where they are not those above.
      predict_terminal, predict_reward: adds these heads; `detach_reward` makes the reward a probe.
      baseline_probes: predict the probes from the embedding alone, too.
      momentum: rate at which the encoder of the target "emb" follows the encoder (published: 0.01); None: no copy.
      idm_mode: "none", "end2end" or "detach": the inverse dynamics model, and whether its loss shapes the model.
      idm: options of the inverse dynamics model.
      ensemble: options of the disagreement ensemble (num_members, hidden_size, hidden_layers); None or 0 members: none.
        Its `variant` is "std" (AIME-v2) or "variance" (AIME v1).
      reward_probe: options (hidden_size, hidden_layers) of a network that predicts the intrinsic reward from features;
        its `target` is "disagreement", "surprise" (latent Bayesian surprise) or "none"; None: none.
      intrinsic_scale: factor of the intrinsic reward.
      statistics: {sensor: (mean [d], std [d])}: these sensors are standardised before they are encoded and scored.
      compute_dtype: "float32" or "bfloat16", of matrix products and convolutions; the rest stays float32.
      rngs: initialisation.
    """

    def __init__(
        self,
        sizes: Mapping[str, int | tuple[int, int]],
        *,
        inputs: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        probes: Sequence[str] = (),
        action_size: int,
        rssm: Mapping | None = None,
        dynamics: Mapping | None = None,
        encoder: Mapping | None = None,
        decoder: Mapping | None = None,
        probe: Mapping | None = None,
        binary: Mapping | None = None,
        image_encoder: Mapping | None = None,
        image_decoder: Mapping | None = None,
        image_probe: Mapping | None = None,
        heads: Mapping[str, Mapping] | None = None,
        predict_terminal: bool = True,
        predict_reward: bool = False,
        detach_reward: bool = False,
        baseline_probes: bool = True,
        momentum: float | None = None,
        idm_mode: str = "detach",
        idm: Mapping | None = None,
        ensemble: Mapping | None = None,
        reward_probe: Mapping | None = None,
        intrinsic_scale: float = 0.1,
        statistics: Mapping[str, tuple] | None = None,
        compute_dtype: str = "float32",
        rngs: nnx.Rngs,
    ):
        inputs = tuple(sizes) if inputs is None else inputs
        targets = tuple(sizes) if targets is None else targets
        encoder, decoder = encoder or dict(name="mlp"), decoder or dict(name="dmlp")
        check(sizes, (*inputs, *probes), idm_mode)
        probes = (*probes, "reward") if predict_reward and detach_reward else tuple(probes)
        targets = (*targets, "reward") if predict_reward and not detach_reward else tuple(targets)
        self.targets = (*targets, "is_terminal") if predict_terminal else targets
        self.inputs, self.idm_mode, self.action_size = tuple(inputs), idm_mode, action_size
        self.standardizer = Standardizer(sizes, statistics)
        networks = dict(encoder=encoder, image_encoder=image_encoder or dict(name="cnn_ha"))
        self.encoder = ObservationEncoder({name: sizes[name] for name in inputs}, rngs=rngs, **networks)
        embed_size = self.encoder.out_size
        # The name of the first dynamics, under which the weights of all are stored.
        self.rssm = make_dynamics(embed_size, action_size, dynamics or {}, rssm or {}, rngs)
        feature_size, sizes = self.feature_size, {**sizes, EMBEDDING: embed_size}
        image_decoder = image_decoder or dict(name="cnn_ha")
        kinds = dict(vector=decoder, image=image_decoder, binary=binary or dict(name="binary"), rngs=rngs)
        self.decoders = make_heads(feature_size, sizes, self.targets, special=heads, **kinds)
        kinds |= dict(vector=probe or decoder, image=image_probe or image_decoder)
        self.probes = make_heads(feature_size, sizes, probes, **kinds)
        self.baseline_probes = make_heads(embed_size, sizes, probes if baseline_probes else (), **kinds)
        idm_options = dict(in_size=feature_size + embed_size, action_size=action_size, **(idm or {}))
        self.idm = None if idm_mode == "none" else TanhGaussianHead(rngs=rngs, **idm_options)
        self._make_curious(embed_size, ensemble, reward_probe, rngs)
        self.intrinsic_scale, self.momentum = intrinsic_scale, momentum
        follows = EMBEDDING in targets and momentum is not None and momentum < 1.0
        self.momentum_encoder = jax.tree.map(jnp.copy, self.encoder) if follows else None
        set_compute_dtype(self, compute_dtype)

    def __repr__(self) -> str:
        sensors = f"{', '.join(self.inputs)} -> {', '.join(self.targets)}"
        size = f"features {self.feature_size}, actions {self.action_size}"
        return f"WorldModel({sensors}; {size}; {describe.parameters(self)})"

    __str__ = __repr__

    def _make_curious(self, embed_size: int, ensemble, reward_probe, rngs: nnx.Rngs) -> None:
        """The networks of intrinsic rewards."""
        ensemble, reward_probe = dict(ensemble or {}), dict(reward_probe or {})
        probed = bool(reward_probe)
        self.ensemble_variant = ensemble.pop("variant", "std")
        self.reward_probe_target = reward_probe.pop("target", "disagreement")
        for value, known in (
            (self.ensemble_variant, ENSEMBLE_VARIANTS),
            (self.reward_probe_target, REWARD_PROBE_TARGETS),
        ):
            if value not in known:
                raise ValueError(f"Unknown intrinsic reward {value!r}. Known: {', '.join(known)}.")
        ensemble = ensemble if ensemble.get("num_members") else {}
        probed = probed and self.reward_probe_target != "none"
        if probed and self.reward_probe_target == "disagreement" and not ensemble:
            raise ValueError(
                "A reward_probe of the disagreement needs an ensemble; give the ensemble's options."
            )
        size = self.feature_size
        self.ensemble = (
            EnsembleMLP(size + self.action_size, embed_size, rngs=rngs, **ensemble) if ensemble else None
        )
        self.reward_probe = MLP(size, 1, rngs=rngs, **reward_probe) if probed else None

    @property
    def dynamics(self) -> Dynamics:
        """How the latent state moves."""
        return self.rssm

    @property
    def feature_size(self) -> int:
        """F, what policies and value functions read."""
        return self.dynamics.feature_size

    def encode(self, observation: Mapping[str, Array]) -> Array:
        """{sensor: [..., d]} in raw units -> embedding [..., E]."""
        return self.encoder(self._standardized(observation))

    def _standardized(self, observation: Mapping[str, Array]) -> dict[str, Array]:
        return {n: self.standardizer(n, observation[n]) for n in self.inputs if n in observation}

    def with_embedding(self, batch: SequenceBatch) -> SequenceBatch:
        """The batch with what the decoder "emb" should predict: the stopped embedding (of the momentum encoder)."""
        if EMBEDDING not in self.decoders or EMBEDDING in batch.observation:
            return batch
        encoder = self.encoder if self.momentum_encoder is None else self.momentum_encoder
        embed = jax.lax.stop_gradient(encoder(self._standardized(batch.observation)))
        return batch.replace(observation={**batch.observation, EMBEDDING: embed})

    def before_update(self) -> WorldModel:
        """The model that the next loss is taken of: the momentum encoder has moved towards the encoder."""
        if self.momentum_encoder is None:
            return self
        online = dict(jax.tree_util.tree_flatten_with_path(self.encoder)[0])

        def follow(path, leaf):
            if getattr(path[0], "name", getattr(path[0], "key", None)) != "momentum_encoder":
                return leaf
            return self.momentum * online[path[1:]] + (1.0 - self.momentum) * leaf

        return jax.tree_util.tree_map_with_path(follow, self)

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
        return self.dynamics.filter(embed, self.actions_for_filter(batch), batch.is_first, key)

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


def make_dynamics(
    embed_size: int, action_size: int, options: Mapping, rssm: Mapping, rngs: nnx.Rngs
) -> Dynamics:
    """Makes the dynamics that the options name; see `WorldModel`."""
    options = {"name": "rssm", **options}
    if options["name"] in DYNAMICS.names():
        alone = () if options["name"] == "rssm" else RSSM_ALONE
        options = {name: value for name, value in rssm.items() if name not in alone} | options
    return DYNAMICS.make(embed_size, action_size, rngs=rngs, **options)


def make_heads(
    in_size: int,
    sizes: Mapping,
    names: Sequence[str],
    *,
    vector: Mapping,
    image: Mapping,
    binary: Mapping,
    special: Mapping[str, Mapping] | None = None,
    rngs: nnx.Rngs,
) -> nnx.Dict:
    """{name: decoder}: options by what is predicted, an image, "is_terminal" or a vector (size 1 if not in `sizes`)."""
    images, _ = split_sizes(sizes)
    options = {n: image if n in images else binary if n == "is_terminal" else vector for n in names}
    options |= {name: special[name] for name in names if name in (special or {})}
    return nnx.Dict(
        {name: DECODERS.make(in_size, sizes.get(name, 1), rngs=rngs, **options[name]) for name in names}
    )


def check(sizes: Mapping[str, int], names: Sequence[str], idm_mode: str) -> None:
    """Raises if a named sensor has no size, or for an unknown mode."""
    if idm_mode not in IDM_MODES:
        raise ValueError(f"Unknown idm_mode {idm_mode!r}. Known: {', '.join(IDM_MODES)}.")
    unknown = [name for name in names if name not in sizes and name not in (EMBEDDING, "reward")]
    if unknown:
        raise ValueError(
            f"Unknown sensors {', '.join(unknown)}; the data has {', '.join(sorted(sizes))}. "
            "Choose another observation set-up or other data."
        )
