"""The loop that every training main shares: many updates per dispatch, metrics, checkpoints, progress, resume."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import jax
import numpy as np

from experiments.runs.directory import RunDirectory
from experiments.runs.loggers import finite_mean
from experiments.runs.metrics import DivergenceWatch, MetricsWriter
from experiments.runs.progress import Clocks, Progress
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.storage import Storage
from worldmodels.devices.sharding import ONE_DEVICE, Placement
from worldmodels.structures import Array
from worldmodels.training import TrainState, cosine_schedule, make_optimizer

NOTHING_PLAYED = Clocks()


class CountsSteps(Protocol):
    """A state of training that knows the updates made: of one seed [], of several [num_seeds]."""

    @property
    def step(self) -> Array: ...


State = TypeVar("State", bound=CountsSteps)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Schedule of a training run, in updates.

    Attributes:
      num_updates: in all.
      updates_per_dispatch: of one compiled program, at most.
      save_every: between checkpoints.
      evaluate_every: between evaluations; 0: at the end alone.
    """

    num_updates: int
    updates_per_dispatch: int
    save_every: int
    evaluate_every: int = 0

    def next_dispatch(self, update: int) -> int:
        """Updates to make at once after `update`, so that none of the clocks is passed over."""
        periods = (self.updates_per_dispatch, self.save_every, self.evaluate_every)
        ends = [(update // period + 1) * period for period in periods if period]
        return min(self.num_updates, *ends) - update

    def evaluates_at(self, update: int) -> bool:
        """True where the state after `update` updates is evaluated."""
        return update == self.num_updates or (self.evaluate_every > 0 and update % self.evaluate_every == 0)


def train(
    run: RunDirectory,
    state: State,
    learn: Callable[[State, int], tuple],
    schedule: Schedule,
    *,
    prefix: str,
    description: str,
    progress_metric: str = "loss",
    evaluate: Callable[[State, int], dict] | None = None,
    placement: Placement = ONE_DEVICE,
    clocks: Clocks = NOTHING_PLAYED,
    extra: dict | None = None,
) -> State:
    """Trains until `schedule.num_updates`, from the newest checkpoint in `run` if there is one.

    Ends bit-identical whether or not it was killed on the way: what belongs to an update is written before its
    checkpoint, and rows after the restored checkpoint are dropped. Of several seeds, one that diverges keeps its last
    finite state while the others continue; its `step` says how far it came.

    Args:
      state: before the first update; leaves may have a leading seed axis.
      learn: (state, number of updates) -> (state, metrics), see `worldmodels.data.loops.Loops`; donates the state.
      prefix: of the metric names, e.g. "train/model/".
      evaluate: (state, update) -> what eval.jsonl records.
      placement: the devices that train, as of `learn`. Evaluations and the result are on the default device.
      clocks: what was played before, for the rows.
      extra: JSON values that checkpoints hold with the state.
    """
    checkpoints = Checkpoints(run / "checkpoints")
    step, state, _ = restore(run, state) or (clocks.episode, state, {})
    start = step - clocks.episode
    state = placement.put_state(state)
    watch = DivergenceWatch(num_seeds=state.step.size)
    update = start
    with (
        MetricsWriter(run, {"update": start}) as writer,
        Progress(schedule.num_updates, description + placement.described, initial=start) as progress,
    ):
        while update < schedule.num_updates:
            size = schedule.next_dispatch(update)
            began = time.perf_counter()
            state, metrics = learn(state, size)
            metrics = jax.block_until_ready(placement.fetch(metrics))
            speed = {"fps/updates": size / (time.perf_counter() - began)}
            update += size
            counts = vars(clocks.at(update))
            row = writer.write({prefix + name: value for name, value in metrics.items()} | speed, **counts)
            watch.check(row, update)
            progress.update(size, **{progress_metric: finite_mean(np.ravel(row[prefix + progress_metric]))})
            if evaluate is not None and schedule.evaluates_at(update):
                writer.write_eval({**counts, **evaluate(placement.fetch(state), update)})
            if update % schedule.save_every == 0 or update == schedule.num_updates or run.interrupted():
                kept = placement.fetch(state)
                if run.leads:
                    checkpoints.save(clocks.at(update).order, kept, extra)
                run.stop_if_interrupted()
    return placement.fetch(state)


def restore(run: RunDirectory, state: State) -> tuple[int, State, dict] | None:
    """Restores the newest checkpoint of a run, on every process the same; returns None without one."""
    restored = Checkpoints(run / "checkpoints").restore(state) if run.leads else None
    step = run.agree(-1 if restored is None else restored[0])
    if run.leads or step < 0:
        return restored
    return Checkpoints(run.shared / "checkpoints").restore(state, step=step)


def print_storage(what: str) -> Callable[[Storage], None]:
    """Says where data lie, how many bytes they take and why; for `worldmodels.data.storage.open_dataset`."""
    return lambda storage: print(f"{what}: {storage}", flush=True)


def optimizer_from(config: dict, num_updates: int):
    """Adam with clipping; constant learning rate (published) or cosine to `final_fraction` of it."""
    schedule = cosine_schedule(config["learning_rate"], num_updates, config["final_fraction"])
    return make_optimizer(schedule, config["grad_clip"])


def create_states(models, optimizer, seed: int, num_seeds: int) -> TrainState:
    """Train states of stacked models; seed i draws from key seed + i."""
    keys = jax.numpy.stack([jax.random.fold_in(jax.random.key(seed + i), 1) for i in range(num_seeds)])
    return _create(optimizer)(models, keys)


@functools.lru_cache(maxsize=16)
def _create(optimizer) -> Callable:
    """(models, keys) -> train states; jitted once for each optimizer."""
    return jax.jit(jax.vmap(lambda model, key: TrainState.create(model, optimizer, key)))
