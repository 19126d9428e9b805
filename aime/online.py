"""AIME-v2 / AIME-NoB: imitation from observation that continues to learn in the environment (arXiv 2404.18896).

Offline AIME fails where the pretrained model has not seen what the demonstrations show, and where few demonstrations
do not cover what the policy meets. So the model continues to learn from what the policy collects, with its pretraining
data (`aime/regularizer.py`), and the policy seeks a surrogate reward (`aime/rewards.py`) in imagination, with the
evidence of the demonstrations. One update:

    reward   r_t of the batch, by a discriminator that learns first (adversarial reward only), from windows of its own
    model    minimise  -ELBO(batch | actions), the reward being one more thing to predict
    policy   minimise  aime_scale  * [ -ELBO(demonstration) - entropy_scale * entropy ]
                     + value_scale * [ -mean( w_t R_{t+1} ) - entropy_scale * entropy ], imagined from the batch
    critic   minimise  0.5 * mean( w_t (sg(R_t) - V(s_t))^2 ),    target <- rate * critic + (1 - rate) * target

AIME-v2: value_scale 0.1, target_rate 0.01; AIME-NoB: 1.0, 0.05. Without a surrogate reward there is no critic.
DreamerV3's policy and critic losses are options of the imagination, as in `agents/imagination.py`.

The policy's gradient has two parts, of the evidence and of the value. Published is their sum, clipped by its norm; an
evidence in hundreds of nats then leaves the value a few per cent of the step. `part_clip` clips each part before.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from agents import imagination
from agents.dreamer import Optimizers, grouped
from agents.imagination import Critic, Imagination, ImaginationOptions, Reward, head_reward
from agents.values import ReturnRange
from aime.losses import AIMEOptions, action_inference_loss
from aime.rewards import SurrogateReward
from worldmodels.losses import LossOptions, elbo_loss
from worldmodels.structures import Array, LatentState, SequenceBatch
from worldmodels.training import Metrics, TrainState, apply_gradient, gradient_step, make_update


class OnlineState(struct.PyTreeNode):
    """Everything that changes while AIME-v2 learns.

    Attributes:
      model: TrainState of the WorldModel. policy: TrainState of the policy.
      critic: value networks and targets, one per reward; None without rewards.
      reward: what the surrogate reward remembers or learns.
      key: scalar PRNG key of the batches, never changed. step: [] int32 updates made, pretraining included.
      average: running average of the policy, or None.
    """

    model: TrainState
    policy: TrainState
    critic: Critic | None
    reward: object
    key: Array
    step: Array
    average: object = None


class OnlineBatch(struct.PyTreeNode):
    """Windows of one update, leaves [B, T, ...].

    Attributes:
      model: pretraining data and own episodes, of `regularizer.draw_model_batch`.
      demonstration: what the policy explains, without actions.
      shown: demonstrations that a reward compares `model` with, without actions, and drawn as those are: uniformly.
        None unless the reward is one that relabels.
    """

    model: SequenceBatch
    demonstration: SequenceBatch
    shown: SequenceBatch | None = None


@dataclasses.dataclass(frozen=True)
class OnlineSettings:
    """Settings of the updates of model and policy.

    Attributes:
      aime_scale, value_scale: weights of the two losses of the policy.
      target_rate: share of the critic that goes into its target at every update.
      num_starts: states of the batch from which the policy imagines, drawn at random; None: all.
      model_loss, policy_loss, imagination: options of the losses; both of the policy have an entropy_scale.
      intrinsic: {name: reward of imagined states} that are sought too (e.g. disagreement); a critic each.
      average: share of the policy's running average that an update keeps, e.g. 0.99; None: there is none, as published.
      part_clip: norm to which each part of the policy's gradient is clipped; None: only their sum is, as published.
      grad_clip: norm to which the policy's optimizer clips the sum, for the metric `clipped`.
    """

    aime_scale: float = 1.0
    value_scale: float = 0.1
    target_rate: float = 0.01
    num_starts: int | None = None
    model_loss: LossOptions = LossOptions()
    policy_loss: AIMEOptions = AIMEOptions(entropy_scale=1e-4)
    imagination: ImaginationOptions = ImaginationOptions()
    intrinsic: Mapping[str, Reward] = dataclasses.field(default_factory=dict)
    average: float | None = None
    part_clip: float | None = None
    grad_clip: float | None = None


def create_online(
    model,
    policy,
    networks: dict,
    reward: SurrogateReward | None,
    optimizers: Optimizers,
    key: Array,
    *,
    average: bool = False,
    options: ImaginationOptions = imagination.PUBLISHED,
) -> OnlineState:
    """Returns the state before the first update.

    Args:
      model: the pretrained WorldModel, with a head for the reward. policy: features -> action distribution.
      networks: {reward: value network}, see `imagination.value_networks`; empty without rewards.
      reward: the surrogate reward, or None.
      key: PRNG key, consumed.
      average: whether the policy has a running average; it begins as a copy.
      options: of the imagination.
    """
    keys = jax.random.split(key, 5)
    return OnlineState(
        model=TrainState.create(model, optimizers.model, keys[0]),
        policy=TrainState.create(policy, optimizers.policy, keys[1]),
        critic=Critic.create(networks, optimizers.critic, keys[2], options) if networks else None,
        reward=reward.initial_state(keys[3]) if reward is not None else (),
        key=keys[4],
        step=jnp.zeros((), jnp.int32),
        average=jax.tree.map(jnp.copy, policy) if average else None,
    )


def rewards_sought(reward: SurrogateReward | None, settings: OnlineSettings) -> dict[str, Reward]:
    """{name of a critic: what gives the rewards of imagined states}."""
    surrogate = {} if reward is None else {reward.head: head_reward(reward.head)}
    return surrogate | dict(settings.intrinsic)


def make_online_update(
    optimizers: Optimizers, settings: OnlineSettings, reward: SurrogateReward | None = None
) -> Callable:
    """Returns `update(state, OnlineBatch) -> (state, metrics)`; see the module."""
    model_loss = functools.partial(elbo_loss, options=settings.model_loss)
    update_policy = _make_policy_update(optimizers, settings, rewards_sought(reward, settings))

    def update(state: OnlineState, batch: OnlineBatch):
        reward_state, windows, groups = state.reward, batch.model, {}
        if reward is not None and batch.shown is not None:
            reward_state, windows, groups["reward"] = reward.relabel(
                state.reward, state.model.model, windows, batch.shown
            )
        model, groups["model"], inferred = gradient_step(model_loss, optimizers.model, state.model, windows)
        critic = state.critic
        policy, groups["policy"], imagined = update_policy(
            state.policy, model.model, critic, batch.demonstration, inferred.states
        )
        if critic is not None:
            critic, groups["value"] = imagination.update_critic(
                critic, imagined, optimizers.critic, settings.target_rate, settings.imagination
            )
        state = state.replace(model=model, policy=policy, critic=critic, reward=reward_state)
        return _after_update(state, settings), grouped(groups)

    return update


def make_policy_pretraining(optimizers: Optimizers, settings: OnlineSettings) -> Callable:
    """Returns `update(state, demonstration) -> (state, metrics)`: the policy alone, as offline AIME."""
    update_policy = _make_policy_update(optimizers, dataclasses.replace(settings, aime_scale=1.0), {})

    def update(state: OnlineState, demonstration: SequenceBatch) -> tuple[OnlineState, Metrics]:
        policy, metrics, _ = update_policy(state.policy, state.model.model, None, demonstration, None)
        return _after_update(state.replace(policy=policy), settings), grouped({"policy": metrics})

    return update


def make_model_pretraining(optimizers: Optimizers, settings: OnlineSettings) -> Callable:
    """Returns `update(state, batch) -> (state, metrics)`: the model alone, on pretraining data."""
    update_model = make_update(functools.partial(elbo_loss, options=settings.model_loss), optimizers.model)

    def update(state: OnlineState, batch: SequenceBatch) -> tuple[OnlineState, Metrics]:
        model, metrics = update_model(state.model, batch)
        return state.replace(model=model, step=state.step + 1), grouped({"model": metrics})

    return update


def evidence_loss(
    policy: Callable, model, demonstration: SequenceBatch, key: Array | None, settings: OnlineSettings
) -> tuple[Array, Metrics]:
    """Returns minus the evidence of a demonstration and its entropy bonus, weighted, and metrics.

    Args:
      policy: features -> action distribution; what the loss is differentiated by.
      model: WorldModel, frozen because it is not the argument we differentiate.
      demonstration: [B, T]; its actions are not looked at.
      key: PRNG key, consumed; None takes modes.
    """
    loss, (metrics, _) = action_inference_loss(policy, demonstration, model, key, settings.policy_loss)
    return settings.aime_scale * loss, metrics


def value_loss(
    policy: Callable,
    model,
    target_critic: Mapping,
    start: LatentState,
    key: Array | None,
    settings: OnlineSettings,
    rewards: Mapping[str, Reward],
    ranges: Mapping[str, ReturnRange] | None = None,
) -> tuple[Array, tuple[Metrics, Imagination]]:
    """Returns minus the value of what the policy imagines and its entropy bonus, weighted; metrics, what was imagined.

    Args:
      policy, model, key: as of `evidence_loss`.
      target_critic: {reward: value network}.
      start: where imagination starts, leaves [N, ...].
      ranges: of earlier returns, where they are normalised.
    """
    options: dict[str, Any] = dict(rewards=rewards, options=settings.imagination, ranges=ranges)
    loss, aux = imagination.policy_loss(policy, model, target_critic, start, key, **options)
    return settings.value_scale * loss, aux


def joined(parts: Mapping[str, object], settings: OnlineSettings) -> tuple[object, Metrics]:
    """Adds up the parts of the policy's gradient, each clipped to `part_clip` if that is set.

    Args:
      parts: {"evidence": gradient, "value": gradient}; without rewards the first alone.

    Returns:
      The gradient; metrics: the norm of each part and of the sum (`grad_norm`), whether they were clipped, the cosine
      of the parts, and `value_share`, the value's norm in the sum of both after their clipping.
    """
    norms = {name: optax.global_norm(part) for name, part in parts.items()}
    metrics = {f"{name}_grad_norm": norm for name, norm in norms.items()}
    if len(parts) == 2:
        metrics["evidence_value_cosine"] = cosine(parts["evidence"], parts["value"])
    if settings.part_clip is not None:
        for name, norm in norms.items():
            metrics[f"{name}_clipped"] = (norm > settings.part_clip).astype(jnp.float32)
        scales = {name: jnp.minimum(1.0, settings.part_clip / (norm + 1e-12)) for name, norm in norms.items()}
        parts = {name: jax.tree.map(lambda x, s=scales[name]: s * x, part) for name, part in parts.items()}
        norms = {name: scales[name] * norm for name, norm in norms.items()}
    if len(parts) == 2:
        metrics["value_share"] = norms["value"] / (norms["evidence"] + norms["value"] + 1e-12)
    total = jax.tree.map(lambda *leaves: sum(leaves), *parts.values())
    metrics["grad_norm"] = optax.global_norm(total)
    if settings.grad_clip is not None:
        metrics["clipped"] = (metrics["grad_norm"] > settings.grad_clip).astype(jnp.float32)
    return total, metrics


def cosine(one, other) -> Array:
    """Returns the cosine [] of the angle between two gradients of the same structure."""
    dot = sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
    return dot / (optax.global_norm(one) * optax.global_norm(other) + 1e-12)


def _make_policy_update(
    optimizers: Optimizers, settings: OnlineSettings, rewards: Mapping[str, Reward]
) -> Callable:
    """Returns (state, model, Critic or None, demonstration, states) -> (state, metrics, what was imagined)."""

    def update(state: TrainState, model, critic: Critic | None, demonstration, states):
        start_key, loss_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        aime_key, imagination_key = jax.random.split(loss_key)
        parts, imagined = {}, None
        gradient = jax.grad(evidence_loss, has_aux=True)
        parts["evidence"], metrics = gradient(state.model, model, demonstration, aime_key, settings)
        if critic is not None:
            start = drawn_starts(states, settings.num_starts, start_key)
            gradient = jax.grad(value_loss, has_aux=True)
            judges = critic.judges(settings.imagination)
            inputs = (state.model, model, judges, start, imagination_key, settings, rewards, critic.ranges)
            parts["value"], (value_metrics, imagined) = gradient(*inputs)
            metrics |= value_metrics
        grads, of_gradient = joined(parts, settings)
        return apply_gradient(optimizers.policy, state, grads), metrics | of_gradient, imagined

    return update


def _after_update(state: OnlineState, settings: OnlineSettings) -> OnlineState:
    """Returns the state with one more update, and the policy's average moved on."""
    average = state.average
    if average is not None and settings.average is not None:
        average = optax.incremental_update(state.policy.model, average, 1.0 - settings.average)
    return state.replace(average=average, step=state.step + 1)


def drawn_starts(states: LatentState, number: int | None, key: Array) -> LatentState:
    """Stopped states of a batch [B, T, ...] as starts [N, ...]; `number` of them at random, or all."""
    start = imagination.starts(states)
    total = jax.tree.leaves(start)[0].shape[0]
    if number is None or number >= total:
        return start
    rows = jax.random.choice(key, total, (number,), replace=False)
    return jax.tree.map(lambda x: x[rows], start)
