"""Baselines of imitation by supervised learning; experiments/methods/surrogate.py has those by reinforcement learning.

    python -m experiments baseline --config=baseline:bco --config.embodiment=DIR \\
        --config.demonstrations=DIR --workdir=DIR

From observations alone: bco (BCO(0)), bco_alpha (BCO with interaction), iidm; with latent actions clam, lapo, laom
and, in rounds, bcv_lr; with foresight pidm; by weighted steps of the embodiment data smodice, lobsdice; zero-shot fb.
Oracles, with the true actions: bc, mbbc.
One of your own: --config.method=my.module:Name, a `Baseline` of experiments/methods/baseline_recipes.py.
"""

from __future__ import annotations

import time

import jax
import numpy as np

from agents.fitting import FitSettings, FitState, fit
from experiments.configs import baseline as baseline_config
from experiments.methods.baseline_bcv_lr import BCVLR
from experiments.methods.baseline_latent import CLAM, LAOM, LAPO
from experiments.methods.baseline_mbbc import MBBC
from experiments.methods.baseline_offline import SMODICE, ForwardBackward, LobsDICE
from experiments.methods.baseline_pidm import PIDM
from experiments.methods.baseline_recipes import BC, BCO, IIDM, Baseline, Fit
from experiments.methods.baseline_rounds import BCOAlpha
from experiments.models import files
from experiments.models.architectures import stacked
from experiments.runs.directory import RunDirectory
from experiments.runs.loggers import finite_mean
from experiments.runs.metrics import DivergenceWatch, MetricsWriter, diverged_result, to_numbers
from experiments.runs.progress import Progress
from worldmodels.checkpoints import Checkpoints
from worldmodels.devices.sharding import place
from worldmodels.registry import Registry

