"""How long the parts of a loop take, in wall and in processor time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Stopwatch:
    """Adds up the seconds of named parts until they are read.

    with watch("collection"):
        ...
    watch.read()  # {"time/collection": wall seconds, "time/collection_processor": seconds of all threads}
    """

    def __init__(self):
        self._parts: dict[str, tuple[float, float]] = {}

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Times the block as (more of) `part`."""
        wall, processor = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            before = self._parts.get(part, (0.0, 0.0))
            spent = (time.perf_counter() - wall, time.process_time() - processor)
            self._parts[part] = (before[0] + spent[0], before[1] + spent[1])

    def wall(self, part: str) -> float:
        """Wall seconds of a part since the last reading."""
        return self._parts[part][0]

    def read(self) -> dict[str, float]:
        """Metrics of all parts since the last reading, and begins anew."""
        parts, self._parts = self._parts, {}
        walls = {f"time/{part}": wall for part, (wall, _) in parts.items()}
        return walls | {f"time/{part}_processor": processor for part, (_, processor) in parts.items()}
