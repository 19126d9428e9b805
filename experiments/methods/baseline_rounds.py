"""BCO(alpha): BCO that continues in rounds of interaction (Torabi et al. 2018; settings of AIME-v2).

A round plays some episodes with the deterministic policy (a learner may add noise), adds them to the embodiment data,
70% of them to train on and the rest to validate, and continues with the inverse model and the policy: the best weights,
and the optimizers' states. An interrupted round is repeated and ends the same. The data have room for all rounds, whose
programs are those of the first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from agents.bco import bco_loss, inverse_dynamics_loss, later_rounds
from agents.fitting import FitSettings, FitState, continued, fit
from agents.frame_stack import with_encoder_of
from agents.frame_stack_actor import FrameStackActor
from agents.loop import Actor
from agents.splits import Split, draw_training, split_episodes
from experiments.data.evaluation import Scores
from experiments.data.rounds import Rounds, read_round
from experiments.envs import registry
from experiments.methods.baseline_data import Data, load_data
from experiments.methods.baseline_recipes import BCO
from experiments.models import architectures, files
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import diverged_among
from experiments.runs.stages import run_seeds
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import Episode
from worldmodels.devices.sharding import place
from worldmodels.export import Models
from worldmodels.training import Metrics

_COLLECTION_SEED = 3_000_000  # added to the seed, so that episodes start where nothing was evaluated


def run_rounds(directory: RunDirectory, data: Data, learner: type[AlphaLearner]) -> dict:
    """Trains all seeds, one after the other; returns their scores.

    Raises:
      ValueError: no environment is known; nothing has been learnt.
    """
    registry.entry_point(data.shown.arena.name)
    results = run_seeds(directory, lambda run: AlphaRun(run, data, learner(run, data)).finish())
    files.save_seeds(directory)
    scores = Scores.joined(Scores.of_row(result) for result in results)
    counts = {name: [result[name] for result in results] for name in ("num_updates", "num_episodes")}
    return scores.row() | counts | diverged_among(results)


class BCOAlpha(BCO):
    """BCO(alpha): BCO that continues in rounds of interaction."""

    label = "BCO(alpha)"
    needs = ("embodiment", "two episodes")
    preset = "bco_alpha"

    @staticmethod
    def train(directory):
        """Trains in rounds; see `run_rounds`."""
        return run_rounds(directory, load_data(directory.config, BCOAlpha), AlphaLearner)


class AlphaLearner:
    """Inverse model and policy of one seed: {"idm": FitState, "policy": FitState}.

    Round 0 learns from the embodiment data alone. The episodes are read from the disk in every round.

    Attributes:
      networks: in the order in which they are created.
      arguments: of the policy, as `experiments.models.files` opens it again.
    """

    learns = "after"
    networks: Sequence[str] = ("idm", "policy")

    def __init__(self, run: RunDirectory, data: Data):
        self._run, self._data, self._config = run, data, run.config
        self.arguments = self._arguments()
        self._metrics: Metrics = {}
        self._settings = FitSettings(**run.config["fit"])
        self._placement = place(run.config["devices"], batch_sizes=[self._settings.batch_size])
        self._key = jax.random.key(run.config["seed"])
        self.state: dict[str, FitState] = self._create(self._key)
        self.position = {"rounds": 0}
        self._num_played = 0
        self._demonstrations = data.shown_windows(with_actions=False)
        lengths = [episode.num_records for episode in data.shown.episodes]
        fraction, key = self._settings.training_fraction, jax.random.fold_in(self._key, 1)
        training = draw_training(len(lengths), fraction, key)
        self._demonstration_split = split_episodes(lengths, data.window_length, training)

    @property
    def num_updates(self) -> int:
        """Updates of all networks."""
        return sum(int(state.train.step) for state in self.state.values())

    @property
    def diverged(self) -> bool:
        """True if a network has stopped because something was not finite."""
        return any(bool(state.diverged) for state in self.state.values())

    def actor(self) -> FrameStackActor:
        """Returns the mode of the best policy."""
        return FrameStackActor(self.state["policy"].best_model)

    def player(self, num_envs: int, seed: int) -> Actor:
        """Returns who plays the episodes of a round: the best policy, without noise."""
        del num_envs, seed
        return self.actor()

    def remember(self, episodes: Sequence[Episode]) -> None:
        """Counts what to read."""
        self._num_played += len(episodes)

    def learn(self) -> Metrics:
        """Fits the networks; returns the metrics of their last epochs."""
        number, self._metrics = self.position["rounds"], {}
        body, split = self._body(number)
        self._learn(number, body, split)
        self.position = {"rounds": number + 1}
        return self._metrics | {"num_windows": body.num_windows, "num_episodes": self._num_played}

    def _learn(self, number: int, body: SequenceDataset, split: Split) -> None:
        """Fits the networks in a round, on embodiment data and what has been played, and demonstrations."""
        settings = self._continue(number, "idm", "policy")
        self._fit("idm", body, split, inverse_dynamics_loss, settings)
        idm = self.state["idm"].best_model
        if number == 0 and self._config["init_with_idm_encoder"]:
            self._set("policy", lambda policy: with_encoder_of(policy, idm))
        self._fit("policy", self._demonstrations, self._demonstration_split, bco_loss, settings, idm)

    def _continue(self, number: int, *names: str) -> FitSettings:
        """Lets networks continue from the round before, if there is one; returns the settings of this round."""
        if number == 0:
            return self._settings
        self.state |= {name: continued(self.state[name]) for name in names}
        return later_rounds(self._settings)

    def _fit(self, name, dataset, split, loss_fn, settings, *frozen) -> None:
        """Fits one network, and keeps the metrics of its last epoch."""

        def on_epoch(state, epoch_metrics):
            self._metrics |= {f"{name}/{key}": value for key, value in epoch_metrics.items()}
            self._run.stop_if_interrupted()  # the round is repeated from the last checkpoint

        options = dict(split=split, on_epoch=on_epoch, placement=self._placement)
        self.state[name] = fit(self.state[name], dataset, loss_fn, settings, *frozen, **options)

    def _set(self, name: str, change: Callable) -> None:
        """Changes the weights of a network, those being trained and the best ones."""
        state = self.state[name]
        model, best = change(state.train.model), change(state.best_model)
        self.state[name] = state.replace(train=state.train.replace(model=model), best_model=best)

    def _arguments(self) -> dict:
        return self._data.arch

    def _make(self, name: str, key: jax.Array):
        """Returns a network before training."""
        more_frames = int(name == "idm")
        arch, episodes = self._data.arch, self._data.episodes
        return architectures.build_frame_stack(arch, key, episodes, more_frames=more_frames)

    def _create(self, key: jax.Array) -> dict[str, FitState]:
        """Returns the state before the first round."""
        state = {}
        for name, network_key in zip(self.networks, jax.random.split(key, len(self.networks)), strict=True):
            model_key, fit_key = jax.random.split(network_key)
            state[name] = FitState.create(self._make(name, model_key), self._settings_of(name), fit_key)
        return state

    def _settings_of(self, name: str) -> FitSettings:
        """Returns the settings of a network's first fit."""
        del name
        return self._settings

    def _body(self, number: int):
        """Windows of the embodiment data and of all episodes played so far, and their split, which only grows."""
        data, fraction = self._data, self._settings.training_fraction
        key = jax.random.fold_in(self._key, 2)
        training = [draw_training(len(data.body), fraction, key)]
        per_round = self._config["episodes_per_round"]
        for earlier in range(1, number + 1):
            training.append(draw_training(per_round, fraction, jax.random.fold_in(key, earlier)))
        names = [*data.arch["sizes"], "pre_action"]
        episodes = [*data.body, *read_round(self._run / "episodes", 0, self._num_played, names)]
        lengths = [episode.num_records for episode in episodes]
        room = self._room(lengths)
        split = split_episodes(lengths, data.window_length, np.concatenate(training), room)
        return data.windows(episodes, with_actions=True, room=room), split

    def _room(self, lengths: list[int]) -> int:
        """Returns the records of all rounds, if no episode to come is longer than the longest of those so far."""
        longest = max(*lengths, *(episode.num_records for episode in self._data.shown.episodes))
        rows = np.maximum(lengths[: len(self._data.body)], self._data.window_length).sum()
        to_play = self._config["num_rounds"] * self._config["episodes_per_round"]
        return int(rows) + to_play * max(longest, self._data.window_length)


