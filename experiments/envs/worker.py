"""The process that steps some of the environments of a vector; it never imports jax.

Started as `python -m experiments.envs.worker FD`, not through `multiprocessing`, which would import the
parent's main module (and with it jax) here. It holds no counters: every request says what each environment
does, so that a replacement can take over with the same request.
"""

import signal
import sys
import traceback
from multiprocessing.connection import Connection

from experiments.envs import registry
from experiments.envs.groups import EnvironmentGroup


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
        methods = {name: getattr(group, name) for name in ("run", "render", "replay", "play_again")}
        while True:
            method, args = connection.recv()
            connection.send((True, methods[method](*args)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:  # the parent raises it again
        connection.send((False, (_portable(error), traceback.format_exc())))


def _portable(error: Exception) -> Exception:
    """Returns the error itself if the parent can unpickle it without the simulator, else its text."""
    known = type(error).__module__ in ("builtins", "experiments.envs.interface", "experiments.envs.rendering")
    if known and len(error.args) == 1:
        error.__cause__ = error.__context__ = None
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def main() -> None:
    """Serves the file descriptor given on the command line; a Ctrl-C or SIGTERM is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
