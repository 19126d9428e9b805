"""Baselines of imitation by reinforcement learning: SAC on a surrogate of the reward that observations alone give.

    python -m experiments surrogate --config=surrogate:gaifo --config.demonstrations=DIR \\
        --workdir=DIR

gaifo: a discriminator of transitions (agents/gaifo.py); ot: optimal transport with a discount that grows with the
agent's progress; temporal_ot, orca: in order (agents/ot.py, agents/progress.py). One of your own:
--config.method=my.module:Name, a subclass of `Surrogate`. The environment's reward is only used to evaluate.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from agents import progress
from agents.discount_schedule import ScheduleSettings
from agents.gaifo import GAIfOLearner, GAIfOSettings
from agents.observer import Observer
from agents.ot import OTLearner, OTSettings
from agents.sac import Actor, NumpyPolicy, SACSettings, SACState
from agents.sac_rounds import Learner, RoundSettings, SACActor, SACRun, play_together
from experiments.data.demonstrations import Demonstrations
from experiments.data.evaluation import Evaluation
from experiments.data.members import Member, learning_meanwhile, run_members
from experiments.envs.sensors import observation_setup
from experiments.methods.surrogate_features import embedded_frames, motion_features, sensor_frames
from experiments.models import architectures, files
from experiments.runs.directory import FREE_TO_CHANGE, RunDirectory
from experiments.runs.method import Method
from experiments.runs.metrics import Diverged
from experiments.runs.paths import folders_of
from worldmodels.data.dataset import statistics
from worldmodels.data.episodes import Episode, load_episodes
from worldmodels.export import Models
from worldmodels.registry import Registry


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Trains one agent per seed, all in one program, and evaluates them; see experiments/configs/surrogate.py.

    Returns:
      {"return": `[num_seeds][episodes]`, "return_mean", "by_expert": [num_seeds], ...}, and "diverged" as of
      `diverged_result`: those seeds are evaluated as they were at their last checkpoint.
    """
    with RunDirectory(workdir, config, fresh=fresh) as directory:
        if directory.done:
            return directory.result
        config = directory.config
        chosen = METHODS.choose(config["method"])
        data = load_data(config)
        learner = chosen(config).make_learner(data, SACSettings(**config["sac"]))
        make = functools.partial(SurrogateRun, data=data, learner=learner)
        result = run_members(directory, make, learning_meanwhile, FREE_TO_CHANGE)
        files.save_seeds(directory)
        return directory.mark_done(result | {"label": chosen.label})


@dataclasses.dataclass(frozen=True)
class Data:
    """Demonstrations and observer of an agent.

    Attributes:
      evaluation: where it plays, and how it is scored.
      observer_arguments: of its `Observer`, as plain values.
      demonstrations: observations [T, O] of each.
      features: observations [T, O] -> [T, F], between which costs are measured.
    """

    evaluation: Evaluation
    observer_arguments: dict
    demonstrations: list[np.ndarray]
    features: Callable[[np.ndarray], np.ndarray]

    @property
    def sensors(self) -> Sequence[str]:
        """Names of what is read."""
        return self.observer_arguments["sensors"]

    def observer(self) -> Observer:
        """Returns a fresh observer."""
        return Observer(**self.observer_arguments)


def load_data(config: dict) -> Data:
    """Reads the folders that the config names; actions are not looked at.

    Raises:
      ValueError: an unknown method, no folder, or a set-up with images.
    """
    label = METHODS.get(config["method"]).label
    if not config["demonstrations"]:
        raise ValueError(f"{label} needs a folder of episodes; pass --config.demonstrations=DIR.")

    def choose(env_name: str, first: Episode) -> Sequence[str]:
        sensors = observation_setup(env_name, config["setup"]).inputs
        missing = [name for name in sensors if first.records.get(name, np.zeros(1)).ndim != 2]
        if missing:
            raise ValueError(
                f"Set-up {config['setup']!r} of {env_name!r} needs {', '.join(missing)}, which the demonstrations do "
                "not have as vectors; these agents learn from vectors: choose mdp or lpomdp."
            )
        return sensors

    options = dict(env=config["env"], sensors=choose)
    shown = Demonstrations.read(config["demonstrations"], config["num_demonstrations"], **options)
    sensors, episodes = observation_setup(shown.arena.name, config["setup"]).inputs, shown.episodes
    body = load_episodes(folders_of(config["embodiment"]), keys=sensors) if config["embodiment"] else episodes
    moments = statistics(body, sensors) if config["standardize"] else {}
    arguments: dict[str, Any] = dict(
        sensors=list(sensors),
        num_frames=config["stack"] or (1 if config["setup"] == "mdp" else 3),
        statistics={name: [x.tolist() for x in pair] for name, pair in moments.items()},
    )
    if config["show_time"]:
        arguments["horizon"] = max(episode.num_records for episode in episodes)
    if config["policy_from"]:
        arguments = as_read_by(config["policy_from"], arguments)
    observer = Observer(**arguments)
    observations = [observer.of_episode(episode.records) for episode in episodes]
    encoder = config.get("encoder")
    frames = embedded_frames(encoder, observer, episodes) if encoder else sensor_frames(observer, episodes)
    return Data(
        evaluation=shown.evaluation(config["evaluation"]),
        observer_arguments=arguments,
        demonstrations=observations,
        features=motion_features(frames, observations),
    )


