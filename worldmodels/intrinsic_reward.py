"""Intrinsic rewards: what a model has yet to learn, as a reward for seeking it (Plan2Explore, Bayesian surprise).

Disagreement (Sekar et al. 2020): K heads predict the next embedding, and disagree where they have seen little.

    AIME-v2: mean_dims log std_K     AIME v1: mean_dims log var_K, heads trained on the sum of their errors

Surprise (Mazzaglia et al. 2022): how much an observation moves the latent, predicted from the features.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics
from worldmodels.world_model import WorldModel


def disagreement(model: WorldModel, features: Array, actions: Array) -> Array:
    """[...] mean over dimensions of the log of the ensemble's spread.

    Args:
      features: [..., F] of the states that `actions` [..., R], what the dynamics read, leave.
    """
    assert model.ensemble is not None, "this world model has no ensemble"
    return spread(model, model.ensemble(jnp.concatenate([features, actions], axis=-1)))


def spread(model: WorldModel, predictions: Array) -> Array:
    """[..., K, E] predictions -> [...]; the published estimators are the unbiased ones."""
    predictions = predictions.astype(jnp.float32)
    statistic = jnp.std if model.ensemble_variant == "std" else jnp.var
    return jnp.log(statistic(predictions, axis=-2, ddof=1)).mean(axis=-1)


def intrinsic_reward(model: WorldModel, features: Array, actions: Array) -> Array:
    """[N, H + 1] reward of imagined states s_0 .. s_H.

    A disagreement belongs to a step; the start copies that of the first step, as published. With a reward probe the
    reward is what the probe reads off each state.

    Args:
      features: [N, H + 1, F]. actions: [N, H, R]; actions[:, t] leads from s_t to s_{t+1}.
    """
    if model.reward_probe is not None:
        return model.intrinsic_scale * model.reward_probe(features)[..., 0].astype(jnp.float32)
    if model.ensemble is None:
        raise ValueError(
            "This world model has no intrinsic reward; build it with an ensemble or a reward_probe."
        )
    reward = disagreement(model, features[:, :-1], actions)
    return model.intrinsic_scale * jnp.concatenate([reward[:, :1], reward], axis=1)


def intrinsic_reward_losses(
    model: WorldModel, batch: SequenceBatch, features: Array, embed: Array, kl: Array
) -> tuple[Array, Metrics]:
    """Losses of ensemble and reward probe, on stopped inputs: they do not shape the model.

    Args:
      features: [B, T, F]. embed: [B, T, E]. kl: [B, T] nats, the surprise.
    """
    sg = jax.lax.stop_gradient
    loss, metrics, target = jnp.zeros(()), {}, sg(kl)
    read = sg(features)
    if model.ensemble is not None:
        actions = model.actions_for_filter(batch)[:, 1:]  # none where the model is free of actions
        left = sg(features[:, :-1])
        inputs = jnp.concatenate([left, sg(model.read(left, actions))], axis=-1)
        predictions = model.ensemble(inputs).astype(jnp.float32)
        errors = jnp.mean((predictions - sg(embed[:, 1:])[..., None, :]) ** 2, axis=(0, 1, 3))
        loss = errors.mean() if model.ensemble_variant == "std" else errors.sum()
        metrics["emb_prediction_loss"] = loss
        if model.reward_probe_target == "disagreement":
            target, read = sg(spread(model, predictions)), read[:, 1:]
    if model.reward_probe is not None:
        probe_loss = jnp.mean((model.reward_probe(read)[..., 0].astype(jnp.float32) - target) ** 2)
        loss = loss + probe_loss
        metrics["intrinsic_rewards_probe_loss"] = probe_loss
    return loss, metrics
