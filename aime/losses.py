"""The loss of AIME: the negative evidence of a demonstration, with the policy as inference model of its actions.

Of a model without decoders, log p(o_t | s_t) is what `worldmodels.representation` derives.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from aime.inference import InferenceOutput, Policy, infer_actions
from worldmodels.distributions import balanced_kl
from worldmodels.losses import evidence_terms, probe_losses
from worldmodels.sequences import sum_time_mean_batch
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics
from worldmodels.world_model import WorldModel

IDM_MODES = ("none", "posterior", "prior", "regularizer")


@dataclasses.dataclass(frozen=True)
class AIMEOptions:
    """Variants of the loss of AIME; the defaults are those of the paper's main experiments.

    Attributes:
      kl_scale: weight of the KL; 0 leaves the reconstruction only.
      kl_only: leaves the KL only.
      nll_reweight: as in phase 1, see `worldmodels.losses.evidence_terms`.
      idm_mode: "none", or how the model's inverse dynamics model takes part (AIME, appendix C): "posterior": the IDM
        acts, plus KL(idm || policy); "prior": the policy acts, plus KL(policy || idm); "regularizer": the sum of the
        "posterior" and the "none" loss.
      first_action: what led to the first record of an episode, "policy" (published) or "zero"; see `infer_actions`.
      observation_noise: std of noise on what the encoder sees, published: 0; see `infer_actions`.
      entropy_scale: weight of the policy's entropy bonus (AIME-v2: 1e-4, mean over records).
    """

    kl_scale: float = 1.0
    kl_only: bool = False
    nll_reweight: str = "none"
    idm_mode: str = "none"
    first_action: str = "policy"
    observation_noise: float = 0.0
    entropy_scale: float = 0.0

    def __post_init__(self):
        if self.idm_mode not in IDM_MODES:
            raise ValueError(f"Unknown idm_mode {self.idm_mode!r}. Known: {', '.join(IDM_MODES)}.")


PUBLISHED = AIMEOptions()


def action_inference_loss(
    policy: Policy,
    batch: SequenceBatch,
    model: WorldModel,
    key: Array | None,
    options: AIMEOptions = PUBLISHED,
) -> tuple[Array, tuple[Metrics, tuple[InferenceOutput, Array]]]:
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

    Returns:
      The loss in nats per sequence; metrics, and (inferred states and actions, loss per record [B, T]).
    """
    per_record = jnp.zeros(batch.batch_shape)
    metrics: Metrics = {}
    for mode, mode_key in unrolls(options.idm_mode, key):
        inference = infer_actions(
            model,
            policy,
            batch,
            mode_key,
            use_idm=mode != "none",
            action_source="idm" if mode == "posterior" else "policy",
            first_action=options.first_action,
            observation_noise=options.observation_noise,
        )
        output = inference.output
        action_kl, action_metrics = action_divergence(inference, mode)
        kl = balanced_kl(output.posterior, output.prior)
        reweight: dict[str, Any] = dict(nll_reweight=options.nll_reweight, extra_kl=action_kl)
        terms = evidence_terms(model, batch, output.states.features, kl, **reweight)
        if not options.kl_only:
            per_record += terms.reconstruction
        per_record += options.kl_scale * terms.masked_kl
        metrics |= action_metrics
    loss = sum_time_mean_batch(per_record)
    # Probes see stopped inputs: they report on the inferred states and give the policy no gradient.
    embed = model.encode(batch.observation)
    probe_loss, probe_metrics = probe_losses(model, batch, output.states.features, embed)
    entropy = inference.policy.entropy().sum(axis=-1).mean()
    metrics |= terms.metrics() | probe_metrics
    metrics["loss"] = loss + probe_loss
    metrics["reconstruction_loss"] = sum_time_mean_batch(terms.reconstruction)
    metrics["kl_loss"] = sum_time_mean_batch(terms.masked_kl)
    metrics["action_entropy"] = entropy
    if batch.prev_action is not None:  # privileged: for analysis only
        errors = inference.actions - jax.lax.stop_gradient(batch.prev_action)
        metrics["analysis/action_mse"] = jnp.mean(errors**2)
    return loss - options.entropy_scale * entropy, (metrics, (inference, per_record))


def unrolls(idm_mode: str, key: Array | None) -> list[tuple[str, Array | None]]:
    """[(idm_mode, key)] of the filters whose losses are summed; metrics report on the last one."""
    if idm_mode != "regularizer":
        return [(idm_mode, key)]
    keys = (None, None) if key is None else jax.random.split(key)
    return list(zip(("posterior", "none"), keys, strict=True))


def action_divergence(inference: InferenceOutput, idm_mode: str) -> tuple[Array | None, Metrics]:
    """[B, T, A] KL between the action posterior and the action prior; None without an IDM."""
    if inference.idm is None:
        return None, {}
    posterior, prior = inference.idm, inference.policy
    if idm_mode == "prior":
        posterior, prior = prior, posterior
    kl = posterior.kl(prior)
    return kl, {"action_kl_loss": sum_time_mean_batch(kl.sum(axis=-1))}
