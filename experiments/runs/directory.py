"""The directory of one run: who owns it, what made it, whether it is done, and whether it should stop.

A run directory holds `config.json`, `metadata.json`, whatever the run writes, and, at the end, `DONE`. The
same command continues the run that it holds; a changed config is refused, and so are data and models whose content has
changed; `fresh` starts over. A start that fails
before any work was done leaves nothing.
"""

import contextlib
import fcntl
import fnmatch
import os
import pathlib
import shutil
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.envs import registry
from experiments.runs import inputs
from experiments.runs.loggers import Loggers
from experiments.runs.session import describe_session
from experiments.runs.settings import (
    RunError,
    check_counts,
    config_changes,
    flatten,
    plain_config,
    read_config,
    read_json,
    read_sessions,
    with_absolute_paths,
    write_json,
)
from worldmodels.registry import load_named

# Config keys that may change when a run continues: they say how long, how loudly and where, not what. Of updates, those
# of the run itself, not those of a stage or a classifier that others have been made with. The periods are
# named one by one: `policy_reset_every` and `sac.actor_every` are part of the method, and `evaluation.every` says at
# which updates the runs of a sweep can be compared.
FREE_TO_CHANGE = (
    "devices",
    "num_updates",
    "save_every",
    "*.save_every",
    "checkpoint_every",
    "*.checkpoint_every",
    "evaluate_every",
    "storage",
    "workers",
    "*.workers",
    "num_workers",
    "*.num_workers",
    "logger",
    "*.logger",
)

# What a start leaves before any work is done.
_BOOKKEEPING = (
    "config.json",
    "inputs.json",
    "metadata.json",
    ".lock",
    "wandb",
)
PATIENCE = 10.0  # seconds
_open: list["RunDirectory"] = []  # of this process, whose signals are caught
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


class Interrupted(Exception):
    """The run was asked to stop and has saved its state; the same command continues it."""

    def __init__(self, workdir: pathlib.Path, signal_number: int):
        super().__init__(
            f"Stopped by {signal.Signals(signal_number).name}; the state is saved in {workdir}. "
            "The same command continues."
        )
        self.signal_number = signal_number