BASELINES = Registry(
    "baseline",
    {
        "bc": BC,
        "bco": BCO,
        "iidm": IIDM,
        "mbbc": MBBC,
        "bco_alpha": BCOAlpha,
        "smodice": SMODICE,
        "lobsdice": LobsDICE,
        "fb": ForwardBackward,
        "bcv_lr": BCVLR,
        "clam": CLAM,
        "lapo": LAPO,
        "laom": LAOM,
        "pidm": PIDM,
    },
    base=Baseline,
)


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Trains and evaluates `config.num_seeds` policies; see experiments/configs/baseline.py.

    Returns:
      {"return": `[num_seeds][episodes]`, "return_mean", "by_expert": [num_seeds], "action_mse": [num_seeds] to
      the true actions of the demonstrations, where they have any, "label", ...}.
    """
    with RunDirectory(workdir, config, fresh=fresh) as directory:
        if directory.done:
            return directory.result
        baseline = BASELINES.choose(directory.config["method"])
        _check_preset(directory.config)
        result = baseline.train(directory) if baseline.train else FittedBaseline(directory, baseline).run()
        return directory.mark_done(result | {"label": baseline.label})


def _check_preset(config: dict) -> None:
    """Refuses a method that is named over the preset of another, which lacks its options."""
    method = config["method"]
    options = baseline_config.get_config(method) if method in baseline_config.METHODS else ()
    missing = [key for key in options if key not in config]
    if missing:
        raise ValueError(
            f"This config is not that of {method!r}, which also has {', '.join(missing)}. "
            f"Choose the method by its preset: --config=baseline:{method}."
        )


class FittedBaseline:
    """A run that fits one network after the other, logs and saves after epochs, and evaluates.

    The state is {network: FitState}, in the order of training, leaves [num_seeds, ...]. Updates are counted
    over all networks; a seed that needs fewer than another waits for it.
    """

    def __init__(self, run: RunDirectory, baseline: type[Baseline]):
        self._run = run
        self._config = run.config
        self._num_seeds = run.config["num_seeds"]
        self._settings = FitSettings(**run.config["fit"])
        sizes = [self._settings.batch_size]
        self._placement = place(run.config["devices"], batch_sizes=sizes, num_seeds=self._num_seeds)
        self._baseline = baseline(run.config)
        self._checkpoints = Checkpoints(run / "checkpoints")
        self._watch = DivergenceWatch(self._num_seeds)
        self._saved = 0  # updates in the newest checkpoint
        self._result: dict = {}
        self._state = self._initial_state()

    def run(self) -> dict:
        """Trains from the newest checkpoint, or from scratch, to the end; returns the final evaluation."""
        run = self._run
        restored = self._checkpoints.restore(self._state)
        if restored is not None:
            self._saved, self._state, extra = restored
            self._result = extra["result"]
        with MetricsWriter(run, start={"update": self._saved}) as self._writer:
            for part in self._baseline.fits:
                if part.teacher is not None:
                    self._start_from(part.network, part.teacher)
                self._fit(part)
        files.save(run.path, self._config, self._baseline.models(self._state["policy"].best_model))
        return self._result

    @property
    def _updates(self) -> int:
        return sum(int(state.train.step.max()) for state in self._state.values())

    def _initial_state(self) -> dict[str, FitState]:
        """Returns the state before the first epoch; seed i of a run with seed s is that of a run with seed s + i."""
        names = [part.network for part in self._baseline.fits]

        def create(seed_key):
            state = {}
            for name, key in zip(names, jax.random.split(seed_key, len(names)), strict=True):
                model_key, fit_key = jax.random.split(key)
                state[name] = FitState.create(self._baseline.create(name, model_key), self._settings, fit_key)
            return state

        return self._baseline.prepare(stacked(create, self._num_seeds, self._config["seed"]))

    def _start_from(self, name: str, teacher: str) -> None:
        """Lets the policy start from its teacher, unless it has begun to learn."""
        policy = self._state[name]
        if int(policy.epoch.max()) == 0:
            model = self._baseline.begin(policy.train.model, self._state[teacher].best_model)
            self._state = self._state | {name: policy.starting_with(model)}

    def _fit(self, part: Fit) -> None:
        """Fits one network of every seed, from where it is."""
        settings, name, began = self._settings, part.network, time.perf_counter()
        epochs = settings.max_updates is None  # without a limit, nobody knows how many updates there will be
        total = max(settings.min_epochs, 1) if settings.max_updates is None else settings.max_updates
        initial = int((self._state[name].epoch if epochs else self._state[name].train.step).max())
        frozen: tuple[object, ...] = () if part.frozen is None else (part.frozen,)
        frozen += () if part.teacher is None else (self._state[part.teacher].best_model,)

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
        with Progress(
            total, f"{self._config['method']} {name} ({unit}){self._placement.described}", initial=initial
        ) as progress:
            data = part.dataset if part.labelled is None else (part.dataset, part.labelled)
            fit(
                self._state[name],
                data,
                self._baseline.loss_of(part),
                settings,
                *frozen,
                on_epoch=on_epoch,
                placement=self._placement,
            )

    def _log(self, name: str, metrics: dict, epoch: int) -> None:
        """Writes the metrics of an epoch; evaluates and saves if it is time to."""
        state, updates = self._state[name], self._updates
        named = {key if "/" in key else f"train/{name}/{key}": value for key, value in metrics.items()}
        if name == "policy":
            errors = self._baseline.errors({"policy": state.train.model}, final=False)
            named |= {f"analysis/{key}": value for key, value in errors.items()}
        self._watch.check(self._writer.write(named, update=updates), updates)
        stopped = bool(state.stopped.all())
        if name == "policy":
            self._evaluate(state, epoch, stopped)
        due = updates // self._config["save_every"] > self._saved // self._config["save_every"]
        if due or stopped or self._run.interrupted():
            self._checkpoints.save(updates, self._state, extra={"result": self._result})
            self._saved = updates
            self._run.stop_if_interrupted()

    def _evaluate(self, state: FitState, epoch: int, stopped: bool) -> None:
        """Evaluates the present policies if it is time to; at the end the best ones, for the result."""
        evaluation = self._config["evaluation"]
        if stopped:
            episodes, seed = evaluation["final_episodes"], evaluation["seed"] + 1
            scores = self._baseline.play(state.best_model, episodes, seed)
            best = {name: fitted.best_model for name, fitted in self._state.items()}
            errors = to_numbers(self._baseline.errors(best, final=True))
            fitted = self._state.values()
            diverged = np.any([network.diverged for network in fitted], axis=0)
            counts = {"num_updates": self._updates, **self._baseline.counts}
            self._result = scores.row() | errors | counts
            steps = np.sum([network.train.step for network in fitted], axis=0)
            self._result |= diverged_result(diverged, steps)
            self._writer.write_eval({"update": self._updates, "final": True, **self._result})
        elif evaluation["every"] and epoch % evaluation["every"] == 0:
            scores = self._baseline.play(state.train.model, evaluation["episodes"], evaluation["seed"])
            self._writer.write_eval({"update": self._updates, "final": False, **scores.row()})
