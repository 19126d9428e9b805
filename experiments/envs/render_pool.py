"""Physics states drawn by several processes at once, each watched: one that hangs or dies is replaced.

A process that fails twice in a row is taken for a broken OpenGL driver: OSMesa then draws what is left.
"""

import contextlib
import queue
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

import numpy as np
import psutil

from experiments.envs import registry, rendering
from experiments.envs.groups import WorkerGroup, close_all, setup_of
from experiments.envs.interface import Record, checked_positive

Name = TypeVar("Name")

CHUNK = 64  # states per request: seconds, also in software
_MAX_FAILURES = 3  # in a row, of one request


class RenderPool:
    """Worker processes that draw the states of one environment; a context manager.

    Attributes:
      metadata: what the environment says about itself.
    """

    def __init__(
        self,
        name: str,
        workers: int,
        *,
        size: tuple[int, int],
        camera: int | str | None = None,
        quality: str = "published",
        options: Mapping[str, Any] | None = None,
        timeout: float = 60.0,
    ):
        """Starts the processes.

        Args:
          name: of the environment, as in the registry.
          workers: processes, at least one.
          size: (height, width) in pixels.
          camera: None means the published one.
          quality: see `rendering.Renderer`.
          options: more of `registry.make`.
          timeout: seconds after which a process that has not drawn `CHUNK` images is replaced.

        Raises:
          EnvironmentFailure: a process did not come up.
        """
        rendering.find_backend()  # once, for all processes
        self._size, self._camera = tuple(size), camera
        options = registry.drawing_options(name) | dict(options or {})
        if rendering.checked_quality(quality) != "published":
            options["render_quality"] = quality
        setup = setup_of(name, [0], 0, options)
        self._workers = [WorkerGroup(setup, timeout) for _ in range(checked_positive("workers", workers))]
        self._close = weakref.finalize(self, close_all, self._workers)
        self._free: queue.SimpleQueue[WorkerGroup] = queue.SimpleQueue()
        for worker in self._workers:
            self.metadata = worker.wait_until_ready()["metadata"]
            self._free.put(worker)

    @property
    def backend(self) -> str | None:
        """The backend that draws now."""
        return rendering.find_backend()

    @property
    def cpu_seconds(self) -> float:
        """Processor time that the present processes have taken."""
        times = [psutil.Process(worker.pid).cpu_times() for worker in self._workers]
        return sum(each.user + each.system for each in times)

    def render(self, states: np.ndarray, seed: int | None = None) -> np.ndarray:
        """Draws the states of an episode, [T, P] -> uint8 [T, height, width, 3]; from any thread.

        Args:
          states: as `Environment.physics_state` gave them.
          seed: of the episode, if known; quadruped-escape draws its terrain by it.

        Raises:
          RenderingError: OpenGL does not work here, or no process could draw them.
        """
        states = np.asarray(states, np.float64)
        chunks = [states[i : i + CHUNK] for i in range(0, len(states), CHUNK)]
        with self._a_worker() as worker:
            drawn = [self._ask(worker, "render", seed, chunk, self._size, self._camera) for chunk in chunks]
        return np.concatenate(drawn)

    def replay(self, state: np.ndarray, actions: np.ndarray) -> tuple[list[Record], list[np.ndarray | None]]:
        """Plays an episode again from its first observation; see `EnvironmentGroup.replay`. From any thread."""
        with self._a_worker() as worker:
            return self._ask(worker, "replay", state, actions, self._size, self._camera)

    def play_again(self, seed: int, actions: np.ndarray, rewards: np.ndarray) -> np.ndarray:
        """Draws an episode by playing it again from its seed; see `rendering.played_again`. From any thread."""
        with self._a_worker() as worker:
            return self._ask(worker, "play_again", seed, actions, rewards, self._size, self._camera)

    def at_once(self, jobs: Iterable[tuple[Name, Callable[[], Any]]]) -> Iterator[tuple[Name, Any]]:
        """Calls that use this pool, as many at once as there are processes.

        Args:
          jobs: (name, call without arguments); taken when a process will soon be free, so that few are in memory.

        Yields:
          (name, what the call returned), in the order of the jobs.
        """
        pending: deque = deque()
        with ThreadPoolExecutor(len(self._workers)) as threads:
            for name, call in jobs:
                pending.append((name, threads.submit(call)))
                if len(pending) > 2 * len(self._workers):
                    name, result = pending.popleft()
                    yield name, result.result()
            for name, result in pending:
                yield name, result.result()

    def close(self) -> None:
        """Ends the processes."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _a_worker(self) -> Iterator[WorkerGroup]:
        """Waits for a process that is free."""
        worker = self._free.get()
        try:
            yield worker
        finally:
            self._free.put(worker)

    def _ask(self, worker: WorkerGroup, method: str, *args: Any) -> Any:
        """One request, by a replaced process if need be."""
        for failures in range(_MAX_FAILURES):
            if failures > 1:
                rendering.fall_back(worker.failure)
            if failures:
                worker.replace()
            worker.request(method, *args)
            result = worker.receive()
            if result is not None:
                return result
        raise rendering.RenderingError(
            f"A process that draws failed {_MAX_FAILURES} times in a row (last: {worker.failure}); "
            "python -m experiments doctor shows what is missing."
        )
