"""AIME-v2 / AIME-NoB: imitation from observation that continues to learn in the environment.

    python -m experiments online --config=online --config.model=DIR --config.embodiment=DIR \
        --config.demonstrations=DIR --config.reward.model=DIR --workdir=DIR

Pretrains the policy on the demonstrations (offline AIME), then plays an episode, learns from it, and so on. Leaves
every episode in `DIR/episodes`, with its surrogate reward, and model, policy and critic, which `evaluate`,
`imitate` and this main can load.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Self

import jax
import numpy as np

from agents.loop import Actor
from experiments.data.arena import check_specs
from experiments.data.demonstrations import Demonstrations
from experiments.data.evaluation import Scores
from experiments.data.folders import write_round
from experiments.data.members import ModelMember, run_members
from experiments.methods.online_analysis import ActionErrors, Balance
from experiments.methods.online_checks import check_reward, check_settings
from experiments.methods.online_learner import OnlineLearner
from experiments.methods.online_members import joint_updates
from experiments.models import files
from experiments.runs.directory import FREE_TO_CHANGE, RunDirectory
from experiments.runs.metrics import MetricsWriter, read_rows
from experiments.runs.progress import Every
from experiments.runs.training import Schedule, train
from worldmodels.data.episodes import Episode

# Episodes of an environment with these numbers and above are for evaluations: always the same, never trained on.
_EVALUATION, _FINAL_EVALUATION = 1_000_000, 2_000_000


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Plays `config.num_episodes` episodes with each of `config.num_seeds` members, and learns from them.

    Returns:
      {"return": `[num_seeds][episodes of the final evaluation]`, "success_any": ..., "return_mean", "by_expert", ...},
      and "diverged" as of `diverged_result`.
    """
    allowed = (*FREE_TO_CHANGE, "num_episodes")
    with RunDirectory(workdir, config, fresh=fresh, allow_changes=allowed) as directory:
        if directory.done:
            return directory.result
        if directory.config["num_seeds"] > 1:
            result = run_members(directory, OnlineRun, joint_updates, allowed)
            files.save_seeds(directory)
            return directory.mark_done(result)
        return OnlineRun(directory).finish()


class OnlineRun(ModelMember):
    """A run in an opened directory; offline it plays the prefill alone, and rounds only learn."""

    learner: OnlineLearner

    def __init__(self, directory: RunDirectory):
        config = directory.config
        check_settings(config)
        shown = Demonstrations.read(config["demonstrations"], config["num_demonstrations"], env=config["env"])
        self.learner = OnlineLearner(config, shown.episodes)
        check_reward(config, self.learner.reward)
        self._action_errors = ActionErrors.create(config, self.learner)
        self._balance = Balance(self.learner, shown.episodes) if config["analysis"]["balance"] else None
        self._newest: list[Episode] = []
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

    @contextlib.contextmanager
    def playing(self) -> Iterator[None]:
        """Opens the environments for the time of the block."""
        config, arch = self.config, self.learner.architecture
        options = dict(seed=config["seed"], workers=config["workers"])
        with self._evaluation.arena.make(config["num_envs"], **options) as self._envs:
            check_specs(self._envs, arch["sizes"], arch["action_size"])
            yield

    def prepare(self) -> None:
        """Plays the prefill of a run without a checkpoint."""
        for episodes in self.prefill(self._envs, self._prefill_rounds):
            # Scored also where they are on disk already: what the reward remembers of them is not.
            first = self.clocks.episode - len(episodes)
            write_round(self.folder, first, self._scored(episodes), metadata={"policy": "uniform"})
        self.save()

    def pretrain(self) -> None:
        """Trains model and policy before the first episode, as far as that is not done."""
        config = self.config
        self._pretrain("model", config["model_pretraining"])
        if not config["policy_from"]:
            self._pretrain("policy", config["model_pretraining"] + config["policy_pretraining"])

    def conclude(self) -> dict:
        """Saves what has been learnt, and evaluates it; returns the result of the run."""
        config = self.config
        self.learner.save(self.directory.path)
        video = self.directory / "videos" / "evaluation.mp4" if config["evaluation"]["video"] else None
        scores = self._play(config["evaluation"]["final_episodes"], _FINAL_EVALUATION, video)
        counts = {"num_updates": self.num_updates, "num_episodes": self.number * config["num_envs"]}
        return scores.row() | counts

    def share_programs(self, other: Self) -> None:
        """Uses what another member has compiled."""
        self.learner.share_programs(other.learner)

    @property
    def done(self) -> int:
        """Episodes after the prefill; offline, those that would have been played."""
        return (self.number - self._prefill_rounds) * self.config["num_envs"]

    def metadata(self) -> dict:
        """Names the policy that plays."""
        return {"policy": "aime-v2"}

    def before_rounds(self, writer: MetricsWriter) -> None:
        """Evaluates a policy of an earlier run before the first episode: what offline AIME has reached."""
        # A run that was killed in its first round has the row already.
        if self.config["policy_from"] and not self.done and not read_rows(self.directory / "eval.jsonl"):
            (row,) = self.evaluate(due=True, over=False)
            writer.write_eval({**vars(self.clocks), **row})

    def play(self, number: int) -> list[Episode]:
        """Plays an episode in every environment, and scores it; offline none."""
        size, is_reset = self._envs.num_envs, Every(self.config["policy_reset_every"])
        # The published code resets at the first episode too, and with it all of the policy's pretraining.
        if self.done > 0 and is_reset((number - 1) * size, number * size):
            self.learner.reset_policy(number)
        if self.config["offline"]:
            return []
        self._envs.rewind(number)
        self._newest = self._scored(self.collect(self._envs, self._actor("play", number)))
        return self._newest

    def summary(self, episodes: Sequence[Episode]) -> dict[str, list[float]]:
        """Returns the metrics of `Rounds`, with the surrogate return."""
        row, head = super().summary(episodes), self.learner.stored_head
        if episodes and head is not None:
            returns = [float(np.sum(episode.records[head])) for episode in episodes]
            row[f"episode/{head.removesuffix('_reward')}_return"] = returns
        return row

    def evaluate(self, *, due: bool, over: bool) -> Iterator[dict]:
        """Plays the policy's mode from the same starts every time; measures what `online_analysis` does."""
        if due:
            row = self._play(self.config["evaluation"]["episodes"], _EVALUATION).row()
            balance = {} if self._balance is None else self._balance(self._newest)
            yield row | self._action_errors(self.learner) | balance

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

    def _actor(self, purpose: str, number: int) -> Actor:
        """Returns the present policy at the start of a round, for "play" or "evaluation"; or its running average."""
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.config["seed"]), 7), number)
        play = dict(sample_action=True, epsilon=self.config["epsilon"])
        options = (
            play if purpose == "play" else dict(sample_action=self.config["evaluation"]["sample_action"])
        )
        averaged = purpose == "evaluation" or self.config["average_plays"]
        policy = self.learner.evaluated_policy if averaged else self.learner.policy
        make = self.player if purpose == "play" else self.actor
        return make(self._envs.num_envs, key, policy, **options)

    def _play(self, num_episodes: int, first: int, video=None) -> Scores:
        """Evaluates on the environments' episodes from number `first` on."""
        self._envs.rewind(first)
        actor = self._actor("evaluation", first)
        return self._evaluation.play_in(self._envs, actor, num_episodes, video=video)
