"""Checkpoints: the whole state of a run on disk, atomically, as named arrays.

A state is any pytree: NNX modules, optax states, NamedTuples, dataclasses, dicts, `jax.random.key` arrays and
Python numbers. It is saved flat, `{"model/rssm/cell/kernel": array, ...}`, so that a checkpoint can be read
without the classes that made it, and restored into a state of the same structure (`state_like`), which a
program builds anyway. This is the only module that knows Orbax.

On disk, below the directory of the checkpoints:

    0000001000/state/          the arrays, written by Orbax
    0000001000/manifest.json   step, extra, and of every leaf: kind, dtype, shape, checksum

A checkpoint is written under a hidden name and then renamed, so that one that exists is complete.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import warnings
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodels.describe import shortened
from worldmodels.files import closing_path, remove, sync, written

PyTree = Any

_FORMAT = 1
_MANIFEST = "manifest.json"
_KINDS = ("array", "key", "bool", "int", "float")


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read, or does not fit the state."""


class Checkpoints:
    """The newest `keep` checkpoints of a run in one directory.

    Args:
      directory: where they are stored; created by the first `save`.
      keep: how many to keep, at least 1. With 2, a damaged newest one still leaves one to continue from.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2):
        if keep < 1:
            raise ValueError(f"Checkpoints must keep at least 1 checkpoint, not {keep}.")
        self.directory = pathlib.Path(directory).absolute()
        self.keep = keep

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, oldest first."""
        if not self.directory.is_dir():
            return []
        names = (path.name for path in self.directory.iterdir() if (path / _MANIFEST).is_file())
        return sorted(int(name) for name in names if name.isdigit())

    def latest_step(self) -> int | None:
        """Returns the step of the newest checkpoint, or None without any."""
        return max(self.steps(), default=None)

    def save(self, step: int, state: PyTree, extra: dict | None = None) -> pathlib.Path:
        """Writes a checkpoint and returns its directory; when it returns, the checkpoint is on disk.

        Checkpoints of this and of later steps, left by a run that has gone back to an earlier one, are
        removed, and so are all but the newest `keep`.

        Args:
          step: number of updates that made `state`, at least 0.
          state: any pytree of arrays, keys and Python numbers.
          extra: JSON values to store with it.

        Raises:
          CheckpointError: a leaf cannot be saved, or the disk cannot be written.
        """
        leaves = named_leaves(state)
        arrays, described = _to_host(leaves)
        manifest = {"format": _FORMAT, "step": int(step), "extra": extra or {}, "leaves": described}
        try:
            text = json.dumps(manifest, indent=1)
        except TypeError as error:
            raise CheckpointError(f"Checkpoint extra must be JSON: {error}.") from error
        target = self._path(step)
        try:
            with written(target) as temporary:
                temporary.mkdir()
                _write_arrays(temporary / "state", arrays)
                (temporary / _MANIFEST).write_text(text)
                sync(temporary)
                for stale in self.steps():
                    if stale >= step:
                        shutil.rmtree(self._path(stale))
        except Exception as error:
            raise CheckpointError(
                f"Cannot write checkpoint {target}: {_first_line(error)}. Check free space and permissions."
            ) from error
        self._prune()
        return target

    def restore(self, state_like: PyTree, step: int | None = None) -> tuple[int, PyTree, dict] | None:
        """Reads the newest checkpoint that is whole.

        A damaged one is passed over with a warning. Arrays go where those of `state_like` are, whatever
        device they were saved from.

        Args:
          state_like: a state of the structure that was saved; only structure, shapes, dtypes and devices
            matter, so that the result of `jax.eval_shape` will do.
          step: read this checkpoint and no other.

        Returns:
          (step, state, extra), or None if there is no checkpoint.

        Raises:
          CheckpointError: the state does not fit (the leaves are named), `step` does not exist, or all are
            damaged.
        """
        steps = self.steps()
        if step is not None:
            if step not in steps:
                raise CheckpointError(
                    f"{self.directory} has no checkpoint of step {step}. It has: {steps or 'none'}."
                )
            steps = [step]
        for candidate in reversed(steps):
            path = self._path(candidate)
            try:
                manifest, arrays = _read(path)
            except _Damaged as error:
                warnings.warn(
                    f"Checkpoint {path} is damaged ({error}); trying the one before it.", stacklevel=2
                )
                continue
            state = _fill(state_like, manifest["leaves"], arrays, path)
            return manifest["step"], state, manifest["extra"]
        if steps:
            raise CheckpointError(
                f"All checkpoints in {self.directory} are damaged (steps {steps}). "
                "Delete the directory to start over, or put back a copy."
            )
        return None

    def read(self, step: int | None = None) -> tuple[int, dict[str, np.ndarray], dict]:
        """Reads one checkpoint as plain arrays, without a state to fill: (step, {name: array}, extra)."""
        step = self.latest_step() if step is None else step
        if step not in self.steps():
            raise CheckpointError(
                f"{self.directory} has no checkpoint{'' if step is None else f' of step {step}'}."
            )
        try:
            manifest, arrays = _read(self._path(step))
        except _Damaged as error:
            raise CheckpointError(f"Checkpoint {self._path(step)} is damaged: {error}.") from error
        return manifest["step"], arrays, manifest["extra"]

    def _path(self, step: int) -> pathlib.Path:
        return self.directory / f"{step:010d}"

    def _prune(self) -> None:
        for step in self.steps()[: -self.keep]:
            shutil.rmtree(self._path(step), ignore_errors=True)
        for leftover in self.directory.glob(".*"):
            remove(leftover)


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """Returns the leaves of a pytree by their path, as in `model/rssm/cell/kernel`.

    The last part that NNX adds to each of its variables, `value`, is left out.
    """
    named = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value") or "state"
        if name in named:
            raise CheckpointError(
                f"Two leaves of the state have the same path {name!r}. Rename one of the keys."
            )
        named[name] = leaf
    return named


