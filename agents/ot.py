"""Imitation of whole episodes: optimal transport (SIL, ROT) with automatic discount scheduling (ADS), TemporalOT, ORCA.

When an episode is over it is matched with the best demonstration (`agents.progress`), and every step is rewarded by its
share, times a scale that the first episodes fix. SAC maximises these rewards, with a constant discount or one that
grows while the agent keeps up with the demonstrations (ADS, Liu et al., ICLR 2024; `agents.discount_schedule`).

The authors of ADS judge progress on episodes of the policy's mode, played for that every 5000 steps; here it is judged
on the episodes of every round, with which the agent learns, so that it costs no steps of the environment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from agents.discount_schedule import DiscountSchedule, ScheduleSettings, pairs
from agents.optimal_transport import cost_matrix
from agents.progress import Matching, Transport, best_rewards, reward_scale
from agents.sac import Actor, SACSettings, SACState, create_sac, make_learn
from agents.transitions import Replay
from worldmodels.structures import Array
from worldmodels.training import Metrics


@dataclasses.dataclass(frozen=True)
class OTSettings:
    """Options of the reward of an episode.

    Attributes:
      matching: of an episode with a demonstration.
      cost: "cosine", as all of the papers have, or "euclidean", under which standing still in the middle of what is
        shown costs less than moving nearly as shown.
      scale_target: size of the sum of rewards, in the mean of the first round's episodes.
      discount: gamma, where there is no schedule.
    """

    matching: Matching = Transport()
    cost: str = "cosine"
    scale_target: float = 10.0
    discount: float = 0.99


class OTState(struct.PyTreeNode):
    """State of SAC and of the discount schedule.

    Attributes:
      sac: SACState.
      reward_scale: [] float32, 0 before the first round is over.
      progress: [] int32, k of the schedule.
    """

    sac: SACState
    reward_scale: Array
    progress: Array


@jax.jit
def discounted(replay: Replay, discount: Array) -> Replay:
    """Returns the replay whose transitions, stored with discounts 1 or 0 (terminal), have those of [] `discount`."""
    transitions = replay.transitions
    return replay.replace(transitions=transitions.replace(discount=transitions.discount * discount))


class OTLearner:
    """Rewards by a matching for `agents.sac_rounds.SACRun`; see its `Learner`.

    The run's own discount must be 1 and its returns of one step: this learner puts the discount in.

    Args:
      sac, settings: of the agent and of the rewards.
      demonstrations: observations [T, O] of each, made by the agent's observer; at least one.
      updates_per_dispatch: as of `RoundSettings`.
      schedule: None for the constant `settings.discount`.
      features: observations [T, O] -> [T, F], between which costs are measured; None: the observations themselves.
    """

    rates_episodes = True
    discounts = True

    def __init__(
        self,
        sac: SACSettings,
        settings: OTSettings,
        demonstrations: Sequence[np.ndarray],
        *,
        updates_per_dispatch: int,
        schedule: ScheduleSettings | None,
        features: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        self._features = features or (lambda observations: observations)
        demonstrations = [self._features(episode) for episode in demonstrations]
        self._sac, self._settings, self._num_updates = sac, settings, updates_per_dispatch
        self._lengths = [len(episode) for episode in demonstrations]
        size = max(self._lengths)
        theirs, weights = zip(*(padded(episode, size) for episode in demonstrations), strict=True)
        self._demonstrations, self._weights = jnp.asarray(np.stack(theirs)), jnp.asarray(np.stack(weights))

        def rewards(episode, row_weights, theirs, weights):
            options = dict(cost=settings.cost, row_weights=row_weights, column_weights=weights)
            return best_rewards(episode, theirs, settings.matching, **options)[0]

        self._rewards = jax.jit(rewards)
        self._cost = jax.jit(lambda x, y: cost_matrix(x, y, settings.cost))
        self._schedule = self._make_schedule(schedule) if schedule is not None else None

    def create(self, observation_size: int, action_size: int, key: Array) -> OTState:
        """State before the first update."""
        self._learn = make_learn(action_size, self._sac, self._num_updates)
        start = self._schedule.start if self._schedule is not None else 0
        return OTState(
            sac=create_sac(observation_size, action_size, self._sac, key),
            reward_scale=jnp.zeros((), jnp.float32),
            progress=jnp.asarray(start, jnp.int32),
        )

    def actor(self, state: OTState) -> Actor:
        """Returns the network that acts."""
        return state.sac.actor.model

    def discount(self, state: OTState) -> float:
        """gamma now."""
        if self._schedule is None:
            return self._settings.discount
        return self._schedule.discount(int(state.progress))

    def learn(self, states: Sequence[OTState], replays: Sequence[Replay]) -> list[tuple[OTState, Metrics]]:
        """One dispatch of updates, of each agent with its own discount; donates what SAC learns in `states`."""
        replays = [self._discounted(*pair) for pair in zip(states, replays, strict=True)]
        results = self._learn([state.sac for state in states], replays)
        return [self._learnt(state, *result) for state, result in zip(states, results, strict=True)]

    def end_round(self, state: OTState, episodes: Sequence[np.ndarray]) -> OTState:
        """Fixes the scale after the first round, and moves the schedule on."""
        seen = [self._features(episode) for episode in episodes]
        if float(state.reward_scale) == 0.0:
            sums = [self._unscaled(episode).sum() for episode in seen]
            scale = reward_scale(np.mean(sums), self._settings.scale_target)
            state = state.replace(reward_scale=jnp.asarray(scale, jnp.float32))
        if self._schedule is not None:
            costs = [
                self._costs(episode, len(episode), theirs, length)
                for episode in seen
                for theirs, length in zip(self._demonstrations, self._lengths, strict=True)
            ]
            progress = self._schedule.advance(int(state.progress), costs)
            state = state.replace(progress=jnp.asarray(progress, jnp.int32))
        return state

    def rewards(self, state: OTState, episode: np.ndarray) -> np.ndarray:
        """[T] rewards of the observations [T, O] of an episode; that of record 0, which no action led to, is unused."""
        return float(state.reward_scale) * self._unscaled(self._features(episode))

    def _discounted(self, state: OTState, replay: Replay) -> Replay:
        return discounted(replay, jnp.float32(self.discount(state)))

    def _learnt(self, state: OTState, sac: SACState, metrics: Metrics) -> tuple[OTState, Metrics]:
        extra = {
            "discount": jnp.float32(self.discount(state)),
            "progress": state.progress,
            "reward_scale": state.reward_scale,
        }
        return state.replace(sac=sac), metrics | extra

    def _unscaled(self, episode: np.ndarray) -> np.ndarray:
        rewards = self._rewards(
            *padded(episode, full_size(len(episode))), self._demonstrations, self._weights
        )
        return np.asarray(rewards)[: len(episode)]

    def _costs(self, x, num_x: int, y, num_y: int) -> np.ndarray:
        """[num_x, num_y] costs between two episodes, of which the second may be padded."""
        x, _ = padded(np.asarray(x), full_size(len(x)))
        return np.asarray(self._cost(x, y))[:num_x, :num_y]

    def _make_schedule(self, settings: ScheduleSettings) -> DiscountSchedule:
        theirs, lengths = self._demonstrations, self._lengths
        costs = {
            (i, j): self._costs(theirs[i], lengths[i], theirs[j], lengths[j]) for i, j in pairs(len(lengths))
        }
        return DiscountSchedule(settings, lengths, costs)


def padded(episode: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns an episode [T, O] with zeros behind, [size, O], and the weights of its steps in a transport, [size]."""
    padding = size - len(episode)
    weights = np.pad(np.full(len(episode), 1.0 / len(episode), np.float32), (0, padding))
    return np.pad(episode.astype(np.float32, copy=False), ((0, padding), (0, 0))), weights


def full_size(length: int, multiple: int = 64) -> int:
    """`length` rounded up, so that episodes of many lengths share a few programs."""
    return -(-length // multiple) * multiple
