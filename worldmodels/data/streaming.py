"""Where the records of a dataset lie: on the device, in main memory, or in the episode files.

A `SequenceDataset` is sampled on the device, inside the training loop. What does not fit there streams from the
host: a `StreamedDataset` holds its records in NumPy arrays, or leaves the images, which are nearly all of the bytes,
in their files. A thread draws the windows of the next updates with the keys that the device would have used, so that
a run sees the same windows wherever its data lie, and a resumed run those of the uninterrupted one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from worldmodels.data import dataset as datasets
from worldmodels.data.dataset import SequenceDataset, draw_starts, sample
from worldmodels.data.episodes import FLAGS, Episode, StoredImages
from worldmodels.data.shared_dataset import SharedDataset
from worldmodels.devices.sharding import ONE_DEVICE, Placement
from worldmodels.structures import Array, SequenceBatch
from worldmodels.training import make_train_loop, only_finite, sample_key

STORAGES = ("auto", "device", "memory", "disk")
DEVICE_SHARE = 0.5  # of the free bytes that data may take: the rest is for models, gradients and activations
MEMORY_SHARE = 0.7
BLOCK_BYTES = 2**26  # that are moved to the device at once
BLOCKS_AHEAD = 2


class StoredRows:
    """Rows of the images of many files, uint8 [R, y, x, 3], read when they are asked for."""

    def __init__(self, images: Sequence[StoredImages], length: int):
        """Files in the order of the rows; an episode shorter than `length` is padded with its last image."""
        self._images = images
        padded = np.maximum([len(each) for each in images], length)
        self._first = np.cumsum(padded) - padded
        self.shape = (int(padded.sum()), *images[0].shape[1:])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The images of windows [..., T] of successive rows of one episode each: [..., T, y, x, 3]."""
        flat = rows.reshape(-1, rows.shape[-1])
        out = np.empty((*flat.shape, *self.shape[1:]), np.uint8)
        for number, window in enumerate(flat):
            episode = int(np.searchsorted(self._first, window[0], side="right")) - 1
            images = self._images[episode]
            steps = np.minimum(window - self._first[episode], len(images) - 1)
            out[number] = images[int(steps[0]) : int(steps[-1]) + 1][steps - steps[0]]
        return out.reshape(*rows.shape, *self.shape[1:])


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class StreamedDataset:
    """Windows of episodes in main memory or on disk; for the functions of `worldmodels.data.dataset` like any other.

    To JAX it is a constant without arrays, so that nothing moves it to a device; compiled programs cannot sample it,
    and `make_loops` trains on it.

    Attributes:
      observation: {sensor: NumPy array as in `SequenceDataset`, or `StoredRows`}.
      prev_action, reward, is_first, is_last, is_terminal: NumPy arrays as there.
      starts, first_starts, length: as there.
    """

    observation: dict[str, np.ndarray | StoredRows]
    prev_action: np.ndarray | None
    reward: np.ndarray | None
    is_first: np.ndarray
    is_last: np.ndarray
    is_terminal: np.ndarray
    starts: Array
    first_starts: Array
    length: int

    @classmethod
    def create(
        cls,
        episodes: Sequence[Episode],
        *,
        length: int,
        sensors: Sequence[str],
        with_actions: bool = True,
        with_reward: bool | None = None,
        images_on_disk: bool = False,
    ) -> StreamedDataset:
        """Arguments as of `SequenceDataset.create`; `images_on_disk` leaves `StoredImages` in their files."""
        names = datasets.names_of(episodes, length, sensors, with_actions, with_reward)

        def load(name):
            values = [episode.records[name] for episode in episodes]
            if images_on_disk and all(isinstance(each, StoredImages) for each in values):
                return StoredRows(values, length)
            return datasets.flat_records(episodes, name, length)

        fields = datasets.fields_of(names, load)
        return cls(**fields, **datasets.window_tables(episodes, length), length=length)

    def gather(self, rows: Array) -> SequenceBatch:
        """The batch of given rows, [..., T] int32 in 0..R-1, as NumPy arrays.

        Raises:
          ValueError: inside jit, where there are no rows yet.
        """
        if isinstance(rows, jax.core.Tracer):
            raise ValueError(
                "These data lie in main memory or on disk, where a compiled program cannot sample them; "
                "train with `worldmodels.data.streaming.make_loops`, or use storage='device'."
            )
        rows = np.asarray(rows)
        observation = {name: _take(values, rows) for name, values in self.observation.items()}
        return SequenceBatch(
            observation=observation,
            prev_action=None if self.prev_action is None else _take(self.prev_action, rows),
            reward=None if self.reward is None else _take(self.reward, rows),
            **{name: _take(getattr(self, name), rows) for name in FLAGS},
        )

    def replace(self, **changes: object) -> StreamedDataset:
        """A copy with other fields."""
        return dataclasses.replace(self, **changes)

    @property
    def num_windows(self) -> int:
        """W."""
        return self.starts.shape[0]

    @property
    def num_episodes(self) -> int:
        """F, as in `SequenceDataset`."""
        return self.first_starts.shape[0]

    @property
    def num_bytes(self) -> int:
        """Main memory that the records take."""
        arrays = [*self.observation.values(), self.prev_action, self.reward]
        arrays += [getattr(self, name) for name in FLAGS]
        return sum(each.nbytes for each in arrays if isinstance(each, np.ndarray))


