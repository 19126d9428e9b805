"""Packing changes the number of arrays and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np

from agents.packing import PackedTree, pack_vectors, unpack_vectors


def tree(seed: int) -> dict:
    keys = jax.random.split(jax.random.key(seed), 3)
    return {
        "kernel": jax.random.normal(keys[0], (3, 2)),
        "bias": jax.random.normal(keys[1], (2,)),
        "scale": jax.random.normal(keys[2], ()),
        "count": jnp.arange(4),
    }


def assert_same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_tree_comes_back_to_the_bit():
    packing = PackedTree(tree(0))
    assert_same(packing.unpack(packing.pack(tree(1))), tree(1))


def test_vectors_and_scalars_share_one_array():
    assert [array.shape for array in PackedTree(tree(0)).pack(tree(0))] == [(3,), (4,), (3, 2)]


def test_stacked_trees_are_unpacked_one_by_one_inside_vmap():
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), tree(0), tree(1))
    packing = PackedTree(stacked, stacked=True)
    assert_same(jax.vmap(packing.unpack)(packing.pack(stacked)), stacked)


def test_a_tree_of_matrices_alone_stays_as_it_is():
    matrices = {"kernel": jnp.ones((2, 2))}
    packing = PackedTree(matrices)
    assert_same(packing.unpack(packing.pack(matrices)), matrices)


def test_records_lie_side_by_side_as_float32():
    records = {"position": np.ones((3, 2)), "is_first": np.array([True, False, False])}
    packed, widths = pack_vectors(records, ("position", "is_first"))
    assert packed.dtype == np.float32 and widths == (2, 1)
    back = unpack_vectors(packed, ("position", "is_first"), widths)
    np.testing.assert_array_equal(back["position"], records["position"])
    np.testing.assert_array_equal(back["is_first"][:, 0], [1, 0, 0])
