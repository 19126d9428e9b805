"""Supervised learning with early stopping: how BC, BCO and their relatives are trained.

An epoch is a pass over a random 70% of the windows (BCO(alpha): of the episodes); after it the loss on the other
30% decides. Training
stops when that loss has not improved for `patience` epochs in a row, but not before `min_epochs` and
`min_updates`; the weights with the lowest validation loss are the result. One epoch is one dispatch. Several
seeds are trained in one program: each has its own split, order and weights, and one that has stopped keeps
its state while the others continue. One that diverges (a loss or a gradient is not finite) stops there. Data that grow
from fit to fit are given room for all that is to come, and later fits run the program of the first.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from agents.splits import SEED_AXES, Split, draw_split, shuffled
from worldmodels.data.dataset import SequenceDataset, sample, windows
from worldmodels.devices.sharding import ONE_DEVICE, Placement
from worldmodels.structures import Array
from worldmodels.training import (
    Metrics,
    TrainState,
    make_optimizer,
    make_update,
    only_finite,
    sample_key,
    where,
)

VALIDATION_CHUNK = 1024  # windows at a time
IMAGE_CHUNK = 64  # the same where there are images, whose features are large
_SHUFFLE = 2  # stream of random numbers besides the updates' own and that of the split
_NEVER = 2**31 - 1

Datasets = SequenceDataset | tuple[SequenceDataset, SequenceDataset]  # windows, or those and labelled ones


class StoppingRule(NamedTuple):
    """Limits at which a fit stops, as of `FitSettings`; what is None there is an integer beyond reach."""

    patience: int
    min_epochs: int
    min_updates: int
    max_updates: int


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """Settings of a fit; the defaults are those published for BC.

    Attributes:
      batch_size: B, windows per update.
      training_fraction: share of the windows, drawn at random, that is trained on.
      patience: epochs in a row without improvement after which training stops; None means never.
      min_epochs, min_updates: do not stop before (BCO: 5000 updates).
      max_updates: of one fit: stop at the end of the first epoch that reaches it, whatever the losses; None means
        no limit.
      updates_per_epoch: None for a pass over the training windows; a number makes an epoch of so many
        updates, of windows drawn with replacement.
      grad_clip: clips the global norm of the gradient; None: not at all.
    """

    learning_rate: float = 1e-3
    batch_size: int = 50
    training_fraction: float = 0.7
    patience: int | None = 3
    min_epochs: int = 50
    min_updates: int = 0
    max_updates: int | None = None
    updates_per_epoch: int | None = None
    grad_clip: float | None = None

    def __post_init__(self):
        if self.patience is None and self.max_updates is None:
            raise ValueError("Training without patience would never stop; set patience or max_updates.")
        for name in ("batch_size", "patience", "max_updates", "updates_per_epoch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; give at least 1.")

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam."""
        return make_optimizer(self.learning_rate, self.grad_clip)

    @property
    def rule(self) -> StoppingRule:
        """Limits at which a fit stops."""
        values = (getattr(self, name) for name in StoppingRule._fields)
        return StoppingRule(*(_NEVER if value is None else value for value in values))

    @property
    def learning(self) -> FitSettings:
        """The same settings with the default rule: what programs depend on."""
        return dataclasses.replace(
            self, **{name: getattr(FitSettings, name) for name in StoppingRule._fields}
        )


class FitState(struct.PyTreeNode):
    """Everything that changes while one network is fitted.

    Attributes:
      train: weights being trained, their optimizer, and the number of updates made.
      best_model: weights after the epoch with the lowest validation loss; the result.
      best_loss: [] float32, that loss; infinite before the first epoch.
      stale_epochs: [] int32, epochs in a row without improvement.
      epoch: [] int32, epochs made.
      earlier_updates: [] int32, updates made by fits before this one (see `continued`).
      stopped: [] bool; from then on the state does not change.
      diverged: [] bool, whether it stopped because something was not finite.
    """

    train: TrainState
    best_model: Any
    best_loss: Array
    stale_epochs: Array
    epoch: Array
    earlier_updates: Array
    stopped: Array
    diverged: Array

    @classmethod
    @functools.partial(jax.jit, static_argnums=(0, 2))
    def create(cls, model, settings: FitSettings, key: Array) -> FitState:
        """State before the first epoch; `key` decides the split, the order of the windows and the updates."""
        return cls(
            train=TrainState.create(model, settings.optimizer, key),
            best_model=jax.tree.map(jnp.copy, model),
            best_loss=jnp.full((), jnp.inf, jnp.float32),
            stale_epochs=jnp.zeros((), jnp.int32),
            epoch=jnp.zeros((), jnp.int32),
            earlier_updates=jnp.zeros((), jnp.int32),
            stopped=jnp.zeros((), bool),
            diverged=jnp.zeros((), bool),
        )

    def starting_with(self, model) -> FitState:
        """Returns the state before the first epoch with other weights."""
        best = jax.tree.map(jnp.copy, model)
        return self.replace(train=self.train.replace(model=model), best_model=best)


