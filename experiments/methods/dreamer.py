"""Dreamer and Plan2Explore: collects episodes, learns a world model from them and a policy in its imagination.

    python -m experiments dreamer --config=dreamer:small --workdir=DIR

Leaves every training episode in `DIR/episodes` (embodiment data), and model, policy and critic, which
`evaluate`, `imitate` and `collect` (demonstrations) can load.
"""

from __future__ import annotations

import dataclasses
import functools
import time

import jax
import numpy as np

from agents.actors import FilterActor
from agents.loop import collect_episodes, episode_summary
from agents.noise import UniformActor
from experiments.data.evaluation import evaluate_seeds
from experiments.data.folders import (
    environment_of_setup,
    make_envs,
    num_complete,
    play_rounds,
    remove_episodes,
    write_round,
)
from experiments.methods.dreamer_learner import Learner
from experiments.runs.directory import FREE_TO_CHANGE, RunDirectory
from experiments.runs.metrics import MetricsWriter, check_finite
from experiments.runs.progress import Progress
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.episode_folders import summarise_folder
from worldmodels.data.episodes import Episode, read_episode

_EVALUATION_SEED = 1_000_000  # added to the seed, so that a policy is not evaluated where it trained


@dataclasses.dataclass
class Position:
    """Where a run is; JSON-able by `dataclasses.asdict`.

    Attributes:
      episodes: in the replay. agent_steps: in them, all environments together.
      updates: made. updates_owed: that the steps have earned and that are not made yet.
    """

    episodes: int
    agent_steps: int
    updates: int
    updates_owed: float


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Plays `config.num_episodes` episodes and learns from them.

    Returns:
      {"return": [episodes of the final evaluation], "return_mean", "played": statistics of all training episodes}.
    """
    allowed = (*FREE_TO_CHANGE, "num_episodes")
    with RunDirectory(workdir, config, fresh=fresh, allow_changes=allowed) as directory:
        if directory.done:
            return directory.result
        return DreamerRun(directory).finish()


class DreamerRun:
    """A run in an opened directory: the only mutable thing here, because environments and disks are.

    Between rounds everything is at rest. There a checkpoint holds all train states and the position; what is missing,
    the replay, is filled again from the episodes on disk.

    Attributes:
      learner: what is learnt, from what, and how. position: how far the run is.
    """

    def __init__(self, directory: RunDirectory):
        self.directory, self.config = directory, directory.config
        self.environment = environment_of_setup(self.config)
        self._episodes = directory / "episodes"
        self._checkpoints = Checkpoints(directory / "checkpoints")
        self._actors: dict[str, FilterActor] = {}

    def finish(self) -> dict:
        """Plays and learns to the end, evaluates, and saves what has been learnt."""
        config = self.config
        self._start(self._prefill())
        options = dict(workers=config["workers"], seed=config["seed"])
        options["first_episode"] = self.position.episodes // config["num_envs"]
        total, done = config["num_episodes"], self.position.episodes
        with (
            MetricsWriter(self.directory.path, start_update=done) as writer,
            Progress(
                total, f"dreamer {config['env']}{self.learner.placement.described}", initial=done
            ) as bar,
            make_envs(self.environment, config["num_envs"], **options) as envs,
        ):
            while self.position.episodes < total:
                self._play_round(envs, writer, bar)
        self.learner.save(self.directory.path)
        result = self.evaluate(config["evaluation"]["final_episodes"], config["seed"] + _EVALUATION_SEED + 1)
        result["return_mean"] = float(np.mean(result["return"]))
        return self.directory.mark_done(result | {"played": summarise_folder(self._episodes)})

    def evaluate(self, num_episodes: int, seed: int) -> dict:
        """Per-episode lists of the present policy, and where it played; nothing of it is kept."""
        evaluation = self.config["evaluation"]
        options = dict(self.environment)
        rows = evaluate_seeds(
            functools.partial(
                self._actor, "evaluation", seed=seed, sample_action=evaluation["sample_action"]
            ),
            options.pop("env"),
            options,
            num_seeds=1,
            num_episodes=num_episodes,
            seed=seed,
            workers=evaluation["workers"],
        )
        facts = {"environment": rows.pop("environment")}
        return {key: values for key, (values,) in rows.items()} | facts

    def _prefill(self) -> list[Episode]:
        """The first episodes, by uniform actions; plays those that are not on disk yet."""
        config = self.config
        num_envs, rounds = config["num_envs"], -(-config["prefill"] // config["num_envs"])
        if rounds < 1:
            raise ValueError("The model learns from a prefill of episodes first; set prefill to at least 1.")
        first, seed = num_complete(self._episodes) // num_envs, config["seed"]
        if first < rounds:
            remove_episodes(self._episodes, first * num_envs)
            with (
                make_envs(self.environment, num_envs, seed=seed, first_episode=first) as envs,
                MetricsWriter(self.directory.path, start_update=first * num_envs) as writer,
            ):
                size = envs.action_spec.shape[0]
                actor = UniformActor(num_envs, size, seed=seed, first_episode=first)
                played = play_rounds(envs, lambda _: actor, first * num_envs, rounds * num_envs)
                for number, episodes in played:
                    done = number + num_envs
                    writer.write(_summary(episodes), update=done, episode=done)
                    write_round(self._episodes, number, episodes, metadata={"policy": "uniform"})
                    self.directory.stop_if_interrupted()
        return [read_episode(self._episodes / f"{number}.hdf5") for number in range(rounds * num_envs)]

    def _start(self, prefilled: list[Episode]) -> None:
        """From the newest checkpoint, or from the prefill with a model that is pretrained on it."""
        config = self.config
        self.learner = Learner(config, prefilled)
        self.position = Position(
            episodes=len(prefilled),
            agent_steps=sum(episode.length for episode in prefilled),
            updates=config["model_pretraining_iterations"],
            # As many updates before the first round as a round earns: learn, then play, as published.
            updates_owed=config["updates_per_step"]
            * sum(episode.length for episode in prefilled[-config["num_envs"] :]),
        )
        restored = self._checkpoints.restore(self.learner.state)
        if restored is not None:
            _, self.learner.state, extra = restored
            self.position = Position(**extra)
        remove_episodes(self._episodes, self.position.episodes)
        for number in range(self.position.episodes):
            self.learner.remember(read_episode(self._episodes / f"{number}.hdf5"))
        if restored is None:
            self.learner.pretrain_model(config["model_pretraining_iterations"])

    def _play_round(self, envs, writer: MetricsWriter, bar: Progress) -> None:
        """Learns what is owed, plays an episode in every environment, and writes what that gave."""
        config, position, began = self.config, self.position, time.perf_counter()
        updates, metrics = self.learner.learn(position.updates_owed)
        metrics = jax.block_until_ready(metrics)
        learnt = time.perf_counter()
        play = dict(sample_action=config["sample_action"], epsilon=config["epsilon"])
        seed = config["seed"] + position.episodes  # of the actor's noise
        actor = self._actor("play", envs.num_envs, seed=seed, **play)
        episodes = collect_episodes(envs, actor, envs.num_envs)
        for episode in episodes:
            self.learner.remember(episode)
        write_round(self._episodes, position.episodes, episodes, metadata={"policy": "dreamer"})
        steps, before = sum(episode.length for episode in episodes), position.episodes
        self.position = Position(
            episodes=before + len(episodes),
            agent_steps=position.agent_steps + steps,
            updates=position.updates + updates,
            updates_owed=position.updates_owed - updates + steps * config["updates_per_step"],
        )
        speed = {"fps/agent_steps": steps / (time.perf_counter() - learnt)}
        speed["fps/updates"] = updates / (learnt - began)
        row = {f"train/{name}": value for name, value in metrics.items()} | _summary(episodes) | speed
        clocks = self._clocks(episodes[0].metadata["action_repeat"])
        row = writer.write(row | {"train/updates": self.position.updates}, **clocks)
        check_finite(row, clocks["update"])
        self._evaluate_and_save(before, writer, clocks)
        bar.update(len(episodes), **{"return": float(np.mean(row["episode/return"]))})
        self.directory.stop_if_interrupted()

    def _evaluate_and_save(self, before: int, writer: MetricsWriter, clocks: dict) -> None:
        """An evaluation and a checkpoint, each if its time has come since episode `before`."""
        config, evaluation, now = self.config, self.config["evaluation"], self.position.episodes
        over = now >= config["num_episodes"]
        if evaluation["every"] and now // evaluation["every"] > before // evaluation["every"] and not over:
            result = self.evaluate(evaluation["episodes"], config["seed"] + _EVALUATION_SEED)
            writer.write_eval({**clocks, **result})
            self.learner.save(self.directory.path)
        rounds = now // config["num_envs"]
        if over or rounds % config["checkpoint_every"] == 0 or self.directory.interrupted():
            self._checkpoints.save(now, self.learner.state, dataclasses.asdict(self.position))

    def _actor(self, purpose: str, num_envs: int, *, seed: int, **options) -> FilterActor:
        """The present policy, at the beginning of `num_envs` episodes; compiled once for each purpose."""
        model, policy, key = self.learner.model, self.learner.policy, jax.random.key(seed)
        if purpose in self._actors and self._actors[purpose].num_envs == num_envs:
            self._actors[purpose].renew((model, policy), key)
        else:
            self._actors[purpose] = FilterActor(model, policy, num_envs, key, **options)
        return self._actors[purpose]

    def _clocks(self, action_repeat: int) -> dict[str, int]:
        """Rows are ordered by episodes: a short round may earn no update."""
        steps, episodes = self.position.agent_steps, self.position.episodes
        return dict(update=episodes, episode=episodes, agent_step=steps, env_step=steps * action_repeat)


def _summary(episodes: list[Episode]) -> dict[str, list[float]]:
    """{"episode/return": one entry per episode, ...}."""
    rows = [episode_summary(episode) for episode in episodes]
    return {f"episode/{name}": [row[name] for row in rows] for name in rows[0]}
