"""BCV-LR: latent actions of expert video that become those of the body, online (arXiv 2512.21586).

Features of single frames are learnt first (`agents.prototypes`; sensors that are not encoded need none) and stay as
they are; then latent actions between the features, as codes; then rounds: the policy plays with noise, inverse model
and decoder are aligned with what its actions have done, and the policy is cloned anew, by the aligned model.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from agents.bc import true_actions
from agents.frame_stack import with_fixed_encoders
from agents.latent_action_model import (
    LatentActionModel,
    LatentPolicy,
    latent_action_loss,
    latent_cloning_loss,
)
from agents.prototypes import Prototypes
from worldmodels.encoders import StandardizedEncoder
from worldmodels.sequences import mean_of_rows, recorded
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics


def video_loss(model: LatentActionModel, batch: SequenceBatch, key: Array) -> tuple[Array, Metrics]:
    """Error of the next frame's features; see `latent_action_loss`. Encoders have no gradient."""
    return latent_action_loss(with_fixed_encoders(model), batch, None, key)


def alignment_loss(
    model: LatentActionModel, batch: SequenceBatch, key: Array, *, forward_weight: float = 1e-5
) -> tuple[Array, Metrics]:
    """Mean squared error of the decoded latent action to the true one, and a little of the latent actions' own loss.

    Args:
      model: of F frames; encoders have no gradient.
      batch: windows [B, F + 1, ...] with actions.
      key: of the second part.
      forward_weight: of the second part.
    """
    model = with_fixed_encoders(model)
    action = true_actions(batch, "Alignment of latent actions")[:, model.num_frames]
    known = recorded(batch.is_last)[:, model.num_frames]
    error = mean_of_rows((model.decoder(model.latent(batch.observation)) - action) ** 2, known)
    forward, metrics = latent_action_loss(model, batch, None, key)
    loss = error + forward_weight * forward
    return loss, metrics | {"loss": loss, "decoder_loss": error}


def clone_loss(
    policy: LatentPolicy, batch: SequenceBatch, model: LatentActionModel, key: Array
) -> tuple[Array, Metrics]:
    """Error of the policy's latent action on video; see `latent_cloning_loss`. Its encoder has no gradient."""
    return latent_cloning_loss(with_fixed_encoders(policy), batch, model, key)


def with_features(model: LatentActionModel, features: Prototypes, batch: SequenceBatch) -> LatentActionModel:
    """Returns a model of embeddings whose encoders, that of the targets too, are that of the features, standardised.

    The features of successive frames are small numbers that differ by a few thousandths: as they are, the forward
    model errs more than by predicting that nothing changes.

    Args:
      model: with `standardize_embedding`.
      features: trained.
      batch: windows [B, T, ...] to standardise by.
    """
    frames = {name: value.reshape(-1, *value.shape[2:]) for name, value in batch.observation.items()}
    seen = {name: features.standardizer(name, frames[name]) for name in features.names}
    result = nnx.merge(*nnx.split(model))
    for holder, name in ((result.inverse, "encoder"), (result, "target_encoder")):
        encoder = jax.tree.map(jnp.copy, features.encoder)
        setattr(holder, name, StandardizedEncoder.measured(encoder, seen))
    return result
