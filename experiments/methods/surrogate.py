"""Baselines of imitation by reinforcement learning: SAC on a surrogate of the reward that observations alone give.

    python -m experiments surrogate --config=surrogate:gaifo --config.demonstrations=DIR \\
        --workdir=DIR

gaifo: a discriminator of transitions (agents/gaifo.py); ot: optimal transport with a discount that grows with the
agent's progress (agents/ot.py). The environment's reward is only used to evaluate.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable

import jax
import numpy as np

from agents.discount_schedule import ScheduleSettings
from agents.gaifo import GAIfOLearner, GAIfOSettings
from agents.loop import evaluate
from agents.observer import Observer
from agents.ot import OTLearner, OTSettings
from agents.sac import Actor, NumpyPolicy, SACSettings
from agents.sac_rounds import Learner, Progress, RoundSettings, SACActor, SACRun
from experiments.data.evaluation import environment_facts, environment_of, expert_return, scores
from experiments.data.folders import remove_episodes, write_round
from experiments.envs.sensors import observation_setup
from experiments.envs.vector import make_vector
from experiments.methods.surrogate_features import encoder_features
from experiments.models import architectures, files
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import Diverged, MetricsWriter, check_finite, diverged_among
from experiments.runs.paths import folders_of
from experiments.runs.progress import Progress as Bar
from experiments.runs.stages import run_seeds, seed_path
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.dataset import statistics
from worldmodels.data.episodes import load_episodes, read_episode
from worldmodels.export import Models

METHODS = ("gaifo", "ot")


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Trains and evaluates one agent per seed; see experiments/configs/surrogate.py.

    Returns:
      {"return": `[num_seeds][episodes]`, "return_mean", "by_expert": [num_seeds], ...}, and "diverged" as of
      `diverged_result`: those seeds are evaluated as they were at their last checkpoint.
    """
    with RunDirectory(workdir, config, fresh=fresh) as directory:
        if directory.done:
            return directory.result
        data = load_data(directory.config)
        results = run_seeds(directory, lambda single: SurrogateRun(single, data).run())
        diverged = diverged_among(results)
        played = [result["return"] for result in results]
        merged = scores(played, data.expert, directory.config["evaluation"]["random_return"])
        counts = {name: [result[name] for result in results] for name in ("num_updates", "agent_steps")}
        models = files.merge([seed_path(directory, index) for index in range(len(results))])
        files.save(directory.path, directory.config, models)
        where = {"environment": results[0]["environment"]}
        return directory.mark_done({"return": played} | merged | counts | where | diverged)


@dataclasses.dataclass(frozen=True)
class Data:
    """What an agent imitates, and how it sees.

    Attributes:
      env_name, env_options: where it plays.
      sensors, num_frames, moments: arguments of its `Observer`.
      demonstrations: observations [T, O] of each.
      features: observations [T, O] -> [T, F], between which optimal transport measures; None: the observations.
      expert: mean return of the demonstrations, if they carry rewards.
    """

    env_name: str
    env_options: dict
    sensors: tuple[str, ...]
    num_frames: int
    moments: dict
    demonstrations: list[np.ndarray]
    features: Callable[[np.ndarray], np.ndarray] | None
    expert: float | None

    def observer(self) -> Observer:
        """A fresh one."""
        return Observer(self.sensors, self.num_frames, self.moments)


