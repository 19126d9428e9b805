"""GAIfO: generative adversarial imitation from observation (Torabi et al. 2019), with SAC as its policy optimiser.

A discriminator learns to tell transitions (o, o') of the demonstrations from the agent's; SAC maximises what it says of
the agent's. Rewards are those of the present discriminator: the replay holds none. (The original updates the policy
with TRPO; off-policy learners are what later comparisons use.)
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct

from agents.discriminator import PENALTY_SCALE, Discriminator, adversarial_reward, discriminator_loss
from agents.sac import (
    Actor,
    SACSettings,
    SACState,
    create_sac,
    in_one_dispatch,
    make_critic_update,
    make_policy_update,
)
from agents.transitions import Replay, Transitions, sample
from worldmodels.structures import Array
from worldmodels.training import Metrics, TrainState, make_optimizer, make_update


@dataclasses.dataclass(frozen=True)
class GAIfOSettings:
    """The discriminator; one update of it goes before every update of the critics."""

    hidden_size: int = 256
    hidden_layers: int = 2
    learning_rate: float = 1e-4
    penalty_scale: float = PENALTY_SCALE


class GAIfOState(struct.PyTreeNode):
    """State of SAC and of the discriminator."""

    sac: SACState
    discriminator: TrainState


def transition_inputs(observation: Array, next_observation: Array) -> Array:
    """Joins two observations [..., O] to the discriminator's input [..., 2 O]."""
    return jnp.concatenate([observation, next_observation], axis=-1)


def demonstrated_transitions(episodes: Sequence[np.ndarray]) -> np.ndarray:
    """Returns all transitions of demonstrations, each [T, O] -> [M, 2 O] float32."""
    parts = [np.concatenate([episode[:-1], episode[1:]], axis=-1) for episode in episodes]
    return np.concatenate(parts).astype(np.float32)


def with_adversarial_reward(batch: Transitions, discriminator: Discriminator) -> Transitions:
    """Returns the batch with reward log D - log(1 - D) of its transitions, instead of the environment's."""
    logit = discriminator(transition_inputs(batch.observation, batch.next_observation))
    return batch.replace(reward=adversarial_reward(logit))


@functools.cache
def make_learn(
    action_size: int,
    sac_settings: SACSettings,
    settings: GAIfOSettings,
    num_updates: int,
) -> Callable:
    """Returns the jitted `learn(states, replays, demonstrated) -> [(state, metrics)]`: updates in one dispatch.

    An update: the discriminator on a batch of the replay and one of `demonstrated` [M, 2 O]; then the critics, and
    the actor every `actor_every` updates, on the same batch with the new discriminator's reward. For the rest see
    `agents.sac.in_one_dispatch`.
    """
    loss_fn = functools.partial(discriminator_loss, penalty_scale=settings.penalty_scale)
    update_discriminator = make_update(loss_fn, make_optimizer(settings.learning_rate))
    update_critic = make_critic_update(sac_settings)
    update_sac_policy = make_policy_update(action_size, sac_settings)

    def draw(state: GAIfOState, replay: Replay, demonstrated: Array):
        key = jax.random.fold_in(state.sac.critic.key, state.sac.critic.step)
        batch = sample(replay, jax.random.fold_in(key, 1), sac_settings.batch_size)
        shape = (sac_settings.batch_size,)
        rows = jax.random.randint(jax.random.fold_in(key, 2), shape, 0, demonstrated.shape[0])
        return batch, demonstrated[rows]

    def update(state: GAIfOState, drawn: tuple[Transitions, Array]):
        batch, theirs = drawn
        ours = transition_inputs(batch.observation, batch.next_observation)
        discriminator, metrics = update_discriminator(state.discriminator, theirs, ours)
        batch = with_adversarial_reward(batch, discriminator.model)
        sac, critic_metrics = update_critic(state.sac, batch)
        metrics = {f"discriminator/{name}": value for name, value in metrics.items()}
        metrics |= critic_metrics | {"surrogate_reward": batch.reward.mean()}
        return GAIfOState(sac=sac, discriminator=discriminator), (batch, metrics)

    def update_policy(state: GAIfOState, batch: Transitions):
        sac, metrics = update_sac_policy(state.sac, batch)
        return state.replace(sac=sac), metrics

    return in_one_dispatch(draw, update, update_policy, sac_settings, num_updates)


class GAIfOLearner:
    """GAIfO for `agents.sac_rounds.SACRun`; see its `Learner`.

    Args:
      sac, settings: of the agent, and of the discriminator.
      demonstrations: observations [T, O] of each, made by the agent's observer.
      updates_per_dispatch: as of `RoundSettings`.
    """

    rates_episodes = False
    discounts = False

    def __init__(
        self,
        sac: SACSettings,
        settings: GAIfOSettings,
        demonstrations: Sequence[np.ndarray],
        *,
        updates_per_dispatch: int,
    ):
        self._sac, self._settings, self._num_updates = sac, settings, updates_per_dispatch
        self._demonstrated = jnp.asarray(demonstrated_transitions(demonstrations))

    def create(self, observation_size: int, action_size: int, key: Array) -> GAIfOState:
        """State before the first update."""
        sac_key, discriminator_key = jax.random.split(key)
        settings, rngs = self._settings, nnx.Rngs(discriminator_key)
        sizes: dict[str, Any] = dict(hidden_size=settings.hidden_size, hidden_layers=settings.hidden_layers)
        discriminator = Discriminator(2 * observation_size, **sizes, rngs=rngs)
        optimizer = make_optimizer(self._settings.learning_rate)
        self._learn = make_learn(action_size, self._sac, self._settings, self._num_updates)
        return GAIfOState(
            sac=create_sac(observation_size, action_size, self._sac, sac_key),
            discriminator=TrainState.create(discriminator, optimizer, discriminator_key),
        )

    def actor(self, state: GAIfOState) -> Actor:
        """Returns the network that acts."""
        return state.sac.actor.model

    def learn(
        self, states: Sequence[GAIfOState], replays: Sequence[Replay]
    ) -> list[tuple[GAIfOState, Metrics]]:
        """One dispatch of updates; donates `states`."""
        return self._learn(states, replays, self._demonstrated)

    def end_round(self, state: GAIfOState, episodes: Sequence[np.ndarray]) -> GAIfOState:
        """Nothing changes."""
        return state