def as_read_by(path: str, arguments: Mapping) -> dict:
    """Returns the arguments of the `Observer` of a policy that is kept, in the place of these.

    Raises:
      ValueError: it is no agent's, or reads other sensors, other frames, or time where the others do not.
    """

    def reads(observer: Observer) -> tuple:
        return observer.sensors, observer.num_frames, observer.horizon is None

    kept = files.load(path, "policy").arguments["policy"].get("observer")
    if kept is None or reads(Observer(**kept)) != reads(Observer(**arguments)):
        raise ValueError(
            f"The policy in {path} does not read what this run reads; name a run of `surrogate` or `collect:sac` with "
            "this run's --config.setup, --config.stack and --config.show_time."
        )
    return dict(kept)


class Surrogate(Method):
    """A method that gives SAC a reward; see `Method` for its attributes. One of your own is a subclass."""

    command = "surrogate"
    needs = ("vectors",)

    @property
    def updates_per_dispatch(self) -> int:
        """Updates that `Learner.learn` makes at once."""
        return self.config["rounds"]["updates_per_dispatch"]

    def make_learner(self, data: Data, sac: SACSettings) -> Learner:
        """Returns what learns from the replay; it imitates `data.demonstrations`."""
        raise NotImplementedError


class GAIfO(Surrogate):
    """GAIfO: a discriminator of transitions."""

    label = "GAIfO"
    paper = "Torabi et al. 2018"
    preset = "gaifo"

    def make_learner(self, data, sac):
        """Makes the learner; see `Surrogate`."""
        settings = GAIfOSettings(**self.config["discriminator"])
        options = dict(updates_per_dispatch=self.updates_per_dispatch)
        return GAIfOLearner(sac, settings, data.demonstrations, **options)


class OT(Surrogate):
    """Optimal transport, with automatic discount scheduling."""

    label = "OT"
    paper = "Haldar et al. 2022; Liu et al. 2024"
    preset = "ot"
    matching: Callable[..., progress.Matching] = progress.Transport

    def make_learner(self, data, sac):
        """Makes the learner; see `Surrogate`."""
        config, options = self.config, dict(self.config["transport"])
        shared = {name: options.pop(name) for name in ("cost", "scale_target")}
        settings = OTSettings(self.matching(**options), **shared, discount=config["rounds"]["discount"])
        schedule = ScheduleSettings(**config["schedule"]) if config["use_schedule"] else None
        options = dict(schedule=schedule, features=data.features)
        return OTLearner(
            sac, settings, data.demonstrations, updates_per_dispatch=self.updates_per_dispatch, **options
        )


class TemporalOT(OT):
    """Optimal transport between steps at about the same time."""

    label = "TemporalOT"
    paper = "Fu et al. 2024"
    preset = "temporal_ot"
    matching = progress.TemporalOT


class ORCA(OT):
    """Coverage of the demonstration in order."""

    label = "ORCA"
    paper = "Huey et al. 2025"
    preset = "orca"
    matching = progress.ORCA


METHODS = Registry(
    "method", {"gaifo": GAIfO, "ot": OT, "temporal_ot": TemporalOT, "orca": ORCA}, base=Surrogate
)


def with_policy_of(config: Mapping, state):
    """Returns a learner's fresh state with the policy that the config names in the place of its own.

    Raises:
      ValueError: the state has no SAC, or the policy is of another size.
    """
    if not isinstance(sac := getattr(state, "sac", None), SACState):
        raise ValueError(
            f"The method {config['method']!r} cannot begin with a policy: its learner's state has no SACState as "
            "`sac`; leave out --config.policy_from."
        )
    actor = files.policy_in_place_of(sac.actor.model, config["policy_from"], config["seed"], "policy_from")
    return state.replace(sac=sac.replace(actor=sac.actor.replace(model=actor)))


