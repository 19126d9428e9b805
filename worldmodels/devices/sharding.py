"""Several devices: where states, data and batches lie, and how one training loop runs on all of them.

One program, one `Mesh` with the axis "data". With one seed, or seeds that do not divide among the devices, every
device holds the parameters and computes its part of each batch; the compiler inserts the sums of gradients. Seeds
that divide are dealt out instead, and no device waits for another. Either way the random numbers are those of one
device, and so are the results, up to the order of floating-point sums. A GPU and a TPU need no other code.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from worldmodels.devices import coordination

AXIS = "data"
CHOICES = ("auto", "one", "all")


@dataclasses.dataclass(frozen=True)
class Placement:
    """Devices of a training run.

    Attributes:
      mesh: the devices; None leaves everything on the default device.
      deal_seeds: seeds are dealt out to the devices; False: batches are.
    """

    mesh: Mesh | None = None
    deal_seeds: bool = False

    @property
    def num_devices(self) -> int:
        """Number of devices that take part."""
        return 1 if self.mesh is None else self.mesh.size

    @property
    def num_processes(self) -> int:
        """Number of processes that take part."""
        return 1 if self.mesh is None else len({device.process_index for device in self.mesh.devices.flat})

    @property
    def described(self) -> str:
        """ " on 4 devices", for a title; nothing for one."""
        hosts = f" of {self.num_processes} processes" if self.num_processes > 1 else ""
        return "" if self.mesh is None else f" on {self.mesh.size} devices{hosts}"

    def put(self, state, args: tuple) -> tuple:
        """(state, args) on the devices of the run: args are data, shared, and then frozen models, as the state."""
        if self.mesh is None:
            return state, args
        data, *frozen = args
        return self.put_state(state), (self.put_data(data), *self.put_state(tuple(frozen)))

    def put_state(self, state):
        """Puts what is learnt, or frozen, on the devices of the run."""
        sharding = self.state_sharding
        return state if sharding is None else self._put(state, sharding)

    def put_data(self, data):
        """Datasets and replays, a copy on every device."""
        if self.mesh is None:
            return data
        # Data that stream from the host are no arrays and stay there; their batches come to the devices.
        return jax.tree.map(lambda x: self._put(x, self._sharding()) if isinstance(x, jax.Array) else x, data)

    def fetch(self, tree):
        """Gathers a tree of the run on one device of this process, to evaluate or to keep. All processes call it."""
        if self.mesh is None:
            return tree
        if self.num_processes == 1:
            return jax.device_put(tree, jax.local_devices()[0])
        if self.deal_seeds:
            jax.block_until_ready(tree)  # the seeds of one process may take longer than those of another
            tree = self.together(_copy_to(self._sharding()))(tree)
        return jax.tree.map(lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, tree)

    def draw(self, draw: Callable, data, key):
        """Returns a batch `draw(data, key)` of data as they were opened, on one device of this process."""
        arrays = [leaf for leaf in jax.tree.leaves(data) if isinstance(leaf, jax.Array)]
        if all(array.is_fully_addressable for array in arrays):
            return draw(data, key)
        draw_everywhere = self.together(jax.jit(draw, out_shardings=self._sharding()))
        batch = draw_everywhere(*self.put_data((data, key)))
        return jax.tree.map(lambda x: x.addressable_data(0), batch)

    @property
    def state_sharding(self) -> NamedSharding | None:
        """Sharding of states: by seeds, or a copy on every device."""
        if self.mesh is None:
            return None
        return self._sharding(AXIS) if self.deal_seeds else self._sharding()

    def make_batches(self, starts: np.ndarray, read: Callable):
        """Batches from the host, in parts on the devices: by seeds if those are dealt out, else by windows.

        Args:
          starts: [U, S, B] where the windows begin.
          read: some of the starts -> their windows, a tree of NumPy arrays [u, s, b, ...]; called for what this
            process needs.
        """
        if self.mesh is None:
            return jax.device_put(read(starts))
        sharding = self._sharding(None, AXIS) if self.deal_seeds else self._sharding(None, None, AXIS)
        places = sharding.addressable_devices_indices_map(starts.shape)
        parts = [jax.device_put(read(starts[index]), device) for device, index in places.items()]

        def join(*arrays):
            shape = (*starts.shape, *arrays[0].shape[starts.ndim :])
            return jax.make_array_from_single_device_arrays(shape, sharding, arrays)

        return jax.tree.map(join, *parts)

    def share_batch(self, batch):
        """Inside a jitted loop: leaves [B, ...] of a batch lie in equal parts on the devices."""
        if self.mesh is None or self.deal_seeds:
            return batch
        return jax.lax.with_sharding_constraint(batch, self._sharding(AXIS))

    def together(self, program: Any) -> Callable:
        """Returns the same jitted program, which no process runs before all have compiled it and come to it.

        Inside, a process waits for the others only as long as the library of the collectives is ready to. All calls
        must have arguments of the same shapes.
        """
        if self.num_processes == 1:
            return program
        is_compiled = False

        def run(*args):
            nonlocal is_compiled
            if not is_compiled:
                program.lower(*args).compile()  # the program keeps it for its calls
                is_compiled = True
            coordination.wait_for_all()
            return program(*args)

        return run

    def compile(self, loop: Callable) -> Callable:
        """Jits `loop(state, data, *frozen) -> (state, metrics)`, which donates its state."""
        if self.mesh is None:
            return jax.jit(loop, donate_argnums=0)
        if not self.deal_seeds:
            return self.together(jax.jit(loop, donate_argnums=0, out_shardings=self._sharding()))
        seeds, shared = PartitionSpec(AXIS), PartitionSpec()
        options: dict[str, Any] = dict(in_specs=(seeds, shared, seeds), out_specs=seeds, check_vma=False)
        part = jax.shard_map(
            lambda state, data, frozen: loop(state, data, *frozen), mesh=self.mesh, **options
        )
        return self.together(
            jax.jit(lambda state, data, *frozen: part(state, data, frozen), donate_argnums=0)
        )

    def _put(self, tree, sharding: NamedSharding):
        if self.num_processes == 1:
            return jax.device_put(tree, sharding)
        return jax.tree.map(lambda x: _from_every_process(x, sharding), tree)

    def _sharding(self, *spec) -> NamedSharding:
        assert self.mesh is not None, "nothing is sharded on one device"
        return NamedSharding(self.mesh, PartitionSpec(*spec))


@functools.cache
def _copy_to(sharding: NamedSharding) -> Callable:
    """Jitted, and made once, so that it is compiled once for each structure."""
    return jax.jit(lambda tree: tree, out_shardings=sharding)


def _from_every_process(x, sharding: NamedSharding):
    """Copies an array that every process has to devices of all of them; one that is there already stays."""
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return x
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        raw = _from_every_process(jax.random.key_data(x), sharding)
        wrap = functools.partial(jax.random.wrap_key_data, impl=jax.random.key_impl(x))
        return jax.jit(wrap, out_shardings=sharding)(raw)
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


ONE_DEVICE = Placement()


def place(
    devices: str,
    *,
    batch_sizes: Sequence[int],
    num_seeds: int = 1,
    available: Sequence[jax.Device] | None = None,
) -> Placement:
    """Chooses the devices of a run.

    Args:
      devices: "one"; "all" local devices; "auto": one on a CPU, else as many of the accelerators as divide the seeds
        or the batches.
      batch_sizes: of all batches that an update reads.
      num_seeds: trained in one program.
      available: devices to choose from, by default those of this process, or of all if there are several.

    Raises:
      ValueError: an unknown choice; or "all", or several processes, where neither seeds nor batches divide.
    """
    if devices not in CHOICES:
        raise ValueError(f"Unknown devices {devices!r}. Known: {', '.join(CHOICES)}.")
    together = available is None and jax.process_count() > 1
    available = list(jax.devices() if available is None else available)
    if together:
        if devices == "one":
            raise ValueError("Several processes train on all their devices; set devices to all or auto.")
        devices = "all"  # each has a part of every batch
    if devices == "one" or len(available) == 1 or (devices == "auto" and available[0].platform == "cpu"):
        return ONE_DEVICE
    counts = [len(available)] if devices == "all" else range(len(available), 1, -1)
    for count in counts:
        mesh = Mesh(np.array(available[:count]), (AXIS,))
        if num_seeds % count == 0:
            return Placement(mesh, deal_seeds=True)
        if all(size % count == 0 for size in batch_sizes):
            return Placement(mesh)
    if devices == "auto":
        return ONE_DEVICE
    sizes = " and ".join(str(size) for size in dict.fromkeys(batch_sizes))
    raise ValueError(
        f"{len(available)} devices divide neither {num_seeds} seed{'s'[: num_seeds > 1]} nor batches of {sizes}; "
        "set num_seeds or batch_size to a multiple, or devices to auto."
    )
