"""Actor-critic in imagination (Dreamer, as AIME-v2 has it): the losses of a policy and of its critic.

From every state s_0 that was inferred from data, the policy acts H steps in the model. With rewards r_t and
termination probabilities read off s_0 .. s_H and values V of a target critic,

    d_t = discount * (1 - p(terminal | s_t)),    w_t = d_0 * ... * d_{t-1}
    R_t = r_t + d_t * ((1 - lambda) * V(s_{t+1}) + lambda * R_{t+1}),    R_H = V(s_H)
    policy loss = -mean( w_t * R_{t+1} ) - entropy_scale * mean( entropy )
    value loss  = 0.5 * mean( w_t * (sg(R_t) - V(s_t))² )

The gradient of the policy goes through actions, dynamics, rewards, terminations and the target critic; the policy
itself reads stopped features. Several rewards have a critic each, and their policy losses are added up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from agents import values
from worldmodels.dynamics import ImagineOutput
from worldmodels.nets import MLP
from worldmodels.structures import Array, LatentState
from worldmodels.training import Metrics, TrainState, gradient_step
from worldmodels.world_model import WorldModel

Reward = Callable[[WorldModel, ImagineOutput], Array]  # rewards [N, H + 1] of the imagined states s_0 .. s_H


@dataclasses.dataclass(frozen=True)
class ImaginationOptions:
    """Options of learning in imagination; the defaults are AIME-v2's.

    Attributes:
      horizon: H, number of actions.
      discount, lambda_: of the returns.
      entropy_scale: weight of the policy's entropy, per step and summed over action dimensions.
    """

    horizon: int = 15
    discount: float = 0.99
    lambda_: float = 0.95
    entropy_scale: float = 1e-4


PUBLISHED = ImaginationOptions()


class Imagination(struct.PyTreeNode):
    """An imagined rollout with its rewards and values.

    Attributes:
      features: [N, H + 1, F] of s_0 .. s_H.
      actions: [N, H, A]; actions[:, t] leads from s_t to s_{t+1}.
      entropy: [N, H, A] of the distributions that they were drawn from.
      terminal: [N, H + 1] probability that s_t ends the episode.
      weight: [N, H + 1] w_t, product of the discounts before.
      reward, value: {reward: [N, H + 1]}; the value is the target critic's.
      returns: {reward: [N, H]} lambda-returns of s_0 .. s_{H-1}.
    """

    features: Array
    actions: Array
    entropy: Array
    terminal: Array
    weight: Array
    reward: dict[str, Array]
    value: dict[str, Array]
    returns: dict[str, Array]


def starts(states: LatentState) -> LatentState:
    """Every state of a batch [B, T, ...] as a start of imagination, [B * T, ...], without gradient."""
    return jax.tree.map(lambda x: jax.lax.stop_gradient(x).reshape(-1, *x.shape[2:]), states)


def head_reward(name: str) -> Reward:
    """Returns the mean of the decoder `name` at every imagined state."""

    def reward(model: WorldModel, imagined: ImagineOutput) -> Array:
        if name not in model.targets:
            raise ValueError(
                f"The world model does not predict {name!r}; it predicts {', '.join(model.targets)}. Train it with "
                "this head (predict_reward=True, or `name` among its targets)."
            )
        return model.decoders[name](imagined.states.features).mean()[..., 0]

    return reward


def termination(model: WorldModel, features: Array) -> Array:
    """[..., F] -> [...] probability that the episode ends; zero if the model has no such head."""
    if "is_terminal" not in model.targets:
        return jnp.zeros(features.shape[:-1])
    return model.decoders["is_terminal"](features).mode()[..., 0]


def imagine(
    model: WorldModel,
    policy: Callable,
    target_critic: Mapping[str, Callable],
    start: LatentState,
    key: Array | None,
    *,
    rewards: Mapping[str, Reward],
    options: ImaginationOptions = PUBLISHED,
) -> Imagination:
    """Lets the policy act in the model and computes what it is worth.

    Args:
      target_critic: {reward: value network [..., F] -> [..., 1]}.
      start: leaves [N, ...], see `starts`.
      key: PRNG key, consumed; None takes modes of actions and priors.
      rewards: {name: what gives the rewards}, e.g. {"reward": head_reward("reward")}.
    """
    if set(rewards) != set(target_critic):
        raise ValueError(
            f"Every reward needs a critic: rewards {', '.join(rewards)}; critics {', '.join(target_critic)}."
        )
    imagined = model.dynamics.imagine(start, policy, options.horizon, key)
    features = imagined.states.features
    terminal = termination(model, features)
    discounts = options.discount * (1.0 - terminal)
    reward = {name: function(model, imagined) for name, function in rewards.items()}
    value = {name: target_critic[name](features)[..., 0] for name in rewards}
    returns = {
        name: values.lambda_returns(
            reward[name][:, :-1], value[name][:, :-1], discounts[:, :-1], value[name][:, -1], options.lambda_
        )
        for name in rewards
    }
    return Imagination(
        features=features,
        actions=imagined.actions,
        entropy=imagined.policy.entropy(),
        terminal=terminal,
        weight=values.cumulative_discount(discounts),
        reward=reward,
        value=value,
        returns=returns,
    )


def policy_loss(
    policy: Callable,
    model: WorldModel,
    target_critic: Mapping[str, Callable],
    start: LatentState,
    key: Array | None,
    *,
    rewards: Mapping[str, Reward],
    options: ImaginationOptions = PUBLISHED,
) -> tuple[Array, tuple[Metrics, Imagination]]:
    """Minus the imagined returns, minus the entropy; to be differentiated with respect to the policy.

    Args: as of `imagine`.

    Returns:
      The loss; metrics, and what was imagined, for `value_loss`.
    """
    imagined = imagine(model, policy, target_critic, start, key, rewards=rewards, options=options)
    losses = {
        name: values.value_gradient_loss(returns, imagined.weight)
        for name, returns in imagined.returns.items()
    }
    entropy = imagined.entropy.sum(axis=-1).mean()
    loss = sum(losses.values()) - options.entropy_scale * entropy
    metrics = {
        "imagination_loss": loss,
        "imagined_entropy": entropy,
        "imagined_terminal": imagined.terminal.mean(),
    }
    for name in losses:
        metrics[f"{name}_value_gradient_loss"] = losses[name]
        metrics[f"{name}_imagined"] = imagined.reward[name].mean()
        metrics[f"{name}_return"] = imagined.returns[name].mean()
    return loss, (metrics, imagined)


def value_loss(critic: Mapping[str, Callable], imagined: Imagination, key=None) -> tuple[Array, Metrics]:
    """Squared distance of every critic to the imagined returns; to be differentiated with respect to the critic."""
    features = jax.lax.stop_gradient(imagined.features[:, :-1])
    losses: list[Array] = []
    metrics: Metrics = {}
    for name, network in critic.items():
        value = network(features)[..., 0]
        losses.append(values.value_loss(value, imagined.returns[name], imagined.weight[:, :-1]))
        metrics |= {f"{name}_value_loss": losses[-1], f"{name}_value": value.mean()}
    return jnp.asarray(sum(losses)), metrics


class Critic(struct.PyTreeNode):
    """Value networks that learn, one for each reward, and the targets that follow them.

    Attributes:
      train: TrainState whose `model` is {reward: value network}, features [..., F] -> [..., 1].
      target: {reward: value network}.
    """

    train: TrainState
    target: dict[str, MLP]

    @classmethod
    def create(cls, networks: dict[str, MLP], optimizer: optax.GradientTransformation, key: Array) -> Critic:
        """Returns a critic before its first update; the targets begin as copies of the networks."""
        return cls(TrainState.create(networks, optimizer, key), jax.tree.map(jnp.copy, networks))


def value_networks(
    rewards: Sequence[str], feature_size: int, key: Array, *, hidden_size: int = 128, hidden_layers: int = 2
) -> dict[str, MLP]:
    """{reward: fresh value network [..., feature_size] -> [..., 1]}."""
    return {
        name: MLP(
            feature_size, 1, hidden_size=hidden_size, hidden_layers=hidden_layers, rngs=nnx.Rngs(reward_key)
        )
        for name, reward_key in zip(rewards, jax.random.split(key, len(rewards)), strict=True)
    }


def update_critic(
    critic: Critic, imagined: Imagination, optimizer: optax.GradientTransformation, target_rate: float = 0.01
) -> tuple[Critic, Metrics]:
    """One step on `value_loss`, after which the targets follow: target <- rate * online + (1 - rate) * target."""
    train, metrics, _ = gradient_step(value_loss, optimizer, critic.train, imagined)
    return Critic(train, optax.incremental_update(train.model, critic.target, target_rate)), metrics
