"""AIME-v2 / AIME-NoB: imitation from observation that continues to learn in the environment.

    python -m experiments online --config=online --config.model=DIR --config.embodiment=DIR \
        --config.demonstrations=DIR --config.reward.model=DIR --workdir=DIR

Pretrains the policy on the demonstrations (offline AIME), then plays an episode, learns from it, and so on. Leaves
every episode in `DIR/episodes`, with its surrogate reward, and model, policy and critic, which `evaluate`,
`imitate` and this main can load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from agents.actors import FilterActor
from aime.inference import infer_actions
from experiments.data.arena import check_specs
from experiments.data.demonstrations import Demonstrations
from experiments.data.evaluation import Scores
from experiments.data.folders import write_round
from experiments.data.rounds import Rounds
from experiments.methods.online_checks import check_reward, check_settings
from experiments.methods.online_learner import OnlineLearner
from experiments.methods.online_parts import shared_sensors
from experiments.models import architectures
from experiments.runs.directory import FREE_TO_CHANGE, RunDirectory
from experiments.runs.paths import folders_of
from experiments.runs.progress import Every
from experiments.runs.training import Schedule, train
from worldmodels.data import dataset, replay
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import Episode, load_episodes
from worldmodels.structures import SequenceBatch

# Episodes of an environment with these numbers and above are for evaluations: always the same, never trained on.
_EVALUATION, _FINAL_EVALUATION = 1_000_000, 2_000_000


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Plays `config.num_episodes` episodes and learns from them.

    Returns:
      {"return": `[1][episodes of the final evaluation]`, "success_any": ..., "return_mean", "by_expert", ...}.
    """
    allowed = (*FREE_TO_CHANGE, "num_episodes")
    with RunDirectory(workdir, config, fresh=fresh, allow_changes=allowed) as directory:
        return directory.result or OnlineRun(directory).finish()


