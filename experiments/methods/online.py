"""AIME-v2 / AIME-NoB: imitation from observation that goes on learning in the environment.

    python -m experiments online --config=online --config.model=DIR --config.embodiment=DIR \
        --config.demonstrations=DIR --config.reward.model=DIR --workdir=DIR

Pretrains the policy on the demonstrations (offline AIME), then plays an episode, learns from it, and so on. Leaves
every episode in `DIR/episodes`, with its surrogate reward, and model, policy and critic, which `evaluate`,
`imitate` and this main can load.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import jax
import numpy as np

from agents.actors import FilterActor
from agents.loop import collect_episodes, episode_summary, evaluate
from agents.noise import UniformActor
from experiments.data.evaluation import (
    check_specs,
    environment_facts,
    environment_of,
    expert_return,
    scores,
)
from experiments.data.folders import make_envs, num_complete, remove_episodes, write_round
from experiments.drawing import rendered
from experiments.methods.online_analysis import ActionErrors
from experiments.methods.online_checks import check_reward, check_settings
from experiments.methods.online_learner import OnlineLearner
from experiments.runs.directory import FREE_TO_CHANGE, RunDirectory
from experiments.runs.metrics import MetricsWriter, check_finite
from experiments.runs.paths import folders_of
from experiments.runs.progress import Progress, Stopwatch
from experiments.runs.training import Schedule, train
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.episodes import Episode, load_episodes, read_episode

# Episodes of an environment with these numbers and above are for evaluations: always the same, never trained on.
_EVALUATION, _FINAL_EVALUATION = 1_000_000, 2_000_000


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Plays `config.num_episodes` episodes and learns from them.

    Returns:
      {"return": `[1][episodes of the final evaluation]`, "success_any": ..., "return_mean", "by_expert", ...}.
    """
    allowed = (*FREE_TO_CHANGE, "num_episodes")
    with RunDirectory(workdir, config, fresh=fresh, allow_changes=allowed) as directory:
        if directory.done:
            return directory.result
        return OnlineRun(directory).finish()


