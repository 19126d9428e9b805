"""Runs on this machine: some at a time, each on its share of a GPU."""

import contextlib
import dataclasses
import pathlib
import signal
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence

from launch.attempts import (
    Attempt,
    Kind,
    State,
    counts,
    log_path,
    state_of,
    states_of,
    was_interrupted,
    with_other_settings,
)
from launch.runs import Run

_RENDER_RESERVE = 0.05  # share of a GPU's memory that is left to renderers and the driver
_POLL_SECONDS = 0.1


def slots(jobs: int = 1, gpus: Sequence[str] = (), per_gpu: int = 1) -> list[dict[str, str]]:
    """Returns environment variables of the runs that may run at the same time.

    Args:
      jobs: how many, without GPUs.
      gpus: ids of GPUs, e.g. ["0", "1"]; then there are `per_gpu` on each.
      per_gpu: runs per GPU; each may take its share of the memory, less a reserve for renderers.
    """
    if jobs < 1 or per_gpu < 1:
        raise ValueError(f"At least one run at a time: --jobs is {jobs}, --per_gpu {per_gpu}.")
    twice = [gpu for gpu in gpus if list(gpus).count(gpu) > 1]
    if twice:  # they would not know of each other's share
        raise ValueError(f"GPU {twice[0]} is listed twice; --per_gpu says how many runs share one.")
    if not gpus:
        return [{} for _ in range(jobs)]
    share = {"XLA_CLIENT_MEM_FRACTION": f"{(0.9 - _RENDER_RESERVE) / per_gpu:.3f}"}
    return [{"CUDA_VISIBLE_DEVICES": gpu} | share for _ in range(per_gpu) for gpu in gpus]


@dataclasses.dataclass
class LocalSweep:
    """Carries runs out, each after those that it needs.

    A run that is killed is started again, and so is one that is silent for too long; one that fails is left, and
    with it what needs it. Runs of an earlier launcher that still continue are waited for. SIGTERM and Ctrl-C are passed
    on to the runs, which save and stop.

    Attributes:
      runs: in order; root: of the sweep.
      slots: of `slots`.
      max_restarts: of a run that is interrupted.
      stall_seconds: a run whose log and directory have not changed for so long is killed.
      again: runs that are done with other settings and that the main shall continue or refuse; the others are left.
    """

    runs: Sequence[Run]
    root: pathlib.Path
    slots: Sequence[Mapping[str, str]]
    max_restarts: int = 5
    stall_seconds: float = 3600.0
    again: Collection[str] = ()

    def __post_init__(self):
        self._again = set(self.again)
        self._active: dict[int, Attempt] = {}  # slot -> attempt
        self._signal: int | None = None
        self._states: dict[str, State] = {}

    def run(self) -> dict[str, State]:
        """Returns the state of each run at the end: done, failed, or waiting for one that is not done as planned.

        Raises:
          KeyboardInterrupt: a signal has ended it; all runs have saved and stopped.
        """
        self._states = states_of(self.root, self.runs, None, self.max_restarts)
        with self._signals():
            while True:
                self._reap()
                if self._signal is None:
                    self._start()
                elif not self._active:
                    raise KeyboardInterrupt(signal.Signals(self._signal).name)
                if not self._active and not self._is_waiting_for_others():
                    return self._states
                time.sleep(_POLL_SECONDS)

    def _reap(self) -> None:
        """Writes down which runs have ended, and kills those that hang."""
        for slot, attempt in list(self._active.items()):
            reason = ""
            if attempt.process.poll() is None:
                if time.time() - self._last_sign_of_life(attempt) < self.stall_seconds:
                    continue
                attempt.stop(signal.SIGKILL)
                reason = f"after {self.stall_seconds:.0f} seconds without a sign of life"
            code = attempt.finish(reason)
            del self._active[slot]
            name = attempt.run.name
            self._states[name] = self._state_of(attempt.run)
            if was_interrupted(code) and self._signal is None and self._states[name].kind == Kind.INTERRUPTED:
                self._say(f"interrupted, starts again: {name} {reason}")
            else:
                self._say(f"{self._states[name].kind}: {name} {self._states[name].detail}")

    def _start(self) -> None:
        """Fills free slots with runs whose needs are done."""
        active = {attempt.run.name for attempt in self._active.values()}
        free = [slot for slot in range(len(self.slots)) if slot not in self._active]
        for run in self.runs:
            if not free:
                return
            if run.name in active or self._states[run.name].kind in (Kind.DONE, Kind.FAILED):
                continue
            state = self._states[run.name] = self._state_of(run)
            asked = state.kind == Kind.OTHER and run.name in self._again
            if asked or state.kind in (Kind.READY, Kind.INTERRUPTED):
                self._again.discard(run.name)
                slot = free.pop(0)
                self._active[slot] = Attempt(run, self.root, self.slots[slot])
                self._states[run.name] = State(Kind.RUNNING)

    def _state_of(self, run: Run) -> State:
        return state_of(self.root, run, None, self.max_restarts, with_other_settings(self._states))

    def _is_waiting_for_others(self) -> bool:
        """Returns whether runs that another launcher has started still continue."""
        return any(state.kind == Kind.RUNNING for state in self._states.values())

    def _last_sign_of_life(self, attempt: Attempt) -> float:
        """Returns when it began, or the log or something in the directory of the run last changed."""
        folder = attempt.run.directory(self.root)
        paths = [log_path(self.root, attempt.run.name), folder, *folder.glob("*"), *folder.glob("episodes/*")]
        times = [attempt.began]
        for path in paths:
            with contextlib.suppress(OSError):
                times.append(path.stat().st_mtime)
        return max(times)

    def _say(self, text: str) -> None:
        print(f"[{counts(self._states.values())}] {text}", flush=True)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(number: int, frame: object) -> None:
            self._signal = number
            for attempt in self._active.values():
                attempt.stop(signal.SIGTERM)
            print("Stopping; the runs save what they have.", file=sys.stderr, flush=True)

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
