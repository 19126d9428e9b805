"""Soft actor-critic from state (Haarnoja et al. 2018, arXiv 1812.05905), a source of experts and replays.

Pure functions on `SACState`. A transition carries its own discount, `gamma^n` or 0 after a termination, so
that the target of the critic is always `reward + discount * V(next_observation)`: the end of an episode by
its time limit is not the end of the world, and learning bootstraps through it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct

from agents.transitions import Replay, Transitions, sample
from worldmodels.nets import MLP
from worldmodels.structures import Array
from worldmodels.training import Metrics, TrainState, make_optimizer, make_update, select_seed, stack_seeds

LOG_STD_MIN = -5.0
LOG_STD_MAX = 2.0


class Actor(nnx.Module):
    """Observation [..., O] -> mean and log standard deviation [..., A] of a Gaussian, squashed by tanh."""

    def __init__(
        self, observation_size: int, action_size: int, *, hidden_size: int, hidden_layers: int, rngs: nnx.Rngs
    ):
        sizes: dict[str, Any] = {"hidden_size": hidden_size, "hidden_layers": hidden_layers}
        self.net = MLP(observation_size, 2 * action_size, activation="relu", **sizes, rngs=rngs)

    def __call__(self, observation: Array) -> tuple[Array, Array]:
        mean, log_std = jnp.split(self.net(observation), 2, axis=-1)
        return mean, LOG_STD_MIN + (LOG_STD_MAX - LOG_STD_MIN) * 0.5 * (jnp.tanh(log_std) + 1)


class Critic(nnx.Module):
    """Two independent action values, [..., O] and [..., A] -> ([...], [...])."""

    def __init__(
        self, observation_size: int, action_size: int, *, hidden_size: int, hidden_layers: int, rngs: nnx.Rngs
    ):
        in_size = observation_size + action_size
        options: dict[str, Any] = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, rngs=rngs)
        self.first = MLP(in_size, 1, activation="relu", norm="ln", **options)
        self.second = MLP(in_size, 1, activation="relu", norm="ln", **options)

    def __call__(self, observation: Array, action: Array) -> tuple[Array, Array]:
        inputs = jnp.concatenate([observation, action], axis=-1)
        return self.first(inputs)[..., 0], self.second(inputs)[..., 0]


class SACState(struct.PyTreeNode):
    """Everything that changes while SAC learns.

    Attributes:
      actor: trains an `Actor`.
      critic: trains a pair of critics.
      target_critic: slow copy of `critic.model`.
      temperature: trains the logarithm of the entropy's weight, a scalar.
    """

    actor: TrainState
    critic: TrainState
    target_critic: Critic
    temperature: TrainState


def sample_action(mean: Array, log_std: Array, key: Array) -> tuple[Array, Array]:
    """Action a = tanh(u), u ~ N(mean, std), and its log-density in nats.

    log p(a) = log N(u) - sum_d log(1 - tanh(u_d)^2), with log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)).

    Args:
      mean, log_std: [..., A].
      key: PRNG key, consumed.

    Returns:
      [..., A] action and [...] log-density.
    """
    noise = jax.random.normal(key, mean.shape)
    unsquashed = mean + jnp.exp(log_std) * noise
    log_normal = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
    log_jacobian = 2 * (jnp.log(2.0) - unsquashed - jax.nn.softplus(-2 * unsquashed))
    return jnp.tanh(unsquashed), (log_normal - log_jacobian).sum(axis=-1)


def critic_loss(critic, target_critic, actor, log_temperature: Array, batch: Transitions, key: Array):
    """Half the squared error of both critics to y = r + discount (min Q'(s', a') - alpha log pi(a' | s')).

    Args:
      critic, target_critic: the pair that learns, and its slow copy.
      actor: proposes a' where the transition ends.
      log_temperature: [] log alpha.
      batch: leaves [B, ...].
      key: PRNG key, consumed.

    Returns:
      Scalar loss, sum over the pair and mean over B; metrics.
    """
    mean, log_std = actor(batch.next_observation)
    action, log_prob = sample_action(mean, log_std, key)
    value = jnp.minimum(*target_critic(batch.next_observation, action)) - jnp.exp(log_temperature) * log_prob
    target = jax.lax.stop_gradient(batch.reward + batch.discount * value)  # [B]
    first, second = critic(batch.observation, batch.action)
    loss = 0.5 * ((first - target) ** 2 + (second - target) ** 2).mean()
    return loss, {"loss": loss, "value": first.mean()}


def actor_loss(actor, critic, log_temperature: Array, batch: Transitions, key: Array):
    """E[alpha log pi(a | s) - min Q(s, a)]; the gradient reaches the actor through the sampled action."""
    mean, log_std = actor(batch.observation)
    action, log_prob = sample_action(mean, log_std, key)
    value = jnp.minimum(*critic(batch.observation, action))
    loss = (jnp.exp(log_temperature) * log_prob - value).mean()
    return loss, {"loss": loss, "entropy": -log_prob.mean()}


def temperature_loss(log_temperature: Array, entropy: Array, key: Array, *, target_entropy: float):
    """alpha (entropy - target): alpha rises while the policy's entropy, in nats, is below its target."""
    loss = jnp.exp(log_temperature) * jax.lax.stop_gradient(entropy - target_entropy)
    return loss, {"temperature": jnp.exp(log_temperature)}


@dataclasses.dataclass(frozen=True)
class SACSettings:
    """Settings of SAC; see the papers for the meaning.

    Attributes:
      target_entropy: nats per action dimension that the temperature aims at; -1 is the paper's -A.
      target_rate: share of the critic that its target takes over at every update.
      actor_every: updates of the critic per update of the actor and the temperature.
      actor_after: updates of the critic before the first of the actor and the temperature: critics that begin beside an
        actor that can do something would make it forget.
    """

    hidden_size: int = 128
    hidden_layers: int = 2
    learning_rate: float = 1e-3
    batch_size: int = 128
    target_rate: float = 0.005
    target_entropy: float = -0.5
    initial_temperature: float = 1.0
    actor_every: int = 1
    actor_after: int = 0


@functools.partial(jax.jit, static_argnums=(0, 1, 2))  # one program, so that it is kept on disk
def create_sac(observation_size: int, action_size: int, settings: SACSettings, key: Array) -> SACState:
    """State of SAC before the first update; `key` is consumed."""
    actor_key, critic_key, temperature_key = jax.random.split(key, 3)
    sizes = {"hidden_size": settings.hidden_size, "hidden_layers": settings.hidden_layers}
    actor = Actor(observation_size, action_size, **sizes, rngs=nnx.Rngs(jax.random.fold_in(actor_key, 0)))
    critic = Critic(observation_size, action_size, **sizes, rngs=nnx.Rngs(jax.random.fold_in(critic_key, 0)))
    log_temperature = jnp.log(jnp.asarray(settings.initial_temperature, jnp.float32))
    optimizer = make_optimizer(settings.learning_rate)
    return SACState(
        actor=TrainState.create(actor, optimizer, actor_key),
        critic=TrainState.create(critic, optimizer, critic_key),
        target_critic=jax.tree.map(jnp.copy, critic),
        temperature=TrainState.create(log_temperature, optimizer, temperature_key),
    )


def make_critic_update(settings: SACSettings) -> Callable:
    """Returns the pure function `update(state, batch) -> (state, metrics)` of the critics, then their targets."""
    update_critic = make_update(critic_loss, make_optimizer(settings.learning_rate))

    def update(state: SACState, batch: Transitions) -> tuple[SACState, Metrics]:
        frozen = state.target_critic, state.actor.model, state.temperature.model
        critic, metrics = update_critic(state.critic, *frozen, batch)
        target_critic = optax.incremental_update(critic.model, state.target_critic, settings.target_rate)
        metrics = {f"critic/{name}": value for name, value in metrics.items()}
        return state.replace(critic=critic, target_critic=target_critic), metrics

    return update


def make_policy_update(action_size: int, settings: SACSettings) -> Callable:
    """Returns the pure function `update(state, batch) -> (state, metrics)` of the actor and the temperature."""
    optimizer = make_optimizer(settings.learning_rate)
    update_actor = make_update(actor_loss, optimizer)
    target_entropy = settings.target_entropy * action_size
    update_temperature = make_update(
        functools.partial(temperature_loss, target_entropy=target_entropy), optimizer
    )

    def update(state: SACState, batch: Transitions) -> tuple[SACState, Metrics]:
        actor, metrics = update_actor(state.actor, state.critic.model, state.temperature.model, batch)
        temperature, more = update_temperature(state.temperature, metrics["entropy"])
        metrics = {f"policy/{name}": value for name, value in metrics.items()}
        metrics["policy/temperature"] = more["temperature"]
        learnt = state.replace(actor=actor, temperature=temperature)
        if settings.actor_after:
            due = state.critic.step > settings.actor_after
            learnt = jax.tree.map(lambda new, old: jnp.where(due, new, old), learnt, state)
        return learnt, metrics

    return update


@functools.cache  # agents with the same settings share one program
def make_learn(action_size: int, settings: SACSettings, num_updates: int) -> Callable:
    """Returns the jitted `learn(states, replays) -> [(state, metrics)]`: `num_updates` updates each in one dispatch.

    An update is one of the critics; every `actor_every`-th is followed by one of the actor and the temperature,
    on the same batch. For the rest see `in_one_dispatch`.
    """
    update_critic = make_critic_update(settings)

    def draw(state: SACState, replay: Replay):
        sample_key = jax.random.fold_in(jax.random.fold_in(state.critic.key, state.critic.step), 1)
        return sample(replay, sample_key, settings.batch_size)

    def update(state: SACState, batch: Transitions):
        state, metrics = update_critic(state, batch)
        return state, (batch, metrics)

    update_policy = make_policy_update(action_size, settings)
    return in_one_dispatch(draw, update, update_policy, settings, num_updates)


def in_one_dispatch(
    draw: Callable,
    update: Callable,
    update_policy: Callable,
    settings: SACSettings,
    num_updates: int,
) -> Callable:
    """Returns the jitted `learn(states, replays, *data) -> [(state, metrics)]` of one or several agents.

    It donates `states`; metrics are averaged over the updates. Of several agents, which share `data`, only what is
    drawn is stacked, not the replays.

    Args:
      draw: (state, replay, *data) -> what an update learns from.
      update: (state, drawn) -> (state, (batch, metrics)) of the critics; made `num_updates` times.
      update_policy: (state, batch) -> (state, metrics) after every `actor_every`-th.

    Raises:
      ValueError: `num_updates` is no multiple of `actor_every`.
    """
    if num_updates % settings.actor_every:
        raise ValueError(
            f"{num_updates} updates per dispatch are no multiple of actor_every={settings.actor_every}."
        )

    def make_updates(draw: Callable, update: Callable, update_policy: Callable, state, *data):
        def updates(state, _):
            for _ in range(settings.actor_every):
                state, (batch, metrics) = update(state, draw(state, *data))
            state, policy_metrics = update_policy(state, batch)
            return state, metrics | policy_metrics

        state, metrics = jax.lax.scan(updates, state, None, num_updates // settings.actor_every)
        return state, jax.tree.map(lambda x: x.mean(axis=0), metrics)

    def learn(states, replays, *data):
        if len(states) == 1:  # to the bit what it is without an axis of agents
            return [make_updates(draw, update, update_policy, states[0], replays[0], *data)]
        each = draw_each(draw), jax.vmap(update), jax.vmap(update_policy)
        results = make_updates(*each, stack_seeds(states), replays, *data)
        return [select_seed(results, number) for number in range(len(states))]

    return jax.jit(learn, donate_argnums=0)


def draw_each(draw: Callable) -> Callable:
    """Returns the function that draws for N stacked states from N replays: leaves [N, ...]."""

    def draw_all(states, replays: Sequence[Replay], *data):
        drawn = [draw(select_seed(states, number), replay, *data) for number, replay in enumerate(replays)]
        return stack_seeds(drawn)

    return draw_all


class NumpyPolicy:
    """The actor network in NumPy: acting costs microseconds instead of the hundreds of a jax dispatch.

    Calling it maps observation [N, O] to actions [N, A], drawn with `rng`, or the mode if `rng` is None.
    """

    def __init__(self, actor: Actor):
        net = jax.device_get(actor.net)
        self._layers = [(np.asarray(x.kernel[...]), np.asarray(x.bias[...])) for x in (*net.layers, net.head)]

    def __call__(self, observation: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        hidden = observation
        for kernel, bias in self._layers[:-1]:
            hidden = np.maximum(hidden @ kernel + bias, 0)
        kernel, bias = self._layers[-1]
        mean, log_std = np.split(hidden @ kernel + bias, 2, axis=-1)
        if rng is None:
            return np.tanh(mean)
        std = np.exp(LOG_STD_MIN + (LOG_STD_MAX - LOG_STD_MIN) * 0.5 * (np.tanh(log_std) + 1))
        return np.tanh(mean + std * rng.standard_normal(mean.shape, np.float32))
