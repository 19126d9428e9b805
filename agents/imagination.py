"""Actor-critic in imagination (Dreamer, as AIME-v2 has it): the losses of a policy and of its critic.

From every state s_0 that was inferred from data, the policy acts H steps in the model. With rewards r_t and
termination probabilities read off s_0 .. s_H and values V of a target critic,

    d_t = discount * (1 - p(terminal | s_t)),    w_t = d_0 * ... * d_{t-1}
    R_t = r_t + d_t * ((1 - lambda) * V(s_{t+1}) + lambda * R_{t+1}),    R_H = V(s_H)
    policy loss = -mean( w_t * R_{t+1} ) - entropy_scale * mean( entropy )
    value loss  = 0.5 * mean( w_t * (sg(R_t) - V(s_t))² )

The gradient of the policy goes through actions, dynamics, rewards, terminations and the target critic; the policy
itself reads stopped features. Several rewards have a critic each, and their policy losses are added up.

DreamerV3 (arXiv 2301.04104) has another actor-critic, each part of which is an option here (`DREAMER_V3` has all):
returns are divided by S = max(1, p95 - p5) of their running percentiles; values are those of the learning critic, whose
target only holds it back; with two-hot critics (`worldmodels/two_hot.py`) the distance is a cross-entropy CE:

    policy loss = -mean( w_t * log pi(sg(a_t) | s_t) * sg((R_t - V(s_t)) / S) ) - entropy_scale * mean( entropy )
    value loss  = mean( w_t * [ CE(V(s_t), sg(R_t)) + slow_scale * CE(V(s_t), sg(V_target(s_t))) ] )

What stays ours: V(s_t) counts the reward of s_t, which DreamerV3's leaves out, so that planners may use any critic; the
policy is a tanh-Gaussian, as AIME needs, whose log-density clips actions to 0.999, so that "reinforce" learns little
where it saturates; there is no loss on replayed rewards; the optimizers are Adam.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from agents import values
from agents.values import ReturnRange
from worldmodels.dynamics import ImagineOutput
from worldmodels.nets import MLP
from worldmodels.structures import Array, LatentState
from worldmodels.training import Metrics, TrainState, apply_gradient, gradient_of_parts, gradient_step
from worldmodels.two_hot import VALUE_NETWORKS
from worldmodels.world_model import WorldModel

Reward = Callable[[WorldModel, ImagineOutput], Array]  # rewards [N, H + 1] of the imagined states s_0 .. s_H


@dataclasses.dataclass(frozen=True)
class ImaginationOptions:
    """Options of learning in imagination; the defaults are AIME-v2's.

    Attributes:
      horizon: H, number of actions.
      discount, lambda_: of the returns.
      entropy_scale: weight of the policy's entropy, per step and summed over action dimensions.
      gradient: of the policy, "dynamics" (through the model) or "reinforce" (of the actions' log-density).
      normalise_returns: whether the policy's returns are divided by their range.
      bootstrap: whose values the returns have, "target" or "critic".
      slow_scale: weight of the critic's distance to its target.
    """

    horizon: int = 15
    discount: float = 0.99
    lambda_: float = 0.95
    entropy_scale: float = 1e-4
    gradient: str = "dynamics"
    normalise_returns: bool = False
    bootstrap: str = "target"
    slow_scale: float = 0.0

    def __post_init__(self):
        for name, known in (("gradient", ("dynamics", "reinforce")), ("bootstrap", ("target", "critic"))):
            if getattr(self, name) not in known:
                raise ValueError(f"Unknown {name} {getattr(self, name)!r}. Known: {', '.join(known)}.")


PUBLISHED = ImaginationOptions()
DREAMER_V3 = ImaginationOptions(
    entropy_scale=3e-4, gradient="reinforce", normalise_returns=True, bootstrap="critic", slow_scale=1.0
)


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
      log_prob: [N, H] of the actions, held fixed; None where the gradient is not "reinforce".
      ranges: {reward: ReturnRange} with these returns; None where they are not normalised.
    """

    features: Array
    actions: Array
    entropy: Array
    terminal: Array
    weight: Array
    reward: dict[str, Array]
    value: dict[str, Array]
    returns: dict[str, Array]
    log_prob: Array | None = None
    ranges: dict[str, ReturnRange] | None = None


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
    ranges: Mapping[str, ReturnRange] | None = None,
) -> Imagination:
    """Lets the policy act in the model and computes what it is worth.

    Args:
      target_critic: {reward: value network [..., F] -> [..., 1]}, see `Critic.judges`.
      start: leaves [N, ...], see `starts`.
      key: PRNG key, consumed; None takes modes of actions and priors.
      rewards: {name: what gives the rewards}, e.g. {"reward": head_reward("reward")}.
      ranges: of earlier returns, where they are normalised.
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
    log_prob = None
    if options.gradient == "reinforce":
        log_prob = imagined.policy.log_prob(jax.lax.stop_gradient(imagined.actions)).sum(axis=-1)
    if options.normalise_returns:
        ranges = {
            name: (ranges or {}).get(name, ReturnRange.create()).after(returns[name]) for name in rewards
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
        log_prob=log_prob,
        ranges=dict(ranges) if ranges and options.normalise_returns else None,
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
    ranges: Mapping[str, ReturnRange] | None = None,
) -> tuple[Array, tuple[Metrics, Imagination]]:
    """Minus the imagined returns, minus the entropy; to be differentiated with respect to the policy.

    Args: as of `imagine`.

    Returns:
      The loss; metrics, and what was imagined, for `value_loss`.
    """
    imagined = imagine(
        model, policy, target_critic, start, key, rewards=rewards, options=options, ranges=ranges
    )
    losses = {name: _objective(imagined, name) for name in imagined.returns}
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
        if imagined.ranges is not None:
            metrics[f"{name}_return_scale"] = imagined.ranges[name].scale
    return loss, (metrics, imagined)


def _objective(imagined: Imagination, name: str) -> Array:
    """[] minus what the policy gains of one reward; see the module."""
    returns, weight = imagined.returns[name], imagined.weight
    scale = 1.0 if imagined.ranges is None else imagined.ranges[name].scale
    if imagined.log_prob is None:
        loss = values.value_gradient_loss(returns, weight)
        return loss if imagined.ranges is None else loss / scale
    advantage = (returns - imagined.value[name][:, :-1]) / scale
    return values.reinforce_loss(imagined.log_prob, advantage, weight[:, :-1])


def value_loss(critic: Mapping[str, Callable], imagined: Imagination, key=None) -> tuple[Array, Metrics]:
    """Distance of every critic to the imagined returns; to be differentiated with respect to the critic."""
    features = jax.lax.stop_gradient(imagined.features[:, :-1])
    losses: list[Array] = []
    metrics: Metrics = {}
    for name, network in critic.items():
        parts = (features, imagined.returns[name], imagined.weight[:, :-1])
        losses.append(values.regression_loss(network, *parts))
        metrics |= {f"{name}_value_loss": losses[-1], f"{name}_value": network(features).mean()}
    return jnp.asarray(sum(losses)), metrics


def slow_loss(critic: Mapping[str, Callable], target: Mapping[str, Callable], imagined: Imagination) -> Array:
    """[] distance of every critic to its target at the imagined states, weighted as `value_loss`."""
    features = jax.lax.stop_gradient(imagined.features[:, :-1])
    slow = {name: jax.lax.stop_gradient(target[name](features)[..., 0]) for name in critic}
    weight = imagined.weight[:, :-1]
    losses = [values.regression_loss(critic[name], features, slow[name], weight) for name in critic]
    return jnp.asarray(sum(losses))


class Critic(struct.PyTreeNode):
    """Value networks that learn, one for each reward, and the targets that follow them.

    Attributes:
      train: TrainState whose `model` is {reward: value network}, features [..., F] -> [..., 1].
      target: {reward: value network}.
      ranges: {reward: ReturnRange}; None where returns are not normalised.
    """

    train: TrainState
    target: dict[str, MLP]
    ranges: dict[str, ReturnRange] | None = None

    @classmethod
    def create(
        cls,
        networks: dict[str, MLP],
        optimizer: optax.GradientTransformation,
        key: Array,
        options: ImaginationOptions = PUBLISHED,
    ) -> Critic:
        """Returns a critic before its first update; the targets begin as copies of the networks."""
        ranges = {name: ReturnRange.create() for name in networks} if options.normalise_returns else None
        return cls(TrainState.create(networks, optimizer, key), jax.tree.map(jnp.copy, networks), ranges)

    def judges(self, options: ImaginationOptions) -> dict[str, MLP]:
        """Returns the networks whose values the returns have."""
        return self.target if options.bootstrap == "target" else self.train.model


def value_networks(
    rewards: Sequence[str],
    feature_size: int,
    key: Array,
    *,
    name: str = "mlp",
    hidden_size: int = 128,
    hidden_layers: int = 2,
) -> dict[str, MLP]:
    """{reward: fresh value network [..., feature_size] -> [..., 1]}, `name` one of `VALUE_NETWORKS`."""
    options: dict[str, Any] = dict(name=name, hidden_size=hidden_size, hidden_layers=hidden_layers)
    return {
        reward: VALUE_NETWORKS.make(feature_size, 1, rngs=nnx.Rngs(reward_key), **options)
        for reward, reward_key in zip(rewards, jax.random.split(key, len(rewards)), strict=True)
    }


def update_critic(
    critic: Critic,
    imagined: Imagination,
    optimizer: optax.GradientTransformation,
    target_rate: float = 0.01,
    options: ImaginationOptions = PUBLISHED,
) -> tuple[Critic, Metrics]:
    """One step on `value_loss`, after which the targets follow: target <- rate * online + (1 - rate) * target.

    With `slow_scale` the step is along the sum of two gradients, whose norms are `return_grad_norm` and
    `slow_grad_norm`.
    """
    if options.slow_scale:
        train, metrics = _held_back_step(critic, imagined, optimizer, options.slow_scale)
    else:
        train, metrics, _ = gradient_step(value_loss, optimizer, critic.train, imagined)
    target = optax.incremental_update(train.model, critic.target, target_rate)
    return Critic(train, target, imagined.ranges), metrics


def _held_back_step(
    critic: Critic, imagined: Imagination, optimizer: optax.GradientTransformation, slow_scale: float
) -> tuple[TrainState, Metrics]:
    """One step on `value_loss` + slow_scale * `slow_loss`."""
    parts = {
        "return": lambda networks: value_loss(networks, imagined)[0],
        "slow": lambda networks: slow_scale * slow_loss(networks, critic.target, imagined),
    }
    grads, of_parts = gradient_of_parts(parts, critic.train.model)
    metrics = value_loss(critic.train.model, imagined)[1] | of_parts
    return apply_gradient(optimizer, critic.train, grads), metrics
