"""Behaviour cloning (BC): regress the true actions of demonstrations; the oracle of the imitation baselines.

A window has one record more than the policy's stack of F frames: the policy sees records 0..F-1 and predicts
the action that led to record F. With H records more it predicts the H actions that led to them (`agents.chunks`). Where
an episode ends before, its last record is repeated, and what led to the repetitions is not learnt.
"""

from __future__ import annotations

import jax.numpy as jnp

from agents.frame_stack import FrameStackNet, policy_frames
from worldmodels.sequences import masked_mean, recorded
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics


def bc_loss(policy: FrameStackNet, batch: SequenceBatch, key: Array | None = None) -> tuple[Array, Metrics]:
    """Mean squared error of the policy's actions to the true ones.

    Args:
      policy: of F frames, with outputs [B, H * A].
      batch: windows [B, F + H, ...] with actions.
      key: unused; a loss takes one.

    Raises:
      ValueError: the demonstrations have no actions.
    """
    target = next_actions(batch, policy.num_frames)
    action = policy(policy_frames(batch.observation, policy.num_frames))
    loss = masked_mean((action - target) ** 2, known_actions(batch, policy.num_frames, action))
    return loss, {"loss": loss}


def next_actions(batch: SequenceBatch, num_frames: int) -> Array:
    """[B, H * A] the true actions after F frames, of windows [B, F + H, ...]."""
    action = true_actions(batch, "Behaviour cloning")[:, num_frames:]
    return action.reshape(len(action), -1)


def known_actions(batch: SequenceBatch, num_frames: int, action: Array) -> Array:
    """[B, H * A] float32, as the actions after F frames: 0 for those behind the end of an episode, else 1."""
    steps = recorded(batch.is_last)[:, num_frames:]
    return jnp.repeat(steps, action.shape[-1] // steps.shape[1], axis=1)


def true_actions(batch: SequenceBatch, who: str) -> Array:
    """[B, T, A] the actions of windows; raises a ValueError that says who needs them if there are none."""
    if batch.prev_action is None or batch.prev_action.shape[-1] == 0:
        raise ValueError(f"{who} needs the true actions, but these windows have none; use data with actions.")
    return batch.prev_action


def last_action(batch: SequenceBatch, who: str) -> Array:
    """[B, A] the action that led to the last record of each window; see `true_actions`."""
    return true_actions(batch, who)[:, -1]
