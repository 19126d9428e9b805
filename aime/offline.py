"""AIME's phase 2: a policy trained on demonstrations alone, no environment and no reward.

`make_imitation_update` is the published default, a frozen model. `make_joint_update` keeps training the model on
embodiment data together with the policy. Updates of equal options are one object, which is compiled once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import optax
from flax import struct

from aime.losses import PUBLISHED, AIMEOptions, action_inference_loss
from worldmodels.losses import LossOptions, elbo_loss
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import Metrics, TrainState, make_update


@functools.lru_cache(maxsize=16)
def make_imitation_update(
    optimizer: optax.GradientTransformation, options: AIMEOptions = PUBLISHED
) -> Callable:
    """Returns `update(policy_state, demonstration_batch, world_model) -> (policy_state, metrics)`.

    The gradient is taken, clipped and applied over the policy only.
    """
    return make_update(functools.partial(action_inference_loss, options=options), optimizer)


class JointState(struct.PyTreeNode):
    """A policy and a world model that continue to train together."""

    policy: TrainState
    model: TrainState

    @property
    def key(self) -> Array:
        """PRNG key of the batches."""
        return self.policy.key

    @property
    def step(self) -> Array:
        """[] int32 number of updates made."""
        return self.policy.step


@functools.lru_cache(maxsize=16)
def make_joint_update(
    policy_optimizer: optax.GradientTransformation,
    model_optimizer: optax.GradientTransformation,
    *,
    policy_loss: AIMEOptions,
    model_loss: LossOptions,
) -> Callable:
    """Returns `update(state, demonstration, embodiment) -> (state, metrics)`: the model learns, then the policy."""
    update_policy = make_imitation_update(policy_optimizer, policy_loss)
    update_model = make_update(functools.partial(elbo_loss, options=model_loss), model_optimizer)

    def update(
        state: JointState, demonstration: SequenceBatch, embodiment: SequenceBatch
    ) -> tuple[JointState, Metrics]:
        model, model_metrics = update_model(state.model, embodiment)
        frozen = jax.lax.stop_gradient(model.model)
        policy, metrics = update_policy(state.policy, demonstration, frozen)
        metrics = metrics | {f"model/{name}": value for name, value in model_metrics.items()}
        return JointState(policy=policy, model=model), metrics

    return update
