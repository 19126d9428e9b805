"""What only an analysis may look at: inferred actions against the true ones, and what steers an online policy.

None of this is part of a method; metrics made of it are named `analysis/*`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from agents import imagination
from agents.imagination import Reward
from agents.values import ReturnRange
from aime.inference import Policy, infer_actions
from aime.online import OnlineSettings, cosine, drawn_starts, evidence_loss, value_loss
from worldmodels.distributions import balanced_kl
from worldmodels.losses import evidence_terms
from worldmodels.structures import Array, FilterOutput, LatentState, SequenceBatch
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
        "action_mse": jnp.mean((inference.actions - model.actions_for_filter(batch)) ** 2),
    }


def mean_evidence(model: WorldModel, batch: SequenceBatch, output: FilterOutput) -> Array:
    """[] nats per record: log p(o_t | s_t) - KL(q || p), the mean over a batch [B, T]."""
    kl = balanced_kl(output.posterior, output.prior)
    terms = evidence_terms(model, batch, output.states.features, kl)
    return jnp.mean(-terms.reconstruction - terms.masked_kl)


def gradient_balance(
    policy: Policy,
    model: WorldModel,
    target_critic: Mapping[str, Callable] | None,
    demonstration: SequenceBatch,
    states: LatentState,
    key: Array,
    *,
    rewards: Mapping[str, Reward],
    settings: OnlineSettings,
    ranges: Mapping[str, ReturnRange] | None = None,
) -> Metrics:
    """Computes the parts of the policy's gradient alone, each with its weight: evidence, value, entropy.

    Args:
      target_critic: {reward: value network}; None: there is no value.
      demonstration: [B, T].
      states: of a batch, leaves [B, T, ...], from which the policy imagines.
      key: PRNG key, consumed.
      ranges: of the critic, where returns are normalised.

    Returns:
      `evidence_grad_norm`, `value_grad_norm`, `entropy_grad_norm`: [] before any clipping; `evidence_value_cosine`.
    """
    start_key, aime_key, imagination_key = jax.random.split(key, 3)
    start: Any = None if target_critic is None else drawn_starts(states, settings.num_starts, start_key)
    pure = dataclasses.replace(
        settings,
        policy_loss=dataclasses.replace(settings.policy_loss, entropy_scale=0.0),
        imagination=dataclasses.replace(settings.imagination, entropy_scale=0.0),
    )

    def evidence(policy):
        return evidence_loss(policy, model, demonstration, aime_key, pure)

    def value(policy):
        return value_loss(policy, model, target_critic or {}, start, imagination_key, pure, rewards, ranges)

    def entropy(policy):
        bonus = (
            settings.aime_scale * settings.policy_loss.entropy_scale * evidence(policy)[1]["action_entropy"]
        )
        if target_critic is None:
            return -bonus
        imagined = value(policy)[1][0]["imagined_entropy"]
        return -bonus - settings.value_scale * settings.imagination.entropy_scale * imagined

    parts = {"evidence": jax.grad(evidence, has_aux=True)(policy)[0], "entropy": jax.grad(entropy)(policy)}
    found = {}
    if target_critic is not None:
        parts["value"] = jax.grad(value, has_aux=True)(policy)[0]
        found["evidence_value_cosine"] = cosine(parts["evidence"], parts["value"])
    return found | {f"{name}_grad_norm": optax.global_norm(part) for name, part in parts.items()}


def imagined_and_realised(
    model: WorldModel,
    policy: Policy,
    critic: Callable,
    episode: SequenceBatch,
    rewards: Array,
    key: Array,
    *,
    reward: Reward,
    horizon: int,
    discount: float,
) -> Metrics:
    """Compares what the policy imagines to earn from every state of its own episode with what it has earned there.

    Args:
      critic: value network [..., F] -> [..., 1].
      episode: [1, T] with its actions, played by (about) this policy.
      rewards: [T] that the surrogate reward gives its records.
      key: PRNG key, consumed.
      reward: what the model predicts of it.
      horizon, discount: of the returns; a horizon beyond the episode is cut.

    Returns:
      `imagined_return`, `realised_return`: [] means over the states s_t of sum_{k=1..H} discount^(k-1) r_{t+k};
      `critic_mean`, `critic_std`: [] of the critic's values there.
    """
    filter_key, key = jax.random.split(key)
    horizon = min(horizon, rewards.shape[0] - 1)
    number = rewards.shape[0] - horizon
    start = imagination.starts(
        jax.tree.map(lambda x: x[:, :number], model.filter(episode, filter_key).states)
    )
    imagined = model.dynamics.imagine(start, policy, horizon, key)
    weights = discount ** jnp.arange(horizon)
    steps = jnp.expand_dims(jnp.arange(number), 1) + jnp.expand_dims(jnp.arange(1, horizon + 1), 0)
    values = critic(start.features)[..., 0]
    return {
        "imagined_return": (reward(model, imagined)[:, 1:] @ weights).mean(),
        "realised_return": (jnp.asarray(rewards)[steps] @ weights).mean(),
        "critic_mean": values.mean(),
        "critic_std": values.std(),
    }
