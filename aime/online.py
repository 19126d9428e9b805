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
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import struct

from agents import imagination
from agents.dreamer import Optimizers, grouped
from agents.imagination import Critic, ImaginationOptions, Reward, head_reward
from aime.losses import AIMEOptions, action_inference_loss
from aime.rewards import SurrogateReward
from worldmodels.losses import LossOptions, elbo_loss
from worldmodels.structures import Array, LatentState, SequenceBatch
from worldmodels.training import Metrics, TrainState, gradient_step, make_update


@struct.dataclass
class OnlineState:
    """Everything that changes while AIME-v2 learns.

    Attributes:
      model: TrainState of the WorldModel. policy: TrainState of the policy.
      critic: value networks and targets, one per reward; None without rewards.
      reward: what the surrogate reward remembers or learns.
      key: scalar PRNG key of the batches, never changed. step: [] int32 updates made, pretraining included.
    """

    model: TrainState
    policy: TrainState
    critic: Critic | None
    reward: object
    key: Array
    step: Array


@struct.dataclass
class OnlineBatch:
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
    """

    aime_scale: float = 1.0
    value_scale: float = 0.1
    target_rate: float = 0.01
    num_starts: int | None = None
    model_loss: LossOptions = LossOptions()
    policy_loss: AIMEOptions = AIMEOptions(entropy_scale=1e-4)
    imagination: ImaginationOptions = ImaginationOptions()
    intrinsic: Mapping[str, Reward] = dataclasses.field(default_factory=dict)


def create_online(
    model, policy, networks: dict, reward: SurrogateReward | None, optimizers: Optimizers, key: Array
) -> OnlineState:
    """Returns the state before the first update.

    Args:
      model: the pretrained WorldModel, with a head for the reward. policy: features -> action distribution.
      networks: {reward: value network}, see `imagination.value_networks`; empty without rewards.
      reward: the surrogate reward, or None.
      key: PRNG key, consumed.
    """
    keys = jax.random.split(key, 5)
    return OnlineState(
        model=TrainState.create(model, optimizers.model, keys[0]),
        policy=TrainState.create(policy, optimizers.policy, keys[1]),
        critic=Critic.create(networks, optimizers.critic, keys[2]) if networks else None,
        reward=reward.initial_state(keys[3]) if reward is not None else (),
        key=keys[4],
        step=jnp.zeros((), jnp.int32),
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
        if batch.shown is not None:
            reward_state, windows, groups["reward"] = reward.relabel(
                state.reward, state.model.model, windows, batch.shown
            )
        model, groups["model"], inferred = gradient_step(model_loss, optimizers.model, state.model, windows)
        target = None if state.critic is None else state.critic.target
        policy, groups["policy"], imagined = update_policy(
            state.policy, model.model, target, batch.demonstration, inferred.states
        )
        critic = state.critic
        if critic is not None:
            critic, groups["value"] = imagination.update_critic(
                critic, imagined, optimizers.critic, settings.target_rate
            )
        state = state.replace(
            model=model, policy=policy, critic=critic, reward=reward_state, step=state.step + 1
        )
        return state, grouped(groups)

    return update


def make_policy_pretraining(optimizers: Optimizers, settings: OnlineSettings) -> Callable:
    """Returns `update(state, demonstration) -> (state, metrics)`: the policy alone, as offline AIME."""
    update_policy = _make_policy_update(optimizers, dataclasses.replace(settings, aime_scale=1.0), {})

    def update(state: OnlineState, demonstration: SequenceBatch) -> tuple[OnlineState, Metrics]:
        policy, metrics, _ = update_policy(state.policy, state.model.model, None, demonstration, None)
        return state.replace(policy=policy, step=state.step + 1), grouped({"policy": metrics})

    return update


def make_model_pretraining(optimizers: Optimizers, settings: OnlineSettings) -> Callable:
    """Returns `update(state, batch) -> (state, metrics)`: the model alone, on pretraining data."""
    update_model = make_update(functools.partial(elbo_loss, options=settings.model_loss), optimizers.model)

    def update(state: OnlineState, batch: SequenceBatch) -> tuple[OnlineState, Metrics]:
        model, metrics = update_model(state.model, batch)
        return state.replace(model=model, step=state.step + 1), grouped({"model": metrics})

    return update


def policy_loss(
    policy: Callable,
    model,
    target_critic: Mapping | None,
    demonstration: SequenceBatch,
    start: LatentState | None,
    key: Array | None,
    *,
    rewards: Mapping[str, Reward],
    settings: OnlineSettings,
) -> tuple[Array, tuple[Metrics, object]]:
    """Weighs the evidence of the demonstration and the value of what the policy imagines; minimised over the policy.

    Args:
      policy: features -> action distribution.
      model: WorldModel, frozen because it is not the argument we differentiate.
      target_critic: {reward: value network}; None leaves the first loss alone, which is offline AIME's.
      demonstration: [B, T]; its actions are not looked at.
      start: where imagination starts, leaves [N, ...].
      key: PRNG key, consumed; None takes modes.

    Returns:
      The loss; metrics, and what was imagined (None without rewards).
    """
    aime_key, imagination_key = (None, None) if key is None else jax.random.split(key)
    loss, (metrics, _) = action_inference_loss(policy, demonstration, model, aime_key, settings.policy_loss)
    loss = settings.aime_scale * loss
    if target_critic is None:
        return loss, (metrics, None)
    value_loss, (value_metrics, imagined) = imagination.policy_loss(
        policy,
        model,
        target_critic,
        start,
        imagination_key,
        rewards=rewards,
        options=settings.imagination,
    )
    return loss + settings.value_scale * value_loss, (metrics | value_metrics, imagined)


def _make_policy_update(
    optimizers: Optimizers, settings: OnlineSettings, rewards: Mapping[str, Reward]
) -> Callable:
    """Returns one `gradient_step` on `policy_loss`, from states of a batch at random."""

    def loss(policy, model, target_critic, demonstration, states, key):
        start_key, loss_key = jax.random.split(key)
        start = None if target_critic is None else drawn_starts(states, settings.num_starts, start_key)
        options = dict(rewards=rewards, settings=settings)
        return policy_loss(policy, model, target_critic, demonstration, start, loss_key, **options)

    return functools.partial(gradient_step, loss, optimizers.policy)


def drawn_starts(states: LatentState, number: int | None, key: Array) -> LatentState:
    """Stopped states of a batch [B, T, ...] as starts [N, ...]; `number` of them at random, or all."""
    start = imagination.starts(states)
    total = jax.tree.leaves(start)[0].shape[0]
    if number is None or number >= total:
        return start
    rows = jax.random.choice(key, total, (number,), replace=False)
    return jax.tree.map(lambda x: x[rows], start)