def load_data(config: dict) -> Data:
    """Reads the folders that the config names; actions are not looked at.

    Raises:
      ValueError: an unknown method, no folder, or a set-up with images.
    """
    if config["method"] not in METHODS:
        raise ValueError(f"Unknown method {config['method']!r}. Known: {', '.join(METHODS)}.")
    if not config["demonstrations"]:
        raise ValueError(
            f"{config['method'].upper()} needs a folder of episodes; pass --config.demonstrations=DIR."
        )
    first = load_episodes(folders_of(config["demonstrations"]), limit=1, images_on_disk=True)
    env_name, env_options = environment_of(config["env"], first)
    sensors = observation_setup(env_name, config["setup"]).inputs
    missing = [name for name in sensors if first[0].records.get(name, np.zeros(1)).ndim != 2]
    if missing:
        raise ValueError(
            f"Set-up {config['setup']!r} of {env_name!r} needs {', '.join(missing)}, which the demonstrations do not "
            "have as vectors; these agents learn from vectors: choose mdp or lpomdp."
        )
    episodes = load_episodes(
        folders_of(config["demonstrations"]), limit=config["num_demonstrations"], keys=sensors
    )
    body = load_episodes(folders_of(config["embodiment"]), keys=sensors) if config["embodiment"] else episodes
    moments = statistics(body, sensors) if config["standardize"] else {}
    num_frames = config["stack"] or (1 if config["setup"] == "mdp" else 3)
    observer = Observer(sensors, num_frames, moments)
    return Data(
        env_name=env_name,
        env_options=env_options,
        sensors=sensors,
        num_frames=num_frames,
        moments=moments,
        demonstrations=[observer.of_episode(episode.records) for episode in episodes],
        features=encoder_features(config["encoder"], observer, episodes) if config.get("encoder") else None,
        expert=expert_return(load_episodes(folders_of(config["demonstrations"]), keys=())),
    )


def make_learner(config: dict, data: Data) -> Learner:
    """The agent that the config asks for."""
    sac = SACSettings(**config["sac"])
    updates = config["rounds"]["updates_per_dispatch"]
    if config["method"] == "gaifo":
        settings = GAIfOSettings(**config["discriminator"])
        return GAIfOLearner(sac, settings, data.demonstrations, updates_per_dispatch=updates)
    schedule = ScheduleSettings(**config["schedule"]) if config["use_schedule"] else None
    settings = OTSettings(**config["transport"], discount=config["rounds"]["discount"])
    return OTLearner(
        sac,
        settings,
        data.demonstrations,
        updates_per_dispatch=updates,
        schedule=schedule,
        features=data.features,
    )


