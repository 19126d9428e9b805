"""How far long work is: the clocks of a run, a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from worldmodels.data.episodes import Episode


@dataclasses.dataclass(frozen=True)
class Clocks:
    """Four counts that every row of metrics and evaluations has, with one meaning in every main.

    Attributes:
      update: gradient updates made, pretraining included.
      episode: episodes played, prefill included. Those of evaluations do not count, here and below.
      agent_step: actions taken in them, in all environments together.
      env_step: steps of the simulator: agent_step x action repeat.
    """

    update: int = 0
    episode: int = 0
    agent_step: int = 0
    env_step: int = 0

    @property
    def order(self) -> int:
        """A number that grows with every row, also with a round that earns no update; it names checkpoints."""
        return self.update + self.episode

    def at(self, update: int) -> Clocks:
        """Returns the clocks after so many updates."""
        return dataclasses.replace(self, update=update)

    def after(self, episodes: Sequence[Episode]) -> Clocks:
        """Returns the clocks after these episodes."""
        return dataclasses.replace(
            self,
            episode=self.episode + len(episodes),
            agent_step=self.agent_step + sum(episode.length for episode in episodes),
            env_step=self.env_step
            + sum(episode.length * episode.metadata.get("action_repeat", 1) for episode in episodes),
        )


@dataclasses.dataclass(frozen=True)
class Every:
    """Says when it is time: at the multiples of a period, whatever the steps between them. 0 or None: never."""

    period: int | None

    def __call__(self, before: int, now: int) -> bool:
        """Returns whether a count has reached a multiple since it was `before`."""
        return bool(self.period and now // self.period > before // self.period)


class Progress:
    """Shows how far a known amount of work is; use it as a context manager.

    On a terminal a `rich` bar; elsewhere (log files, Slurm, CI) one line every `every_seconds`, and one at
    the end.

    Args:
      total: amount of work, e.g. the number of updates; 0 if it is not known.
      description: what is being done, in a word or two.
      initial: how much was done before, by the run that is continued.
      every_seconds: time between plain lines.
      file: where to write; stderr by default.
    """

    def __init__(
        self,
        total: int,
        description: str,
        *,
        initial: int = 0,
        every_seconds: float = 15.0,
        file: TextIO | None = None,
    ):
        self.total = total
        self.description = description
        self.completed = initial
        self._initial = initial
        self._every_seconds = every_seconds
        self._file = file or sys.stderr
        self._bar: Any = None
        self._task = None
        self._start = self._last_line = time.monotonic()
        self._metrics: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        self._start = self._last_line = time.monotonic()
        if self._file.isatty() and self.total:  # a bar needs an end
            self._start_bar()
        else:
            done = f"{self.completed} of {self.total} done, " if self.total else ""
            self._print(f"{self.description}: {done}starting")
        return self

    def __exit__(self, exception_type, *exception) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif exception_type is None:
            self._print(self._line())

    def update(self, n: int = 1, **metrics: Any) -> None:
        """Reports that `n` more are done, and numbers worth seeing (as Python numbers)."""
        self.completed += n
        self._metrics.update(metrics)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.completed, metrics=self._metrics_text())
        elif time.monotonic() - self._last_line >= self._every_seconds:
            self._print(self._line())

    def _start_bar(self) -> None:
        from rich import console, progress

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.completed}/{task.total}"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("elapsed,"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("left {task.fields[metrics]}"),
            console=console.Console(file=self._file),
            speed_estimate_period=60.0,
        )
        self._bar.start()
        self._task = self._bar.add_task(
            self.description, total=self.total, completed=self.completed, metrics=""
        )

    def _line(self) -> str:
        now = time.monotonic()
        elapsed, done = now - self._start, self.completed - self._initial
        share = f" ({100 * self.completed / self.total:.0f}%)" if self.total else ""
        count = f"{self.completed}/{self.total}" if self.total else str(self.completed)
        parts = [f"{self.description}: {count}{share}", f"{clock(elapsed)} elapsed"]
        if done > 0 and self.completed < self.total:
            parts[1] += f", {clock(elapsed / done * (self.total - self.completed))} left"
        return ", ".join(filter(None, [*parts, self._metrics_text()]))

    def _metrics_text(self) -> str:
        return " ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self._metrics.items()
        )

    def _print(self, text: str) -> None:
        self._last_line = time.monotonic()
        print(text, file=self._file, flush=True)


def clock(seconds: float) -> str:
    """Returns a duration as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


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
