"""Trains agents with SAC, one after the other, and keeps everything: the episodes and the final policies."""

from __future__ import annotations

import contextlib
import functools
import pathlib
import sys
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from agents.noise import Disturbance
from agents.sac import NumpyPolicy, SACSettings, create_sac
from agents.sac_rounds import RoundSettings, SACActor, SACRun, vector_sensors
from experiments.data.arena import Arena
from experiments.data.evaluation import Evaluation
from experiments.data.rounds import Rounds
from experiments.models import architectures, files
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import Diverged
from worldmodels.data.episodes import Episode
from worldmodels.export import Models

_EVALUATION_SEED = 1_000_000  # added to an agent's seed, so that it is not evaluated where it trained


class SACAgents(Rounds):
    """A run that trains `num_agents` agents; writes `episodes/` (every training episode) and `policies/<agent>/`.

    `facts["finished"]` has rounds, agent_steps and updates of every agent that is done, and the returns of its last
    evaluation; none of one that has diverged.
    """

    learner: SACRun

    def __init__(self, directory: RunDirectory):
        config = directory.config
        self._arena, self._settings = Arena.of(config), SACSettings(**config["sac"])
        with self._arena.make(1, seed=config["seed"]) as probe:
            specs, action_size = probe.observation_spec, probe.action_spec.shape[0]
        self._sensors = vector_sensors(specs)
        self._sizes = sum(specs[name].shape[0] for name in self._sensors), action_size
        self._evaluation = Evaluation(self._arena, at_once=config["num_envs"])
        super().__init__(
            directory,
            total=config["agent_steps"],
            evaluate_every=config["evaluate_every"],
            save_every=config["checkpoint_every"],
            episodes_per_round=config["num_envs"],
            description=f"SAC {config['env']}",
        )
        self.records = [*self._sensors, "pre_action"]
        self.facts = {"finished": []}
        self._open = contextlib.ExitStack()

    def train(self) -> list[dict]:
        """Trains all agents, from the newest checkpoint if there is one; returns `facts["finished"]`."""
        create = functools.partial(create_sac, *self._sizes, self._settings)
        with self._open:
            if not self.restore(jax.eval_shape(create, jax.random.key(0))):
                self.begin()
            self.run()
        finished = self.facts["finished"]
        agents = [self._policy_path(i) for i, agent in enumerate(finished) if agent["returns"]]
        files.save(self.directory.path, self.config, files.merge(agents))
        return finished

    def begin(self) -> None:
        """Starts the agent that comes after the finished ones, in environments of its own."""
        config, size = self.config, self._size
        start = {
            "seed": config["seed"] + self._agent,
            "first_episode": self.number - self.first_episode // size,
        }
        self._open.close()
        arena = self._arena.with_images(config)
        envs = self._open.enter_context(arena.make(size, workers=config["workers"], **start))
        disturb = Disturbance(size, envs.action_spec.shape[0], share=config["disturbed_share"], **start)
        self.learner = SACRun(
            envs,
            self._sensors,
            sac=self._settings,
            rounds=RoundSettings(**config["rounds"]),
            seed=start["seed"],
            disturb=disturb if config["disturbed_share"] else None,
        )

    @property
    def _agent(self) -> int:
        return len(self.facts["finished"])

    @property
    def done(self) -> int:
        """Steps of the present agent."""
        return self.learner.progress.agent_steps

    @property
    def over(self) -> bool:
        """True when all agents are finished."""
        return self._agent >= self.config["num_agents"]

    @property
    def shown(self) -> tuple[int, int]:
        """Steps of all agents, and how many they will be."""
        done = 0 if self.over else min(self.done, self.total)
        return self._agent * self.total + done, self.config["num_agents"] * self.total

    @property
    def num_updates(self) -> int:
        """Updates of all agents."""
        return sum(agent["updates"] for agent in self.facts["finished"]) + (
            0 if self.over else self.learner.num_updates
        )

    @property
    def first_episode(self) -> int:
        """Episode with which the present agent began."""
        return sum(agent["rounds"] for agent in self.facts["finished"]) * self._size

    def metadata(self) -> dict:
        """Names the agent that plays."""
        return {"policy": "sac", "agent": self._agent}

    def play(self, number: int) -> list[Episode]:
        """Plays an episode in every environment."""
        with self.watch("collection"):
            return self.learner.play_round(self.directory.stop_if_overdue)

    def summary(self, episodes: Sequence[Episode]) -> dict:
        """Returns the metrics of `Rounds`, with the agent."""
        return super().summary(episodes) | {"train/agent": self._agent}

    def evaluate(self, *, due: bool, over: bool) -> Iterator[dict]:
        """Plays the mode of the policy, from the same starts at every call; saves it when an agent ends."""
        actor = SACActor(NumpyPolicy(self.learner.state.actor.model), self._sensors)
        seed = self.config["seed"] + self._agent + _EVALUATION_SEED
        scores = self._evaluation.play(lambda _: actor, self.config["evaluation_episodes"], seed)
        yield {"agent": self._agent, **scores.row()}
        if over:
            self._save_policy(scores.returns)
            self._finish(scores.returns[0])

    def check(self, row: dict) -> None:
        """Continues with the next agent if this one has diverged."""
        try:
            super().check(row)
        except Diverged as error:
            check_others(self.facts["finished"], self.config["num_agents"], error)
            print(f"Agent {self._agent} leaves no policy: {error}", file=sys.stderr)
            self._finish([], diverged=True)

    def extra(self) -> dict:
        """Returns that of `Rounds`, without the learner when all agents are finished: a further one begins anew."""
        return super().extra() | ({"learner": None} if self.over else {})

    def _policy_path(self, agent: int) -> pathlib.Path:
        return self.directory / "policies" / str(agent)

    def _save_policy(self, returns: list[list[float]]) -> None:
        """Saves the actor of the present agent with what makes it act again."""
        actor = self.learner.state.actor.model
        where = dict(environment=self._arena.name, environment_options=self._arena.options)
        arguments = {"policy": architectures.sac_actor(actor, dict(sensors=list(self._sensors)))}
        models = Models(arguments, policy=actor, card=dict(method="sac", returns=returns, **where))
        files.save(self._policy_path(self._agent), self.config, models)

    def _finish(self, returns: list[float], **more) -> None:
        position = self.learner.position
        finished = {name: position[name] for name in ("rounds", "agent_steps", "updates")}
        self.facts["finished"].append(finished | {"returns": returns} | more)
        if not self.over:
            self.begin()


def check_others(finished: Sequence[dict], num_agents: int, error: Diverged) -> None:
    """Raises the error of an agent if neither those before it nor those after it leave a policy."""
    if len(finished) + 1 == num_agents and not any(agent["returns"] for agent in finished):
        raise error


def policy_return(finished: Sequence[dict]) -> float:
    """Returns the mean return of the best policy in its last evaluation."""
    return max(float(np.mean(agent["returns"])) for agent in finished if agent["returns"])
