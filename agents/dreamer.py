"""Dreamer as the AIME papers use it: a world model learns from a replay, a policy and its critic in imagination.

One update is one step of each, in this order: the world model on a batch of the replay (`elbo_loss`), the policy on
what it does in the *updated* model from the states inferred in that batch, the critic on the returns of that
imagination, the target critic. With an intrinsic reward it is Plan2Explore (`agents/plan2explore.py`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import optax
from flax import struct

from agents import imagination
from agents.imagination import Critic, Reward
from worldmodels.losses import elbo_loss_and_states
from worldmodels.structures import Array, RSSMState, SequenceBatch
from worldmodels.training import Metrics, TrainState, apply_gradients, ready_to_update


@struct.dataclass
class DreamerState:
    """Everything that changes while Dreamer learns.

    Attributes:
      model: TrainState of the WorldModel. policy: TrainState of the policy. critic: value networks and targets.
    """

    model: TrainState
    policy: TrainState
    critic: Critic

    @property
    def key(self) -> Array:
        """PRNG key of the batches."""
        return self.model.key

    @property
    def step(self) -> Array:
        """[] int32 number of updates made, those of the world model alone included."""
        return self.model.step


@dataclasses.dataclass(frozen=True)
class Optimizers:
    """One optimizer each for world model, policy and critic."""

    model: optax.GradientTransformation
    policy: optax.GradientTransformation
    critic: optax.GradientTransformation


def create_dreamer(model, policy, networks: dict, optimizers: Optimizers, key: Array) -> DreamerState:
    """The state before the first update.

    Args:
      model: WorldModel. policy: features -> action distribution.
      networks: {reward: value network}, see `imagination.value_networks`.
      key: PRNG key, consumed.
    """
    keys = jax.random.split(key, 3)
    return DreamerState(
        model=TrainState.create(model, optimizers.model, keys[0]),
        policy=TrainState.create(policy, optimizers.policy, keys[1]),
        critic=Critic.create(networks, optimizers.critic, keys[2]),
    )


def make_dreamer_update(
    optimizers: Optimizers,
    *,
    rewards: Mapping[str, Reward],
    model_loss: Mapping,
    imagination_options: Mapping,
    target_rate: float = 0.01,
) -> Callable:
    """Returns `update(state, batch) -> (state, metrics)`, all three learners once.

    Args:
      rewards: {name: what gives the rewards of imagined states}; one critic each.
      model_loss: options of `elbo_loss`.
      imagination_options: horizon, discount, lambda_ and entropy_scale of `imagination.policy_loss`.
      target_rate: share of the critic that goes into its target at every update.
    """
    learn_model = functools.partial(update_model, optimizer=optimizers.model, loss_options=model_loss)
    policy_loss = functools.partial(imagination.policy_loss, rewards=rewards, **imagination_options)

    def update(state: DreamerState, batch: SequenceBatch) -> tuple[DreamerState, Metrics]:
        model, states, model_metrics = learn_model(state.model, batch)
        policy, imagined, policy_metrics = _update_policy(
            state.policy,
            model.model,
            state.critic.target,
            imagination.starts(states),
            optimizer=optimizers.policy,
            loss=policy_loss,
        )
        critic, value_metrics = imagination.update_critic(
            state.critic, imagined, optimizers.critic, target_rate
        )
        groups = {"model": model_metrics, "policy": policy_metrics, "value": value_metrics}
        metrics = {f"{group}/{name}": v for group, values in groups.items() for name, v in values.items()}
        return DreamerState(model, policy, critic), metrics

    return update


def make_model_update(optimizers: Optimizers, *, model_loss: Mapping) -> Callable:
    """Returns `update(state, batch) -> (state, metrics)` of the world model alone, for its pretraining."""

    def update(state: DreamerState, batch: SequenceBatch) -> tuple[DreamerState, Metrics]:
        model, _, metrics = update_model(
            state.model, batch, optimizer=optimizers.model, loss_options=model_loss
        )
        return state.replace(model=model), {f"model/{name}": value for name, value in metrics.items()}

    return update


def freeze(optimizer: optax.GradientTransformation, is_frozen) -> optax.GradientTransformation:
    """The optimizer for a model of which some parameters stay as they are (`freeze_pretrained_parameters`).

    Args:
      is_frozen: sequence of booleans, one per leaf of the model in the order of `jax.tree.leaves`. Frozen
        parameters count as without gradient in the clipping, too.
    """
    is_frozen = tuple(is_frozen)

    def drop_gradients(grads, params=None):
        leaves, treedef = jax.tree.flatten(grads)
        kept = [jax.numpy.zeros_like(g) if f else g for g, f in zip(leaves, is_frozen, strict=True)]
        return treedef.unflatten(kept)

    return optax.chain(optax.stateless(drop_gradients), optimizer)


def update_model(
    train: TrainState, batch: SequenceBatch, *, optimizer, loss_options: Mapping
) -> tuple[TrainState, RSSMState, Metrics]:
    """One step on `elbo_loss`; also the states it inferred, leaves [B, T, ...]."""

    def loss(model, key):
        value, metrics, output = elbo_loss_and_states(model, batch, key, **loss_options)
        return value, (metrics, output.states)

    train, key = ready_to_update(train), jax.random.fold_in(train.key, train.step)
    grads, (metrics, states) = jax.grad(loss, has_aux=True)(train.model, key)
    train, norm = apply_gradients(train, grads, optimizer)
    return train, states, {**metrics, "grad_norm": norm}


def _update_policy(
    train: TrainState, model, target_critic, start: RSSMState, *, optimizer, loss: Callable
) -> tuple[TrainState, imagination.Imagination, Metrics]:
    """One step on `imagination.policy_loss`; also what was imagined."""
    key = jax.random.fold_in(train.key, train.step)
    grads, (metrics, imagined) = jax.grad(loss, has_aux=True)(train.model, model, target_critic, start, key)
    train, norm = apply_gradients(train, grads, optimizer)
    return train, imagined, {**metrics, "grad_norm": norm}
