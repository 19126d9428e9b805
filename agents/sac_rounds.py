"""SAC with several environments at once: play, remember, learn, in rounds of one episode per environment.

What is learnt with is a `Learner`: SAC on the environment's reward by default, or on a surrogate (`agents.gaifo`,
`agents.ot`).

Between rounds everything is at rest: no episode is open, no transition waits, no update is under way. There a
run can stop, and continues from `SACState`, `Progress` and the episodes on disk as if it had never stopped.

Learning overlaps with playing: while one dispatch of updates is computed, the environments are stepped with
the policy of the dispatch before. A second core makes this faster, and it is just as deterministic.

Several runs play step by step together, so that the updates that they have earned at a step are one dispatch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from agents.loop import Records, play_episodes
from agents.observer import Observer
from agents.sac import Actor, NumpyPolicy, SACSettings, SACState, create_sac, make_learn
from agents.transitions import Replay, TransitionQueue, insert, replay_transitions
from worldmodels.data.episodes import Episode
from worldmodels.training import Metrics

_INSERT_SIZE = 512  # transitions that go to the device in one call


@dataclasses.dataclass
class Progress:
    """Position of a run; JSON-able by `dataclasses.asdict`.

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
    """Settings of when SAC plays and when it learns.

    Attributes:
      random_steps: agent steps, all environments together, of uniform actions before learning starts.
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


class Learner(Protocol):
    """Learner that turns a replay into a policy; its state is a pytree, SAC's and whatever else it learns.

    Attributes:
      rates_episodes: whether its method `rewards(state, episode [T, O])` gives the rewards [T] of whole episodes, when
        a round is over; that of record 0 is not used. If not, those of the environment go to the replay at once, to
        be used or replaced in `learn`.
      discounts: whether `learn` discounts the replay's returns itself.
    """

    rates_episodes: bool
    discounts: bool

    def create(self, observation_size: int, action_size: int, key: jax.Array) -> Any:
        """State before the first update."""

    def actor(self, state: Any) -> Actor:
        """Returns the network that acts."""

    def learn(self, states: Sequence[Any], replays: Sequence[Replay]) -> list[tuple[Any, Metrics]]:
        """One dispatch of updates of the runs that owe one, often a single one: (state, metrics) of each.

        It donates `states`.
        """

    def end_round(self, state: Any, episodes: Sequence[np.ndarray]) -> Any:
        """Takes in the observations [T, O] of each episode of a round."""


class SACLearner:
    """SAC on the environment's reward; `updates_per_dispatch` as of `RoundSettings`."""

    rates_episodes = False
    discounts = False

    def __init__(self, settings: SACSettings, updates_per_dispatch: int):
        self._settings, self._num_updates = settings, updates_per_dispatch

    def create(self, observation_size: int, action_size: int, key: jax.Array) -> SACState:
        """State before the first update."""
        self._learn = make_learn(action_size, self._settings, self._num_updates)
        return create_sac(observation_size, action_size, self._settings, key)

    def actor(self, state: SACState) -> Actor:
        """Returns the network that acts."""
        return state.actor.model

    def learn(self, states: Sequence[SACState], replays: Sequence[Replay]) -> list[tuple[SACState, Metrics]]:
        """One dispatch of updates; donates `states`."""
        return self._learn(states, replays)

    def end_round(self, state: SACState, episodes: Sequence[np.ndarray]) -> SACState:
        """Nothing changes."""
        return state


