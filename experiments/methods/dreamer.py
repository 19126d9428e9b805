"""Dreamer and Plan2Explore: collects episodes, learns a world model from them and a policy in its imagination.

    python -m experiments dreamer --config=dreamer:small --workdir=DIR

Leaves every training episode in `DIR/episodes` (embodiment data), and model, policy and critic, which
`evaluate`, `imitate` and `collect` (demonstrations) can load.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Self

import jax

from experiments.data.arena import Arena
from experiments.data.evaluation import Evaluation, Scores
from experiments.data.members import ModelMember, run_members
from experiments.data.rounds import check_planner, read_round, summary
from experiments.methods.dreamer_learner import Learner, joint_updates
from experiments.models import files
from experiments.runs import inputs
from experiments.runs.directory import FREE_TO_CHANGE, RunDirectory
from experiments.runs.metrics import MetricsWriter
from worldmodels.data.episode_folders import summarise_folder
from worldmodels.data.episodes import Episode

_EVALUATION_SEED = 1_000_000  # added to the seed, so that a policy is not evaluated where it trained


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Plays `config.num_episodes` episodes with each of `config.num_seeds` members, and learns from them.

    Returns:
      {"return": `[num_seeds][episodes of the final evaluation]`, "return_mean", ..., "played": statistics of all
      training episodes, of several members a list, "diverged" as of `diverged_result`}.
    """
    allowed = (*FREE_TO_CHANGE, "num_episodes")
    with RunDirectory(workdir, config, fresh=fresh, allow_changes=allowed) as directory:
        if directory.done:
            return directory.result
        if directory.config["num_seeds"] == 1:
            return DreamerRun(directory).finish()
        result = run_members(directory, DreamerRun, joint_updates, allowed)
        files.save_seeds(directory)
        return directory.mark_done(result)


class DreamerRun(ModelMember):
    """A run in an opened directory; a round learns first, then plays, as published."""

    learner: Learner

    def __init__(self, directory: RunDirectory):
        config = directory.config
        if config["prefill"] < 1:
            raise ValueError("The model learns from a prefill of episodes first; set prefill to at least 1.")
        check_planner(config)
        inputs.check_policy(config)
        self._arena = Arena.of_setup(config)
        self._evaluation = Evaluation(self._arena, workers=config["evaluation"]["workers"])
        self._prefill_rounds = -(-config["prefill"] // config["num_envs"])
        super().__init__(
            directory,
            total=config["num_episodes"],
            evaluate_every=config["evaluation"]["every"],
            save_every=config["checkpoint_every"],
            episodes_per_round=config["num_envs"],
            description=f"dreamer {config['env']}",
        )

    @contextlib.contextmanager
    def playing(self) -> Iterator[None]:
        """Opens the environments for the time of the block."""
        config = self.config
        options = dict(seed=config["seed"], workers=config["workers"])
        with self._arena.make(config["num_envs"], **options) as self._envs:
            yield

    def restore(self, like=None, step: int | None = None) -> bool:
        """Continues from a checkpoint as `Rounds` does, with a learner made from the prefill."""
        if self.checkpoints.latest_step() is None:
            return False
        size = self._prefill_rounds * self._envs.num_envs
        self._learn_from(read_round(self.folder, 0, size))
        return super().restore(like, step)

    def prepare(self) -> None:
        """Plays the prefill, which makes the learner."""
        prefilled: list[Episode] = []
        with MetricsWriter(self.directory) as writer:
            for episodes in self.prefill(self._envs, self._prefill_rounds):
                writer.write(summary(episodes), **vars(self.clocks))
                prefilled += episodes
        self._learn_from(prefilled)
        self.learner.remember(prefilled)
        # As many updates before the first round as a round earns.
        self.learner.updates_owed = self.learner.earned(prefilled[-self._envs.num_envs :])

    def pretrain(self) -> None:
        """Trains the model on the prefill."""
        if not self.num_updates:
            self.learner.pretrain_model(self.config["model_pretraining_iterations"])
            self.clocks = self.clocks.at(self.num_updates)

    def conclude(self) -> dict:
        """Saves what has been learnt, and evaluates it; returns the result of the run."""
        self.learner.save(self.directory.path)
        seed = self.config["seed"] + _EVALUATION_SEED + 1
        scores = self.scores(self.config["evaluation"]["final_episodes"], seed)
        return scores.row() | {"num_updates": self.num_updates, "played": summarise_folder(self.folder)}

    def share_programs(self, other: Self) -> None:
        """Uses what another member has compiled."""
        self.learner.share_programs(other.learner)

    def scores(self, num_episodes: int, seed: int) -> Scores:
        """Plays the present policy on starts that it is not trained on."""
        options = dict(key=jax.random.key(seed), sample_action=self.config["evaluation"]["sample_action"])
        make_actor = functools.partial(self.actor, **options)
        return self._evaluation.play(make_actor, num_episodes, seed)

    def metadata(self) -> dict:
        """Names the policy that plays."""
        return {"policy": "dreamer"}

    def play(self, number: int) -> list[Episode]:
        """Plays an episode in every environment."""
        config, key = self.config, jax.random.key(self.config["seed"] + self.clocks.episode)
        options = dict(sample_action=config["sample_action"], epsilon=config["epsilon"])
        self._envs.rewind(number)
        episodes = self.collect(self._envs, self.player(self._envs.num_envs, key, **options))
        self.learner.remember(episodes)
        return episodes

    def evaluate(self, *, due: bool, over: bool) -> Iterator[dict]:
        """Scores of a policy that is saved, until the final ones."""
        if not over:
            scores = self.scores(
                self.config["evaluation"]["episodes"], self.config["seed"] + _EVALUATION_SEED
            )
            self.learner.save(self.directory.path)
            yield scores.row()

    def _learn_from(self, prefilled: list[Episode]) -> None:
        self.learner = Learner(self.config, prefilled)
        self.description = f"dreamer {self.config['env']}{self.learner.placement.described}"
