"""BCO: behaviour cloning from observation (Torabi et al. 2018), without interaction (alpha = 0) or with.

First an inverse dynamics model (IDM) learns on embodiment data which action led from F frames to the next
one; then a policy of F frames regresses the actions that the IDM infers from demonstrations. The true actions
of the demonstrations are never used. BCO(alpha) then continues in rounds: the policy plays, the IDM learns from its
episodes too, the policy from the better IDM.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from agents.bc import known_actions, true_actions
from agents.fitting import FitSettings
from agents.frame_stack import FrameStackNet, policy_frames
from worldmodels.sequences import masked_mean, mean_of_rows, recorded
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics


def later_rounds(settings: FitSettings) -> FitSettings:
    """From the second round on, BCO(alpha) stops at the first epoch without improvement."""
    return dataclasses.replace(settings, patience=1, min_epochs=0, min_updates=0)


def inverse_dynamics_loss(
    idm: FrameStackNet, batch: SequenceBatch, key: Array | None = None
) -> tuple[Array, Metrics]:
    """Mean squared error of the IDM's action to the true one, on embodiment data.

    Args:
      idm: of F + 1 frames.
      batch: windows [B, T >= F + 1, ...] with actions, of which the first F + 1 records count; those of episodes that
        end before do not.
      key: unused; a loss takes one.
    """
    target = true_actions(batch, "An inverse dynamics model")[:, idm.num_frames - 1]
    error = (idm(policy_frames(batch.observation, idm.num_frames)) - target) ** 2
    loss = mean_of_rows(error, recorded(batch.is_last)[:, idm.num_frames - 1])
    return loss, {"loss": loss}


def bco_loss(
    policy: FrameStackNet, batch: SequenceBatch, idm: FrameStackNet, key: Array | None = None
) -> tuple[Array, Metrics]:
    """Mean squared error of the policy's actions to those that the frozen IDM infers, on demonstrations.

    Args:
      policy: of F frames, with outputs [B, H * A].
      batch: windows [B, F + H, ...]; their actions, if any, are not looked at.
      idm: of F + 1 frames, frozen.
      key: unused; a loss takes one.
    """
    target = inferred_actions(idm, batch, policy.num_frames)
    action = policy(policy_frames(batch.observation, policy.num_frames))
    loss = masked_mean((action - target) ** 2, known_actions(batch, policy.num_frames, action))
    return loss, {"loss": loss}


def inferred_actions(idm: FrameStackNet, batch: SequenceBatch, num_frames: int) -> Array:
    """[B, H * A] what the frozen IDM infers of the actions after F frames, of windows [B, F + H, ...]."""
    inferred = [
        idm({name: value[:, first : first + idm.num_frames] for name, value in batch.observation.items()})
        for first in range(batch.is_first.shape[1] - num_frames)
    ]
    return jax.lax.stop_gradient(jnp.concatenate(inferred, axis=-1))
