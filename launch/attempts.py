"""What is known of the runs of a sweep: attempts and how they ended, on disk, so that every later command knows.

Below the root of a sweep:

    sweep/<suite>.json             the runs: name, main, config, settings, labels, needs, command, restarts
    logs/<run>.log                 what a run has printed, all attempts one after the other
    logs/<run>.json                its attempts: when, where, exit code, and why the launcher ended it
"""

import contextlib
import dataclasses
import datetime
import enum
import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from experiments.runs.settings import read_config
from launch.runs import PROJECT, Output, Run, changed_settings, is_known

_SIGNALS = {128 + number for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)}


class Kind(enum.StrEnum):
    """State of a run in a sweep."""

    DONE = "done"
    OTHER = "done with other settings"  # than those planned: the user decides
    RUNNING = "running"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # killed, or stopped by a signal: the same command continues
    READY = "ready"
    WAITING = "waiting"  # for runs that it needs


@dataclasses.dataclass(frozen=True)
class State:
    """A run's kind, and why."""

    kind: Kind
    detail: str = ""


def log_path(root: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the file that the output of a run goes to."""
    return root / "logs" / f"{name}.log"


def is_done(root: pathlib.Path, name: str) -> bool:
    """Returns whether the run has ended well."""
    return (root / name / "DONE").is_file()


def was_interrupted(code: int) -> bool:
    """Returns True for exit codes of a kill or of a run that a signal has asked to save and stop."""
    return code < 0 or code in _SIGNALS


class Attempt:
    """One process that carries a run out, with its output in the log.

    Args:
      run, root: which, and the root of the sweep.
      environment: further environment variables.
    """

    def __init__(self, run: Run, root: pathlib.Path, environment: Mapping[str, str] | None = None):
        self.run, self._root, self.began = run, root, time.time()
        log = log_path(root, run.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))
        variables = os.environ | {"PYTHONPATH": path} | dict(environment or {})
        if "XLA_CLIENT_MEM_FRACTION" in variables:  # jaxlib does not start with both names
            variables.pop("XLA_PYTHON_CLIENT_MEM_FRACTION", None)
        with open(log, "ab") as file:
            self.process = subprocess.Popen(
                run.command(root),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=variables,
                start_new_session=True,  # a Ctrl-C is the launcher's to pass on
            )
        self._attempts = read_attempts(root, run.name)
        self._attempts.append({"started": _now(), "host": socket.gethostname(), "pid": self.process.pid})
        if "SLURM_JOB_ID" in os.environ:
            self._attempts[-1]["job"] = os.environ["SLURM_JOB_ID"]
        _write_json(_record_path(root, run.name), self._attempts)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Sends a signal to the run; SIGKILL to all processes that it has started."""
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)

    def finish(self, reason: str = "") -> int:
        """Waits for the end, writes it down, and returns the exit code.

        Args:
          reason: why the launcher has ended it, if it has.
        """
        # Not `wait`, which holds a lock: a handler of signals that calls this meanwhile would wait for ever.
        while (code := self.process.poll()) is None:
            time.sleep(0.05)
        if code == 0 and not is_done(self._root, self.run.name):
            code, reason = 1, f"it ended without {self.run.name}/DONE"
        self._attempts[-1] |= {"ended": _now(), "code": code} | ({"reason": reason} if reason else {})
        _write_json(_record_path(self._root, self.run.name), self._attempts)
        return code


def read_attempts(root: pathlib.Path, name: str) -> list[dict]:
    """Reads the attempts at a run, oldest first; none if nothing is known."""
    path = _record_path(root, name)
    return json.loads(path.read_text()) if path.is_file() else []


def give_another_chance(root: pathlib.Path, name: str) -> None:
    """Forgets that a run has failed; its log and what it has saved stay."""
    _record_path(root, name).unlink(missing_ok=True)


