"""Dreamer as the AIME papers use it: a world model learns from a replay, a policy and its critic in imagination.

One update is one step of each, in this order: the world model on a batch of the replay (`elbo_loss`), the policy on
what it does in the *updated* model from the states inferred in that batch, the critic on the returns of that
imagination, the target critic. With an intrinsic reward it is Plan2Explore (`agents/plan2explore.py`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import optax
from flax import struct

from agents import imagination
from agents.imagination import Critic, ImaginationOptions, Reward
from worldmodels.losses import LossOptions, elbo_loss
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics, TrainState, gradient_step, make_update


class DreamerState(struct.PyTreeNode):
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


def create_dreamer(
    model,
    policy,
    networks: dict,
    optimizers: Optimizers,
    key: Array,
    options: ImaginationOptions = imagination.PUBLISHED,
) -> DreamerState:
    """Returns the state before the first update.

    Args:
      model: WorldModel. policy: features -> action distribution.
      networks: {reward: value network}, see `imagination.value_networks`.
      key: PRNG key, consumed.
      options: of the imagination.
    """
    keys = jax.random.split(key, 3)
    return DreamerState(
        model=TrainState.create(model, optimizers.model, keys[0]),
        policy=TrainState.create(policy, optimizers.policy, keys[1]),
        critic=Critic.create(networks, optimizers.critic, keys[2], options),
    )


def make_dreamer_update(
    optimizers: Optimizers,
    *,
    rewards: Mapping[str, Reward],
    model_loss: LossOptions,
    imagination_options: ImaginationOptions,
    target_rate: float = 0.01,
) -> Callable:
    """Returns `update(state, batch) -> (state, metrics)`, all three learners once.

    Args:
      rewards: {name: what gives the rewards of imagined states}; one critic each.
      target_rate: share of the critic that goes into its target at every update.
    """
    loss = functools.partial(elbo_loss, options=model_loss)
    policy_loss = functools.partial(imagination.policy_loss, rewards=rewards, options=imagination_options)

    def update(state: DreamerState, batch: SequenceBatch) -> tuple[DreamerState, Metrics]:
        groups = {}
        model, groups["model"], inferred = gradient_step(loss, optimizers.model, state.model, batch)
        of_ranges = functools.partial(policy_loss, ranges=state.critic.ranges)
        policy, groups["policy"], imagined = gradient_step(
            of_ranges,
            optimizers.policy,
            state.policy,
            model.model,
            state.critic.judges(imagination_options),
            imagination.starts(inferred.states),
        )
        critic, groups["value"] = imagination.update_critic(
            state.critic, imagined, optimizers.critic, target_rate, imagination_options
        )
        return DreamerState(model, policy, critic), grouped(groups)

    return update


def grouped(groups: Mapping[str, Metrics]) -> Metrics:
    """Returns {"group/name": value}; what is only for analysis stays a group of its own."""
    return {
        name if name.startswith("analysis/") else f"{group}/{name}": value
        for group, metrics in groups.items()
        for name, value in metrics.items()
    }


def make_model_update(optimizers: Optimizers, *, model_loss: LossOptions) -> Callable:
    """Returns `update(state, batch) -> (state, metrics)` of the world model alone, for its pretraining."""
    update_model = make_update(functools.partial(elbo_loss, options=model_loss), optimizers.model)

    def update(state: DreamerState, batch: SequenceBatch) -> tuple[DreamerState, Metrics]:
        model, metrics = update_model(state.model, batch)
        return state.replace(model=model), grouped({"model": metrics})

    return update


def freeze(
    optimizer: optax.GradientTransformation, is_frozen: Sequence[bool]
) -> optax.GradientTransformation:
    """Keeps some parameters of a model as they are (`freeze_pretrained_parameters`).

    Args:
      is_frozen: one per leaf of the model, in the order of `jax.tree.leaves`. Frozen parameters count as without
        gradient in the clipping, too.
    """

    def mask(model):
        return jax.tree.unflatten(jax.tree.structure(model), is_frozen)

    return optax.chain(optax.masked(optax.set_to_zero(), mask), optimizer)
