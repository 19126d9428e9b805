"""Action inference: filtering observations with actions supplied by a policy or an inverse dynamics model.

The policy is the inference model of the missing actions (AIME, Zhang et al., NeurIPS 2023):

    a_{t-1} ~ pi(. | s_{t-1}),    s_t ~ q(. | s_{t-1}, a_{t-1}, o_t)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from worldmodels.distributions import TanhNormal
from worldmodels.latent_actions import LatentActions
from worldmodels.sequences import scan_time
from worldmodels.structures import Array, FilterOutput, SequenceBatch
from worldmodels.world_model import WorldModel

Policy = Callable[[Array], TanhNormal]
ACTION_SOURCES = ("policy", "idm")
FIRST_ACTIONS = ("policy", "zero")


class InferenceOutput(struct.PyTreeNode):
    """Result of action inference; leaves [B, T, ...].

    Attributes:
      output: states, prior and posterior of the filter.
      actions: [B, T, A]; `actions[t]` led to `observation[t]`, as `prev_action` does.
      policy, idm: the action distributions that policy and IDM had at each step; `idm` is None if not asked for. Over
        latent actions with `latent`, or where the dynamics read them.
    """

    output: FilterOutput
    actions: Array
    policy: TanhNormal
    idm: TanhNormal | None


def infer_actions(
    model: WorldModel,
    policy: Policy,
    batch: SequenceBatch,
    key: Array | None = None,
    *,
    use_idm: bool = False,
    action_source: str = "policy",
    first_action: str = "policy",
    observation_noise: float = 0.0,
    latent: LatentActions | None = None,
) -> InferenceOutput:
    """Infers states and actions of observations without actions.

    Starts from zero states, so that the first action is what the policy does on zero features. Gradients flow
    through the whole unroll: actions, memory, posterior samples. Where the dynamics read latent actions, these are
    inferred, and actions are what they are decoded into.

    Args:
      model: the world model; frozen because it is not the argument that a loss differentiates.
      policy: features [B, F] -> TanhNormal over [B, R], what the dynamics read.
      batch: SequenceBatch [B, T]; its actions are not looked at.
      key: PRNG key, consumed; None takes modes of actions and posteriors.
      use_idm: also evaluates `model.inverse` at each step.
      action_source: whose actions drive the unroll, "policy" or "idm".
      first_action: what led to a record with `is_first`. "policy": inferred like any other, as published. "zero":
        nothing led there, so the action is the zero that data and actors have in its place.
      observation_noise: std, in standardised units, of noise on the vectors that the encoder sees; 0 as published. The
        states are then a little off the demonstration and the actions that explain what follows lead back to it.
      latent: policy and IDM are over its latent actions, the IDM is its inverse model, and it draws what is read.
    """
    use_idm = use_idm or action_source == "idm"
    idm: Any = model.inverse if latent is None else latent.inverse
    check_sources(action_source, first_action, has_idm=not use_idm or idm is not None)
    keys = (None, None, None) if key is None else (*jax.random.split(key), jax.random.fold_in(key, 3))
    shape, observation = batch.batch_shape, batch.observation
    if observation_noise and key is not None:
        observation = model.with_noise(observation, observation_noise, jax.random.fold_in(key, 2))
    embed, dynamics = model.encode(observation), model.dynamics
    noise = normal_noise(keys[0], *shape, model.read_size if latent is None else latent.size)
    decoder_noise = None if latent is None else normal_noise(keys[2], *shape, model.action_size)

    def step(state, xs):
        embed_t, projected, first, noise, decoder_noise, latent_noise = xs
        state = dynamics.forget(state, first)
        policy_dist = policy(state.features)
        idm_dist: Any = idm(jnp.concatenate([state.features, embed_t], axis=-1)) if use_idm else None
        read = (idm_dist if action_source == "idm" else policy_dist).sample(noise)
        read = read if latent is None else latent.action(state.features, read, decoder_noise)
        action = model.action(state.features, read)
        if first_action == "zero":
            read, action = (x * (1.0 - first)[:, None] for x in (read, action))
        state, posterior = dynamics.observe(state, read, projected, latent_noise)
        return state, (state, posterior, action, policy_dist, idm_dist)

    projected, latent_noise = dynamics.project_embed(embed), dynamics.noise(keys[1], *shape)
    xs = (embed if use_idm else None, projected, batch.is_first, noise, decoder_noise, latent_noise)
    _, (states, posterior, actions, policy_dist, idm_dist) = scan_time(step, dynamics.initial(shape[0]), xs)
    output = FilterOutput(states=states, prior=dynamics.prior(states), posterior=posterior)
    return InferenceOutput(output=output, actions=actions, policy=policy_dist, idm=idm_dist)


def check_sources(action_source: str, first_action: str, *, has_idm: bool) -> None:
    """Raises a ValueError for sources of actions that are not known, or that need an IDM which is not there."""
    if first_action not in FIRST_ACTIONS:
        raise ValueError(f"Unknown first_action {first_action!r}. Known: {', '.join(FIRST_ACTIONS)}.")
    if action_source not in ACTION_SOURCES:
        raise ValueError(f"Unknown action_source {action_source!r}. Known: {', '.join(ACTION_SOURCES)}.")
    if not has_idm:
        raise ValueError("This world model has no inverse dynamics model; pretrain with idm_mode='detach'.")


def normal_noise(key: Array | None, *shape: int) -> Array | None:
    """Draws standard normal noise; None (the mode) without a key."""
    return None if key is None else jax.random.normal(key, shape)