class OnlineRun(Rounds):
    """A run in an opened directory; offline it plays the prefill alone, and rounds only learn."""

    learner: OnlineLearner

    def __init__(self, directory: RunDirectory):
        config = directory.config
        check_settings(config)
        shown = Demonstrations.read(config["demonstrations"], config["num_demonstrations"], env=config["env"])
        self.learner = OnlineLearner(config, shown.episodes)
        check_reward(config, self.learner.reward)
        self.analysis = ActionErrors.create(config, self.learner)
        self._evaluation = shown.evaluation(config["evaluation"])
        self._prefill_rounds = -(-config["prefill"] // config["num_envs"])
        super().__init__(
            directory,
            total=config["num_episodes"],
            evaluate_every=config["evaluation"]["every"],
            save_every=config["checkpoint_every"],
            episodes_per_round=config["num_envs"],
            description=f"online {shown.arena.name}{self.learner.placement.described}",
        )

    def finish(self) -> dict:
        """Plays and learns to the end, evaluates, and saves what has been learnt."""
        config, arch = self.config, self.learner.architecture
        options = dict(seed=config["seed"], workers=config["workers"])
        with self._evaluation.arena.make(config["num_envs"], **options) as self._envs:
            check_specs(self._envs, arch["sizes"], arch["action_size"])
            if not self.restore():
                self._prefill()
            self._pretrain("model", config["model_pretraining"])
            self._pretrain("policy", config["model_pretraining"] + config["policy_pretraining"])
            self.run()
            self.learner.save(self.directory.path)
            video = self.directory / "videos" / "evaluation.mp4" if config["evaluation"]["video"] else None
            scores = self._play(config["evaluation"]["final_episodes"], _FINAL_EVALUATION, video)
        counts = {"num_updates": self.num_updates, "num_episodes": self.number * config["num_envs"]}
        return self.directory.mark_done(scores.row() | counts)

    @property
    def done(self) -> int:
        """Episodes after the prefill; offline, those that would have been played."""
        return (self.number - self._prefill_rounds) * self.config["num_envs"]

    def metadata(self) -> dict:
        """Names the policy that plays."""
        return {"policy": "aime-v2"}

    def play(self, number: int) -> list[Episode]:
        """Plays an episode in every environment, and scores it; offline none."""
        size, is_reset = self._envs.num_envs, Every(self.config["policy_reset_every"])
        # The published code resets at the first episode too, and with it all of the policy's pretraining.
        if self.done > 0 and is_reset((number - 1) * size, number * size):
            self.learner.reset_policy(number)
        if self.config["offline"]:
            return []
        self._envs.rewind(number)
        return self._scored(self.collect(self._envs, self._actor("play", number)))

    def summary(self, episodes: Sequence[Episode]) -> dict[str, list[float]]:
        """Returns the metrics of `Rounds`, with the surrogate return."""
        row, head = super().summary(episodes), self.learner.stored_head
        if episodes and head is not None:
            returns = [float(np.sum(episode.records[head])) for episode in episodes]
            row[f"episode/{head.removesuffix('_reward')}_return"] = returns
        return row

    def evaluate(self, *, due: bool, over: bool) -> Iterator[dict]:
        """Plays the policy's mode from the same starts every time; measures how wrong its inference is."""
        if due:
            yield self._play(self.config["evaluation"]["episodes"], _EVALUATION).row() | self.analysis(
                self.learner
            )

    def _prefill(self) -> None:
        for episodes in self.prefill(self._envs, self._prefill_rounds):
            # Scored also where they are on disk already: what the reward remembers of them is not.
            first = self.clocks.episode - len(episodes)
            write_round(self.folder, first, self._scored(episodes), metadata={"policy": "uniform"})
        self.save()

    def _scored(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Episodes with their surrogate reward, in the online buffer."""
        with self.watch("scoring"):
            scored = [self.learner.score(episode) for episode in episodes]
            self.learner.remember(scored)
        return scored

    def _pretrain(self, stage: str, until: int) -> None:
        """Updates of one stage until so many updates were made in all; evaluates the policy of offline AIME."""
        if self.num_updates >= until:
            return

        def evaluate_policy(state, update: int) -> dict:
            self.learner.state = state
            return next(self.evaluate(due=True, over=False))

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
            clocks=self.clocks,
            extra=self.extra(),
        )
        self.clocks = self.clocks.at(self.num_updates)

    def _actor(self, purpose: str, number: int) -> FilterActor:
        """Returns the present policy at the start of a round, for "play" or "evaluation"."""
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.config["seed"]), 7), number)
        play = dict(sample_action=True, epsilon=self.config["epsilon"])
        options = (
            play if purpose == "play" else dict(sample_action=self.config["evaluation"]["sample_action"])
        )
        return self.actor(purpose, self._envs.num_envs, key, **options)

    def _play(self, num_episodes: int, first: int, video=None) -> Scores:
        """Evaluates on the environments' episodes from number `first` on."""
        self._envs.rewind(first)
        actor = self._actor("evaluation", first)
        return self._evaluation.play_in(self._envs, actor, num_episodes, video=video)


@dataclasses.dataclass(frozen=True)
class ActionErrors:
    """Mean squared error of the actions that policy and model infer, against those that were taken.

    Attributes:
      batch_size: windows per kind of data, always the same ones of the data that do not change.
      demonstrations: with their true actions, for this report only; None if they are not known.
      error: (model, policy, batch, key) -> [].
    """

    batch_size: int
    demonstrations: SequenceDataset | None
    error: Callable

    @classmethod
    def create(cls, config: Mapping, learner: OnlineLearner) -> ActionErrors:
        """Reads the episodes of `config.analysis.demonstrations`, if it names a folder."""
        folder, shown = config["analysis"]["demonstrations"], None
        if folder:
            episodes, what = (
                load_episodes(folders_of(folder), config["num_demonstrations"]),
                "demonstrations for the analysis",
            )
            architectures.check_body(learner.architecture, episodes, what)
            architectures.check_actions(episodes, what)
            sensors = shared_sensors(learner.architecture, episodes)
            options = dict(length=config["length"], sensors=sensors, with_reward=False)
            shown = SequenceDataset.create(episodes, **options)
        return cls(config["batch_size"], shown, make_action_error(config["loss"]["first_action"]))

    def __call__(self, learner: OnlineLearner) -> dict[str, float]:
        """{"analysis/action_mse_pretraining" | "_demonstration" | "_policy"}, of the data that there are."""
        keys = jax.random.split(jax.random.key(0), 4)
        sources = {
            "pretraining": (dataset.sample, learner.data.body),
            "demonstration": (dataset.sample, self.demonstrations),
            "policy": (replay.sample, learner.data.online),
        }
        errors = {}
        for key, (name, (sample, data)) in zip(keys, sources.items(), strict=False):
            if data is not None:
                batch = learner.placement.fetch(sample(data, key, self.batch_size))
                error = self.error(learner.model, learner.policy, batch, keys[3])
                errors[f"analysis/action_mse_{name}"] = float(error)
        return errors


def make_action_error(first_action: str) -> Callable:
    """Returns a jitted function (model, policy, batch [B, T] with actions, key) -> mean squared error []."""

    @jax.jit
    def error(model, policy, batch: SequenceBatch, key) -> jax.Array:
        inferred = infer_actions(model, policy, batch.without_actions(), key, first_action=first_action)
        return jnp.mean((inferred.actions - batch.prev_action) ** 2)

    return error
