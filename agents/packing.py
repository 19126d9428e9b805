"""Many small arrays as one: every argument of a compiled call costs time, whatever its size.

A world model has dozens of biases and scales besides its few matrices. For one environment, acting with all of them in
one vector, and all sensors in another, takes a seventh less time; the numbers are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from worldmodels.structures import Array


class PackedTree:
    """Packs trees of one structure: float32 scalars and vectors end to end in one array, all else as it is.

    Args:
      tree: gives structure and shapes.
      stacked: leaves have a leading axis (seeds), which `unpack` is called without, inside `jax.vmap`.
    """

    def __init__(self, tree, *, stacked: bool = False):
        leaves, self._treedef = jax.tree.flatten(tree)
        self._lead = int(stacked)
        self._shapes = [leaf.shape[self._lead :] for leaf in leaves]
        self._small = [
            leaf.dtype == jnp.float32 and len(shape) <= 1
            for leaf, shape in zip(leaves, self._shapes, strict=True)
        ]

    def pack(self, tree) -> list[Array]:
        """Returns the arrays of a tree, the packed one first if there is any."""
        leaves = jax.tree.leaves(tree)
        lead = leaves[0].shape[: self._lead]
        small = [
            leaf.reshape(*lead, -1) for leaf, is_small in zip(leaves, self._small, strict=True) if is_small
        ]
        rest = [leaf for leaf, is_small in zip(leaves, self._small, strict=True) if not is_small]
        return [jnp.concatenate(small, axis=-1), *rest] if small else rest

    def unpack(self, arrays: Sequence[Array]):
        """Rebuilds the tree; inside jit, where slices cost nothing."""
        arrays = list(arrays)
        packed = arrays.pop(0) if any(self._small) else None
        leaves, start = [], 0
        for shape, is_small in zip(self._shapes, self._small, strict=True):
            if is_small:
                size = int(np.prod(shape))
                leaves.append(packed[start : start + size].reshape(shape))
                start += size
            else:
                leaves.append(arrays.pop(0))
        return jax.tree.unflatten(self._treedef, leaves)


def pack_vectors(
    records: Mapping[str, np.ndarray], names: Sequence[str]
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Records {name: [N, d] or [N]} side by side as [N, sum of d] float32, and their widths."""
    values = [np.asarray(records[name]) for name in names]
    values = [value[:, None] if value.ndim == 1 else value for value in values]
    return np.concatenate(values, axis=1, dtype=np.float32), tuple(value.shape[1] for value in values)


def unpack_vectors(packed: Array, names: Sequence[str], widths: Sequence[int]) -> dict[str, Array]:
    """[N, sum of d] to {name: [N, d]}."""
    ends = np.cumsum(widths).tolist()
    return {name: packed[:, end - d : end] for name, end, d in zip(names, ends, widths, strict=True)}