class RunDirectory:
    """Owns a run directory until `close`.

    Use it as a context manager. While it is open, SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 only set a flag, which
    the run reads at its next boundary, where it saves and stops (`interrupted`, `stop_if_interrupted`). A
    second SIGINT stops at once.

    Args:
      workdir: the directory, created if needed. A leading `~` is expanded.
      config: what the run depends on: a ConfigDict or a dict of JSON values (tuples read as lists).
      fresh: delete what an earlier run left in the directory.
      allow_changes: patterns of dotted config keys that may differ from those of the run that is continued.

    Attributes:
      path: of this process. shared: of the run, the same unless another process leads.
      loggers: that show the run (`experiments.runs.metrics` writes to them); of several processes, the leader's.

    Raises:
      RunError: another process runs in the directory, the config has changed or counts fewer than there can be, or
        the directory cannot be written.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        config: Mapping[str, Any] | None = None,
        fresh: bool = False,
        *,
        allow_changes: Sequence[str] = FREE_TO_CHANGE,
    ):
        self.path = pathlib.Path(workdir).expanduser().absolute()
        self.shared = self.path
        self._config = with_absolute_paths(plain_config(config or {}))
        load_named(self._config)  # the user's word; what the run then opens from disk imports nothing
        registry.trust(self._config.get("env") or "")
        check_counts(self._config)
        self.loggers = Loggers(self.path, self._config if self.leads else {})
        self._signal: int | None = None
        self._previous_handlers: dict[int, Any] = {}
        # What was there before this start.
        self._missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self._found: set[str] = set()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._found = set(os.listdir(self.path))
            self._lock = _lock(self.path)
        except (FileExistsError, NotADirectoryError):
            raise RunError(f"{self.path} is not a directory. Choose another --workdir.") from None
        except OSError as error:
            raise RunError(
                f"Cannot write to {self.path}: {error.strerror}. Choose another --workdir."
            ) from error
        try:
            if fresh:
                _clear(self.path)
                self._found &= {".lock"}
            self._write_config(allow_changes)
            self._write_metadata()
        except OSError as error:
            self._leave_nothing()
            self._lock.close()
            raise RunError(
                f"Cannot write to {self.path}: {error.strerror}. Check free space and permissions."
            ) from error
        except BaseException:
            self._leave_nothing()
            self._lock.close()
            raise
        self._catch_signals()
        _open.append(self)

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.loggers.close()
        if isinstance(error, Exception) and not isinstance(error, Interrupted):
            self._leave_nothing()
        self.close()

    def __truediv__(self, name: str) -> pathlib.Path:
        return self.path / name

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def config(self) -> dict[str, Any]:
        """The config as plain JSON values, with absolute paths."""
        return self._config

    @property
    def leads(self) -> bool:
        """True if this process keeps what the run leaves; one of several does (`experiments.runs.processes`)."""
        return True

    def agree(self, value: int) -> int:
        """Returns the value of the process that leads."""
        return value

    @property
    def done(self) -> bool:
        """True after `mark_done`, also in a later process."""
        return (self.path / "DONE").is_file()

    @property
    def result(self) -> dict[str, Any]:
        """Argument of `mark_done`, {} while the run is not done."""
        return read_json(self.path / "DONE") if self.done else {}

    def mark_done(self, result: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Writes `DONE` with a result, JSON values and NumPy arrays, and returns it as it reads back."""
        write_json(self.path / "DONE", dict(result or {}))
        written = self.result
        self.loggers.finish(written)
        return written

    def interrupted(self) -> bool:
        """True once a signal has asked the run to stop."""
        return self._signal is not None

    def stop_if_interrupted(self) -> None:
        """Raises `Interrupted` if a signal has come. Call it right after saving."""
        if self._signal is not None:
            raise Interrupted(self.shared, self._signal)

    def stop_if_overdue(self, since: float = 0.0) -> None:
        """Raises `Interrupted` if a signal has come and `PATIENCE` seconds have gone by; for rounds that may not end.

        What the round has done is lost; the same command plays it again.

        Args:
          since: time.monotonic() from which to be patient, if the signal has come before.
        """
        if self._signal is not None and time.monotonic() - max(self._signalled, since) > PATIENCE:
            raise Interrupted(self.shared, self._signal)

    def close(self) -> None:
        """Gives the directory and the signals back. May be called twice."""
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers = {}
        if self in _open:
            _open.remove(self)
        self.loggers.close()
        self._lock.close()

    def _leave_nothing(self) -> None:
        """Removes what this start has made of a new run if no work came of it: a corrected command may start."""
        with contextlib.suppress(OSError):
            made = [path for path in self.path.iterdir() if path.name not in self._found]
            results = [path for path in made if path.name not in _BOOKKEEPING and not _is_empty(path)]
            if "config.json" in self._found or results:
                return
            for path in made:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            for folder in self._missing:
                folder.rmdir()

    def _write_config(self, allow_changes: Sequence[str]) -> None:
        before, now = inputs.read(self.path), inputs.describe(flatten(self._config))
        path = self.path / "config.json"
        if path.is_file():
            changes = config_changes(read_config(self.path), self._config)
            changes = {key: pair for key, pair in changes.items() if not inputs.is_same(key, before, now)}
            refused = [
                key for key in changes if not any(fnmatch.fnmatch(key, pattern) for pattern in allow_changes)
            ]
            if refused:
                listed = ", ".join(
                    f"{key} was {changes[key][0]!r}, is {changes[key][1]!r}" for key in refused
                )
                raise RunError(
                    f"{self.path} holds a run with another config: {listed}. "
                    "Use the config of that run, another --workdir, or --fresh to delete it and start over."
                )
            inputs.check_unchanged(before, now, self.path)
            if changes:
                (self.path / "DONE").unlink(missing_ok=True)
        inputs.check_setups(now, self._config.get("action_repeat"))
        write_json(self.path / inputs.FILE, now)
        write_json(path, self._config)

    def _write_metadata(self) -> None:
        sessions = [*read_sessions(self.path), describe_session(self.path)]
        write_json(self.path / "metadata.json", {"sessions": sessions})

    def _catch_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in _STOP_SIGNALS:
                self._previous_handlers[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: types.FrameType | None) -> None:
        if number == signal.SIGINT and self._signal is not None:
            raise KeyboardInterrupt
        if self._signal is None:
            self._signalled = time.monotonic()
        self._signal = number
        outer: Any = self._previous_handlers.get(number)
        if isinstance(getattr(outer, "__self__", None), RunDirectory):  # a run inside a run: both stop
            outer(number, frame)


def patience() -> Callable[[], None]:
    """Returns what to call at every step of an evaluation, so that a signal stops one that does not end.

    It calls `RunDirectory.stop_if_overdue` of the runs that are open; without one, signals end the process anyway.
    After a signal an evaluation that is due still begins, so that the updates before it are not lost: the time counts
    from its first step.
    """
    began: list[float] = []

    def on_step() -> None:
        if not began:
            began.append(time.monotonic())
        for directory in _open:
            directory.stop_if_overdue(began[0])

    return on_step


def _lock(folder: pathlib.Path):
    """Takes the lock of a directory; the kernel gives it back when the process ends, however it ends."""
    file = open(folder / ".lock", "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), os.stat(folder / ".lock")):
            raise BlockingIOError  # its owner has just removed what it made
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "another process"
        file.close()
        raise RunError(
            f"{folder} is in use by {owner}. Wait for it, stop it, or choose another --workdir."
        ) from None
    except OSError as error:
        print(
            f"Warning: the file system of {folder} has no locks ({error.strerror}), so that nothing keeps a second "
            "process from running there; start only one.",
            file=sys.stderr,
        )
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def _is_empty(path: pathlib.Path) -> bool:
    """True for a file without content, and for a folder with nothing but these."""
    if path.is_symlink():
        return False
    return all(map(_is_empty, path.iterdir())) if path.is_dir() else path.stat().st_size == 0


def _clear(folder: pathlib.Path) -> None:
    """Deletes everything but the lock, if an earlier run made it."""
    contents = [path for path in folder.iterdir() if path.name != ".lock"]
    if contents and not (folder / "config.json").is_file():
        raise RunError(
            f"{folder} holds files that no run has made, so --fresh does not delete them. Do that yourself."
        )
    # The config last, so that a killed deletion can be repeated.
    contents.sort(key=lambda path: path.name == "config.json")
    for path in contents:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
