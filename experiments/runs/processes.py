"""Runs of several processes, one on each host: how they find each other, and which of them writes.

All processes run the same program with the same arguments. Process 0 leads: it owns the directory of the run, with
logs, checkpoints and results, and decides where a run continues. The others read there, and what they write goes to a
scratch directory that is deleted at the end.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from experiments.runs.directory import Interrupted, RunDirectory


def join(coordinator: str | None, num_processes: str | None, process_id: str | None) -> None:
    """Makes this process one of several, before JAX is first used; without a coordinator it is alone.

    Raises:
      ValueError: flags that do not go together, or nobody answers.
    """
    numbers = {"num_processes": num_processes, "process_id": process_id}
    given = {name: value for name, value in numbers.items() if value is not None}
    if coordinator is None:
        if given:
            raise ValueError(
                f"--{next(iter(given))} needs --coordinator, the address HOST:PORT of process 0."
            )
        return
    if coordinator != "auto":
        missing = [name for name in numbers if name not in given]
        if missing:
            raise ValueError(
                f"--coordinator={coordinator} needs --{missing[0]}, or is auto on Slurm and TPU pods."
            )
        if not all(value.isdigit() for value in given.values()):
            raise ValueError("--num_processes and --process_id are whole numbers, such as 2 and 0.")
        if int(given["process_id"]) >= int(given["num_processes"]):
            raise ValueError(
                f"--process_id={process_id} is none of {num_processes} processes, which count from 0."
            )
    import jax

    # On a CPU, collectives between processes need a library; other devices ignore this.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    arguments: dict[str, Any] = (
        {} if coordinator == "auto" else {name: int(value) for name, value in given.items()}
    )
    try:
        address = None if coordinator == "auto" else coordinator
        jax.distributed.initialize(coordinator_address=address, **arguments)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(
            f"The processes did not find each other by --coordinator={coordinator}: {reason}."
        ) from error
    if coordinator == "auto" and alone_on_node():
        # Under Slurm, JAX gives each process the one GPU with the number of its task on the node.
        jax.config.update("jax_cuda_visible_devices", "all")
        jax.config.update("jax_rocm_visible_devices", "all")


def leads() -> bool:
    """Returns whether this process speaks for the run; of several one does."""
    jax = sys.modules.get("jax")  # a command without it is alone
    return jax is None or not jax.distributed.is_initialized() or jax.process_index() == 0


def alone_on_node(environment: Mapping[str, str] = os.environ) -> bool:
    """True for a task of Slurm in a step that has one task on every node, as in "1" or "1(x4)"."""
    return re.fullmatch(r"1(\(x\d+\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")) is not None


@contextlib.contextmanager
def open_run(
    workdir, config: Mapping[str, Any] | None = None, *, fresh: bool = False
) -> Iterator[RunDirectory]:
    """Opens the directory of a run, as `RunDirectory`, for this process: the run's own, or scratch if another leads.

    Raises:
      RunError: as `RunDirectory`, on the process that leads.
      OtherProcessFailed: another process has failed, with whatever error, here or inside.
    """
    import jax

    from worldmodels.devices import coordination

    if jax.process_count() == 1:
        with RunDirectory(workdir, config, fresh=fresh) as directory:
            yield directory
        return
    with _failing_together(), contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            directory = stack.enter_context(OneOfSeveral(workdir, config, fresh))
            coordination.wait_for_all()
        else:
            coordination.wait_for_all()
            directory = stack.enter_context(Following(workdir, config))
        coordination.wait_for_all()  # nobody changes the directory before all have read it
        yield directory
        coordination.wait_for_all()  # nobody leaves before process 0 has written all


@contextlib.contextmanager
def _failing_together() -> Iterator[None]:
    """Tells the others of an error inside, so that they stop too, unless theirs is what has stopped this one."""
    import jax

    from worldmodels.devices import coordination

    try:
        yield
    except (Interrupted, coordination.OtherProcessFailed):  # they know
        raise
    except BaseException as error:
        if isinstance(error, jax.errors.JaxRuntimeError):
            coordination.raise_failure_of_another(error)
        text = " ".join(str(error).split())
        coordination.tell_failure(f"{type(error).__name__}: {text}" if text else type(error).__name__)
        raise


class OneOfSeveral(RunDirectory):
    """The directory of process 0; all processes stop where one of them is asked to."""

    def agree(self, value: int) -> int:
        """Returns the value of process 0. All processes call it together."""
        from worldmodels.devices import coordination

        return int(coordination.exchange(str(int(value)))[0])

    def interrupted(self) -> bool:
        """True once a signal has asked any of the processes to stop. All processes call it together."""
        from worldmodels.devices import coordination

        signals = coordination.exchange(str(int(self._signal or 0)))
        self._signal = max(map(int, signals)) or None
        return super().interrupted()

    def stop_if_interrupted(self) -> None:
        """Raises `Interrupted` on all processes or on none. All processes call it together."""
        self.interrupted()
        super().stop_if_interrupted()


class Following(OneOfSeveral):
    """A scratch directory for a process that does not lead; `shared` is the directory of the run."""

    def __init__(self, workdir, config: Mapping[str, Any] | None):
        self._scratch = tempfile.mkdtemp(prefix="aime-process-")
        super().__init__(self._scratch, config)
        self.shared = type(self.path)(workdir).expanduser().absolute()
        if (self.shared / "DONE").is_file():
            shutil.copy(self.shared / "DONE", self.path / "DONE")

    @property
    def leads(self) -> bool:
        """No."""
        return False

    def close(self) -> None:
        """Deletes the scratch directory."""
        super().close()
        shutil.rmtree(self._scratch, ignore_errors=True)
