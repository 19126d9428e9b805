"""The loss of AIME: the negative evidence of a demonstration, with the policy as inference model of its actions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from aime.inference import InferenceOutput, Policy, infer_actions
from worldmodels.distributions import balanced_kl
from worldmodels.losses import EvidenceTerms, evidence_terms, probe_losses
from worldmodels.sequences import sum_time_mean_batch
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics
from worldmodels.world_model import WorldModel

IDM_MODES = ("none", "posterior", "prior", "regularizer")


def action_inference_loss(
    policy: Policy,
    batch: SequenceBatch,
    model: WorldModel,
    key: Array | None,
    *,
    kl_scale: float = 1.0,
    kl_only: bool = False,
    nll_reweight: str = "none",
    idm_mode: str = "none",
    first_action: str = "policy",
    observation_noise: float = 0.0,
    entropy_scale: float = 0.0,
) -> tuple[Array, Metrics]:
    """Negative evidence lower bound of observations alone (AIME, phase 2), minimised over the policy.

        J(psi) = E_{s ~ q, a ~ pi_psi} sum_t [ log p(o_t | s_t)
                                               - KL( q(s_t | s_{t-1}, a_{t-1}, o_t) || p(s_t | s_{t-1}, a_{t-1}) ) ]

    `model` is frozen because it is not the argument we differentiate; nothing is stopped, the gradient reaches the
    policy through the model. No free nats and no KL balance here, as published.

    Args:
      policy: features [B, F] -> TanhNormal.
      batch: SequenceBatch [B, T]; actions are not looked at, except for the metric `analysis/action_mse`.
      model: the pretrained world model.
      key: PRNG key, consumed; None takes modes.
      kl_scale: weight of the KL; 0 leaves the reconstruction only.
      kl_only: leaves the KL only.
      nll_reweight: as in phase 1.
      idm_mode: "none", or how the model's inverse dynamics model takes part (AIME, appendix C): "posterior": the IDM
        acts, plus KL(idm || policy); "prior": the policy acts, plus KL(policy || idm); "regularizer": the sum of the
        "posterior" and the "none" loss.
      first_action: what led to the first record of an episode, "policy" (published) or "zero"; see `infer_actions`.
      observation_noise: std of noise on what the encoder sees, published: 0; see `infer_actions`.
      entropy_scale: weight of the policy's entropy bonus (AIME-v2: 1e-4, mean over records).

    Returns:
      Scalar loss in nats per sequence, and metrics.
    """
    per_step, inference, terms, metrics = action_inference_terms(
        policy,
        batch,
        model,
        key,
        kl_scale=kl_scale,
        kl_only=kl_only,
        nll_reweight=nll_reweight,
        idm_mode=idm_mode,
        first_action=first_action,
        observation_noise=observation_noise,
    )
    loss = sum_time_mean_batch(per_step)
    # Probes see stopped inputs: they report on the inferred states and give the policy no gradient.
    probe_loss, probe_metrics = probe_losses(
        model, batch, inference.output.states.features, model.encode(batch.observation)
    )
    entropy = inference.policy.entropy().sum(axis=-1).mean()
    metrics |= terms.metrics() | probe_metrics
    metrics |= {
        "loss": loss + probe_loss,
        "reconstruction_loss": sum_time_mean_batch(terms.reconstruction),
        "kl_loss": sum_time_mean_batch(terms.masked_kl),
        "action_entropy": entropy,
    }
    if batch.prev_action is not None:  # privileged: for analysis only
        true_action = jax.lax.stop_gradient(batch.prev_action)
        metrics["analysis/action_mse"] = jnp.mean((inference.actions - true_action) ** 2)
    return loss - entropy_scale * entropy, metrics


def action_inference_terms(
    policy: Policy,
    batch: SequenceBatch,
    model: WorldModel,
    key: Array | None,
    *,
    kl_scale: float = 1.0,
    kl_only: bool = False,
    nll_reweight: str = "none",
    idm_mode: str = "none",
    first_action: str = "policy",
    observation_noise: float = 0.0,
) -> tuple[Array, InferenceOutput, EvidenceTerms, Metrics]:
    """The loss of AIME per record, [B, T], with the inference and the evidence it is made of."""
    if idm_mode not in IDM_MODES:
        raise ValueError(f"Unknown idm_mode {idm_mode!r}. Known: {', '.join(IDM_MODES)}.")
    options = dict(kl_scale=kl_scale, kl_only=kl_only, nll_reweight=nll_reweight)
    unroll = dict(first_action=first_action, observation_noise=observation_noise)
    options |= unroll
    if idm_mode == "regularizer":
        idm_key, policy_key = (None, None) if key is None else jax.random.split(key)
        guided, *_, metrics = action_inference_terms(
            policy, batch, model, idm_key, idm_mode="posterior", **options
        )
        plain, inference, terms, _ = action_inference_terms(policy, batch, model, policy_key, **options)
        return guided + plain, inference, terms, metrics
    source = "idm" if idm_mode == "posterior" else "policy"
    use_idm = idm_mode != "none"
    inference = infer_actions(model, policy, batch, key, use_idm=use_idm, action_source=source, **unroll)
    action_kl, metrics = action_divergence(inference, idm_mode)
    output = inference.output
    kl = balanced_kl(output.posterior, output.prior)
    terms = evidence_terms(
        model, batch, output.states.features, kl, nll_reweight=nll_reweight, extra_kl=action_kl
    )
    per_step = kl_scale * terms.masked_kl
    per_step = per_step if kl_only else terms.reconstruction + per_step
    return per_step, inference, terms, metrics


def action_divergence(inference: InferenceOutput, idm_mode: str) -> tuple[Array | None, Metrics]:
    """[B, T, A] KL between the action posterior and the action prior; None without an IDM."""
    if idm_mode == "none":
        return None, {}
    posterior, prior = inference.idm, inference.policy
    if idm_mode == "prior":
        posterior, prior = prior, posterior
    kl = posterior.kl(prior)
    return kl, {"action_kl_loss": sum_time_mean_batch(kl.sum(axis=-1))}
