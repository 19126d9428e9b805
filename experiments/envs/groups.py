"""A group of environments that step one after the other: in this process, or in one of their own."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from experiments.envs import registry, rendering, variation
from experiments.envs.interface import Environment, EnvironmentFailure, Record

CONTINUE, SKIP = -1, -2
_START_SECONDS = 180.0


def episode_seed(seed: int, env_index: int, episode: int) -> int:
    """Returns the seed of one episode, in [0, 2**32)."""
    return int(np.random.SeedSequence([seed, env_index, episode]).generate_state(1)[0])


def setup_of(name: str, env_indices: list[int], seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """Returns what a group is made of, in any process: also where a name registered at run time leads."""
    entry_points = {} if ":" in name else {variation.base_name(name): registry.entry_point(name)}
    facts = {"name": name, "env_indices": env_indices, "seed": seed}
    return facts | {"options": options, "entry_points": entry_points}


def close_all(groups: "Iterable[LocalGroup | WorkerGroup]") -> None:
    """Closes some groups."""
    for group in groups:
        group.close()


class EnvironmentGroup:
    """Environments that are stepped one after the other in this process."""

    def __init__(self, name: str, env_indices: list[int], seed: int, options: dict[str, Any]):
        """Makes the environments `env_indices` of a vector; see `vector.VectorEnvironment`."""
        self._seed, self._env_indices = seed, env_indices
        self.environments: list[Environment] = [
            registry.make(name, seed=episode_seed(seed, index, 0), **options) for index in env_indices
        ]

    def run(self, plan: np.ndarray, actions: np.ndarray) -> tuple[list[Record], list[np.ndarray | None]]:
        """Steps or starts the environments.

        Args:
          plan: [M] int, per environment: the number of the episode to start, CONTINUE, or SKIP.
          actions: [M, A].

        Returns:
          Records and physics states of those that were not skipped.
        """
        records, physics_states = [], []
        for environment, index, start, action in zip(
            self.environments, self._env_indices, plan, actions, strict=True
        ):
            if start == SKIP:
                continue
            if start == CONTINUE:
                records.append(environment.step(action))
            else:
                records.append(environment.reset(episode_seed(self._seed, index, int(start))))
            physics_states.append(environment.physics_state())
        return records, physics_states

    def render(
        self, seed: int | None, states: np.ndarray, size: tuple[int, int], camera: int | str | None
    ) -> np.ndarray:
        """Draws physics states [T, P] in the first environment.

        Args:
          seed: of their episode, if known: some tasks draw their terrain by it. None leaves it as it is.
          states: as `Environment.physics_state` gave them.
          size: (height, width) in pixels.
          camera: None means the published one.

        Returns:
          uint8 [T, height, width, 3].
        """
        environment = self.environments[0]
        if seed is not None:
            environment.reset(seed)
        return rendering.render_states(environment, states, *size, camera)

    def replay(
        self, state: np.ndarray, actions: np.ndarray, size: tuple[int, int], camera: int | str | None
    ) -> tuple[list[Record], list[np.ndarray | None]]:
        """Plays an episode of which only observations are stored again, in the first environment, and draws it.

        Args:
          state: its first observation, as the environment's `reset_from_observation` takes it.
          actions: [T, A]; row t led to record t, row 0 is ignored.
          size: (height, width) in pixels.
          camera: None means the published one.

        Returns:
          T records with `image`, fewer if the episode ends before, and their physics states.

        Raises:
          ValueError: the environment cannot be put into an observed state.
        """
        environment = self.environments[0]
        if not hasattr(environment, "reset_from_observation"):
            raise ValueError(
                f"{environment.name} cannot be put into an observed state; only episodes with physics_state can be "
                "drawn."
            )
        record = environment.reset_from_observation(state)
        records, physics_states = [], []
        for action in (*actions[1:], None):
            record["image"] = environment.render(*size, camera)
            records.append(record)
            physics_states.append(environment.physics_state())
            if action is None or record["is_last"]:
                break
            record = environment.step(action)
        return records, physics_states

    def play_again(
        self,
        seed: int,
        actions: np.ndarray,
        rewards: np.ndarray,
        size: tuple[int, int],
        camera: int | str | None,
    ) -> np.ndarray:
        """Draws an episode by playing it again; see `rendering.played_again`: uint8 [T, height, width, 3]."""
        return np.stack(
            [*rendering.played_again(self.environments[0], seed, actions, rewards, *size, camera)]
        )

    def describe(self) -> dict[str, Any]:
        """Returns what all environments of the vector have in common."""
        environment = self.environments[0]
        return {
            "observation_spec": environment.observation_spec,
            "action_spec": environment.action_spec,
            "action_repeat": environment.action_repeat,
            "control_seconds": environment.control_seconds,
            "metadata": environment.metadata(),
        }

    def close(self) -> None:
        """Closes the environments."""
        for environment in self.environments:
            environment.close()


class LocalGroup:
    """A group of environments in this process."""

    def __init__(self, setup: dict[str, Any]):
        self._group = EnvironmentGroup(
            **{name: value for name, value in setup.items() if name != "entry_points"}
        )
        self._request: tuple[Any, ...] = ()

    def wait_until_ready(self) -> dict[str, Any]:
        """Returns the group's description."""
        return self._group.describe()

    def send(self, plan: np.ndarray, actions: np.ndarray) -> None:
        """Takes a request, to be carried out by `receive`."""
        self._request = (plan, actions)

    def receive(self) -> Any:
        """Carries the request out; see `EnvironmentGroup.run`."""
        return self._group.run(*self._request)

    def abandon(self) -> None:
        """Forgets the request."""
        self._request = ()

    def close(self) -> None:
        """Closes the environments."""
        self._group.close()