class SACRun:
    """Plays and learns round by round; the only mutable thing here, because environments are.

    Args:
      envs: a vector environment (see experiments/envs/vector.py).
      sensors: sensors that are put together as the observation, in this order.
      sac: what to learn with.
      rounds: how to play.
      seed: of the networks, the actions and the batches.
      disturb: None, or (records of N environments, actions [N, A]) -> the actions that are taken instead.
      observer: makes the observations; None puts `sensors` together as they are.
      learner: None for SAC on the environment's reward; may be that of other runs, which differ in their seeds.
      begin: None, or the learner's fresh state -> the one that the run begins with.

    Attributes:
      state: of the learner, what has been learnt.
      progress: how far the run is. position: the same as JSON values.
    """

    learns = "meanwhile"

    def __init__(
        self,
        envs,
        sensors: Sequence[str],
        *,
        sac: SACSettings,
        rounds: RoundSettings,
        seed: int,
        disturb: Callable[[Records, np.ndarray], np.ndarray] | None = None,
        observer: Observer | None = None,
        learner: Learner | None = None,
        begin: Callable[[Any], Any] | None = None,
    ):
        self._envs = envs
        self._observer = observer or Observer(sensors)
        self._learner: Any = learner or SACLearner(sac, rounds.updates_per_dispatch)
        self._settings = rounds
        self._seed, self._begin = seed, begin
        self._disturb = disturb
        self._action_size = envs.action_spec.shape[0]
        observation_size = self._observer.size(envs.observation_spec)
        self._sizes = observation_size, self._action_size
        self.state = self.initial_state()
        self.progress = Progress()
        self._replay = Replay.create(rounds.replay_capacity, observation_size, self._action_size)
        self._queue = TransitionQueue(envs.num_envs, num_steps=rounds.num_steps, discount=rounds.discount)
        self._num_remembered = 0
        self._metrics: Metrics = {}
        self._observation: np.ndarray  # of the latest records

    def initial_state(self) -> Any:
        """Returns the state before the first update."""
        state = self._learner.create(*self._sizes, jax.random.key(self._seed))
        return state if self._begin is None else self._begin(state)

    @property
    def position(self) -> dict:
        """Progress of the run."""
        return dataclasses.asdict(self.progress)

    @position.setter
    def position(self, position: dict) -> None:
        self.progress = Progress(**position)

    @property
    def num_updates(self) -> int:
        """Updates made."""
        return self.progress.updates

    def learn(self) -> Metrics:
        """Returns the metrics of the latest updates, on the device; {} before there are any."""
        return self._metrics

    def play_round(self, on_step: Callable[[], None] | None = None) -> list[Episode]:
        """Plays one episode in every environment, remembers it, and learns meanwhile; see `play_together`."""
        return play_together([self], on_step)[0]

    def remember(self, episodes: Sequence[Episode]) -> None:
        """Takes in the episodes of a whole round; to continue a run, after its `state` has been put in place."""
        replay_transitions(self._queue, [self._steps(episode.records) for episode in episodes])
        self._fill_replay()

    def begin_round(self) -> Generator[Records, np.ndarray, list[Episode]]:
        """Starts a round: records come from, and actions go to, what it returns (`agents.loop.play_episodes`)."""
        self._rng = np.random.default_rng([self._seed, self.progress.rounds])
        self._policy = NumpyPolicy(self._learner.actor(self.state))
        self._over = np.zeros(self._envs.num_envs, bool)
        return play_episodes(self._envs, self._envs.num_envs)

    def end_round(self, episodes: Sequence[Episode]) -> None:
        """Takes in the episodes of a round."""
        observations = [self._observer.of_episode(episode.records) for episode in episodes]
        self.state = self._learner.end_round(self.state, observations)
        if self._learner.rates_episodes:
            self.remember(episodes)
        self._fill_replay()
        self.progress.rounds += 1

    def act(self, records: Records) -> np.ndarray:
        """Returns the actions [N, A] after records {name: [N, ...]} that were observed."""
        if self.progress.agent_steps < self._settings.random_steps:
            shape = (self._envs.num_envs, self._action_size)
            actions = self._rng.uniform(-1, 1, shape).astype(np.float32)
            if self._disturb is not None:
                self._disturb(records, actions)  # counts the episodes; uniform actions stay as they are
            return actions
        actions = self._policy(self._observation, self._rng)
        return actions if self._disturb is None else self._disturb(records, actions)

    def observe(self, records: Records) -> None:
        """Queues and counts the steps that end in these records; where an episode is over the last one is repeated."""
        observation = self._observer(records)
        moved = ~self._over & ~records["is_first"]
        for env in np.flatnonzero(records["is_first"]).tolist():
            self._queue.forget(env)  # empty, unless the episode was lost and begins again
        for env in () if self._learner.rates_episodes else np.flatnonzero(moved).tolist():
            self._queue.add(
                env,
                self._observation[env],
                records["pre_action"][env],
                records["reward"][env],
                observation[env],
                terminal=records["is_terminal"][env],
                last=records["is_last"][env],
            )
        self._over |= records["is_last"]
        self._observation = observation
        self._earn(int(moved.sum()))

    def _earn(self, num_steps: int):
        """Counts steps and the updates that they earn."""
        self.progress.agent_steps += num_steps
        if self.progress.agent_steps > self._settings.random_steps:
            self.progress.updates_owed += num_steps * self._settings.updates_per_step

    def prepare_to_learn(self) -> bool:
        """Returns True if a dispatch of updates is owed and can be made; takes the policy and the replay before it."""
        if self.progress.updates_owed < self._settings.updates_per_dispatch:
            return False
        self._policy = NumpyPolicy(self._learner.actor(self.state))  # waits for the dispatch before
        self._fill_replay()
        return self._num_remembered > 0  # 0 until the first round has been rated

    def _fill_replay(self):
        """Moves the complete transitions to the replay."""
        while len(self._queue):
            transitions, number = self._queue.pop(_INSERT_SIZE)
            self._replay = insert(self._replay, transitions, number)
            self._num_remembered += number

    def _steps(self, records: Records) -> tuple:
        """(observation [T, O], prev_action [T, A], reward [T], terminal) of one episode."""
        terminal = bool(records["is_terminal"][-1])
        observation = self._observer.of_episode(records)
        rates = self._learner.rates_episodes
        reward = self._learner.rewards(self.state, observation) if rates else records["reward"]
        return observation, records["pre_action"], reward, terminal

    @staticmethod
    def learn_owed(runs: Sequence[SACRun]) -> None:
        """Makes the updates that runs owe, those of all that owe a dispatch at once."""
        while due := [run for run in runs if run.prepare_to_learn()]:
            results = due[0]._learner.learn([run.state for run in due], [run._replay for run in due])
            for run, (state, metrics) in zip(due, results, strict=True):
                run.state, run._metrics = state, metrics
                run.progress.updates += run._settings.updates_per_dispatch
                run.progress.updates_owed -= run._settings.updates_per_dispatch