class SurrogateRun(Member):
    """A run of one seed; `learner` is that of all."""

    learner: SACRun

    def __init__(self, directory: RunDirectory, data: Data, learner: Learner):
        config = directory.config
        self._data, self._shared = data, learner
        evaluation = config["evaluation"]
        super().__init__(
            directory,
            total=config["agent_steps"],
            evaluate_every=evaluation["every"],
            save_every=config["save_every"],
            episodes_per_round=config["num_envs"],
            description=config["method"],
        )
        self.records = [*data.sensors, "pre_action"]

    @contextlib.contextmanager
    def playing(self) -> Iterator[None]:
        """Opens the environments for the time of the block, and makes the agent that plays in them."""
        config = self.config
        options = dict(seed=config["seed"], workers=config["evaluation"]["workers"])
        rounds = config["rounds"] | ({"discount": 1.0} if self._shared.discounts else {})
        if config["policy_from"]:
            rounds = rounds | {"random_steps": 0}
        with self._data.evaluation.arena.make(config["num_envs"], **options) as self._envs:
            self.learner = SACRun(
                self._envs,
                self._data.sensors,
                sac=SACSettings(**config["sac"]),
                rounds=RoundSettings(**rounds),
                seed=config["seed"],
                observer=self._data.observer(),
                learner=self._shared,
                begin=functools.partial(with_policy_of, config) if config["policy_from"] else None,
            )
            yield

    def prepare(self) -> None:
        """Begins a run without a checkpoint; nothing is played before its first round."""

    def conclude(self) -> dict:
        """Saves the policy; returns what it has scored when the run was over."""
        result = self.facts["result"]
        self._save_policy(result["return"])
        return result | {"num_updates": self.num_updates, "agent_steps": self.done}

    @staticmethod
    def play_together(members: Sequence[SurrogateRun]) -> list[Sequence[Episode]]:
        """Plays an episode in every environment of all members, which learn meanwhile."""
        with contextlib.ExitStack() as watches:
            for member in members:
                member._envs.rewind(member.number)
                watches.enter_context(member.watch("collection"))
            learners = [member.learner for member in members]
            played = play_together(learners, members[0].directory.stop_if_overdue)
        return [member.take(episodes) for member, episodes in zip(members, played, strict=True)]

    @property
    def done(self) -> int:
        """Steps of the agent."""
        return self.learner.progress.agent_steps

    @property
    def _actor(self) -> Actor:
        return self._shared.actor(self.learner.state)

    def metadata(self) -> dict:
        """Names the policy that plays."""
        return {"policy": self.config["method"]}

    def evaluate(self, *, due: bool, over: bool) -> Iterator[dict]:
        """Plays the mode of the policy from fixed starts; at the end from others."""
        evaluation = self.config["evaluation"]
        if due and "diverged" not in self.facts:
            yield {"final": False, **self._scores(evaluation["episodes"], evaluation["seed"])}
        if over:
            self.facts["result"] = self._scores(evaluation["final_episodes"], evaluation["seed"] + 1)
            yield {"final": True, **self.facts["result"]}

    def check(self, row: dict) -> None:
        """Ends a seed that has diverged, with the state of its last checkpoint or that before the first update."""
        try:
            super().check(row)
        except Diverged as error:
            print(f"Seed {self.config['seed']}: {error} That one is evaluated.", file=sys.stderr)
            self.facts["diverged"] = True
            restored = self.checkpoints.restore(self.learner.state)
            self.learner.state = restored[1] if restored else self.learner.initial_state()

    def _scores(self, num_episodes: int, seed: int) -> dict:
        actor = SACActor(NumpyPolicy(self._actor), self._data.sensors, observer=self._data.observer())
        return self._data.evaluation.play(lambda _: actor, num_episodes, seed).row()

    def _save_policy(self, returns: list[list[float]]) -> None:
        """Saves the actor with what makes it act again."""
        data, actor = self._data, self._actor
        arena = data.evaluation.arena
        where = dict(environment=arena.name, environment_options=arena.options)
        card = dict(method=self.config["method"], returns=returns, **where)
        models = Models(
            {"policy": architectures.sac_actor(actor, data.observer_arguments)}, policy=actor, card=card
        )
        files.save(self.directory.path, self.config, models)