class _Damaged(Exception):
    """Content of a checkpoint that differs from what was written."""


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """Description of a leaf on disk: its kind of object, and the array that stands for it."""

    kind: str  # "array", "key", "bool", "int" or "float"
    dtype: str
    shape: tuple[int, ...]
    key_impl: str | None = None

    def __str__(self) -> str:
        return f"{self.kind if self.kind != 'array' else self.dtype}{list(self.shape)}"


def _describe(name: str, leaf: Any) -> _Leaf:
    """Returns kind, dtype and shape of a leaf; of a key those of its raw words."""
    if isinstance(leaf, bool | int | float):
        value = np.asarray(leaf)
        if value.dtype != object:
            return _Leaf(type(leaf).__name__, str(value.dtype), ())
    elif hasattr(leaf, "dtype") and hasattr(leaf, "shape"):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raw = jax.eval_shape(jax.random.key_data, leaf)
            impl = None if isinstance(leaf, jax.ShapeDtypeStruct) else str(jax.random.key_impl(leaf))
            return _Leaf("key", str(raw.dtype), tuple(raw.shape), impl)
        if np.dtype(leaf.dtype) != object:
            return _Leaf("array", str(np.dtype(leaf.dtype)), tuple(leaf.shape))
    raise CheckpointError(
        f"State leaf {name!r} is a {type(leaf).__name__}, which a checkpoint cannot store; "
        "it stores arrays, jax.random.key arrays and Python numbers. Put it into `extra`."
    )