class WorkerGroup:
    """A group of environments in a process of its own."""

    def __init__(self, setup: dict[str, Any], timeout: float):
        self._setup, self._timeout = setup, timeout
        self.failure = ""
        self._start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def wait_until_ready(self) -> dict[str, Any]:
        """Returns the group's description; raises EnvironmentFailure if the process does not come up."""
        description = self.receive(_START_SECONDS)
        if description is None:
            raise EnvironmentFailure(
                f"A worker process of {self._setup['name']!r} did not start: {self.failure}."
            )
        return description

    def send(self, plan: np.ndarray, actions: np.ndarray) -> None:
        """Sends a request to `run`; a dead process is noticed by `receive`."""
        self.request("run", plan, actions)

    def request(self, method: str, *args: Any) -> None:
        """Asks for a method of `EnvironmentGroup`: "run", "render", "replay" or "play_again"."""
        with contextlib.suppress(OSError):
            self._connection.send((method, args))

    def receive(self, timeout: float | None = None) -> Any:
        """Returns the answer, None if the process died or hangs, or raises the error that it met."""
        timeout = self._timeout if timeout is None else timeout
        try:
            if not self._connection.poll(timeout):
                self.failure = f"no answer within {timeout:.0f} s"
                return None
            success, result = self._connection.recv()
        except (EOFError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5.0)
            self.failure = f"the process died, exit code {self._process.poll()}"
            return None
        if success:
            return result
        error, trace = result
        error.add_note(f"In a worker process:\n{trace}")
        raise error

    def replace(self) -> None:
        """Kills the process and starts another."""
        self.close()
        self._start()
        self.wait_until_ready()

    def abandon(self) -> None:
        """Drops the process, and with it an answer that may be under way; the next request replaces it."""
        self.close()

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        """Starts the process and sends it what to make."""
        parent, child = socket.socketpair()
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        with child:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "experiments.envs.worker", str(child.fileno())],
                pass_fds=[child.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            )
        self._connection = Connection(parent.detach())
        with contextlib.suppress(OSError):  # a process that died at once is noticed by `wait_until_ready`
            self._connection.send(self._setup)
