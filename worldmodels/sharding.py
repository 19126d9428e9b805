"""Several devices: where states, data and batches lie, and how one training loop runs on all of them.

One program, one `Mesh` with the axis "data". With one seed, or seeds that do not divide among the devices, every
device holds the parameters and computes its part of each batch; the compiler inserts the sums of gradients. Seeds
that divide are dealt out instead, and no device waits for another. Either way the random numbers are those of one
device, and so are the results, up to the order of floating-point sums. A GPU and a TPU need no other code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "data"
CHOICES = ("auto", "one", "all")


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a training run lies.

    Attributes:
      mesh: the devices; None leaves everything on the default device.
      deal_seeds: seeds are dealt out to the devices; False: batches are.
    """

    mesh: Mesh | None = None
    deal_seeds: bool = False

    @property
    def num_devices(self) -> int:
        """How many devices take part."""
        return 1 if self.mesh is None else self.mesh.size

    @property
    def described(self) -> str:
        """ " on 4 devices", for a title; nothing for one."""
        return "" if self.mesh is None else f" on {self.mesh.size} devices"

    def put(self, state, args: tuple) -> tuple:
        """(state, args) on the devices of the run: args are data, shared, and then frozen models, as the state."""
        if self.mesh is None:
            return state, args
        by_seed = self._sharding(AXIS) if self.deal_seeds else self._sharding()
        data, *frozen = args
        # Data that stream from the host are no arrays and stay there; their batches come to the devices.
        data = jax.tree.map(
            lambda x: jax.device_put(x, self._sharding()) if isinstance(x, jax.Array) else x, data
        )
        return jax.device_put(state, by_seed), (data, *jax.device_put(tuple(frozen), by_seed))

    def fetch(self, tree):
        """A tree of the run on the default device, to evaluate or to keep."""
        return tree if self.mesh is None else jax.device_put(tree, jax.devices()[0])

    def share_batch(self, batch):
        """Inside a jitted loop: leaves [B, ...] of a batch lie in equal parts on the devices."""
        if self.mesh is None or self.deal_seeds:
            return batch
        return jax.lax.with_sharding_constraint(batch, self._sharding(AXIS))

    def compile(self, loop: Callable) -> Callable:
        """Jits `loop(state, data, *frozen) -> (state, metrics)`, which donates its state."""
        if self.mesh is None:
            return jax.jit(loop, donate_argnums=0)
        if not self.deal_seeds:
            return jax.jit(loop, donate_argnums=0, out_shardings=self._sharding())
        seeds, shared = PartitionSpec(AXIS), PartitionSpec()
        options = dict(in_specs=(seeds, shared, seeds), out_specs=seeds, check_vma=False)
        part = jax.shard_map(
            lambda state, data, frozen: loop(state, data, *frozen), mesh=self.mesh, **options
        )
        return jax.jit(lambda state, data, *frozen: part(state, data, frozen), donate_argnums=0)

    def _sharding(self, *spec) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(*spec))


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
      available: devices to choose from, those of this host by default.

    Raises:
      ValueError: an unknown choice, or "all" where neither seeds nor batches divide.
    """
    if devices not in CHOICES:
        raise ValueError(f"Unknown devices {devices!r}. Known: {', '.join(CHOICES)}.")
    available = list(jax.local_devices() if available is None else available)
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