class AlphaRun(Rounds):
    """The rounds of one seed; each is evaluated and saved."""

    learner: AlphaLearner
    records = ()

    def __init__(self, directory: RunDirectory, data: Data, learner: AlphaLearner):
        config = directory.config
        self.learner = learner
        self._evaluation = data.shown.evaluation(config["evaluation"])
        super().__init__(
            directory,
            total=config["num_rounds"] + 1,
            evaluate_every=1,
            save_every=1,
            episodes_per_round=config["episodes_per_round"],
            description=f"{config['method']} (rounds)",
        )

    def finish(self) -> dict:
        """Plays and learns to the last round; returns its evaluation."""
        self.restore()
        self.run()
        policy = self.learner.state["policy"].best_model
        models = Models({"policy": self.learner.arguments}, policy=policy)
        files.save(self.directory.path, self.config, models)
        return self.facts["result"]

    @property
    def done(self) -> int:
        """Rounds."""
        return self.number

    def metadata(self) -> dict:
        """Names the policy that plays."""
        return {"policy": self.config["method"]}

    def play(self, number: int) -> list[Episode]:
        """Plays the episodes of a round; none in round 0."""
        if number == 0:
            return []
        config = self.config
        options = dict(
            seed=config["seed"] + _COLLECTION_SEED + self.clocks.episode,
            workers=config["evaluation"]["workers"],
        )
        num_envs = min(config["episodes_per_round"], config["num_envs"])
        with self._evaluation.arena.make(num_envs, **options) as envs:
            player = self.learner.player(num_envs, options["seed"])
            episodes = self.collect(envs, player, config["episodes_per_round"])
        self.learner.remember(episodes)
        return episodes

    def check(self, row: dict) -> None:
        """Ends a seed that has diverged: its best weights, which are finite, are the result."""
        if not self.learner.diverged:
            super().check(row)
            return
        print(
            f"Seed {self.config['seed']} has diverged in round {self.number - 1} and ends.", file=sys.stderr
        )
        self.facts["diverged"] = True

    def evaluate(self, *, due: bool, over: bool) -> Iterator[dict]:
        """Plays the best policy from fixed starts; at the end from others."""
        evaluation = self.config["evaluation"]
        num_episodes = evaluation["final_episodes" if over else "episodes"]
        scores = self._evaluation.play(
            lambda _: self.learner.actor(), num_episodes, evaluation["seed"] + over
        )
        counts = {"num_updates": self.num_updates, "num_episodes": self.clocks.episode}
        self.facts["result"] = scores.row() | counts
        if "diverged" in self.facts:
            self.facts["result"]["diverged"] = True
        yield {"final": over, **self.facts["result"]}
