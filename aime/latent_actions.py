"""LAWM: a world model of observations with and without actions, by latent actions u (arXiv 2512.10016).

    labelled    log p(o_t | s_t) - KL( q(s_t | s_{t-1}, a_{t-1}, o_t) || p(s_t | s_{t-1}, a_{t-1}) )
                + log p(a_t | s_t, u_t) - KL( q(u_t | s_t, a_t) || p(u_t | s_t) )
                + log p(a_t | s_t, u_t) - KL( q(u_t | s_t, o_{t+1}) || p(u_t | s_t) ),  each with u from its own q
    unlabelled  log p(o_t | s_t) - KL( q(s_t | s_{t-1}, a_{t-1}, o_t) || p(s_t | s_{t-1}, a_{t-1}) )
                - KL( q(u_{t-1} | s_{t-1}, o_t) || p(u_{t-1} | s_{t-1}) ),  u ~ q,  a ~ p(a | s, u)

Both are evidence lower bounds of one generative model; prior, decoder and dynamics are what they share. The third line
is the second one with the other posterior: the bound holds for either, and only so do labels teach the inverse model
what it is to infer where there are none, as Kingma et al. (arXiv 1406.5298, eq. 9) teach their classifier. The paper's
bounds are not public: these follow from its factorisation. With u = a (`decoder="identity"`) the unlabelled one is the
loss of AIME with the inverse dynamics model as posterior and the prior as policy (`aime.losses`, with
`idm_mode="posterior"`): AIME's two phases, learnt together. Phase 2 works on such a model as on any other.

Dynamics that read u (`reads="u"`) are our own derivation, of p(s_t | s_{t-1}, u_{t-1}) in the same factorisation:

    labelled    log p(o_t | s_t) - KL( q(s_t | s_{t-1}, u_{t-1}, o_t) || p(s_t | s_{t-1}, u_{t-1}) )
                + log p(a_t | s_t, u_t) - KL( q(u_t | s_t, a_t) || p(u_t | s_t) ),  u ~ q(u | s, a), and the third line
    unlabelled  the same without the action and its decoder, and q(u_{t-1} | s_{t-1}, o_t) in the place of q(u | s, a)

The decoder then learns from labels alone. In phase 2 the policy is over u, and AIME's evidence has u in the place of
the action; the IDM of its `idm_mode`s is q(u | s, o').
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from aime.inference import infer_actions
from worldmodels.distributions import balanced_kl, with_free_nats
from worldmodels.losses import PUBLISHED, LossOptions, action_bound, elbo_loss, evidence_terms, state_loss
from worldmodels.sequences import has_cause, sum_time_mean_batch
from worldmodels.structures import Array, FilterOutput, SequenceBatch
from worldmodels.training import Metrics
from worldmodels.world_model import WorldModel


def latent_action_loss(
    model: WorldModel,
    labelled: SequenceBatch,
    unlabelled: SequenceBatch,
    key: Array | None,
    options: LossOptions = PUBLISHED,
) -> tuple[Array, tuple[Metrics, FilterOutput]]:
    """Negative evidence lower bound of a labelled and of an unlabelled batch; see the module.

    Args:
      model: has `latent_actions`.
      labelled: [B, T] with actions. unlabelled: [B, T]; its actions are not looked at.
      key: PRNG key, consumed; None takes modes.

    Returns:
      The loss in nats per sequence, the sum of both; metrics, those of the unlabelled batch under `unlabelled/`; and
      the inferred states of the labelled batch.
    """
    keys = (None, None, None) if key is None else jax.random.split(key, 3)
    loss, (metrics, output) = elbo_loss(model, labelled, keys[0], options)
    assert model.latent_actions is not None, "the model was built without latent actions"
    if model.codec is None:  # else they are in the loss
        embed = model.encode(labelled.observation)
        action_loss, action_metrics = action_bound(
            model.latent_actions, output.states.features, embed, labelled, keys[1]
        )
        loss, metrics = loss + action_loss, metrics | action_metrics
    free_loss, free_metrics = unlabelled_bound(model, unlabelled, keys[2], options)
    metrics |= {f"unlabelled/{name}": value for name, value in free_metrics.items()}
    metrics["loss"] = loss + free_loss
    return metrics["loss"], (metrics, output)


def unlabelled_bound(
    model: WorldModel, batch: SequenceBatch, key: Array | None, options: LossOptions
) -> tuple[Array, Metrics]:
    """Negative evidence lower bound of observations alone; nothing is frozen.

    The action that led to the first record of an episode is zero, as in data.
    """
    latent, batch = model.latent_actions, model.with_embedding(batch)
    assert latent is not None, "the model was built without latent actions"
    inference = infer_actions(
        model,
        latent.prior,
        batch,
        key,
        action_source="idm",
        first_action="zero",
        latent=latent if model.codec is None else None,
    )
    output = inference.output
    kl = with_free_nats(balanced_kl(output.posterior, output.prior, options.kl_balance), options.free_nats)
    features, embed = output.states.features, model.encode(batch.observation)
    terms = evidence_terms(model, batch, features, kl, nll_reweight=options.nll_reweight, embed=embed)
    known = has_cause(batch)
    assert inference.idm is not None
    latent_kl = sum_time_mean_batch(inference.idm.kl(inference.policy).sum(axis=-1) * known)
    reconstruction, _ = state_loss(model, terms, features, embed, key)
    state_kl = sum_time_mean_batch(terms.masked_kl)
    loss = reconstruction + options.kl_scale * state_kl + latent.kl_scale * latent_kl
    metrics = {"loss": loss, "reconstruction_loss": reconstruction, "kl_loss": state_kl}
    metrics["latent_action_kl"] = latent_kl
    if batch.prev_action is not None:  # for analysis only
        metrics["action_mse"] = jnp.mean((inference.actions - batch.prev_action) ** 2)
    return loss, metrics
