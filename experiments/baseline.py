"""Baselines of imitation: BC (with the true actions, the oracle) and BCO(0) (from observations alone).

    python -m experiments.baseline --config=experiments/configs/baseline.py:bco --config.embodiment=DIR \\
        --config.demonstrations=DIR --workdir=DIR
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from agents.bc import bc_loss
from agents.bco import bco_loss, inverse_dynamics_loss
from agents.fitting import FitSettings, FitState, fit, make_mean_loss
from agents.frame_stack import with_encoder_of
from agents.frame_stack_actor import FrameStackActor
from experiments import frame_stacks
from experiments.divergence import DivergenceWatch, diverged_result
from experiments.evaluation import environment_of, evaluate_seeds, expert_return, scores
from experiments.main import launch
from experiments.metrics_writer import MetricsWriter, finite_mean, to_numbers
from experiments.progress import Progress
from experiments.run_directory import RunDirectory
from experiments.world_models import stacked
from worldmodels.checkpoints import Checkpoints
from worldmodels.dataset import SequenceDataset
from worldmodels.episodes import Episode, load_episodes

METHODS = ("bc", "bco")


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Trains and evaluates `config.num_seeds` policies in one program; see experiments/configs/baseline.py.

    Returns:
      {"return": [num_seeds][episodes], "return_mean", "by_expert": [num_seeds], "action_mse": [num_seeds] to
      the true actions of the demonstrations, where they have any, ...}.
    """
    with RunDirectory(workdir, config, fresh=fresh) as directory:
        if directory.done:
            return directory.result
        return Baseline(directory).run()


@dataclasses.dataclass(frozen=True)
class Data:
    """What a baseline learns from.

    Attributes:
      env_name, env_options: where to evaluate.
      arch: what shapes the networks.
      episodes: those that the networks standardise by.
      embodiment: windows with actions, of BCO only.
      demonstrations: windows; with actions for BC only.
      true_actions: the demonstrations with their actions, for analysis; None where they have none.
      expert: mean return of the demonstrations, if they carry rewards.
    """

    env_name: str
    env_options: dict
    arch: dict
    episodes: list[Episode]
    embodiment: SequenceDataset | None
    demonstrations: SequenceDataset
    true_actions: SequenceDataset | None
    expert: float | None


def load_data(config: dict) -> Data:
    """Reads the folders that the config names.

    Raises:
      ValueError: an unknown method, no folder, or demonstrations without actions for BC.
    """
    method = config["method"]
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}. Known: {', '.join(METHODS)}.")
    demonstrations = _load(config, "demonstrations")
    with_actions = all(episode.records["pre_action"].shape[-1] for episode in demonstrations)
    if method == "bc" and not with_actions:
        raise ValueError(
            f"BC needs the true actions, and the demonstrations in {config['demonstrations']} have none; "
            "use the method bco, or demonstrations with actions."
        )
    env_name, env_options = environment_of(config["env"], demonstrations)
    embodiment = _load(config, "embodiment") if method == "bco" else None
    episodes = demonstrations if embodiment is None else embodiment
    arch = frame_stacks.architecture(config, env_name, config["setup"], episodes)

    def windows(episodes, with_actions):
        options = dict(length=arch["num_frames"] + 1, sensors=list(arch["sizes"]), with_reward=False)
        return SequenceDataset.create(episodes, with_actions=with_actions, **options)

    return Data(
        env_name=env_name,
        env_options=env_options,
        arch=arch,
        episodes=episodes,
        embodiment=None if embodiment is None else windows(embodiment, True),
        demonstrations=windows(demonstrations, method == "bc"),
        true_actions=windows(demonstrations, True) if with_actions else None,
        expert=expert_return(load_episodes(config["demonstrations"], keys=())),
    )


def _load(config: dict, name: str) -> list[Episode]:
    if not config[name]:
        raise ValueError(f"{config['method'].upper()} needs a folder of episodes; pass --config.{name}=DIR.")
    return load_episodes(config[name], limit=config[f"num_{name}"])


