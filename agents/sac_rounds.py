"""SAC with several environments at once: play, remember, learn, in rounds of one episode per environment.

Between rounds everything is at rest: no episode is open, no transition waits, no update is under way. There a run can
stop, and continues from `SACState`, `Progress` and the episodes on disk as if it had never stopped.

Learning overlaps with playing: while one dispatch of updates is computed, the environments are stepped with the policy
of the dispatch before. With a second core this is nearly twice as fast, and it is just as deterministic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np

from agents.rounds import Records, concatenate, play_round
from agents.sac import NumpyPolicy, SACSettings, create_sac, make_learn
from agents.transitions import Replay, TransitionQueue, insert, replay_transitions
from worldmodels.training import Metrics

_INSERT_SIZE = 512  # transitions that go to the device in one call


@dataclasses.dataclass
class Progress:
    """How far a run is; JSON-able by `dataclasses.asdict`.

    Attributes:
      rounds: rounds played.
      agent_steps: steps of the agent, all environments together.
      updates: updates made.
      updates_owed: updates that the steps have earned and that are not made yet.
    """

    rounds: int = 0
    agent_steps: int = 0
    updates: int = 0
    updates_owed: float = 0.0


@dataclasses.dataclass(frozen=True)
class RoundSettings:
    """How SAC plays and when it learns.

    Attributes:
      random_steps: agent steps, all environments together, with uniformly random actions before learning starts.
      updates_per_step: updates per agent step; 0.25 is one update for four steps.
      updates_per_dispatch: updates that are computed in one go.
      num_steps: n of n-step returns.
      discount: gamma, per agent step.
      replay_capacity: transitions.
    """

    random_steps: int = 1000
    updates_per_step: float = 1.0
    updates_per_dispatch: int = 50
    num_steps: int = 1
    discount: float = 0.99
    replay_capacity: int = 500_000


class SACRun:
    """Plays and learns round by round; the only mutable thing here, because environments are.

    Args:
      envs: a vector environment (see experiments/envs/vector.py).
      sensors: sensors that are put together as the observation, in this order.
      sac: what to learn with.
      rounds: how to play.
      seed: of the networks, the actions and the batches.
      disturb: None, or (records of N environments, actions [N, A]) -> the actions that are taken instead.

    Attributes:
      state: SACState, what has been learnt.
      progress: how far the run is.
    """

    def __init__(
        self,
        envs,
        sensors: Sequence[str],
        *,
        sac: SACSettings,
        rounds: RoundSettings,
        seed: int,
        disturb: Callable[[Records, np.ndarray], np.ndarray] | None = None,
    ):
        self._envs = envs
        self._sensors = tuple(sensors)
        self._settings = rounds
        self._seed = seed
        self._disturb = disturb
        self._action_size = envs.action_spec.shape[0]
        observation_size = sum(envs.observation_spec[name].shape[0] for name in sensors)
        self._learn = make_learn(self._action_size, sac, rounds.updates_per_dispatch)
        self.state = create_sac(observation_size, self._action_size, sac, jax.random.key(seed))
        self.progress = Progress()
        self._replay = Replay.create(rounds.replay_capacity, observation_size, self._action_size)
        self._queue = TransitionQueue(envs.num_envs, num_steps=rounds.num_steps, discount=rounds.discount)
        self._metrics: Metrics = {}

    def play_round(self) -> tuple[list[Records], Metrics]:
        """Plays one episode in every environment and learns meanwhile.

        Returns:
          For each environment the records {name: [T, ...]} of its episode; and the metrics of the latest updates, on
          the device ({} before there are any).
        """
        self._rng = np.random.default_rng([self._seed, self.progress.rounds])
        self._policy = NumpyPolicy(self.state.actor.model)
        episodes = play_round(self._envs, self._act, self._on_step)
        self._remember()
        self.progress.rounds += 1
        return episodes, self._metrics

    def restore(self, state, progress: Progress, rounds: Iterable[Sequence[Records]]):
        """Continues after `progress.rounds` rounds, whose episodes, one list per round, fill the replay again."""
        self.state, self.progress = state, progress
        for episodes in rounds:
            replay_transitions(self._queue, [self._steps(records) for records in episodes])
            self._remember()

    def _act(self, records: Records) -> np.ndarray:
        self._observation = concatenate(records, self._sensors)
        if self.progress.agent_steps < self._settings.random_steps:
            return self._rng.uniform(-1, 1, (self._envs.num_envs, self._action_size)).astype(np.float32)
        actions = self._policy(self._observation, self._rng)
        return actions if self._disturb is None else self._disturb(records, actions)

    def _on_step(self, records: Records, active: np.ndarray):
        observation = concatenate(records, self._sensors)
        for env in np.flatnonzero(active):
            if records["is_first"][env]:
                self._queue.forget(env)
                continue
            self._queue.add(
                env,
                self._observation[env],
                records["pre_action"][env],
                records["reward"][env],
                observation[env],
                terminal=records["is_terminal"][env],
                last=records["is_last"][env],
            )
        self._earn(int(active.sum()))

    def _earn(self, num_steps: int):
        """Counts steps and makes the updates that they have earned."""
        progress, settings = self.progress, self._settings
        progress.agent_steps += num_steps
        if progress.agent_steps <= settings.random_steps:
            return
        progress.updates_owed += num_steps * settings.updates_per_step
        while progress.updates_owed >= settings.updates_per_dispatch:
            self._policy = NumpyPolicy(self.state.actor.model)  # waits for the dispatch before
            self._remember()
            self.state, self._metrics = self._learn(self.state, self._replay)
            progress.updates += settings.updates_per_dispatch
            progress.updates_owed -= settings.updates_per_dispatch

    def _remember(self):
        """Moves the complete transitions to the replay."""
        while len(self._queue):
            self._replay = insert(self._replay, *self._queue.pop(_INSERT_SIZE))

    def _steps(self, records: Records) -> tuple:
        """(observation [T, O], prev_action [T, A], reward [T], terminal) of one episode."""
        terminal = bool(records["is_terminal"][-1])
        return concatenate(records, self._sensors), records["pre_action"], records["reward"], terminal