def split_of(state: FitState, dataset: SequenceDataset, settings: FitSettings) -> Split:
    """Returns the split that the state's key decides, always the same; of stacked seeds, leaves [N, ...]."""
    return draw_split(state.train.key, int(dataset.num_windows), settings.training_fraction)


def epoch_batches(split: Split, settings: FitSettings, key: Array) -> tuple[Array, Array | int]:
    """Window numbers of an epoch's batches, [U or more, B], and U: all training windows in a fresh random order.

    What is missing to a full last batch is filled up with the first windows of that order. With
    `updates_per_epoch` the windows are drawn with replacement.
    """
    training, size = split.training, settings.batch_size
    if settings.updates_per_epoch is not None:
        drawn = jax.random.randint(key, (settings.updates_per_epoch, size), 0, split.num_training)
        return training[drawn], settings.updates_per_epoch
    order = shuffled(key, training, split.num_training)
    most = math.ceil(len(training) / size)
    batches = order[jnp.arange(most * size) % split.num_training].reshape(most, size)
    return batches, -(-split.num_training // size)


def continued(state: FitState) -> FitState:
    """Returns the state with which a fit continues on more data (BCO(alpha)).

    It starts from the best weights and keeps the optimizer's state; losses on the old validation windows do not
    count any more, nor do the updates made so far.
    """
    return state.replace(
        train=state.train.replace(model=jax.tree.map(jnp.copy, state.best_model)),
        best_loss=jnp.full_like(state.best_loss, jnp.inf),
        stale_epochs=jnp.zeros_like(state.stale_epochs),
        earlier_updates=jnp.copy(state.train.step),
        stopped=jnp.zeros_like(state.stopped),
    )


def make_mean_loss(loss_fn: Callable) -> Callable:
    """Returns the pure function `mean_loss(model, dataset, indices, number, *frozen) -> []`: mean over windows.

    Of the numbers of windows, `indices`, the first `number` count. Of a pair of datasets (see `make_epoch`) it is the
    mean over the first, without windows of the second.
    """

    def mean_loss(model, dataset: Datasets, indices: Array, number: Array | int, *frozen) -> Array:
        dataset, more = (dataset[0], (None,)) if isinstance(dataset, tuple) else (dataset, ())

        def of_window(index):
            key = jax.random.fold_in(jax.random.key(0), index)  # what a loss draws differs by window alone
            return loss_fn(model, windows(dataset, index[None]), *more, *frozen, key)[0]

        has_images = any(value.ndim == 4 for value in dataset.observation.values())
        chunks = math.ceil(len(indices) / (IMAGE_CHUNK if has_images else VALIDATION_CHUNK))
        size = math.ceil(len(indices) / chunks)
        indices = jnp.pad(jnp.asarray(indices), (0, chunks * size - len(indices))).reshape(chunks, size)

        def add(chunk, total):
            counts = chunk * size + jnp.arange(size) < number
            return total + jnp.where(counts, jax.vmap(of_window)(indices[chunk]), 0.0).sum()

        return jax.lax.fori_loop(0, -(-number // size), add, jnp.zeros(())) / number

    return mean_loss


def end_epoch(
    state: FitState, validation_loss: Array, rule: StoppingRule, *, finite: Array | bool = True
) -> FitState:
    """Updates the bookkeeping after an epoch: best weights, patience, and whether to stop.

    Args:
      state: with the weights that the epoch has trained.
      validation_loss: [] of those weights.
      rule: of the settings.
      finite: [] bool, whether all updates of the epoch were.
    """
    diverged = ~(finite & jnp.isfinite(validation_loss))
    improved = validation_loss < state.best_loss
    epoch, stale_epochs = state.epoch + 1, jnp.where(improved, 0, state.stale_epochs + 1)
    updates = state.train.step - state.earlier_updates
    stale = (stale_epochs >= rule.patience) & (epoch >= rule.min_epochs) & (updates >= rule.min_updates)
    return state.replace(
        best_model=where(improved, state.train.model, state.best_model),
        best_loss=jnp.where(improved, validation_loss, state.best_loss),
        stale_epochs=stale_epochs,
        epoch=epoch,
        stopped=diverged | stale | (updates >= rule.max_updates),
        diverged=diverged,
    )


@functools.lru_cache(maxsize=16)  # so that a continued fit does not compile again
def make_epoch(
    loss_fn: Callable,
    settings: FitSettings,
    *,
    num_seeds: int | None = None,
    placement: Placement = ONE_DEVICE,
) -> Callable:
    """Returns the jitted `epoch(state, split, dataset, rule, *frozen) -> (state, metrics)`, one dispatch.

    Args:
      loss_fn: (model, batch, *frozen, key) -> (scalar loss, metrics), a mean over the batch. Where `dataset` is a
        pair, it gets a batch of the second behind that of the first: as many windows, drawn with replacement; None
        in validation.
      settings: the same as of `FitState.create`, but for the rule of stopping, which is an argument of the epoch.
      num_seeds: N trains N runs in one program: leaves of `state`, `split` and `frozen` have a leading axis
        [N], `dataset` is shared, metrics are [N].
      placement: the devices of the run, whose `put` must have placed the arguments.

    Returns:
      The epoch. Metrics are those of the loss, averaged over the epoch, and `validation_loss`,
      `best_validation_loss`, `epoch`, `stopped`. Those of a run that had stopped are of an epoch that was
      discarded, but for the last three.
    """
    update = only_finite(make_update(loss_fn, settings.optimizer))
    mean_loss = make_mean_loss(loss_fn)

    def epoch(
        state: FitState, split: Split, dataset: Datasets, rule: StoppingRule, frozen
    ) -> tuple[FitState, Metrics]:
        shuffle_key = jax.random.fold_in(jax.random.fold_in(state.train.key, _SHUFFLE), state.epoch)
        batches, num_updates = epoch_batches(split, settings, shuffle_key)
        first, *others = dataset if isinstance(dataset, tuple) else (dataset,)

        def one_update(train, indices):
            key = sample_key(train.key, train.step)
            drawn = [sample(other, key, settings.batch_size) for other in others]
            batch, *more = placement.share_batch([windows(first, indices), *drawn])
            return update(train, batch, *more, *frozen)

        train, sums = _scan_first(one_update, state.train, batches, num_updates)
        validation_loss = mean_loss(train.model, dataset, split.validation, split.num_validation, *frozen)
        finite = sums["finite"] == num_updates
        ended = end_epoch(state.replace(train=train), validation_loss, rule, finite=finite)
        state = where(state.stopped, state, ended)
        metrics = {name: value / num_updates for name, value in sums.items()} | {
            "validation_loss": validation_loss,
            "best_validation_loss": state.best_loss,
            "epoch": state.epoch,
            "stopped": state.stopped,
        }
        return state, metrics

    if num_seeds is not None:
        epoch = jax.vmap(epoch, in_axes=(0, SEED_AXES, None, None, 0), axis_size=num_seeds)
    return jax.jit(
        lambda state, split, dataset, rule, *frozen: epoch(state, split, dataset, rule, frozen),
        out_shardings=placement.state_sharding,
    )


def _scan_first(step: Callable, carry, xs: Array, number: Array | int) -> tuple[Any, dict[str, Array]]:
    """Scans the first `number` of the xs as `jax.lax.scan`; returns the sums of what the steps return."""
    _, shapes = jax.eval_shape(step, carry, xs[0])
    zeros = jax.tree.map(lambda each: jnp.zeros(each.shape, each.dtype), shapes)

    def next_step(index, done):
        carry, found = step(done[0], xs[index])
        return carry, jax.tree.map(jnp.add, done[1], found)

    return jax.lax.fori_loop(0, number, next_step, (carry, zeros))


def fit(
    state: FitState,
    dataset: Datasets,
    loss_fn: Callable,
    settings: FitSettings,
    *frozen,
    split: Split | None = None,
    on_epoch: Callable | None = None,
    placement: Placement = ONE_DEVICE,
) -> FitState:
    """Runs epochs until every seed has stopped, and returns the last state; `best_model` in it is the result.

    Args:
      state: of `FitState.create`, or a later one to continue; for several seeds, stacked.
      dataset, loss_fn, settings, frozen: as of `make_epoch`.
      split: None for a random one of the windows, which the state's key decides.
      on_epoch: (state, metrics) -> None, called after each epoch, to log and to save.
      placement: the devices of the run; what is given and returned, also to `on_epoch`, is on one.
    """
    num_seeds = None if state.stopped.ndim == 0 else state.stopped.shape[0]
    run_epoch = make_epoch(loss_fn, settings.learning, num_seeds=num_seeds, placement=placement)
    if split is None:
        split = split_of(state, dataset[0] if isinstance(dataset, tuple) else dataset, settings)
    sizes, numbers = (split.num_training, split.num_validation), (split.training, split.validation)
    state, ((dataset, sizes), numbers, *frozen) = placement.put(state, ((dataset, sizes), numbers, *frozen))
    while not bool(state.stopped.all()):
        state, metrics = run_epoch(state, Split(*numbers, *sizes), dataset, settings.rule, *frozen)
        if on_epoch is not None:
            on_epoch(*placement.fetch((state, metrics)))
    return placement.fetch(state)
