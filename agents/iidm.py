"""IIDM, "implicit inverse dynamics" (AIME, baselines): the action is inferred through a forward model.

First a forward model learns on embodiment data which observation follows F frames and an action; then a policy of
F frames is trained on demonstrations so that the frozen model, given the policy's action, predicts what was
observed next. The gradient reaches the policy through the model; the true actions are never used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from agents.bc import last_action
from agents.frame_stack import FrameStack, FrameStackNet, policy_frames
from worldmodels.decoders import DECODERS
from worldmodels.encoders import scaled_image
from worldmodels.sequences import mean_of_rows, recorded
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics


class ForwardNet(FrameStack):
    """Observations of F successive records and an action -> the next observation.

    A decoder per sensor reads the merged frames and the action: `dmlp` for vectors, `cnn_ha` with the sigmoid of AIME
    v1 for images. Arguments as of `FrameStackNet`.
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
        in_size = self.merger.out_size + action_size
        vector: dict[str, Any] = {"name": "dmlp", "hidden_size": hidden_size, "hidden_layers": hidden_layers}
        image = {"name": "cnn_ha", "sigmoid": True}
        options = {name: vector if isinstance(size, int) else image for name, size in sizes.items()}
        self.decoders = nnx.Dict(
            {name: DECODERS.make(in_size, sizes[name], rngs=rngs, **options[name]) for name in sizes}
        )

    def __call__(self, observation: Mapping[str, Array], action: Array) -> dict[str, Array]:
        """{sensor: [..., F, d]} and [..., A] -> {sensor: [..., d]} as `target` scores them."""
        inputs = jnp.concatenate([self.merged(observation), action], axis=-1)
        return {name: self.decoders[name](inputs).mean() for name in self.names}

    def target(self, observation: Mapping[str, Array]) -> dict[str, Array]:
        """{sensor: [..., d]}: vectors standardised, images in 0..1."""
        return {
            name: scaled_image(value) if value.dtype == jnp.uint8 else self.standardizer(name, value)
            for name, value in ((name, observation[name]) for name in self.names)
        }


def prediction_error(model: ForwardNet, batch: SequenceBatch, action: Array) -> Array:
    """[] sum over sensors of the mean squared error of record F, predicted from F frames and [B, A]."""
    predicted = model(policy_frames(batch.observation, model.num_frames), action)
    following = model.target({name: batch.observation[name][:, model.num_frames] for name in model.names})
    return squared_error(predicted, following, recorded(batch.is_last)[:, model.num_frames])


def squared_error(predicted: Mapping[str, Array], following: Mapping[str, Array], known: Array) -> Array:
    """[] sum over names of the mean squared error of the rows that are known, 1 in [B]."""
    errors = (mean_of_rows((value - following[name]) ** 2, known) for name, value in predicted.items())
    return jnp.asarray(sum(errors))


def forward_loss(model: ForwardNet, batch: SequenceBatch, key: Array | None = None) -> tuple[Array, Metrics]:
    """Error of the prediction with the true action, on embodiment data.

    Args:
      model: of F frames.
      batch: windows [B, F + 1, ...] with actions.
      key: unused; a loss takes one.
    """
    loss = prediction_error(model, batch, last_action(batch, "A forward model"))
    return loss, {"loss": loss}


def iidm_loss(
    policy: FrameStackNet, batch: SequenceBatch, model: ForwardNet, key: Array | None = None
) -> tuple[Array, Metrics]:
    """Error of the frozen model's prediction with the policy's action, on demonstrations.

    Args:
      policy: of F frames.
      batch: windows [B, F + 1, ...]; their actions, if any, are not looked at.
      model: of F frames, frozen; the gradient goes through it.
      key: unused; a loss takes one.
    """
    action = policy(policy_frames(batch.observation, policy.num_frames))
    loss = prediction_error(model, batch, action)
    return loss, {"loss": loss}
