"""BCO(alpha): BCO that goes on in rounds of interaction (Torabi et al. 2018; settings of AIME-v2).

A round plays some episodes with the deterministic policy, adds them to the embodiment data, 70% of them to train on
and the rest to validate, and goes on with the inverse model and the policy: the best weights, and the optimizers'
states. A checkpoint lies between rounds; an interrupted round is repeated and ends the same.
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np

from agents.bco import bco_loss, inverse_dynamics_loss, later_rounds
from agents.fitting import FitSettings, FitState, continued, draw_training, fit, split_episodes
from agents.frame_stack import with_encoder_of
from agents.frame_stack_actor import FrameStackActor
from agents.loop import collect_episodes
from experiments.data.evaluation import evaluate_seeds, scores
from experiments.data.folders import num_complete, remove_episodes, write_round
from experiments.envs.vector import make_vector
from experiments.methods.baseline_recipes import BCO, Data, load_data
from experiments.models import architectures, files
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import MetricsWriter, check_finite, diverged_among
from experiments.runs.progress import Progress
from experiments.runs.stages import run_seeds, seed_path
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.episodes import Episode, read_episode
from worldmodels.devices.sharding import place
from worldmodels.export import Models

_COLLECTION_SEED = 3_000_000  # added to the seed, so that episodes start where nothing was evaluated


def run_rounds(directory: RunDirectory) -> dict:
    """Trains all seeds, one after the other; returns their scores."""
    data = load_data(directory.config, BCOAlpha)
    results = run_seeds(directory, lambda run: Rounds(run, data).run())
    models = files.merge([seed_path(directory, i) for i in range(len(results))])
    files.save(directory.path, directory.config, models)
    played = [result["return"][0] for result in results]
    merged = scores(played, data.expert, directory.config["evaluation"]["random_return"])
    counts = {name: [result[name] for result in results] for name in ("num_updates", "num_episodes")}
    where = {"environment": results[0]["environment"]}
    return {"return": played} | merged | counts | where | diverged_among(results)


class BCOAlpha(BCO):
    """BCO(alpha): BCO that continues in rounds of interaction."""

    label = "BCO(alpha)"
    needs = ("embodiment", "two episodes")
    preset = "bco_alpha"
    train = staticmethod(run_rounds)


class Rounds:
    """The rounds of one seed.

    The state is {"idm": FitState, "policy": FitState}. Round 0 learns from the embodiment data alone.
    """

    def __init__(self, run: RunDirectory, data: Data):
        self._run, self._data, self._config = run, data, run.config
        self._settings = FitSettings(**run.config["fit"])
        self._placement = place(run.config["devices"], batch_sizes=[self._settings.batch_size])
        self._key = jax.random.key(run.config["seed"])
        self._state: dict[str, FitState] = jax.jit(self._create)(self._key)
        self._checkpoints = Checkpoints(run / "checkpoints")
        self._demonstrations = data.shown(with_actions=False)
        lengths = [episode.num_records for episode in data.demonstrations]
        training = draw_training(
            len(lengths), self._settings.training_fraction, jax.random.fold_in(self._key, 1)
        )
        self._demonstration_split = split_episodes(lengths, data.window_length, training)

    def run(self) -> dict:
        """Plays and learns from the newest checkpoint to the last round."""
        config = self._config
        restored = self._checkpoints.restore(self._state)
        first, result = 0, None
        if restored is not None:
            last, self._state, result = restored
            first = last + 1
        remove_episodes(self._run / "episodes", first * config["episodes_per_round"])
        with (
            MetricsWriter(self._run.path, start_update=first) as writer,
            Progress(config["num_rounds"] + 1, "bco_alpha (rounds)", initial=first) as progress,
        ):
            rounds = range(first, config["num_rounds"] + 1)
            for number in () if result and "diverged" in result else rounds:
                row = writer.write(self._round(number), update=number + 1)
                diverged = any(bool(state.diverged) for state in self._state.values())
                final = number == config["num_rounds"] or diverged
                result = self._evaluate(final)
                if diverged:  # the best weights, which are finite, are the result
                    print(f"Seed {config['seed']} has diverged in round {number} and ends.", file=sys.stderr)
                    result |= {"diverged": True}
                else:
                    check_finite(row, number + 1)
                writer.write_eval({"update": number + 1, "final": final, **result})
                self._checkpoints.save(number, self._state, extra=result)
                progress.update(1, **{"return": result["return_mean"]})
                self._run.stop_if_interrupted()
                if diverged:
                    break
        models = Models({"policy": self._data.arch}, policy=self._state["policy"].best_model)
        files.save(self._run.path, config, models)
        return result

    def _create(self, key: jax.Array) -> dict[str, FitState]:
        """The state before the first round."""
        state = {}
        for name, network_key in zip(("idm", "policy"), jax.random.split(key), strict=True):
            model_key, fit_key = jax.random.split(network_key)
            more_frames = int(name == "idm")
            model = architectures.build_frame_stack(
                self._data.arch, model_key, self._data.episodes, more_frames=more_frames
            )
            state[name] = FitState.create(model, self._settings, fit_key)
        return state

    def _round(self, number: int) -> dict:
        """Plays (not in round 0), then fits both networks; returns the metrics of their last epochs."""
        if number > 0:
            self._collect(number)
            self._state = {name: continued(state) for name, state in self._state.items()}
        settings = self._settings if number == 0 else later_rounds(self._settings)
        metrics = {}

        def learn(name, dataset, split, loss_fn, *frozen):
            def on_epoch(state, epoch_metrics):
                metrics.update({f"train/{name}/{key}": value for key, value in epoch_metrics.items()})
                self._run.stop_if_interrupted()  # the round is repeated from the last checkpoint

            options = dict(split=split, on_epoch=on_epoch, placement=self._placement)
            self._state[name] = fit(self._state[name], dataset, loss_fn, settings, *frozen, **options)

        body, split = self._body(number)
        learn("idm", body, split, inverse_dynamics_loss)
        idm = self._state["idm"].best_model
        if number == 0 and self._config["init_with_idm_encoder"]:
            policy = self._state["policy"]
            model = with_encoder_of(policy.train.model, idm)
            best = jax.tree.map(jnp.copy, model)
            self._state["policy"] = policy.replace(train=policy.train.replace(model=model), best_model=best)
        learn("policy", self._demonstrations, self._demonstration_split, bco_loss, idm)
        return metrics | {
            "train/num_windows": body.num_windows,
            "train/num_episodes": self._num_played(number),
        }

    def _num_played(self, number: int) -> int:
        """Episodes played by the end of a round's collection."""
        return number * self._config["episodes_per_round"]

    def _body(self, number: int):
        """Windows of the embodiment data and of all episodes played so far, and their split, which only grows."""
        data, fraction = self._data, self._settings.training_fraction
        key = jax.random.fold_in(self._key, 2)
        training = [draw_training(len(data.body), fraction, key)]
        per_round = self._config["episodes_per_round"]
        for earlier in range(1, number + 1):
            training.append(draw_training(per_round, fraction, jax.random.fold_in(key, earlier)))
        episodes = [*data.body, *self._played(number)]
        lengths = [episode.num_records for episode in episodes]
        split = split_episodes(lengths, data.window_length, np.concatenate(training))
        return data.windows(episodes, with_actions=True), split

    def _played(self, number: int) -> list[Episode]:
        """The episodes of rounds 1 .. number, from the disk."""
        names = [*self._data.arch["sizes"], "pre_action"]
        folder = self._run / "episodes"
        return [read_episode(folder / f"{i}.hdf5", names) for i in range(self._num_played(number))]

    def _collect(self, number: int) -> None:
        """Plays the episodes of a round with the mode of the best policy and writes them."""
        config, first = self._config, self._num_played(number - 1)
        if num_complete(self._run / "episodes") >= self._num_played(number):
            return
        seed = config["seed"] + _COLLECTION_SEED + first
        num_envs = min(config["episodes_per_round"], config["num_envs"])
        workers = config["evaluation"]["workers"]
        with make_vector(
            self._data.env_name, num_envs, seed=seed, workers=workers, **self._data.env_options
        ) as envs:
            actor = FrameStackActor(self._state["policy"].best_model)
            episodes = collect_episodes(envs, actor, config["episodes_per_round"])
        write_round(self._run / "episodes", first, episodes, metadata={"policy": "bco_alpha"})

    def _evaluate(self, final: bool) -> dict:
        """Plays with the best policy from fixed starts."""
        evaluation, data = self._config["evaluation"], self._data
        episodes = evaluate_seeds(
            lambda num_envs: FrameStackActor(self._state["policy"].best_model),
            data.env_name,
            data.env_options,
            num_seeds=1,
            num_episodes=evaluation["final_episodes"] if final else evaluation["episodes"],
            seed=evaluation["seed"] + final,
            workers=evaluation["workers"],
        )
        updates = sum(int(state.train.step) for state in self._state.values())
        counts = {"num_updates": updates, "num_episodes": num_complete(self._run / "episodes")}
        return episodes | scores(episodes["return"], data.expert, evaluation["random_return"]) | counts