class Baseline:
    """One run: fits one network after the other, logs and saves after epochs, evaluates.

    The state is {network: FitState}, in the order of training, leaves [num_seeds, ...]. Updates are counted
    over both networks, a seed that needs fewer than another waits for it.
    """

    def __init__(self, run: RunDirectory):
        self._run = run
        self._config = run.config
        self._num_seeds = run.config["num_seeds"]
        self._settings = FitSettings(**run.config["fit"])
        self._data = load_data(run.config)
        self._checkpoints = Checkpoints(run / "checkpoints")
        self._action_mse = jax.jit(jax.vmap(make_mean_loss(bc_loss), in_axes=(0, None, None)))
        self._idm_mse = jax.jit(jax.vmap(make_mean_loss(inverse_dynamics_loss), in_axes=(0, None, None)))
        self._watch = DivergenceWatch(self._num_seeds)
        self._saved = 0  # updates in the newest checkpoint
        self._result: dict | None = None
        self._state = self._initial_state()

    def run(self) -> dict:
        """Trains from the newest checkpoint, or from scratch, to the end and evaluates."""
        run, data = self._run, self._data
        frame_stacks.save_architecture(run.path, data.arch)
        restored = self._checkpoints.restore(self._state)
        if restored is not None:
            self._saved, self._state, extra = restored
            self._result = extra["result"]
        with MetricsWriter(run.path, start_update=self._saved) as self._writer:
            if self._config["method"] == "bc":
                self._fit("policy", data.demonstrations, bc_loss)
            else:
                self._fit("idm", data.embodiment, inverse_dynamics_loss)
                self._start_policy_from_idm()
                self._fit("policy", data.demonstrations, bco_loss, self._state["idm"].best_model)
        Checkpoints(run / "policy", keep=1).save(self._updates, self._state["policy"].best_model)
        return run.mark_done(self._result)

    @property
    def _updates(self) -> int:
        return sum(int(state.train.step.max()) for state in self._state.values())

    def _initial_state(self) -> dict[str, FitState]:
        """The state before the first epoch; seed i of a run with seed s is that of a run with seed s + i."""
        data = self._data
        names = ("idm", "policy") if self._config["method"] == "bco" else ("policy",)

        def create(seed_key):
            state = {}
            for name, key in zip(names, jax.random.split(seed_key, len(names)), strict=True):
                model_key, fit_key = jax.random.split(key)
                more_frames = 1 if name == "idm" else 0
                model = frame_stacks.build(data.arch, model_key, data.episodes, more_frames=more_frames)
                state[name] = FitState.create(model, self._settings, fit_key)
            return state

        return stacked(jax.jit(create), self._num_seeds, self._config["seed"])

    def _start_policy_from_idm(self) -> None:
        """The policy's encoder starts as that of the IDM; unless the policy has begun to learn."""
        idm, policy = self._state["idm"].best_model, self._state["policy"]
        if int(policy.epoch.max()) == 0:
            model = with_encoder_of(policy.train.model, idm)
            best = jax.tree.map(jnp.copy, model)
            policy = policy.replace(train=policy.train.replace(model=model), best_model=best)
            self._state = self._state | {"policy": policy}

    def _fit(self, name: str, dataset: SequenceDataset, loss_fn: Callable, *frozen) -> None:
        """Fits one network of every seed, as far as it is not yet."""
        settings, began = self._settings, time.perf_counter()
        epochs = settings.max_updates is None  # without a limit, nobody knows how many updates there will be
        total = max(settings.min_epochs, 1) if epochs else settings.max_updates
        initial = int((self._state[name].epoch if epochs else self._state[name].train.step).max())

        def on_epoch(state: FitState, metrics: dict) -> None:
            nonlocal began
            before, self._state = self._updates, self._state | {name: state}
            new_updates = self._updates - before
            row = metrics | {"fps/updates": new_updates / (time.perf_counter() - began)}
            self._log(name, row, int(state.epoch.max()))
            loss = finite_mean(np.asarray(metrics["validation_loss"]))
            progress.update(1 if epochs else new_updates, validation_loss=loss)
            began = time.perf_counter()

        unit = f"epochs, at least {total}" if epochs else "updates"
        with Progress(total, f"{self._config['method']} {name} ({unit})", initial=initial) as progress:
            fit(self._state[name], dataset, loss_fn, settings, *frozen, on_epoch=on_epoch)

    def _log(self, name: str, metrics: dict, epoch: int) -> None:
        """Writes what belongs to an epoch, evaluates and saves if it is time to."""
        state, updates = self._state[name], self._updates
        named = {key if "/" in key else f"train/{name}/{key}": value for key, value in metrics.items()}
        row = self._writer.write(named | self._analysis() if name == "policy" else named, update=updates)
        self._watch.check(row, updates)
        stopped = bool(state.stopped.all())
        if name == "policy":
            self._evaluate(state, epoch, stopped)
        due = updates // self._config["save_every"] > self._saved // self._config["save_every"]
        if due or stopped or self._run.interrupted():
            self._checkpoints.save(updates, self._state, extra={"result": self._result})
            self._saved = updates
            self._run.stop_if_interrupted()

    def _evaluate(self, state: FitState, epoch: int, stopped: bool) -> None:
        """Evaluates the present policies if it is time to, and the best ones at the end, for the result."""
        evaluation = self._config["evaluation"]
        if stopped:
            result = self._play(state.best_model, evaluation["final_episodes"], evaluation["seed"] + 1)
            self._result = result | to_numbers(self._analysis(final=True)) | {"num_updates": self._updates}
            networks = self._state.values()
            diverged = np.any([state.diverged for state in networks], axis=0)
            self._result |= diverged_result(diverged, sum(state.train.step for state in networks))
            self._writer.write_eval({"update": self._updates, "final": True, **self._result})
        elif evaluation["every"] and epoch % evaluation["every"] == 0:
            result = self._play(state.train.model, evaluation["episodes"], evaluation["seed"])
            self._writer.write_eval({"update": self._updates, "final": False, **result})

    def _analysis(self, *, final: bool = False) -> dict:
        """Errors to the true actions of the demonstrations, [num_seeds]; only BC's training sees those."""
        data = self._data.true_actions
        if data is None:
            return {}
        indices = np.arange(data.num_windows, dtype=np.int32)
        policy = self._state["policy"]
        policy = policy.best_model if final else policy.train.model
        result = {"action_mse": self._action_mse(policy, data, indices)}
        if final and "idm" in self._state:
            result["idm_action_mse"] = self._idm_mse(self._state["idm"].best_model, data, indices)
        return result if final else {f"analysis/{key}": value for key, value in result.items()}

    def _play(self, policy, num_episodes: int, seed: int) -> dict:
        """Plays with the policies of all seeds at once; returns what `evaluate_seeds` and `scores` say."""
        data = self._data
        episodes = evaluate_seeds(
            lambda num_envs: FrameStackActor(policy, num_seeds=self._num_seeds),
            data.env_name,
            data.env_options,
            num_seeds=self._num_seeds,
            num_episodes=num_episodes,
            seed=seed,
            workers=self._config["evaluation"]["workers"],
        )
        return episodes | scores(episodes["return"], data.expert, self._config["evaluation"]["random_return"])


def main() -> None:
    """Command line."""
    launch(run, default_config="baseline")


if __name__ == "__main__":
    main()
