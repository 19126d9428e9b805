"""Pickles that hold nothing but NumPy arrays, opened without running what is in them.

A pickle is a program: it names functions and has them called. Here each name that an array needs stands for a class of
our own that only remembers what it was told; arrays are made of that afterwards. Every other name is refused.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np


class UnsafePickle(ValueError):
    """A pickle that asks for more than arrays, or is damaged; the message says what."""


def load_arrays(path: str | os.PathLike) -> object:
    """Reads a pickle of NumPy arrays, numbers, text, lists, tuples and dicts of these.

    Raises:
      UnsafePickle: it names any other function or class (none is imported or called), or is no whole pickle.
    """
    path = Path(path)
    if not path.is_file():
        raise UnsafePickle(f"There is no file {path}; check the path.")
    with open(path, "rb") as file:
        try:
            return _plain(_ArraysOnly(file).load())
        except UnsafePickle as error:
            raise UnsafePickle(f"{path} {error}") from None
        except Exception as error:  # a damaged pickle may fail in any way
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UnsafePickle(
                f"{path} is not a readable pickle, it is truncated or of another kind ({reason}); download it again."
            ) from error


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable | type:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise UnsafePickle(
                f"asks for {module}.{name}, which is not an array; nothing of it was run. Do not trust this file."
            ) from None


class _DType:
    """Description of a dtype in a pickle; inert until `array` reads it."""

    def __init__(self, name: str, align: bool = False, copy: bool = True):
        self.name, self.byteorder = name, "="

    def __setstate__(self, state: tuple) -> None:
        self.byteorder = state[1]

    def dtype(self) -> np.dtype:
        """Returns the dtype, if it is one of numbers."""
        dtype = np.dtype(self.name)
        if dtype.kind not in "biuf":
            raise UnsafePickle(
                f"holds values of dtype {self.name!r}, which are no numbers; nothing of it was run."
            )
        return dtype.newbyteorder(">" if self.byteorder == ">" else "<" if self.byteorder == "<" else "=")


class _Array:
    """Description of an array in a pickle; inert until `array` reads it."""

    def __init__(self, *unused: object):
        self.state: tuple = ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def array(self) -> np.ndarray | list:
        """Returns the array; a list for an array of objects."""
        _, shape, dtype, is_fortran, data = self.state
        if dtype.name.startswith("O"):
            return [_plain(each) for each in data]
        return np.frombuffer(data, dtype.dtype()).reshape(shape, order="F" if is_fortran else "C")


class _Buffer(_Array):
    """The same, as protocol 5 writes it."""

    def __init__(self, data: bytes, dtype: _DType, shape: tuple, order: str):
        self.state = (1, shape, dtype, order == "F", data)


class _Scalar(_Array):
    """A NumPy number."""

    def __init__(self, dtype: _DType, data: bytes):
        self.state = (1, (), dtype, False, data)


class _Name:
    """Stands for the class `numpy.ndarray`, which pickles name but need not have."""


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes, as protocol 2 writes them."""
    if encoding != "latin1":
        raise UnsafePickle(f"holds text in the encoding {encoding!r}; nothing of it was run.")
    return text.encode("latin1")


def _plain(value: object) -> object:
    """Arrays for what a pickle says about them, in containers too."""
    if isinstance(value, _Array):
        return value.array()
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value


_ALLOWED: dict[tuple[str, str], Callable | type] = {
    ("numpy", "ndarray"): _Name,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _latin1,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _Buffer),
        )
    },
}
