"""What a world model minimises.

Terms stay `[B, T]` until one reduction, the published one: sum over dimensions and time, mean over the batch.
The loss of action inference (`aime/losses.py`) is made of the same `evidence_terms`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from worldmodels.architecture import EMBEDDING
from worldmodels.distributions import TanhNormal, balanced_kl, with_free_nats
from worldmodels.intrinsic_reward import intrinsic_reward_losses
from worldmodels.latent_actions import LatentActions
from worldmodels.sequences import has_cause, sum_time_mean_batch, termination_mask
from worldmodels.structures import Array, FilterOutput, SequenceBatch
from worldmodels.temporal_distance import temporal_distance_loss
from worldmodels.training import Metrics
from worldmodels.world_model import WorldModel

NLL_REWEIGHT = ("none", "modality_wise", "dim_wise")


@dataclasses.dataclass(frozen=True)
class LossOptions:
    """Weights of the evidence lower bound; the defaults are AIME-v2's.

    Attributes:
      kl_scale: weight of the KL.
      kl_balance: see `balanced_kl`; None: the plain KL.
      free_nats: see `with_free_nats`.
      nll_reweight: see `evidence_terms`.
    """

    kl_scale: float = 1.0
    kl_balance: float | None = 0.8
    free_nats: float = 1.0
    nll_reweight: str = "none"


PUBLISHED = LossOptions()


class EvidenceTerms(struct.PyTreeNode):
    """The two sides of the evidence lower bound, per record.

    Attributes:
      nll: {target: [B, T]} negative log-likelihood in nats, reweighted if asked.
      kl: [B, T] nats, reweighted if asked.
      log_prob: {target: [B, T]} log-likelihood without reweighting, for reports.
      raw_kl: [B, T] nats without reweighting.
      squared_error: {target: []} mean squared error of the predicted mean; a representation has none.
      mask: [B, T] 0 in the padding after a termination.
    """

    nll: dict[str, Array]
    kl: Array
    log_prob: dict[str, Array]
    raw_kl: Array
    squared_error: dict[str, Array]
    mask: Array

    @property
    def reconstruction(self) -> Array:
        """[B, T] sum of `nll` over targets, masked."""
        return sum(self.nll.values()) * self.mask

    @property
    def masked_kl(self) -> Array:
        """[B, T] `kl`, masked."""
        return self.kl * self.mask

    def metrics(self) -> Metrics:
        """Scalars under the published names."""
        mean = sum_time_mean_batch
        rec_term = jnp.asarray(sum(mean(x) for x in self.log_prob.values()))
        kl_term = -mean(self.raw_kl)
        metrics = {"rec_term": rec_term, "kl_term": kl_term, "elbo": rec_term + kl_term}
        for name in self.nll:
            if name in self.squared_error:
                metrics[f"{name}_mse"] = self.squared_error[name]
            metrics[f"{name}_rec_term"] = mean(self.log_prob[name])
            metrics[f"{name}_reconstruction_loss"] = mean(self.nll[name])
        return metrics


def evidence_terms(
    model: WorldModel,
    batch: SequenceBatch,
    features: Array,
    kl: Array,
    *,
    nll_reweight: str = "none",
    extra_kl: Array | None = None,
    embed: Array | None = None,
) -> EvidenceTerms:
    """Scores a batch under decoders or ("emb") a representation, given states and their divergence from the prior.

    Targets that the batch lacks are skipped (a reward head on demonstrations; the embedding, unless it was put there).

    Args:
      features: [B, T, F] of the states.
      kl: [B, T, S] nats per latent dimension.
      nll_reweight: "none"; "dim_wise": every log-probability is weighted by the stopped std of its own dimension and
        the KL by the mean std over all dimensions (Seitzer et al. 2022, applied to the whole ELBO as in AIME);
        "modality_wise": the KL by the average over modalities of their mean std.
      extra_kl: [B, T, A] further divergence that is treated as part of the KL (actions from an IDM), not of the ELBO.
      embed: [B, T, E] of the observations, where it is known; only a representation reads it.
    """
    if nll_reweight not in NLL_REWEIGHT:
        raise ValueError(f"Unknown nll_reweight {nll_reweight!r}. Known: {', '.join(NLL_REWEIGHT)}.")
    sg = jax.lax.stop_gradient
    nll, log_prob, squared_error, stds = {}, {}, {}, []
    mask = termination_mask(batch.is_terminal)
    for name, dist in model.decode(features).items():
        target = model.target(batch, name)
        if target is None:
            continue
        log_probs = flatten_dims(dist.log_prob(target))
        if name in batch.masks:
            log_probs = log_probs * batch.masks[name][..., None]
        log_prob[name] = log_probs.sum(axis=-1)
        squared_error[name] = jnp.mean((dist.mean() - target) ** 2)
        if nll_reweight == "none":
            nll[name] = -log_prob[name]
        else:
            stds.append(sg(flatten_dims(dist.stddev())))
            nll[name] = -(log_probs * stds[-1]).sum(axis=-1)
    if model.representation is not None:
        if nll_reweight != "none":
            raise ValueError("Stds of decoders reweight; with a representation set loss.nll_reweight=none.")
        embed = model.encode(batch.observation) if embed is None else embed
        log_prob[EMBEDDING] = model.representation.log_prob(features, embed, mask)
        nll[EMBEDDING] = -log_prob[EMBEDDING]
    raw_kl = kl.sum(axis=-1)
    total_kl = raw_kl if extra_kl is None else raw_kl + extra_kl.sum(axis=-1)
    if nll_reweight == "dim_wise":
        total_kl = total_kl * jnp.concatenate(stds, axis=-1).mean(axis=-1)
    elif nll_reweight == "modality_wise":
        total_kl = total_kl * sum(std.mean(axis=-1) for std in stds) / len(model.targets)
    of_targets = dict(nll=nll, log_prob=log_prob, squared_error=squared_error)
    return EvidenceTerms(kl=total_kl, raw_kl=raw_kl, mask=mask, **of_targets)


def flatten_dims(x: Array) -> Array:
    """[B, T, ...] -> [B, T, N]."""
    return x.reshape(*x.shape[:2], -1)


def elbo_loss(
    model: WorldModel, batch: SequenceBatch, key: Array | None, options: LossOptions = PUBLISHED
) -> tuple[Array, tuple[Metrics, FilterOutput]]:
    """Negative evidence lower bound of observations given actions (AIME, phase 1), and the losses of all side heads.

    loss = mean_b sum_t [ -log p(o_t | s_t) + kl_scale * KL(q(s_t | .) || p(s_t | .)) ]

    Where the dynamics read latent actions, it is that of observations and actions: `action_bound` is added.

    Args:
      batch: SequenceBatch [B, T] with actions.
      key: PRNG key, consumed; None takes modes.

    Returns:
      The loss in nats per sequence; metrics, and the inferred states, leaves [B, T, ...], where imagination starts.
    """
    embed = model.encode(batch.observation)
    batch = model.with_embedding(batch)
    output = model.filter(batch, key, embed)
    features = output.states.features
    kl = balanced_kl(output.posterior, output.prior, options.kl_balance)
    kl = with_free_nats(kl, options.free_nats)
    terms = evidence_terms(model, batch, features, kl, nll_reweight=options.nll_reweight, embed=embed)
    reconstruction_loss, state_metrics = state_loss(model, terms, features, embed, key)
    kl_loss = sum_time_mean_batch(terms.masked_kl)
    side_loss, side_metrics = side_losses(model, batch, features, embed, terms.raw_kl, key)
    loss = reconstruction_loss + options.kl_scale * kl_loss + side_loss
    metrics = terms.metrics() | state_metrics | side_metrics
    if model.codec is not None:
        action_key = None if key is None else jax.random.fold_in(key, 3)
        action_loss, action_metrics = action_bound(model.codec, features, embed, batch, action_key)
        loss, metrics = loss + action_loss, metrics | action_metrics
    metrics |= {"loss": loss, "reconstruction_loss": reconstruction_loss, "kl_loss": kl_loss}
    return loss, (metrics, output)


def action_bound(
    latent: LatentActions, features: Array, embed: Array, batch: SequenceBatch, key: Array | None
) -> tuple[Array, Metrics]:
    """-log p(a | s, u) + KL( q(u) || p(u | s) ), of the actions between the records of a window.

    The sum of two: with q(u | s, a), and, by `inverse_scale`, with q(u | s, o'), which labels so teach what was done.
    With the identity q(u | s, a) is certain: they are -log p(a | s) and -log q(a | s, o').

    Args:
      features: [B, T, F] of the states. embed: [B, T, E]. batch: [B, T] with actions.
    """
    assert batch.prev_action is not None, "the batch has no actions"
    features, action = features[:, :-1], batch.prev_action[:, 1:]
    known = has_cause(batch)[:, 1:]
    prior = latent.prior(features)

    def bound(posterior: TanhNormal, key: Array | None) -> tuple[Array, Metrics]:
        if latent.is_identity:
            nll, kl = -posterior.log_prob(action).sum(axis=-1), jnp.zeros(action.shape[:2])
        else:
            noise = None if key is None else jax.random.normal(key, posterior.mean.shape)
            nll = -latent.decode(features, posterior.sample(noise)).log_prob(action).sum(axis=-1)
            kl = posterior.kl(prior).sum(axis=-1)
        nll, kl = (sum_time_mean_batch(term * known) for term in (nll, kl))
        return nll + latent.kl_scale * kl, {"action_nll": nll, "latent_action_kl": kl}

    loss, metrics = bound(prior if latent.is_identity else latent.encode(features, action), key)
    if latent.inverse_scale:
        seen = latent.inverse(jnp.concatenate([features, embed[:, 1:]], axis=-1))
        inverse, found = bound(seen, None if key is None else jax.random.fold_in(key, 1))
        loss += latent.inverse_scale * inverse
        metrics |= {f"inverse/{name}": value for name, value in found.items()}
    return loss, metrics


def state_loss(
    model: WorldModel, terms: EvidenceTerms, features: Array, embed: Array, key: Array | None
) -> tuple[Array, Metrics]:
    """Computes what teaches the state about the observations: reconstruction, or what takes its place.

    Args:
      terms: of `features` [B, T, F] and `embed` [B, T, E].
      key: of random projections; other streams than those of latents come from it.
    """
    if model.representation is None:
        return sum_time_mean_batch(terms.reconstruction), {}
    loss, metrics = model.representation.loss(features, embed, terms.mask, key)
    heads = {name: nll for name, nll in terms.nll.items() if name != EMBEDDING}
    return loss + sum_time_mean_batch(terms.replace(nll=heads).reconstruction), metrics


def side_losses(
    model: WorldModel, batch: SequenceBatch, features: Array, embed: Array, kl: Array, key: Array | None
) -> tuple[Array, Metrics]:
    """Losses of all side heads: probes, inverse dynamics, intrinsic rewards and a temporal distance.

    They see stopped inputs, but for inverse dynamics with `idm_mode` "end2end".

    Args:
      features: [B, T, F]. embed: [B, T, E]. kl: [B, T] nats.
      key: of the goals of the temporal distance.
    """
    found = [
        probe_losses(model, batch, features, embed),
        inverse_dynamics_loss(model, batch, features, embed),
        intrinsic_reward_losses(model, batch, features, embed, kl),
    ]
    if model.temporal_distance is not None:
        goal_key = None if key is None else jax.random.fold_in(key, 4)
        found.append(temporal_distance_loss(model.temporal_distance, features, embed, batch, goal_key))
    metrics = {name: value for _, metrics in found for name, value in metrics.items()}
    return jnp.asarray(sum(loss for loss, _ in found)), metrics


def probe_losses(
    model: WorldModel, batch: SequenceBatch, features: Array, embed: Array
) -> tuple[Array, Metrics]:
    """Measures how well stopped features (`probe`) and stopped embeddings (`baseline_probe`) predict further sensors.

    The first record is skipped: nothing has been remembered there yet. The difference between the two separates memory
    from perception.
    """
    sg = jax.lax.stop_gradient
    loss, metrics = jnp.zeros(()), {}
    for kind, heads, inputs in (
        ("probe", model.probes, sg(features)),
        ("baseline_probe", model.baseline_probes, sg(embed)),
    ):
        for name in heads:
            target = model.target(batch, name)
            if target is None:
                continue
            dist = heads[name](inputs)
            nll = -sum_probe_dims(dist.log_prob(target))[:, 1:]
            nll = sum_time_mean_batch(nll * batch.masks.get(name, jnp.ones_like(batch.is_first))[:, 1:])
            loss = loss + nll
            metrics[f"{name}_{kind}_mse"] = jnp.mean((dist.mean() - target)[:, 1:] ** 2)
            metrics[f"{name}_{kind}_reconstruction_loss"] = nll
    return loss, metrics


def sum_probe_dims(log_prob: Array) -> Array:
    """[B, T, d] -> [B, T] sum; of images [B, T, y, x, 3] the sum over x and the mean over the rest, as published."""
    if log_prob.ndim == 5:
        return log_prob.sum(axis=3).mean(axis=(2, 3))
    return log_prob.sum(axis=-1)


def inverse_dynamics_loss(
    model: WorldModel, batch: SequenceBatch, features: Array, embed: Array
) -> tuple[Array, Metrics]:
    """-log p(a_{t-1} | f_{t-1}, e_t); mean over time and *sum* over the batch, the published reduction."""
    if model.idm is None:
        return jnp.zeros(()), {}
    if model.action_size == 0:  # an action-free model: nothing to infer
        return jnp.zeros(()), {"idm_loss": jnp.zeros(())}
    inputs = jnp.concatenate([features[:, :-1], embed[:, 1:]], axis=-1)
    if model.idm_mode == "detach":
        inputs = jax.lax.stop_gradient(inputs)
    dist, action = model.idm(inputs), model.actions_for_filter(batch)[:, 1:]
    loss = -dist.log_prob(action).sum(axis=-1).mean(axis=1).sum()
    return loss, {"idm_loss": loss, "idm_mse": jnp.mean((dist.mode - action) ** 2)}


def per_step_evidence(model: WorldModel, batch: SequenceBatch) -> Array:
    """[B, T] log p(o_t | s_t) - KL(q || p) in nats, along the deterministic posterior.

    Constants of the Normal are left out and masks ignored; this is VIPER's likelihood in AIME-v2, whose symlog is the
    reward.
    """
    batch = model.with_embedding(batch)
    output = model.filter(batch, None)
    kl = balanced_kl(output.posterior, output.prior)
    terms = evidence_terms(model, batch.replace(masks={}), output.states.features, kl)
    return sum(terms.log_prob.values()) - terms.raw_kl