def num_interrupted(root: pathlib.Path, name: str) -> int:
    """Attempts in a row, up to the last, that ended by a kill or a signal."""
    count = 0
    for attempt in reversed(read_attempts(root, name)):
        if "code" in attempt and not was_interrupted(attempt["code"]):
            break
        count += "code" in attempt
    return count


def state_of(
    root: pathlib.Path,
    run: Run,
    queued: Mapping[str, str] | None = None,
    max_restarts: int | None = None,
    others: Collection[str] = (),
) -> State:
    """Finds out where a run is.

    Args:
      root, run: which.
      queued: {run: state} in the queue of a cluster.
      max_restarts: a run that was interrupted more often counts as failed; None for no limit.
      others: runs that are done with other settings; what needs them waits for the user's decision.
    """
    if is_done(root, run.name):
        changes = _changes(root, run)
        return State(Kind.OTHER, changes) if changes else State(Kind.DONE)
    pid = owner(root, run.name)
    if pid is not None:
        return State(Kind.RUNNING, f"process {pid}")
    if queued and run.name in queued:
        kind = Kind.RUNNING if queued[run.name].startswith("RUNNING") else Kind.WAITING
        return State(kind, f"slurm: {queued[run.name]}")
    attempts = read_attempts(root, run.name)
    if attempts and "code" in attempts[-1]:
        code, reason = attempts[-1]["code"], attempts[-1].get("reason", "")
        if not was_interrupted(code):
            return State(Kind.FAILED, f"exit code {code}: {reason or last_line(log_path(root, run.name))}")
        count = num_interrupted(root, run.name)
        if max_restarts is not None and count > max_restarts:
            why = reason or f"by {signal.Signals(code - 128 if code > 0 else -code).name}"
            return State(Kind.FAILED, f"stopped {count} times, last {why}")
    missing = [name for name in run.needs if name in others or not is_done(root, name)]
    if missing:
        return State(
            Kind.WAITING, f"for {missing[0]}" + (f" and {len(missing) - 1} more" * (len(missing) > 1))
        )
    return State(Kind.INTERRUPTED if attempts else Kind.READY)


def states_of(
    root: pathlib.Path,
    runs: Iterable[Run],
    queued: Mapping[str, str] | None = None,
    max_restarts: int | None = None,
) -> dict[str, State]:
    """Returns {name: where it is} of runs in order; see `state_of`."""
    states: dict[str, State] = {}
    for run in runs:
        states[run.name] = state_of(root, run, queued, max_restarts, with_other_settings(states))
    return states


def with_other_settings(states: Mapping[str, State]) -> set[str]:
    """Names the runs that are done with other settings."""
    return {name for name, state in states.items() if state.kind == Kind.OTHER}


def _changes(root: pathlib.Path, run: Run) -> str:
    """Says how the settings of a run that is done differ from those planned: "num_episodes 20 -> 50"; "" if not.

    A sweep of an earlier version may name a config that is no more: there is nothing to compare with.
    """
    directory = run.directory(root)
    if not run.config or not (directory / "config.json").is_file() or not is_known(run.config):
        return ""
    changes = changed_settings(run, read_config(directory))
    text = ", ".join(f"{key} {old!r} -> {new!r}" for key, (old, new) in list(changes.items())[:3])
    text += f" and {len(changes) - 3} more" * (len(changes) > 3)
    attempts = read_attempts(root, run.name)
    if changes and attempts and attempts[-1].get("code", 0) != 0:  # the main has been asked, and refuses
        text += f"; {last_line(log_path(root, run.name))}"
    return text


def owner(root: pathlib.Path, name: str) -> int | None:
    """Returns the process of this machine that has a run's directory or has just been started for it, or None."""
    host = socket.gethostname()
    with contextlib.suppress(OSError):
        match = re.fullmatch(r"process (\d+) on (.*)", (root / name / ".lock").read_text().strip())
        if match and match[2] == host and _is_alive(int(match[1]), name):
            return int(match[1])
    attempts = read_attempts(root, name)
    if attempts and "code" not in attempts[-1] and attempts[-1]["host"] == host:
        if _is_alive(attempts[-1]["pid"], name):
            return attempts[-1]["pid"]
    return None


