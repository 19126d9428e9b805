"""An encoder of frames that was pretrained, as the networks of a baseline begin with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from agents.frame_stack import with_fixed_encoders
from agents.latent_action_model import with_parts_of
from experiments.models import architectures, files
from worldmodels.data.episodes import Episode
from worldmodels.encoders import FrameEncoder


@dataclasses.dataclass(frozen=True)
class PretrainedEncoder:
    """An encoder of frames that a config names.

    Attributes:
      path: of its run.
      arch: its arguments.
      encoders: one per policy, leaves [num_seeds, ...].
      frozen: True: losses do not change it.
    """

    path: str
    arch: dict
    encoders: FrameEncoder
    frozen: bool

    @classmethod
    def of(cls, config: Mapping) -> PretrainedEncoder | None:
        """Opens the encoder that a config of a baseline names, if it names one."""
        if not config.get("encoder"):
            return None
        models = files.load_encoder(config["encoder"])
        encoders = files.for_seeds(models, config["num_seeds"], "encoder")
        return cls(models.path, models.arguments["encoder"], encoders, config["freeze_encoder"])

    def inside(self, arch: Mapping, episodes: list[Episode]) -> dict:
        """Returns the arguments of networks of `architectures.frame_stack` with this encoder.

        Raises:
          ValueError: they read other sensors than the encoder, or it is of another body.
        """
        if set(arch["sizes"]) != set(self.arch["sizes"]):
            ours, theirs = (", ".join(each["sizes"]) for each in (self.arch, arch))
            raise ValueError(
                f"The encoder in {self.path} reads {ours}, the policy {theirs}; choose the encoder's set-up with "
                "--config.setup=NAME, or pretrain one with this set-up."
            )
        architectures.check_body(self.arch, episodes, "data", reader="encoder")
        own = ("sizes", "standardized", "encoder", "image_encoder")
        return {**arch, **{name: self.arch[name] for name in own}}

    def start(self, networks: Any) -> Any:
        """Returns fresh networks of all seeds, made with the arguments of `inside`, that begin with the encoder."""
        return with_parts_of(networks, self.encoders, "encoder", "standardizer")

    def keep(self, loss: Callable) -> Callable:
        """Returns a loss of networks whose encoder has no gradient, if it is frozen."""
        if not self.frozen:
            return loss
        return lambda network, *arguments: loss(with_fixed_encoders(network), *arguments)