def _to_host(leaves: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """Copies all leaves to the host at once; returns arrays and their descriptions with checksums."""
    kinds = {name: _describe(name, leaf) for name, leaf in leaves.items()}
    raw = {
        name: jax.random.key_data(leaf) if kinds[name].kind == "key" else leaf
        for name, leaf in leaves.items()
    }
    arrays = {
        name: np.ascontiguousarray(value).reshape(kinds[name].shape)
        for name, value in jax.device_get(raw).items()
    }
    described = {
        name: {**dataclasses.asdict(kinds[name]), "crc32": _checksum(arrays[name])} for name in arrays
    }
    return arrays, described


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _checkpointer():
    """Makes a checkpointer of Orbax for this process alone: one of several writes, and each reads at any time."""
    import orbax.checkpoint as ocp  # 0.3 s: paid by the first checkpoint, not by an import

    if jax.process_count() == 1:
        return ocp.PyTreeCheckpointer()
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _write_arrays(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    stored = {name: array for name, array in arrays.items() if array.size}  # Orbax refuses empty arrays
    # After an error threads of TensorStore go on, and make a folder anew that has been removed.
    with closing_path(path.parent) as folder, _checkpointer() as checkpointer:
        checkpointer.save(folder / path.name, stored or {"_": np.zeros(1)})


def _read(path: pathlib.Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Reads manifest and arrays and checks each array against its checksum."""
    import orbax.checkpoint as ocp

    manifest = _read_manifest(path)
    leaves = manifest["leaves"]
    stored = {
        name: ocp.RestoreArgs(restore_type=np.ndarray)
        for name, leaf in leaves.items()
        if 0 not in leaf["shape"]
    }
    try:
        with _checkpointer() as checkpointer:
            arrays = checkpointer.restore(path / "state", restore_args=stored or None)
    except Exception as error:  # whatever a damaged file makes Orbax or TensorStore raise
        raise _Damaged(_first_line(error)) from error
    for name, leaf in leaves.items():
        if name not in stored:
            arrays[name] = np.zeros(leaf["shape"], np.dtype(leaf["dtype"]))
        if _checksum(arrays[name]) != leaf["crc32"]:
            raise _Damaged(f"checksum of {name!r} differs")
    return manifest, {name: np.asarray(arrays[name]) for name in leaves}


def _read_manifest(path: pathlib.Path) -> dict:
    """Reads the manifest of a checkpoint, with all that it must hold."""
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
        if manifest["format"] > _FORMAT:
            raise CheckpointError(
                f"{path} was written by a newer version of this program. Update it to read this run."
            )
        leaves = {name: dict(leaf, shape=tuple(leaf["shape"])) for name, leaf in manifest["leaves"].items()}
        for leaf in leaves.values():
            kind = _leaf(leaf).kind
            if (
                kind not in _KINDS
                or not isinstance(leaf["crc32"], int)
                or not set(map(type, leaf["shape"])) <= {int}
            ):
                raise ValueError(f"a leaf is described as {leaf}")
            np.dtype(leaf["dtype"])
        if type(manifest["step"]) is not int or not isinstance(manifest["extra"], dict):
            raise ValueError("no step or extra")
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Damaged(f"manifest: {_first_line(error)}") from error
    return manifest | {"leaves": leaves}


def _leaf(described: dict) -> _Leaf:
    """Returns the description of a leaf in a manifest, without its checksum."""
    return _Leaf(**{name: value for name, value in described.items() if name != "crc32"})


def _fill(
    state_like: PyTree, saved: dict[str, dict], arrays: dict[str, np.ndarray], path: pathlib.Path
) -> PyTree:
    """Puts the arrays into the structure of `state_like`, after checking that they fit."""
    targets = named_leaves(state_like)
    expected = {name: _describe(name, leaf) for name, leaf in targets.items()}
    found = {name: _leaf(described) for name, described in saved.items()}
    _check_fit(expected, found, path)
    values = [_place(arrays[name], found[name], leaf) for name, leaf in targets.items()]
    return jax.tree.unflatten(jax.tree.structure(state_like), values)


def _check_fit(expected: dict[str, _Leaf], found: dict[str, _Leaf], path: pathlib.Path) -> None:
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    mismatched = [
        f"{name} (checkpoint {found[name]}, state {expected[name]})"
        for name in expected
        if name in found and not _same(found[name], expected[name])
    ]
    problems = [
        f"{title}: {shortened(names)}"
        for title, names in (
            ("missing in the checkpoint", missing),
            ("unexpected in the checkpoint", unexpected),
            ("of another shape or type", mismatched),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"Checkpoint {path} does not fit the state; {'; '.join(problems)}. "
            "Build the state with the config of the run (config.json in its directory)."
        )


def _same(found: _Leaf, expected: _Leaf) -> bool:
    """Compares two descriptions, but for what `eval_shape` loses: Python numbers as such, and the algorithm of keys."""
    if expected.kind == "key" and expected.key_impl is None:
        found = dataclasses.replace(found, key_impl=None)
    if found.kind in ("bool", "int", "float") and expected.kind == "array":
        return expected.shape == ()
    if found.kind == "array" and expected.kind in ("bool", "int", "float"):
        return found.shape == ()
    return found == expected or (found.kind == expected.kind and found.kind in ("bool", "int", "float"))


def _place(value: np.ndarray, saved: _Leaf, target: Any) -> Any:
    """Turns an array from disk into the kind of object, and onto the devices, of `target`."""
    if saved.kind == "key":
        return _like(target, jax.random.wrap_key_data(jnp.array(value), impl=saved.key_impl))
    if isinstance(target, bool | int | float):
        return type(target)(value.item())
    if isinstance(target, np.generic):
        return value[()]
    if isinstance(target, np.ndarray):
        return np.array(value)
    return _like(target, jnp.array(value, dtype=target.dtype))  # a copy: the update may donate it


def _like(target: Any, value: jax.Array) -> jax.Array:
    """Moves a value to the devices of `target`, if it was put anywhere in particular."""
    chosen = isinstance(target, jax.ShapeDtypeStruct) or getattr(target, "committed", False)
    sharding = target.sharding if chosen else None
    return value if sharding is None else jax.device_put(value, sharding)


def _first_line(error: BaseException) -> str:
    if "No space left on device" in str(error):  # at the end of many words of Orbax
        return "No space left on device"
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")