def last_line(log: pathlib.Path) -> str:
    """Returns the last line of a log that is not blank."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - 4000))
            lines = re.split(r"[\r\n]+", file.read().decode(errors="replace"))
    except OSError:
        return "no output"
    lines = [line.strip() for line in lines if line.strip()]
    return lines[-1][:300] if lines else "no output"


# The sweep on disk ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def hold(root: pathlib.Path) -> Iterator[None]:
    """Keeps other launchers of this root away; two would start the same runs.

    Raises:
      ValueError: another one is at work.
    """
    path = root / "sweep" / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"{root} is in use by the launcher {file.read().strip()}. Wait for it, stop it, or choose another "
                "--root."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def write_sweep(root: pathlib.Path, name: str, runs: Sequence[Run], restarts: int | None = None) -> None:
    """Keeps the runs of a sweep, with those that an earlier call has kept under the same name.

    Args:
      root, name, runs: which.
      restarts: after how many the launcher gives a run up, so that later commands say the same; None for never.
    """
    path = root / "sweep" / f"{name.replace(':', '-')}.json"
    kept = json.loads(path.read_text()) if path.is_file() else {}
    for run in runs:
        kept[run.name] = {
            "main": run.main,
            "config": run.config,
            "settings": {key: _encoded(value) for key, value in run.settings.items()},
            "labels": dict(run.labels),
            "needs": list(run.needs),
            "command": run.command(root),
            "restarts": restarts,
        }
    _write_json(path, kept)


@dataclasses.dataclass(frozen=True)
class KeptRun:
    """A run as the root of a sweep remembers it, and after how many restarts it is given up."""

    run: Run
    restarts: int | None


def read_sweeps(root: pathlib.Path) -> list[KeptRun]:
    """Reads all runs of all sweeps below a root, in their order.

    Raises:
      ValueError: there is no sweep.
    """
    files = sorted((root / "sweep").glob("*.json"))
    if not files:
        raise ValueError(
            f"There is no sweep in {root}. Start one: python -m launch.sweep run SUITE --root={root}."
        )
    found = {name: run for file in files for name, run in json.loads(file.read_text()).items()}
    return [KeptRun(_kept_run(name, entry), entry.get("restarts")) for name, entry in found.items()]


def _kept_run(name: str, entry: Mapping[str, Any]) -> Run:
    main = entry["main"].removeprefix("experiments.")  # earlier versions kept the module
    if "settings" not in entry:  # of an earlier version: there is nothing to compare the recorded config with
        needs = {"needs": tuple(Output(need) for need in entry["needs"])}
        return Run(name, main, "", needs, entry["labels"])
    settings = {key: _decoded(value) for key, value in entry["settings"].items()}
    return Run(name, main, entry["config"], settings, entry["labels"])


def _encoded(value: Any) -> Any:
    """Writes a setting as JSON."""
    if isinstance(value, Output):
        return {"run": value.run, "path": value.path}
    return [_encoded(entry) for entry in value] if isinstance(value, tuple | list) else value


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return Output(**value)
    return tuple(_decoded(entry) for entry in value) if isinstance(value, list) else value


def counts(states: Iterable[State]) -> str:
    """Counts states: "3 done, 1 running, 2 waiting"."""
    kinds = [state.kind for state in states]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in Kind if kind in kinds) or "nothing"


def _record_path(root: pathlib.Path, name: str) -> pathlib.Path:
    return root / "logs" / f"{name}.json"


def _write_json(path: pathlib.Path, value: object) -> None:
    """Writes a file that is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(temporary, path)


def _is_alive(pid: int, name: str) -> bool:
    """Returns whether a process of this id works on the run: ids are given out again."""
    try:
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return name in command


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
