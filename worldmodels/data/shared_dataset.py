"""A dataset that is dealt out to devices: each holds an equal part of the records, and each host reads only its own.

Batches are those of a `SequenceDataset` of the same episodes: every device looks up the rows that it has, and a sum
over the devices brings each its part of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from worldmodels.data import dataset as datasets
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import Episode
from worldmodels.devices.sharding import AXIS
from worldmodels.structures import Array, SequenceBatch


class SharedDataset(SequenceDataset):
    """Windows of episodes on all devices together, for the functions of `worldmodels.data.dataset` like any other.

    Its R records are filled up with zeros to a multiple of the number of devices.

    Attributes:
      mesh: the devices; device i holds the rows from i R / n on.
    """

    mesh: Mesh = struct.field(pytree_node=False, kw_only=True)

    @classmethod
    def create(  # type: ignore[override]  # takes the devices, too
        cls,
        episodes: Sequence[Episode],
        *,
        mesh: Mesh,
        length: int,
        sensors: Sequence[str],
        with_actions: bool = True,
        with_reward: bool | None = None,
    ) -> SharedDataset:
        """Arguments as of `SequenceDataset.create`; all processes of the mesh call it with the same."""
        names = datasets.names_of(episodes, length, sensors, with_actions, with_reward)
        num_rows = sum(datasets.padded_lengths(episodes, length))
        num_rows = -(-num_rows // mesh.size) * mesh.size
        sharding = NamedSharding(mesh, PartitionSpec(AXIS))

        def load(name):
            row = datasets.flat_records(episodes[:1], name, length, 0, 1)

            def read(index):
                begin, end, _ = index[0].indices(num_rows)
                return datasets.flat_records(episodes, name, length, begin, end)

            return jax.make_array_from_callback((num_rows, *row.shape[1:]), sharding, read)

        tables = datasets.window_tables(episodes, length)
        return cls(**datasets.fields_of(names, load), **tables._asdict(), length=length, mesh=mesh)

    def gather(self, rows: Array) -> SequenceBatch:
        """Gathers the batch of rows [B, T] int32 in 0..R-1, in equal parts on the devices (not inside `shard_map`)."""

        def gather_part(part, rows):
            own = part.is_first.shape[0]
            local = rows - jax.lax.axis_index(AXIS) * own
            is_here = (local >= 0) & (local < own)
            batch = datasets.gather_rows(part, jnp.where(is_here, local, 0))

            def share(values):
                known = is_here.reshape(*rows.shape, *(1,) * (values.ndim - rows.ndim))
                return jax.lax.psum_scatter(jnp.where(known, values, 0), AXIS, tiled=True)

            return jax.tree.map(share, batch)

        records = self.replace(**dict.fromkeys(datasets.WindowTables._fields))
        parts, whole = PartitionSpec(AXIS), PartitionSpec()
        return jax.shard_map(
            gather_part, mesh=self.mesh, in_specs=(parts, whole), out_specs=parts, check_vma=False
        )(records, rows)
