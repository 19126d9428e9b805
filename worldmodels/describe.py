"""Short texts for `repr` and messages: names and sizes, never values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def shortened(names: Sequence[str]) -> str:
    """Lists the first eight names, and says how many more there are."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def rows(arrays: Mapping[str, Any]) -> str:
    """Returns "position [8], image [64, 64, 3]" of arrays [T, ...]; those that are None are left out."""
    shapes = {name: list(np.shape(value)[1:]) for name, value in arrays.items() if value is not None}
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def dataset(data: Any, number: str) -> str:
    """Returns the text of a dataset with records [R, ...]; `number` says how many of what it has."""
    records = {**data.observation, "prev_action": data.prev_action}
    return f"{type(data).__name__}({number}, windows of {data.length}: {rows(records)})"


def count(tree: Any) -> int:
    """Returns the number of numbers in the leaves of a pytree."""
    import jax

    return sum(int(np.prod(np.shape(leaf))) for leaf in jax.tree.leaves(tree))


def parameters(module: Any) -> str:
    """Returns "1.3M parameters" of a module, with all copies where it is stacked."""
    number = count(module)
    for unit, size in (("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.1f}{unit} parameters"
    return f"{number} parameters"