def _take(values: np.ndarray | StoredRows, rows: np.ndarray) -> np.ndarray:
    return values.take(rows) if isinstance(values, StoredRows) else np.take(values, rows, axis=0)


# Where data lie ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where data lie and why.

    Attributes:
      place: "device", "memory" or "disk".
      num_bytes: {name: bytes} of all records.
      why: a clause for a reader.
    """

    place: str
    num_bytes: dict[str, int]
    why: str

    def __str__(self) -> str:
        parts = sorted(self.num_bytes.items(), key=lambda item: -item[1])
        largest = ", ".join(f"{name} {_size(number)}" for name, number in parts[:3])
        places = {"device": "on the device", "memory": "in main memory", "disk": "images on disk"}
        return f"{_size(sum(self.num_bytes.values()))} ({largest}), {places[self.place]}: {self.why}"


def choose_storage(
    episodes: Sequence[Episode], storage: str, names: Sequence[str], length: int, num_parts: int = 1
) -> Storage:
    """Decides where the records of these names shall lie.

    Args:
      episodes: at least one.
      storage: "device", "memory" or "disk"; "auto" takes the first of them that leaves room: at most half of the
        free memory of the device, or 70 % of the free main memory.
      names: of arrays.
      length: T, records per window.
      num_parts: devices that share the records.

    Raises:
      ValueError: an unknown storage, or one that cannot hold them.
    """
    if storage not in STORAGES:
        raise ValueError(f"Unknown storage {storage!r}. Known: {', '.join(STORAGES)}.")
    num_bytes = {name: datasets.estimate_bytes(episodes, [name], length) for name in names}
    stored = [
        name for name in names if all(isinstance(each.records[name], StoredImages) for each in episodes)
    ]
    need = {"device": sum(num_bytes.values()) // num_parts, "memory": sum(num_bytes.values())}
    need["disk"] = need["memory"] - sum(num_bytes[name] for name in stored)
    free = {"device": datasets.free_memory(), "memory": datasets.free_main_memory()}
    free["disk"] = free["memory"]
    room = {
        place: None if free[place] is None else int(share * free[place])
        for place, share in (("device", DEVICE_SHARE), ("memory", MEMORY_SHARE), ("disk", MEMORY_SHARE))
    }
    if storage == "auto":
        fitting = [p for p in STORAGES[1:] if (p != "disk" or stored) and _fits(need[p], room[p])]
        storage = fitting[0] if fitting else "disk" if stored else "memory"
    if storage == "disk" and not stored:
        raise ValueError(
            "storage='disk' leaves images in their files, and these episodes have none there; "
            "load them with images_on_disk=True, or use storage='memory'."
        )
    if not _fits(need[storage], free[storage]):
        raise ValueError(
            f"These {len(episodes)} episodes need {_size(need[storage])} with storage={storage!r}, where "
            f"{_size(free[storage])} are free; load fewer episodes (limit), fewer sensors, or choose another "
            f"storage of {', '.join(STORAGES)}."
        )
    known = "" if free[storage] is None else f" of {_size(free[storage])} free"
    return Storage(storage, num_bytes, f"takes {_size(need[storage])}{known}")


def open_dataset(
    episodes: Sequence[Episode],
    *,
    storage: str = "auto",
    length: int,
    sensors: Sequence[str],
    with_actions: bool = True,
    with_reward: bool | None = None,
    on_storage: Callable[[Storage], object] = lambda storage: None,
    placement: Placement = ONE_DEVICE,
) -> SequenceDataset | StreamedDataset:
    """A dataset of episodes, wherever its records fit.

    Args:
      episodes, length, sensors, with_actions, with_reward: as of `SequenceDataset.create`. With images, load them by
        `load_episodes(..., images_on_disk=True)`, so that they are read once, to where they shall lie, or not at all.
      storage: as of `choose_storage`.
      on_storage: called with the decision, to print it.
      placement: of the run. Several processes that share batches share data on the devices, too.

    Raises:
      ValueError: as `SequenceDataset.create` and `choose_storage`.
    """
    names = datasets.names_of(episodes, length, sensors, with_actions, with_reward)
    shared = placement.num_processes > 1 and not placement.deal_seeds
    chosen = choose_storage(episodes, storage, names, length, placement.num_devices if shared else 1)
    on_storage(chosen)
    options = dict(length=length, sensors=sensors, with_actions=with_actions, with_reward=with_reward)
    if chosen.place == "device" and shared:
        return SharedDataset.create(episodes, mesh=placement.mesh, **options)
    if chosen.place == "device":
        return SequenceDataset.create(episodes, **options)
    return StreamedDataset.create(episodes, images_on_disk=chosen.place == "disk", **options)


def _fits(need: int, room: int | None) -> bool:
    return room is None or need <= room


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes >= 2**28 else f"{num_bytes / 2**20:.1f} MiB"


# Training ---------------------------------------------------------------------------------------------------

Dataset = SequenceDataset | StreamedDataset


def make_loops(
    update: Callable,
    data: Dataset | tuple[Dataset, ...],
    *,
    batch_size: int,
    first_fraction: float = 0.0,
    num_seeds: int | None = None,
    placement: Placement = ONE_DEVICE,
) -> Callable[[int], Callable]:
    """Returns `make_loop`: number of updates -> `loop(state, data, *frozen) -> (state, metrics)`.

    Args:
      update: (state, batch, *frozen) -> (state, metrics); with a tuple of datasets a tuple of batches.
      data: what the loop will be called with. Each dataset of a tuple is drawn from with a key of its own.
      batch_size, first_fraction: as of `worldmodels.data.dataset.sample`.
      num_seeds, placement: as of `worldmodels.training.make_train_loop`.

    Returns:
      A function that makes each loop once. Loops donate their state.
    """
    parts = data if isinstance(data, tuple) else (data,)
    options = dict(batch_size=batch_size, first_fraction=first_fraction)
    if any(isinstance(part, StreamedDataset) for part in parts):
        return functools.cache(_Stream(update, data, num_seeds, placement, **options).make_loop)
    draw = functools.partial(sample, **options)

    def draw_all(data, key):
        keys = keys_of_parts(key, data)
        return tuple(map(draw, data, keys)) if isinstance(data, tuple) else draw(data, key)

    return functools.cache(
        lambda n: make_train_loop(update, draw_all, n, num_seeds=num_seeds, placement=placement)
    )


def keys_of_parts(key: Array, data: Dataset | tuple[Dataset, ...]) -> list[Array]:
    """One key per dataset; a single dataset gets the key itself."""
    return list(jax.random.split(key, len(data))) if isinstance(data, tuple) else [key]


class _Stream:
    """Training loops over data of which some lie on the host."""

    def __init__(
        self, update, data, num_seeds, placement: Placement, *, batch_size: int, first_fraction: float
    ):
        self._update, self._num_seeds, self._placement = only_finite(update), num_seeds, placement
        self._is_tuple = isinstance(data, tuple)
        self._parts = data if self._is_tuple else (data,)
        self._options = dict(batch_size=batch_size, first_fraction=first_fraction)
        host = _host_device()
        self._tables = [jax.device_put((part.starts, part.first_starts), host) for part in self._parts]
        self._draw = jax.jit(self._draw_rows, static_argnums=3)
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
            parts = data if self._is_tuple else (data,)
            resident = tuple(None if isinstance(part, StreamedDataset) else part for part in parts)
            metrics = []
            for done in range(0, num_updates, size):
                block = self._blocks.get(steps + done, size, key_data)
                state, values = self._program(state, block, resident, frozen)
                metrics.append(values)
            return state, jax.tree.map(lambda *values: jnp.stack(values).mean(axis=0), *metrics)

        return loop

    def _run_block(self, state, block, resident, frozen):
        """As many updates as the block [U, (S,) B, T, ...] has batches."""

        def one_update(state, streamed, frozen):
            key = sample_key(state.key, state.step)
            keys = keys_of_parts(key, self._parts) if self._is_tuple else [key]
            batches = tuple(
                sample(part, each, **self._options) if part is not None else batch
                for part, batch, each in zip(resident, streamed, keys, strict=True)
            )
            batch = self._placement.share_batch(batches if self._is_tuple else batches[0])
            return self._update(state, batch, *frozen)

        if self._num_seeds == 1:
            state, frozen = jax.tree.map(lambda x: x[0], (state, frozen))
            block = jax.tree.map(lambda x: x[:, 0], block)
        elif self._num_seeds is None:
            block = jax.tree.map(lambda x: x[:, 0], block)
        else:
            one_update = jax.vmap(one_update, axis_size=self._num_seeds)
        state, metrics = jax.lax.scan(lambda s, batches: one_update(s, batches, frozen), state, block)
        metrics = jax.tree.map(lambda x: x.mean(axis=0), metrics)
        return jax.tree.map(lambda x: x[None], (state, metrics)) if self._num_seeds == 1 else (state, metrics)

    def _make_block(self, begin: np.ndarray, size: int, key_data: np.ndarray) -> tuple:
        """Batches [U, S, B, T, ...] of the streamed datasets for the updates from `begin` [S] on, on the device."""
        keys, begin, tables = jax.device_put((key_data, begin, self._tables), _host_device())
        starts = self._draw(keys, tables, begin, size)

        def windows_of(part):
            offsets = np.arange(part.length, dtype=np.int32)
            return lambda starts: part.gather(starts[..., None] + offsets)

        return tuple(
            self._placement.make_batches(np.asarray(first), windows_of(part))
            if isinstance(part, StreamedDataset)
            else None
            for part, first in zip(self._parts, starts, strict=True)
        )

    def _draw_rows(self, key_data: Array, tables: list, begin: Array, size: int) -> list[Array]:
        """First rows of the windows of every dataset, [U, S, B]."""

        def of_update(key_data, step):
            key = sample_key(jax.random.wrap_key_data(key_data), step)
            keys = keys_of_parts(key, self._parts if self._is_tuple else self._parts[0])
            return [
                draw_starts(*table, each, **self._options) for table, each in zip(tables, keys, strict=True)
            ]

        return jax.vmap(lambda done: jax.vmap(of_update)(key_data, begin + done))(jnp.arange(size))

    def _update_bytes(self) -> int:
        """Bytes that stream to the device for one update."""
        row = np.zeros(1, np.int32)
        streamed = [part.gather(row) for part in self._parts if isinstance(part, StreamedDataset)]
        length = max(part.length for part in self._parts)
        per_row = sum(leaf.nbytes for leaf in jax.tree.leaves(streamed))
        return per_row * length * self._options["batch_size"] * (self._num_seeds or 1)


class _Ahead:
    """Makes blocks in a thread before they are asked for."""

    def __init__(self, make: Callable):
        self._make = make
        self._pending: dict[tuple, Future] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stream")

    def get(self, begin: np.ndarray, size: int, key_data: np.ndarray):
        """The block of `size` updates from `begin` [S] on; starts those that follow it."""
        ahead = [begin + number * size for number in range(BLOCKS_AHEAD + 1)]
        wanted = {(*map(int, steps), size): steps for steps in ahead}
        for place in [place for place in self._pending if place not in wanted]:
            self._pending.pop(place).cancel()
        for place, steps in wanted.items():
            if place not in self._pending:
                self._pending[place] = self._thread.submit(self._make, steps, size, key_data)
        return self._pending.pop(next(iter(wanted))).result()


def _block_size(num_updates: int, update_bytes: int) -> int:
    """The largest divisor of `num_updates` whose updates stay within `BLOCK_BYTES`, at least 1."""
    most = max(1, BLOCK_BYTES // max(update_bytes, 1))
    return max(size for size in range(1, num_updates + 1) if num_updates % size == 0 and size <= most)


def _host_device() -> jax.Device:
    """A CPU, so that drawing ahead does not wait behind the training; the default device where there is none."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]
