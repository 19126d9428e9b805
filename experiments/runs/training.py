"""The loop that every training main shares: many updates per dispatch, metrics, checkpoints, progress, resume."""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import numpy as np

from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import DivergenceWatch, MetricsWriter, finite_mean
from experiments.runs.progress import Progress
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.streaming import Storage
from worldmodels.devices.sharding import ONE_DEVICE, Placement
from worldmodels.training import TrainState, cosine_schedule, make_optimizer


def train(
    run: RunDirectory,
    state: TrainState,
    make_loop: Callable[[int], Callable],
    args: tuple,
    *,
    num_updates: int,
    updates_per_dispatch: int,
    save_every: int,
    prefix: str,
    description: str,
    progress_metric: str = "loss",
    evaluate_every: int = 0,
    evaluate: Callable[[TrainState, int], dict] | None = None,
    placement: Placement = ONE_DEVICE,
) -> TrainState:
    """Trains until `num_updates`, from the newest checkpoint in `run` if there is one.

    Ends bit-identical whether or not it was killed on the way: what belongs to an update is written before its
    checkpoint, and rows after the restored checkpoint are dropped. Of several seeds, one that diverges keeps its last
    finite state while the others go on; its `step` says how far it came.

    Args:
      state: before the first update; leaves may have a leading seed axis.
      make_loop: number of updates -> jitted `loop(state, *args) -> (state, metrics)`.
      args: data and frozen models for the loop.
      prefix: of the metric names, e.g. "train/model/".
      evaluate_every: calls `evaluate(state, update)` at multiples of it and at the end; its dict goes to eval.jsonl.
      placement: the devices that train, as of `make_loop`. Evaluations and the result are on the default device.
    """
    checkpoints = Checkpoints(run / "checkpoints")
    restored = restore(run, state)
    start = 0
    if restored is not None:
        start, state, _ = restored
    state, args = placement.put(state, args)
    watch = DivergenceWatch(num_seeds=state.step.size)
    boundaries = {num_updates} | ({*range(0, num_updates, evaluate_every)} if evaluate_every else set())
    update = start
    with (
        MetricsWriter(run.path, start_update=start) as writer,
        Progress(num_updates, description + placement.described, initial=start) as progress,
    ):
        while update < num_updates:
            size = next_dispatch(update, num_updates, updates_per_dispatch, save_every, evaluate_every)
            began = time.perf_counter()
            state, metrics = make_loop(size)(state, *args)
            metrics = jax.block_until_ready(placement.fetch(metrics))
            speed = {"fps/updates": size / (time.perf_counter() - began)}
            update += size
            row = writer.write(
                {prefix + name: value for name, value in metrics.items()} | speed, update=update
            )
            watch.check(row, update)
            progress.update(size, **{progress_metric: finite_mean(np.ravel(row[prefix + progress_metric]))})
            if evaluate is not None and (update in boundaries):
                result = evaluate(placement.fetch(state), update)
                writer.write_eval({"update": update, **result})
                writer.write(evaluation_metrics(result), update=update)
            if update % save_every == 0 or update == num_updates or run.interrupted():
                kept = placement.fetch(state)
                if run.leads:
                    checkpoints.save(update, kept)
                run.stop_if_interrupted()
    return placement.fetch(state)


def restore(run: RunDirectory, state: TrainState) -> tuple[int, TrainState, dict] | None:
    """What the newest checkpoint of a run holds, on every process the same; None without one."""
    restored = Checkpoints(run / "checkpoints").restore(state) if run.leads else None
    step = run.agree(-1 if restored is None else restored[0])
    if run.leads or step < 0:
        return restored
    return Checkpoints(run.shared / "checkpoints").restore(state, step=step)


def print_storage(what: str) -> Callable[[Storage], None]:
    """Says where data lie, how many bytes they take and why; for `worldmodels.data.streaming.open_dataset`."""
    return lambda storage: print(f"{what}: {storage}", flush=True)


def next_dispatch(update: int, num_updates: int, per_dispatch: int, *periods: int) -> int:
    """Updates of the next dispatch: at most `per_dispatch`, ending at the next multiple of every period."""
    ends = [num_updates, (update // per_dispatch + 1) * per_dispatch]
    ends += [(update // period + 1) * period for period in periods if period]
    return min(ends) - update


def evaluation_metrics(result: dict) -> dict:
    """What TensorBoard shows of an evaluation: one value per seed."""
    shown = {"return_by_seed": "eval/return", "by_expert": "eval/return_by_expert"}
    return {name: result[key] for key, name in shown.items() if key in result}


def optimizer_from(config: dict, num_updates: int):
    """Adam with clipping; constant learning rate (published) or cosine to `final_fraction` of it."""
    schedule = cosine_schedule(config["learning_rate"], num_updates, config["final_fraction"])
    return make_optimizer(schedule, config["grad_clip"])


def create_states(models, optimizer, seed: int, num_seeds: int) -> TrainState:
    """Train states of stacked models; seed i draws from key seed + i."""
    keys = jax.numpy.stack([jax.random.fold_in(jax.random.key(seed + i), 1) for i in range(num_seeds)])
    return jax.vmap(lambda model, key: TrainState.create(model, optimizer, key))(models, keys)
