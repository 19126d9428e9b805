"""Paths in configs: several folders in one value."""

from __future__ import annotations

import csv
from collections.abc import Sequence


def folders(value: str | Sequence[str]) -> list[str]:
    """The folders that a value of a config names: one, or several separated by commas.

    A name that contains a comma stands in single quotes: `--config.embodiment="'a,b',c"` are two folders. A sequence
    is taken as it is; "" names none.
    """
    if not isinstance(value, str):
        return list(value)
    fields = next(csv.reader([value], quotechar="'", skipinitialspace=True), [])
    return [name for field in fields if (name := field.strip())]
