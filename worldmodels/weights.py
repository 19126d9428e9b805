"""Weights on disk: named arrays as safetensors, or the npz of earlier releases; opening them runs no code."""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from worldmodels.checkpoints import CheckpointError, named_leaves
from worldmodels.describe import shortened

WEIGHTS, FORMER = "weights.safetensors", "weights.npz"


def write(folder: pathlib.Path, weights: Mapping[str, np.ndarray]) -> None:
    """Writes {name: array} into a folder."""
    arrays = {name: np.asarray(value, order="C") for name, value in weights.items()}
    (folder / WEIGHTS).write_bytes(safetensors.numpy.save(arrays))


def path_in(folder: pathlib.Path) -> pathlib.Path:
    """Returns the file of the weights of a folder, which may be missing."""
    return folder / FORMER if (folder / FORMER).is_file() else folder / WEIGHTS


def read(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads {name: array of numbers} of a folder.

    Raises:
      ValueError: the file is missing, damaged, or holds other things.
    """
    path = path_in(folder)
    try:
        weights = _read_npz(path) if path.name == FORMER else safetensors.numpy.load(path.read_bytes())
    except Exception as error:  # a damaged directory of a zip file may fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is damaged ({reason}); get an intact copy.") from error
    other = [f"{name} ({value.dtype})" for name, value in weights.items() if value.dtype.kind not in "fiu"]
    if other:
        raise ValueError(f"{path} is damaged, not real numbers: {', '.join(other[:5])}; get an intact copy.")
    return weights


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path):  # np.load would open a lone array too
        pass
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def with_leaves(tree, arrays: Mapping[str, np.ndarray], source: str):
    """Replaces the leaves of `tree` by arrays of the same names.

    Args:
      tree: arrays or shapes.
      arrays: {name: array}, names as `named_leaves` gives them.
      source: where the arrays come from, for the error.

    Raises:
      CheckpointError: naming what is missing, unexpected, of another shape, or not finite.
    """
    leaves = named_leaves(tree)
    shared = [name for name in arrays if name in leaves]
    found = {
        "missing": [name for name in leaves if name not in arrays],
        "unexpected": [name for name in arrays if name not in leaves],
        "of another shape": [
            f"{name} ({list(arrays[name].shape)}, expected {list(leaves[name].shape)})"
            for name in shared
            if arrays[name].shape != leaves[name].shape
        ],
        "not finite": [n for n, v in arrays.items() if v.dtype.kind == "f" and not np.isfinite(v).all()],
    }
    problems = [f"{title}: {shortened(names)}" for title, names in found.items() if names]
    if problems:
        raise CheckpointError(f"The weights in {source} do not fit the model; {'; '.join(problems)}.")
    values = [jnp.array(arrays[name], dtype=leaf.dtype) for name, leaf in leaves.items()]
    return jax.tree.unflatten(jax.tree.structure(tree), values)
