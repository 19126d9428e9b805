"""Latent-action baselines: CLAM, LAPO and LAOM learn from video what happens, and from a few labels what does it.

Labelled are the embodiment data; video are these, `config.unlabelled` and the demonstrations, all without actions.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import jax

from agents.bc import bc_loss
from agents.latent_action_model import (
    LatentActionModel,
    LatentPolicy,
    decoder_loss,
    latent_action_loss,
    latent_cloning_loss,
    with_parts_of,
)
from agents.prototypes import Prototypes
from experiments.methods.baseline_data import Data
from experiments.methods.baseline_recipes import Fit, FrameStackBaseline
from experiments.models import architectures
from experiments.runs.paths import folders_of
from worldmodels.data.episodes import load_episodes


class LatentNetworks:
    """The networks of latent actions, before training.

    Args:
      latent: `size` of a latent action, `decoder`, and options of `LatentActionModel`.
      data: decide the sizes; what they are standardised by.

    Attributes:
      arguments: of the policy, as `experiments.models.files` opens it again.
    """

    def __init__(self, latent: Mapping, data: Data):
        latent = dict(latent)
        shared = {"latent_size": latent.pop("size"), "decoder": latent.pop("decoder")}
        self.arguments = data.arch | shared | {"kind": "latent_policy"}
        self._kind, self._episodes = functools.partial(LatentActionModel, **latent), data.episodes

    def model(self, key: jax.Array, **changes) -> LatentActionModel:
        """Makes a model; `changes` are of its arguments."""
        arguments = self.arguments | changes
        return architectures.build_network(arguments, key, self._episodes, network=self._kind)

    def features(self, key: jax.Array, **options) -> Prototypes:
        """Makes what learns the features of a frame."""
        names = ("sizes", "standardized", "num_frames", "encoder", "image_encoder")
        arguments = {name: self.arguments[name] for name in names} | options
        return architectures.build_network(arguments, key, self._episodes, network=Prototypes)

    def policy(self, key: jax.Array) -> LatentPolicy:
        """Makes a policy of latent actions."""
        return architectures.build_network(self.arguments, key, self._episodes, network=LatentPolicy)


class LatentActionBaseline(FrameStackBaseline):
    """A latent action model, where the method has one a decoder afterwards, and a policy of latent actions."""

    needs = ("embodiment",)

    def __init__(self, config: Mapping):
        super().__init__(config)
        self.data = with_unlabelled(config, self.data)
        latent = dict(config["latent"])
        self._decoder_after = latent.pop("decoder_after")
        self._weights = {name: latent.pop(name) for name in ("max_offset", "decoder_weight")}
        self._networks = LatentNetworks(latent, self.data)
        self.arguments = self._networks.arguments
        self._last = "decoder" if self._decoder_after else "model"  # it knows latent actions and decoder
        self.error_losses = {"policy": ("action_mse", bc_loss), self._last: ("idm_action_mse", decoder_loss)}
        self.counts = label_counts(self.data)

    @functools.cached_property
    def fits(self):
        """The model, the decoder if it is learnt afterwards, the policy."""
        data, loss = self.data, functools.partial(latent_action_loss, **self._weights)
        options = dict(length=data.arch["num_frames"] + self._weights["max_offset"])
        video = data.windows([*data.episodes, *data.shown.episodes], with_actions=False, **options)
        labelled = data.windows(data.body, with_actions=True, **options)
        fits = [Fit("model", video, loss, labelled=labelled)]
        if self._decoder_after:
            fits.append(Fit("decoder", labelled, _later_decoder_loss, "model"))
        shown = data.shown_windows(with_actions=False)
        return (*fits, Fit("policy", shown, latent_cloning_loss, self._last))

    def create(self, network, key):
        """Creates a network; a model whose decoder is learnt afterwards is supervised by a linear one."""
        if network == "policy":
            return self._networks.policy(key)
        supervises = network == "model" and self._decoder_after
        return self._networks.model(key, **({"decoder": {"hidden_layers": 0}} if supervises else {}))

    def begin(self, policy, teacher):
        """Gives the decoder's network the model, and the policy the decoder."""
        if isinstance(policy, LatentActionModel):
            return with_parts_of(policy, teacher, "inverse", "forward", "quantizer", "target_encoder")
        return super().begin(with_parts_of(policy, teacher, "decoder"), teacher.inverse)


class CLAM(LatentActionBaseline):
    """CLAM: continuous latent actions; the decoder is learnt with the model."""

    label = "CLAM"
    paper = "Liang et al. 2025"
    preset = "clam"


class LAPO(LatentActionBaseline):
    """LAPO: latent actions of codes; the decoder is learnt afterwards."""

    label = "LAPO"
    paper = "Schmidt and Jiang 2024"
    preset = "lapo"


class LAOM(LatentActionBaseline):
    """LAOM: large latent actions over several steps, slightly supervised; the forward model predicts an embedding."""

    label = "LAOM"
    paper = "Nikulin et al. 2025"
    preset = "laom"


def _later_decoder_loss(model, batch, teacher, key):
    """Fits the decoder of a model that has begun with the other parts of its teacher, and keeps them."""
    del teacher
    return decoder_loss(model, batch, key)


def with_unlabelled(config: Mapping, data: Data) -> Data:
    """Adds the sensors of `config["unlabelled"]`; raises a ValueError if they are of another body."""
    folders, arch = folders_of(config["unlabelled"]), data.arch
    if not folders:
        return data
    first = load_episodes(folders, limit=1, images_on_disk=True)
    body = arch | {"inputs": list(arch["sizes"]), "environment": data.shown.arena.name, "action_size": 0}
    architectures.check_body(body, first, "unlabelled data", reader="method")
    options = dict(limit=config["num_unlabelled"], keys=list(arch["sizes"]), images_on_disk=True)
    return dataclasses.replace(data, unlabelled=load_episodes(folders, **options))


def label_counts(data: Data) -> dict[str, int]:
    """Returns {"num_actions", "num_unlabelled"}: actions that are known, and episodes whose actions are not."""
    num_actions = sum(episode.length for episode in data.body)
    return {"num_actions": num_actions, "num_unlabelled": len(data.unlabelled)}
