"""MBBC, "model-based behaviour cloning": what AIME could reach if it knew the actions; its oracle (AIME-v2).

The pretrained world model, frozen, filters demonstrations with their true actions; a policy over the latent state
regresses the action that comes next. In the environment it acts with `agents.actors.FilterActor`, as AIME does.
"""

from __future__ import annotations

import jax.numpy as jnp

from agents.bc import true_actions
from worldmodels.action_head import TanhGaussianHead
from worldmodels.sequences import masked_mean, recorded
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics
from worldmodels.world_model import WorldModel


def mbbc_loss(
    policy: TanhGaussianHead,
    batch: SequenceBatch,
    model: WorldModel,
    key: Array | None,
    *,
    chunk: int = 1,
    use_log_prob: bool = False,
) -> tuple[Array, Metrics]:
    """Error of pi(a_t | s_t) to the true actions that followed, t = 0 .. T - 1 - H, mean over B, T and H * A.

    (tanh(mean) - a_t)^2, or -log pi(a_t | s_t), with s_t from the frozen model, which knows the actions up to t.
    Actions behind the end of an episode, whose last record is repeated there, do not count.

    Args:
      policy: [..., D + S] -> TanhNormal over H * A.
      batch: windows [B, T, ...] with actions.
      model: frozen.
      key: PRNG key of the posterior samples; None takes modes.
      chunk: H, actions that are decided on at once (`agents.chunks`).
      use_log_prob: the likelihood instead of the squared error.

    Raises:
      ValueError: the demonstrations have no actions.
    """
    features, following, known = following_actions(batch, model, key, chunk)
    action = policy(features)
    error = masked_mean((action.mode - following) ** 2, known)
    loss = -masked_mean(action.log_prob(following), known) if use_log_prob else error
    return loss, {"loss": loss, "action_mse": error}


def following_actions(
    batch: SequenceBatch, model: WorldModel, key: Array | None, chunk: int
) -> tuple[Array, Array, Array]:
    """Returns states and what followed each.

    Returns:
      States of the frozen model [B, T - H, D + S], the true actions that followed each [B, T - H, H * A], and 0 for
      those behind the end of an episode, else 1, of the same shape.
    """
    following = true_actions(batch, "MBBC")[:, 1:]
    known = jnp.broadcast_to(recorded(batch.is_last)[:, 1:, None], following.shape)
    num_states = following.shape[1] - chunk + 1
    features = model.filter(batch, key).states.features[:, :num_states]

    def chunks(x):
        return jnp.concatenate([x[:, first : first + num_states] for first in range(chunk)], axis=-1)

    return features, chunks(following), chunks(known)
