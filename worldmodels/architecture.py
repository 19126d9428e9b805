"""What shapes a world model: values under the names that configs and model folders have, in three groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping, Sequence
from typing import Any

ALL: Any = None  # sensors; `Architecture` puts their names in its place
EMBEDDING = "emb"  # the published name of the embedding as a target
IDM_MODES = ("none", "end2end", "detach")
ENSEMBLE_VARIANTS = ("std", "variance")
REWARD_PROBE_TARGETS = ("none", "disagreement", "surprise")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heads:
    """Decoders and probes of a world model.

    Attributes:
      targets: sensors that are decoded, all by default; "emb" is the stopped embedding of the observation; "reward" and
        "is_terminal" are switched by `predict_reward` and `predict_terminal`; name further heads here (size 1 unless
        they are sensors).
      probes: sensors that are predicted from stopped features, without influence on the model.
      decoder, probe, binary: options of the decoders of vectors (`dmlp` by default), of their probes (by default those
        of `decoder`) and of "is_terminal" (`binary`), each with its `name`.
      image_decoder, image_probe: the same of images; `cnn_ha` by default.
      heads: {target: options of its decoder} where they are not those above.
      predict_terminal, predict_reward: add these heads; `detach_reward` makes the reward a probe.
      baseline_probes: predict the probes from the embedding alone, too.
    """

    targets: Sequence[str] = ALL
    probes: Sequence[str] = ()
    decoder: Mapping | None = None
    probe: Mapping | None = None
    binary: Mapping | None = None
    image_decoder: Mapping | None = None
    image_probe: Mapping | None = None
    heads: Mapping[str, Mapping] | None = None
    predict_terminal: bool = True
    predict_reward: bool = False
    detach_reward: bool = False
    baseline_probes: bool = True

    def decoders(self, images: Container[str]) -> dict[str, Mapping]:
        """Returns {target: options of its decoder}, in the published order; `images` are the sensors that are such."""
        reward = ["reward"] if self.predict_reward and not self.detach_reward else []
        names = (*self.targets, *reward, *(["is_terminal"] if self.predict_terminal else []))
        special = {"is_terminal": self.binary or {"name": "binary"}, **(self.heads or {})}
        image = self.image_decoder or {"name": "cnn_ha"}
        vector = self.decoder or {"name": "dmlp"}
        return {name: special.get(name, image if name in images else vector) for name in names}

    def probe_decoders(self, images: Container[str]) -> dict[str, Mapping]:
        """Returns the same of the probes."""
        names = (*self.probes, *(["reward"] if self.predict_reward and self.detach_reward else []))
        image = self.image_probe or self.image_decoder or {"name": "cnn_ha"}
        vector = self.probe or self.decoder or {"name": "dmlp"}
        return {name: image if name in images else vector for name in names}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curiosity:
    """Networks of the intrinsic rewards.

    Attributes:
      ensemble: options of the disagreement ensemble (num_members, hidden_size, hidden_layers); None or 0 members: none.
        Its `variant` is "std" (AIME-v2) or "variance" (AIME v1).
      reward_probe: options (hidden_size, hidden_layers) of a network that predicts the intrinsic reward from features;
        its `target` is "disagreement", "surprise" (latent Bayesian surprise) or "none"; None: none.
      intrinsic_scale: factor of the intrinsic reward.
    """

    ensemble: Mapping | None = None
    reward_probe: Mapping | None = None
    intrinsic_scale: float = 0.1

    def networks(self) -> tuple[str, dict | None, str, dict | None]:
        """Returns the ensemble's variant and sizes, and the probe's target and sizes; sizes are None without one."""
        ensemble, probe = dict(self.ensemble or {}), dict(self.reward_probe or {})
        variant, target = ensemble.pop("variant", "std"), probe.pop("target", "disagreement")
        for value, known in ((variant, ENSEMBLE_VARIANTS), (target, REWARD_PROBE_TARGETS)):
            if value not in known:
                raise ValueError(f"Unknown intrinsic reward {value!r}. Known: {', '.join(known)}.")
        has_ensemble = bool(ensemble.get("num_members"))
        has_probe = bool(self.reward_probe) and target != "none"
        if has_probe and target == "disagreement" and not has_ensemble:
            raise ValueError(
                "A reward_probe of the disagreement needs an ensemble; give the ensemble's options."
            )
        return variant, ensemble if has_ensemble else None, target, probe if has_probe else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture(Heads, Curiosity):
    """Everything that shapes a world model but its statistics.

    Attributes:
      sizes: {sensor: d, or (y, x) of an image} of every sensor that the model may read or predict.
      inputs: sensors that are encoded, in the published order of the sensor layout; all by default.
      action_size: A; 0 makes the model action-free (VIPER).
      encoder: options of the vector encoder, with its `name`; `mlp` by default. image_encoder: of images, `cnn_ha`.
      rssm: options of `RSSM`.
      dynamics: `name` of the dynamics, "rssm" by default, and its own options. The project's others take the sizes of
        `rssm` where they are given none.
      momentum: rate at which the encoder of the target "emb" follows the encoder (published: 0.01); None: no copy.
      idm_mode: "none", "end2end" or "detach": the inverse dynamics model, and whether its loss shapes the model.
      idm: options of the inverse dynamics model.
      representation: `name` and options of what teaches the state in the place of decoders of its `targets`, see
        `worldmodels.representation`; None: reconstruction.
      temporal_distance: options of `TemporalDistance`, for planning that follows demonstrations; None, or size 0: none.
      latent_actions: options of `LatentActions`, to learn from observations whose actions are unknown, too; None: none.
      compute_dtype: "float32" or "bfloat16", of matrix products and convolutions; the rest stays float32.
      clip: standard deviations beyond which standardised vectors are cut off, before they are encoded and scored: what
        the data never show counts as their extreme; None (published): nowhere.
    """

    sizes: Mapping[str, int | tuple[int, int]]
    inputs: Sequence[str] = ALL
    action_size: int
    encoder: Mapping | None = None
    image_encoder: Mapping | None = None
    rssm: Mapping | None = None
    dynamics: Mapping | None = None
    momentum: float | None = None
    idm_mode: str = "detach"
    idm: Mapping | None = None
    representation: Mapping | None = None
    temporal_distance: Mapping | None = None
    latent_actions: Mapping | None = None
    compute_dtype: str = "float32"
    clip: float | None = None

    def __post_init__(self):
        for name in ("inputs", "targets"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(self.sizes if value is None else value))
        if self.idm_mode not in IDM_MODES:
            raise ValueError(f"Unknown idm_mode {self.idm_mode!r}. Known: {', '.join(IDM_MODES)}.")
        if self.representation is not None and EMBEDDING in self.targets:
            raise ValueError(
                "A representation scores the embedding itself; leave predict_emb and the target 'emb' out."
            )
        known = (*self.sizes, EMBEDDING, "reward")
        unknown = [name for name in (*self.inputs, *self.probes) if name not in known]
        if unknown:
            raise ValueError(
                f"Unknown sensors {', '.join(unknown)}; the data has {', '.join(sorted(self.sizes))}. "
                "Choose another observation set-up or other data."
            )

    @property
    def read_size(self) -> int:
        """Size of what the dynamics read: A, or U of latent actions."""
        latent = self.latent_actions or {}
        return latent.get("size") or self.action_size if latent.get("reads") == "u" else self.action_size
