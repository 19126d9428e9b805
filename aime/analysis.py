"""What only an analysis may look at: inferred actions against the true ones of the demonstrations.

None of this is part of a method; metrics made of it are named `analysis/*`.
"""

from __future__ import annotations

import jax.numpy as jnp

from aime.inference import Policy, infer_actions
from worldmodels.distributions import balanced_kl
from worldmodels.losses import evidence_terms
from worldmodels.structures import Array, FilterOutput, SequenceBatch
from worldmodels.training import Metrics
from worldmodels.world_model import WorldModel


def action_evidence(
    model: WorldModel,
    policy: Policy,
    batch: SequenceBatch,
    key: Array | None,
    *,
    first_action: str = "policy",
) -> Metrics:
    """Returns the evidence of observations under their true actions and under those that the policy infers.

    A policy whose actions explain the observations *better* than the true ones, and are far from them, exploits
    errors of the model.

    Args:
      batch: SequenceBatch [B, T] with the true actions.
      key: PRNG key, consumed; None takes modes.
      first_action: what led to the first record, see `infer_actions`.

    Returns:
      `evidence_true`, `evidence_inferred`: [] nats per record, higher is better; `action_mse`: [].
    """
    inference = infer_actions(model, policy, batch, key, first_action=first_action)
    return {
        "evidence_true": mean_evidence(model, batch, model.filter(batch, key)),
        "evidence_inferred": mean_evidence(model, batch, inference.output),
        "action_mse": jnp.mean((inference.actions - batch.prev_action) ** 2),
    }


def mean_evidence(model: WorldModel, batch: SequenceBatch, output: FilterOutput) -> Array:
    """[] nats per record: log p(o_t | s_t) - KL(q || p), the mean over a batch [B, T]."""
    kl = balanced_kl(output.posterior, output.prior)
    terms = evidence_terms(model, batch, output.states.features, kl)
    return jnp.mean(-terms.reconstruction - terms.masked_kl)
