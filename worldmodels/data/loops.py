"""Training loops over datasets, wherever their records are stored.

Records on the device are sampled inside the compiled loop. For those on the host a thread draws the windows of the
next updates with the keys that the device would have used, so that a run sees the same windows wherever its data are
stored, and a resumed run those of the uninterrupted one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from worldmodels.data.dataset import SequenceDataset, WindowTables, draw_starts, sample
from worldmodels.data.streaming import StreamedDataset
from worldmodels.devices.sharding import ONE_DEVICE, Placement
from worldmodels.structures import Array
from worldmodels.training import (
    TrainState,
    make_optimizer,
    make_train_loop,
    make_update,
    only_finite,
    sample_key,
)

BLOCK_BYTES = 2**26  # moved to the device at once
BLOCKS_AHEAD = 2

Model = TypeVar("Model")
Dataset = SequenceDataset | StreamedDataset


@dataclasses.dataclass(frozen=True)
class Loops:
    """Training loops over given data: `(state, num_updates) -> (state, metrics)`. They donate the state.

    Attributes:
      make: number of updates -> `loop(state, *args) -> (state, metrics)`; makes each loop once.
      args: the datasets, and frozen models, on the devices of the run.
    """

    make: Callable[[int], Callable]
    args: tuple

    def __call__(self, state, num_updates: int) -> tuple:
        return self.make(num_updates)(state, *self.args)


def make_loops(
    update: Callable,
    data: tuple[Dataset, ...],
    frozen: tuple = (),
    *,
    batch_size: int,
    first_fraction: float = 0.0,
    num_seeds: int | None = None,
    placement: Placement = ONE_DEVICE,
) -> Loops:
    """Returns the training loops of an update.

    Args:
      update: (state, *batches, *frozen) -> (state, metrics), a batch of each dataset.
      data: datasets; each of several is drawn from with a key of its own.
      frozen: models that the update reads; with `num_seeds`, leaves [num_seeds, ...].
      batch_size, first_fraction: as of `worldmodels.data.dataset.sample`.
      num_seeds, placement: as of `worldmodels.training.make_train_loop`.
    """
    draw: dict[str, Any] = dict(batch_size=batch_size, first_fraction=first_fraction)
    args = placement.put_data(data), *placement.put_state(frozen)

    if any(isinstance(part, StreamedDataset) for part in data):
        stream = _Stream(_of_batches(update), data, num_seeds, placement, draw)
        return Loops(functools.cache(stream.make_loop), args)
    # Of several processes each loop is one run's: the first call of it is where they wait for each other.
    make = _resident_loop if placement.num_processes == 1 else functools.cache(_resident_loop.__wrapped__)
    return Loops(functools.partial(make, update, num_seeds, placement, **draw), args)


@functools.lru_cache(maxsize=16)
def _resident_loop(
    update: Callable,
    num_seeds: int | None,
    placement: Placement,
    num_updates: int,
    *,
    batch_size: int,
    first_fraction: float,
) -> Callable:
    """Returns a training loop over datasets on the device, the same one for equal arguments.

    So runs of equal settings in one process, such as one that continues, compile once. An update contains settings;
    data and models are its arguments, and are not kept.
    """
    draw = functools.partial(sample, batch_size=batch_size, first_fraction=first_fraction)

    def sample_all(data, key):
        return tuple(draw(part, each) for part, each in zip(data, keys_of(key, data), strict=True))

    options: dict[str, Any] = dict(num_seeds=num_seeds, placement=placement)
    return make_train_loop(_of_batches(update), sample_all, num_updates, **options)


def _of_batches(update: Callable) -> Callable:
    """Returns an update whose batches are a tuple."""
    return lambda state, batches, *frozen: update(state, *batches, *frozen)


def fit(
    loss_fn: Callable,
    model: Model,
    data: Dataset,
    *frozen: object,
    num_updates: int,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    grad_clip: float | None = 100.0,
    first_fraction: float = 0.0,
    key: Array | None = None,
    updates_per_dispatch: int = 50,
) -> tuple[Model, dict[str, np.ndarray]]:
    """Trains a model on windows of a dataset, in memory.

    Args:
      loss_fn: (model, batch, *frozen, key) -> (scalar, metrics), as `elbo_loss` and `action_inference_loss`.
      model: pytree that is trained; it stays as it is.
      data: what batches are drawn from.
      frozen: models that the loss reads.
      num_updates: of Adam, in dispatches of `updates_per_dispatch`.
      batch_size, first_fraction: as of `worldmodels.data.dataset.sample`.
      learning_rate, grad_clip: as of `worldmodels.training.make_optimizer`.
      key: PRNG key, consumed; None is `jax.random.key(0)`.

    Returns:
      The trained model, and {metric: [D] means over each dispatch}.

    Raises:
      FloatingPointError: a metric or the gradient was not finite.
    """
    optimizer = make_optimizer(learning_rate, grad_clip)
    key = jax.random.key(0) if key is None else key
    state = TrainState.create(jax.tree.map(jnp.copy, model), optimizer, key)  # its buffers are donated
    update = make_update(loss_fn, optimizer)
    loops = make_loops(update, (data,), frozen, batch_size=batch_size, first_fraction=first_fraction)
    rows = []
    for done in range(0, num_updates, updates_per_dispatch):
        state, metrics = loops(state, min(updates_per_dispatch, num_updates - done))
        rows.append(jax.device_get(metrics))
        if rows[-1].pop("finite") < 1:
            raise FloatingPointError(f"Update {int(state.step) + 1} is not finite; lower the learning rate.")
    return state.model, {name: np.array([row[name] for row in rows]) for name in rows[0]}


def keys_of(key: Array, data: tuple) -> list[Array]:
    """Returns a key for each dataset; a single dataset gets the key itself."""
    return [key] if len(data) == 1 else list(jax.random.split(key, len(data)))


class _Stream:
    """Training loops over datasets of which some are stored on the host."""

    def __init__(
        self, update: Callable, data: tuple, num_seeds: int | None, placement: Placement, draw: dict
    ):
        self._update, self._data, self._draw = only_finite(update), data, draw
        self._num_seeds, self._placement = num_seeds, placement
        host = _host_device()
        tables = [WindowTables(*(getattr(part, name) for name in WindowTables._fields)) for part in data]
        self._tables = jax.device_put(tables, host)
        self._draw_starts = jax.jit(self._starts_of, static_argnums=3)
        self._blocks = _Ahead(self._make_block)
        sharding = placement.state_sharding
        self._program = placement.together(jax.jit(self._run_block, donate_argnums=0, out_shardings=sharding))

    def make_loop(self, num_updates: int) -> Callable:
        """`loop(state, data, *frozen)` of so many updates, in blocks that are drawn ahead."""
        size = _block_size(num_updates, self._update_bytes())

        def loop(state, data, *frozen):
            step, key = self._placement.fetch((state.step, state.key))
            steps, keys = np.ravel(step), np.asarray(jax.random.key_data(key))  # one per seed
            key_data = keys if self._num_seeds else keys[None]
            resident = tuple(None if isinstance(part, StreamedDataset) else part for part in data)
            metrics = []
            for done in range(0, num_updates, size):
                block = self._blocks.get(steps + done, size, key_data)
                state, values = self._program(state, block, resident, frozen)
                metrics.append(values)
            return state, jax.tree.map(lambda *values: jnp.stack(values).mean(axis=0), *metrics)

        return loop

    def _run_block(self, state, block, resident, frozen):
        """Makes an update for every batch of the block [U, (S,) B, T, ...]."""

        def one_update(state, streamed, frozen):
            keys = keys_of(sample_key(state.key, state.step), self._data)
            batches = tuple(
                batch if part is None else sample(part, key, **self._draw)
                for part, batch, key in zip(resident, streamed, keys, strict=True)
            )
            return self._update(state, self._placement.share_batch(batches), *frozen)

        if self._num_seeds is None or self._num_seeds == 1:
            block = jax.tree.map(lambda x: x[:, 0], block)
        else:
            one_update = jax.vmap(one_update, axis_size=self._num_seeds)
        if self._num_seeds == 1:
            state, frozen = jax.tree.map(lambda x: x[0], (state, frozen))
        state, metrics = jax.lax.scan(lambda s, batches: one_update(s, batches, frozen), state, block)
        metrics = jax.tree.map(lambda x: x.mean(axis=0), metrics)
        return jax.tree.map(lambda x: x[None], (state, metrics)) if self._num_seeds == 1 else (state, metrics)

    def _make_block(self, begin: np.ndarray, size: int, key_data: np.ndarray) -> tuple:
        """Batches [U, S, B, T, ...] of the streamed datasets for the updates from `begin` [S] on, on the device."""
        keys, begin, tables = jax.device_put((key_data, begin, self._tables), _host_device())
        starts = self._draw_starts(keys, tables, begin, size)

        def batches(part, starts):
            def read(starts):
                return part.gather(starts[..., None] + np.arange(part.length, dtype=np.int32))

            return self._placement.make_batches(np.asarray(starts), read)

        return tuple(
            batches(part, each) if isinstance(part, StreamedDataset) else None
            for part, each in zip(self._data, starts, strict=True)
        )

    def _starts_of(self, key_data: Array, tables: list, begin: Array, size: int) -> list[Array]:
        """First rows of the windows of every dataset, [U, S, B]."""

        def of_update(key_data, step):
            keys = keys_of(sample_key(jax.random.wrap_key_data(key_data), step), self._data)
            pairs = zip(tables, keys, strict=True)
            return [draw_starts(part, key, **self._draw) for part, key in pairs]

        return jax.vmap(lambda done: jax.vmap(of_update)(key_data, begin + done))(jnp.arange(size))

    def _update_bytes(self) -> int:
        """Bytes that stream to the device for one update."""
        row = np.zeros(1, np.int32)
        streamed = [part.gather(row) for part in self._data if isinstance(part, StreamedDataset)]
        length = max(part.length for part in self._data)
        per_row = sum(leaf.nbytes for leaf in jax.tree.leaves(streamed))
        return per_row * length * self._draw["batch_size"] * (self._num_seeds or 1)


class _Ahead:
    """Makes blocks in a thread before they are asked for."""

    def __init__(self, make: Callable):
        self._make = make
        self._pending: dict[tuple, Future] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stream")

    def get(self, begin: np.ndarray, size: int, key_data: np.ndarray):
        """Returns the block of `size` updates from `begin` [S] on; starts those that follow it."""
        ahead = [begin + number * size for number in range(BLOCKS_AHEAD + 1)]
        wanted = {(*map(int, steps), size): steps for steps in ahead}
        for place in [place for place in self._pending if place not in wanted]:
            self._pending.pop(place).cancel()
        for place, steps in wanted.items():
            if place not in self._pending:
                self._pending[place] = self._thread.submit(self._make, steps, size, key_data)
        return self._pending.pop(next(iter(wanted))).result()


def _block_size(num_updates: int, update_bytes: int) -> int:
    """Returns the largest divisor of `num_updates` whose updates stay within `BLOCK_BYTES`, at least 1."""
    most = max(1, BLOCK_BYTES // max(update_bytes, 1))
    return max(size for size in range(1, num_updates + 1) if num_updates % size == 0 and size <= most)


def _host_device() -> jax.Device:
    """Returns a CPU, so that drawing ahead does not wait for the training; without one, the default device."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]