class OnlineRun:
    """A run in an opened directory: the only mutable thing here, because environments and disks are.

    Between rounds, of one episode in each environment, everything is at rest. There a checkpoint holds all that is
    learnt; the online buffer is filled again from the episodes on disk. The environments of a round, its actor's noise
    and its batches follow from the seed and its number, so that a continued run equals one that was not stopped.

    Attributes:
      learner: what is learnt, and how.
      episodes: played, prefill included; offline, those that would have been played count too.
    """

    def __init__(self, directory: RunDirectory):
        self.directory, self.config = directory, directory.config
        config = self.config
        check_settings(config)
        demonstrations = load_episodes(
            folders_of(config["demonstrations"]), limit=config["num_demonstrations"]
        )
        self.environment = environment_from(config, demonstrations)
        self.learner = OnlineLearner(config, demonstrations)
        check_reward(config, self.learner.reward)
        self.analysis = ActionErrors.create(config, self.learner)
        self.episodes = 0
        self._expert = expert_return(load_episodes(folders_of(config["demonstrations"]), keys=()))
        self._folder = directory / "episodes"
        self._checkpoints = Checkpoints(directory / "checkpoints")
        self._actors: dict[str, FilterActor] = {}
        self._watch = Stopwatch()

    def finish(self) -> dict:
        """Plays and learns to the end, evaluates, and saves what has been learnt."""
        config, num_envs = self.config, self.config["num_envs"]
        options = dict(num_envs=num_envs, seed=config["seed"], workers=config["workers"])
        with make_envs(self.environment, **options) as envs:
            self._check(envs)
            self._start(envs)
            total = self._num_prefill + config["num_episodes"]
            with (
                MetricsWriter(self.directory.path, start_update=self._update) as writer,
                Progress(total, self._title, initial=self.episodes) as bar,
            ):
                while self.episodes < total:
                    self._play_round(envs, writer, bar)
            self.learner.save(self.directory.path)
            return self.directory.mark_done(self._final_evaluation(envs))

    @property
    def _title(self) -> str:
        return f"online {self.environment['env']}{self.learner.placement.described}"

    @property
    def _num_prefill(self) -> int:
        """Episodes of the prefill, whole rounds."""
        num_envs = self.config["num_envs"]
        return -(-self.config["prefill"] // num_envs) * num_envs

    @property
    def _num_kept(self) -> int:
        """Episodes on disk and in the online buffer: all that were played, offline those of the prefill."""
        return min(self.episodes, self._num_prefill) if self.config["offline"] else self.episodes

    @property
    def _update(self) -> int:
        """Updates made, pretraining included."""
        return int(self.learner.state.step)

    def _check(self, envs) -> None:
        """Raises a ValueError in one sentence if the environment is of another body than the world model."""
        name, arch = self.environment["env"], self.learner.architecture
        check_specs(name, envs.observation_spec, envs.action_spec, arch["sizes"], arch["action_size"])

    def _start(self, envs) -> None:
        """From the newest checkpoint, or through prefill and pretraining."""
        restored = self._checkpoints.restore(self.learner.state)
        if restored is None:
            self._prefill(envs)
            self._checkpoints.save(0, self.learner.state)
            extra = {}
        else:
            _, self.learner.state, extra = restored
            # A checkpoint of the pretraining has no `episodes`: there is only the prefill then.
            self.episodes = extra.get("episodes", self._num_prefill)
            remove_episodes(self._folder, self._num_kept)
            for number in range(self._num_kept):
                self.learner.remember(read_episode(self._folder / f"{number}.hdf5"))
        if "episodes" not in extra:
            self._pretrain(envs, "model", self.config["model_pretraining"])
            self._pretrain(
                envs, "policy", self.config["model_pretraining"] + self.config["policy_pretraining"]
            )

    def _prefill(self, envs) -> None:
        """Episodes of uniform actions; those of whole rounds that an interrupted prefill has left are not played again.

        They are scored again, because what the reward remembers of them is not on disk.
        """
        size, seed = envs.action_spec.shape[0], self.config["seed"]
        first = min(num_complete(self._folder) // envs.num_envs * envs.num_envs, self._num_prefill)
        remove_episodes(self._folder, first)
        while self.episodes < first:
            self.learner.remember(self.learner.score(read_episode(self._folder / f"{self.episodes}.hdf5")))
            self.episodes += 1
        while self.episodes < self._num_prefill:
            self.directory.stop_if_interrupted()
            number = self.episodes // envs.num_envs
            envs.rewind(number)
            actor = UniformActor(envs.num_envs, size, seed=seed, first_episode=number)
            self._keep(collect_episodes(envs, actor, envs.num_envs), "uniform")

    def _pretrain(self, envs, stage: str, until: int) -> None:
        """Updates of one stage until so many updates were made in all; evaluates the policy of offline AIME."""
        if self._update >= until:
            return

        def evaluate_policy(state, update: int) -> dict:
            self.learner.state = state
            return self._evaluation(envs)

        self.learner.state = train(
            self.directory,
            self.learner.state,
            lambda state, size: self.learner.make_loop(stage, size)(state, self.learner.data),
            Schedule(until, self.config["updates_per_dispatch"], self.config["save_every"]),
            prefix="train/",
            description=f"{stage} pretraining",
            progress_metric=f"{stage}/loss",
            evaluate=evaluate_policy if stage == "policy" else None,
            placement=self.learner.placement,
        )

    def _play_round(self, envs, writer: MetricsWriter, bar: Progress) -> None:
        """Plays an episode in every environment, learns, and writes what that gave and how long it took.

        What comes after the row, evaluation and checkpoint, is timed in the next one.
        """
        config, number = self.config, self.episodes // envs.num_envs
        if self.episodes > self._num_prefill and is_due(config["policy_reset_every"], self.episodes, envs):
            # The published code resets at the first episode too, and with it all of the policy's pretraining.
            self.learner.reset_policy(number)
        row = {}
        if config["offline"]:
            self.episodes += envs.num_envs
        else:
            row = self._collect(envs, number)
        updates = config["updates_per_episode"] * envs.num_envs
        with self._watch("updates"):
            metrics = self.learner.learn(updates)
        row |= {name_of(name): value for name, value in metrics.items()}
        row["fps/updates"] = updates / self._watch.wall("updates")
        check_finite(writer.write(row | self._watch.read(), **self._clocks(envs)), self._update)
        played = self.episodes - self._num_prefill
        if is_due(config["evaluation"]["every"], played, envs):
            with self._watch("evaluation"):
                self._evaluate(envs, writer)
        over = played >= config["num_episodes"]
        if over or number % config["checkpoint_every"] == 0 or self.directory.interrupted():
            with self._watch("checkpoint"):
                self._checkpoints.save(self._update, self.learner.state, {"episodes": self.episodes})
        shown = {"return": float(np.mean(row["episode/return"]))} if "episode/return" in row else {}
        bar.update(envs.num_envs, **shown)
        self.directory.stop_if_interrupted()

    def _collect(self, envs, number: int) -> dict:
        """Plays, scores and keeps an episode in every environment; returns what the metrics say of them."""
        envs.rewind(number)
        with self._watch("collection"):
            episodes = collect_episodes(envs, self._actor(envs, number, purpose="play"), envs.num_envs)
        with self._watch("scoring"):
            episodes = self._keep(episodes, "aime-v2")
        steps = sum(episode.length for episode in episodes)
        speed = {"fps/agent_steps": steps / self._watch.wall("collection")}
        return summary(episodes, self.learner.stored_head) | speed

    def _keep(self, episodes: list[Episode], policy: str) -> list[Episode]:
        """Scores episodes, writes them and puts them into the online buffer, as they read back from disk."""
        scored = [self.learner.score(episode) for episode in episodes]
        write_round(self._folder, self.episodes, scored, metadata={"policy": policy})
        for episode in scored:
            self.learner.remember(episode)
        self.episodes += len(episodes)
        return scored

    def _actor(self, envs, number: int, *, purpose: str) -> FilterActor:
        """The present policy at the start of a round; compiled once for each purpose, "play" and "evaluation"."""
        model, policy = self.learner.model, self.learner.policy
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.config["seed"]), 7), number)
        if purpose in self._actors:
            self._actors[purpose].renew((model, policy), key)
        else:
            play = dict(sample_action=True, epsilon=self.config["epsilon"])
            options = {
                "play": play,
                "evaluation": dict(sample_action=self.config["evaluation"]["sample_action"]),
            }
            self._actors[purpose] = FilterActor(model, policy, envs.num_envs, key, **options[purpose])
        return self._actors[purpose]

    def _evaluation(self, envs) -> dict:
        """A row of eval.jsonl: the policy's mode from the same starts every time, and how wrong its inference is."""
        rows = self._play(envs, self.config["evaluation"]["episodes"], _EVALUATION)
        return {**self._clocks(envs), **rows, **self.analysis(self.learner), **environment_facts(envs)}

    def _evaluate(self, envs, writer: MetricsWriter) -> None:
        """Writes an evaluation, and its means for TensorBoard."""
        row = writer.write_eval(self._evaluation(envs))
        means = {f"eval/{name}": float(np.mean(v)) for name, v in row.items() if isinstance(v, list)}
        analysis = {name: value for name, value in row.items() if name.startswith("analysis/")}
        writer.write(means | analysis, **self._clocks(envs))

    def _play(self, envs, num_episodes: int, first: int, on_episode=None) -> dict[str, list[float]]:
        """Evaluates on the environments' episodes from number `first` on."""
        envs.rewind(first)
        actor = self._actor(envs, first, purpose="evaluation")
        keep = dict(record_physics=on_episode is not None, on_episode=on_episode)
        return evaluate(envs, actor, num_episodes, **keep)

    def _final_evaluation(self, envs) -> dict:
        """The result of the run, and a video of its first episode."""
        evaluation, played = self.config["evaluation"], []
        keep = played.append if evaluation["video"] else None
        rows = self._play(envs, evaluation["final_episodes"], _FINAL_EVALUATION, keep)
        if played:
            name = self.environment["env"]
            options = {key: value for key, value in self.environment.items() if key != "env"}
            path = self.directory / "videos" / "evaluation.mp4"
            _, why_not = rendered.seeds_side_by_side(path, name, options, played, 1)
            if why_not:
                print(f"No video: {why_not}", file=sys.stderr)
        result = {name: [values] for name, values in rows.items()}
        result |= scores(result["return"], self._expert, evaluation["random_return"])
        counts = {"num_updates": self._update, "num_episodes": self.episodes}
        return result | counts | environment_facts(envs)

    def _clocks(self, envs) -> dict[str, int]:
        """Steps in the environment are simulator steps, as the papers count them."""
        steps = self.learner.agent_steps
        return dict(
            update=self._update, episode=self.episodes, agent_step=steps, env_step=steps * envs.action_repeat
        )


def environment_from(config: Mapping, demonstrations: list[Episode]) -> dict:
    """Where the run plays: as recorded in the demonstrations, with images drawn alike if they have some."""
    name, options = environment_of(config["env"], demonstrations, tuple(demonstrations[0].records))
    return {"env": name, **options}


def summary(episodes: list[Episode], head: str | None) -> dict[str, list[float]]:
    """{"episode/return": one entry per episode, ...}, the surrogate return of the record `head` among them."""
    rows = [episode_summary(episode) for episode in episodes]
    if head is not None:
        for row, episode in zip(rows, episodes, strict=True):
            row[f"{head.removesuffix('_reward')}_return"] = float(np.sum(episode.records[head]))
    return {f"episode/{name}": [row[name] for row in rows] for name in rows[0]}


def is_due(every: int | None, episodes: int, envs) -> bool:
    """Whether the last round has reached a multiple of `every` episodes."""
    return bool(every) and episodes % every < envs.num_envs


def name_of(metric: str) -> str:
    """Where a metric of the learner belongs: analysis stays apart from training."""
    return metric if metric.startswith("analysis/") else f"train/{metric}"
