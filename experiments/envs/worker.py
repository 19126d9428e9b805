"""The process that steps some of the environments of a vector; it never imports jax.

Started by `vector` as `python -m experiments.envs.worker FD`, not through `multiprocessing`, which would import the
parent's main module (and with it jax) here. It holds no counters: every request says what each environment
does, so that a replacement can take over with the same request.
"""

import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from experiments.envs import registry
from experiments.envs.interface import Environment, Record

CONTINUE, SKIP = -1, -2


def episode_seed(seed: int, env_index: int, episode: int) -> int:
    """Returns the seed of one episode, in [0, 2**32)."""
    return int(np.random.SeedSequence([seed, env_index, episode]).generate_state(1)[0])


class EnvironmentGroup:
    """Environments that are stepped one after the other in this process."""

    def __init__(self, name: str, env_indices: list[int], seed: int, options: dict[str, Any]):
        """Makes the environments `env_indices` of a vector; see `vector.make_vector`."""
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


def serve(connection: Connection) -> None:
    """Answers requests until the parent hangs up: (True, result) or (False, (error, traceback))."""
    setup = connection.recv()
    try:
        for name, entry_point in setup.pop("entry_points").items():
            registry.register(name, entry_point)
        group = EnvironmentGroup(**setup)
        if "jax" in sys.modules:
            raise ImportError(
                f"The environment {setup['name']!r} imports jax, which worker processes must not; "
                "import it inside the functions that need it, or use workers=0."
            )
        connection.send((True, group.describe()))
        while True:
            connection.send((True, group.run(*connection.recv())))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:  # noqa: BLE001, the parent raises it again
        connection.send((False, (_portable(error), traceback.format_exc())))


def _portable(error: Exception) -> Exception:
    """The error itself if the parent can unpickle it without the simulator, else its text."""
    known = type(error).__module__ in ("builtins", "experiments.envs.interface", "experiments.envs.rendering")
    if known and len(error.args) == 1:
        error.__cause__ = error.__context__ = None
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def main() -> None:
    """Serves the file descriptor given on the command line; a Ctrl-C or SIGTERM is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