class SurrogateRun:
    """One seed, from the newest checkpoint. To resume, the replay is filled again from the episodes on disk."""

    def __init__(self, run: RunDirectory, data: Data):
        self._run, self._data, self._config = run, data, run.config
        self._checkpoints = Checkpoints(run / "checkpoints")

    def run(self) -> dict:
        """Plays, learns and evaluates to the end."""
        config, data, run = self._config, self._data, self._run
        learner = make_learner(config, data)
        state, progress = self._restore(learner)
        remove_episodes(run / "episodes", progress.rounds * config["num_envs"])
        rounds = config["rounds"] | ({"discount": 1.0} if learner.rates_episodes else {})
        with make_vector(
            data.env_name,
            config["num_envs"],
            seed=config["seed"],
            first_episode=progress.rounds,
            workers=config["evaluation"]["workers"],
            **data.env_options,
        ) as envs:
            agent = SACRun(
                envs,
                data.sensors,
                sac=SACSettings(**config["sac"]),
                rounds=RoundSettings(**rounds),
                seed=config["seed"],
                observer=data.observer(),
                learner=learner,
            )
            if state is not None:
                agent.restore(state, progress, self._recorded(progress.rounds))
            return self._train(agent, learner)

    def _train(self, agent: SACRun, learner: Learner) -> dict:
        """Rounds until all steps are made; then the last evaluation, and the policy is saved."""
        config, run = self._config, self._run
        total, every = config["agent_steps"], config["evaluation"]["every"]
        with (
            MetricsWriter(run.path, start_update=agent.progress.rounds) as writer,
            Bar(total, config["method"], initial=min(agent.progress.agent_steps, total)) as bar,
        ):
            diverged = False
            while agent.progress.agent_steps < total:
                before = agent.progress.agent_steps
                try:
                    self._play_round(agent, writer)
                except Diverged as error:
                    print(f"Seed {config['seed']}: {error} That one is evaluated.", file=sys.stderr)
                    diverged = True
                    break
                after = agent.progress.agent_steps
                if every and after // every > before // every:
                    result = self._evaluate(learner.actor(agent.state), config["evaluation"]["episodes"], 0)
                    clocks = {"update": agent.progress.rounds, "agent_step": after}
                    writer.write_eval({**clocks, "final": False, **result})
                due = agent.progress.rounds % config["save_every"] == 0 or after >= total
                if due or run.interrupted():
                    extra = dataclasses.asdict(agent.progress)
                    self._checkpoints.save(agent.progress.rounds, agent.state, extra)
                    run.stop_if_interrupted()
                bar.update(min(after, total) - min(before, total))
            actor = learner.actor(self._last_state(learner, agent) if diverged else agent.state)
            result = self._evaluate(actor, config["evaluation"]["final_episodes"], 1)
            writer.write_eval({"update": agent.progress.rounds, "final": True, **result})
        counts = {"num_updates": agent.progress.updates, "agent_steps": agent.progress.agent_steps}
        counts |= {"diverged": True} if diverged else {}
        self._save_policy(actor, result["return"][0])
        played = {"return": result["return"][0], "environment": result["environment"]}
        return played | counts

    def _last_state(self, learner: Learner, agent: SACRun):
        """The state of the last checkpoint, or that before the first update."""
        state, _ = self._restore(learner)
        return agent.initial_state() if state is None else state

    def _restore(self, learner: Learner):
        """(state or None, Progress)."""
        data = self._data
        with make_vector(data.env_name, 1, seed=0, **data.env_options) as probe:
            sizes = data.observer().size(probe.observation_spec), probe.action_spec.shape[0]
        like = jax.eval_shape(lambda: learner.create(*sizes, jax.random.key(0)))
        restored = self._checkpoints.restore(like)
        if restored is None:
            return None, Progress()
        _, state, extra = restored
        return state, Progress(**extra)

    def _recorded(self, num_rounds: int):
        """The rounds that have been played, from the disk."""
        num_envs, names = self._config["num_envs"], [*self._data.sensors, "pre_action"]
        for number in range(num_rounds):
            numbers = range(number * num_envs, (number + 1) * num_envs)
            yield [read_episode(self._run / "episodes" / f"{n}.hdf5", names) for n in numbers]

    def _play_round(self, agent: SACRun, writer: MetricsWriter) -> None:
        """Plays a round, writes its episodes and metrics."""
        num_envs = self._config["num_envs"]
        first, began = agent.progress.rounds * num_envs, time.perf_counter()
        before = dataclasses.replace(agent.progress)
        episodes, metrics = agent.play_round()
        write_round(self._run / "episodes", first, episodes, metadata={"policy": self._config["method"]})
        row = {f"train/{name}": value for name, value in metrics.items()}
        row["train/updates"] = agent.progress.updates
        row["analysis/return"] = [episode.return_ for episode in episodes]
        for name in ("agent_steps", "updates"):
            done = getattr(agent.progress, name) - getattr(before, name)
            row[f"fps/{name}"] = done / (time.perf_counter() - began)
        clocks = {"update": agent.progress.rounds, "agent_step": agent.progress.agent_steps}
        check_finite(writer.write(row, **clocks), agent.progress.rounds)

    def _evaluate(self, actor: Actor, num_episodes: int, seed_offset: int) -> dict:
        """Plays with the mode of the policy from fixed starts."""
        data, evaluation = self._data, self._config["evaluation"]
        player = SACActor(NumpyPolicy(actor), data.sensors, observer=data.observer())
        num_envs = min(num_episodes, 10)
        seed = evaluation["seed"] + seed_offset
        with make_vector(
            data.env_name, num_envs, seed=seed, workers=evaluation["workers"], **data.env_options
        ) as envs:
            played, facts = evaluate(envs, player, num_episodes), environment_facts(envs)
        result = {name: [values] for name, values in played.items()} | facts
        return result | scores(result["return"], data.expert, evaluation["random_return"])

    def _save_policy(self, actor: Actor, returns: list[float]) -> None:
        """Saves the actor with what makes it act again."""
        data = self._data
        moments = {name: [x.tolist() for x in pair] for name, pair in data.moments.items()}
        observer = dict(sensors=list(data.sensors), num_frames=data.num_frames, statistics=moments)
        card = dict(method=self._config["method"], returns=[returns])
        card |= dict(environment=data.env_name, environment_options=data.env_options)
        models = Models({"policy": architectures.sac_actor(actor, observer)}, policy=actor, card=card)
        files.save(self._run.path, self._config, models)
