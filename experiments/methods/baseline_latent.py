"""Latent-action baselines: CLAM, LAPO and LAOM learn from video what happens, and from a few labels what does it.

Labelled are the embodiment data; video are these, `config.unlabelled` and the demonstrations, all without actions.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

from agents.bc import bc_loss
from agents.latent_action_model import (
    LatentActionModel,
    LatentPolicy,
    decoder_loss,
    latent_action_loss,
    latent_cloning_loss,
    with_parts_of,
)
from experiments.methods.baseline_recipes import Data, Fit, FrameStackBaseline
from experiments.models import architectures
from experiments.runs.paths import folders_of
from worldmodels.data.episodes import Episode, load_episodes


class LatentActionBaseline(FrameStackBaseline):
    """A latent action model, where the method has one a decoder afterwards, and a policy of latent actions."""

    needs = ("embodiment",)

    def __init__(self, config: Mapping):
        super().__init__(config)
        latent = dict(config["latent"])
        self._max_offset, self._decoder_weight = latent.pop("max_offset"), latent.pop("decoder_weight")
        self._decoder_after = latent.pop("decoder_after")
        shared = {"latent_size": latent.pop("size"), "decoder": latent.pop("decoder")}
        self.arguments = self.data.arch | shared | {"kind": "latent_policy"}
        self._model = functools.partial(LatentActionModel, **latent)
        video = load_unlabelled(config, self.data)
        self.data = dataclasses.replace(self.data, unlabelled=video)
        self.error_losses = {
            "policy": ("action_mse", bc_loss),
            self._last: ("idm_action_mse", decoder_loss),
        }
        num_actions = sum(episode.length for episode in self.data.body)
        self.counts = {"num_actions": num_actions, "num_unlabelled": len(video)}

    @property
    def _last(self) -> str:
        """The network that knows latent actions and their decoder."""
        return "decoder" if self._decoder_after else "model"

    @functools.cached_property
    def fits(self):
        """The model, the decoder if it is learnt afterwards, the policy."""
        data, options = self.data, dict(length=self.data.arch["num_frames"] + self._max_offset)
        video = data.windows([*data.episodes, *data.shown.episodes], with_actions=False, **options)
        labelled = data.windows(data.body, with_actions=True, **options)
        weights = dict(max_offset=self._max_offset, decoder_weight=self._decoder_weight)
        loss = functools.partial(latent_action_loss, **weights)
        fits = [Fit("model", video, loss, labelled=labelled)]
        if self._decoder_after:
            fits.append(Fit("decoder", labelled, _later_decoder_loss, "model"))
        return (
            *fits,
            Fit("policy", data.shown_windows(with_actions=False), latent_cloning_loss, self._last),
        )

    def create(self, network, key):
        """Creates a network; a model whose decoder is learnt afterwards is supervised by a linear one."""
        arch = self.arguments
        if network == "model" and self._decoder_after:
            arch = arch | {"decoder": {"hidden_layers": 0}}
        kind = LatentPolicy if network == "policy" else self._model
        return architectures.build_frame_stack(arch, key, self.data.episodes, network=kind)

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


def load_unlabelled(config: Mapping, data: Data) -> list[Episode]:
    """Reads the sensors of `config["unlabelled"]`; raises a ValueError if they are of another body."""
    folders, arch = folders_of(config["unlabelled"]), data.arch
    if not folders:
        return []
    first = load_episodes(folders, limit=1, images_on_disk=True)
    body = arch | {"inputs": list(arch["sizes"]), "environment": data.shown.arena.name, "action_size": 0}
    architectures.check_body(body, first, "unlabelled data", reader="method")
    limit = config["num_unlabelled"]
    return load_episodes(folders, limit=limit, keys=list(arch["sizes"]), images_on_disk=True)