def play_together(runs: Sequence[SACRun], on_step: Callable[[], None] | None = None) -> list[list[Episode]]:
    """Plays a round with each of several runs that share a learner, in which it remembers and learns.

    They take their steps together; one whose episodes are shorter waits for the others at the end.

    Args:
      on_step: as of `collect_episodes`.

    Returns:
      The episodes of each run, one per environment.
    """
    playing = {run: run.begin_round() for run in runs}
    actions: dict[SACRun, Any] = dict.fromkeys(runs)
    episodes: dict[SACRun, list[Episode]] = {}
    while playing:
        if on_step is not None:
            on_step()
        observed: dict[SACRun, Records] = {}
        for run, steps in playing.items():
            try:
                observed[run] = steps.send(actions[run])
                run.observe(observed[run])
            except StopIteration as over:
                episodes[run] = over.value
                run.observe(last_records(over.value))
        SACRun.learn_owed(list(playing))
        playing = {run: playing[run] for run in observed}
        actions = {run: run.act(records) for run, records in observed.items()}
    for run in runs:
        run.end_round(episodes[run])
    return [episodes[run] for run in runs]


def last_records(episodes: Sequence[Episode]) -> Records:
    """Returns the records with which episodes have ended, {name: [N, ...]}."""
    ends = [{name: value[-1] for name, value in episode.records.items()} for episode in episodes]
    return {name: np.stack([end[name] for end in ends]) for name in ends[0]}


class SACActor:
    """A learnt policy as an actor: records {name: [N, ...]} -> actions [N, A]; the mode if `rng` is None.

    `observer` makes the observations; None puts `sensors` together as they are.
    """

    def __init__(
        self,
        policy: NumpyPolicy,
        sensors: Sequence[str],
        rng: np.random.Generator | None = None,
        *,
        observer: Observer | None = None,
    ):
        self._policy, self._rng = policy, rng
        self._observer = observer or Observer(sensors)

    def __call__(self, records: Records) -> np.ndarray:
        return self._policy(self._observer(records), self._rng)


def vector_sensors(observation_spec) -> tuple[str, ...]:
    """Names of all sensors that are vectors, sorted: what SAC sees."""
    return tuple(sorted(name for name, spec in observation_spec.items() if len(spec.shape) == 1))
