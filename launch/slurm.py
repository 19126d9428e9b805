"""Runs on a Slurm cluster, through submitit: job arrays, one per level of needs.

A run that reaches its time limit or is preempted saves and stops, and its job is queued again, where the same command
continues. Jobs wait for the arrays with what they need; it has to be done then, or they say what is missing.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from launch.attempts import Attempt, is_done
from launch.runs import PROJECT, Run

SECONDS_TO_SAVE = 120  # between the signal that announces the end of the time and the end
SECONDS_TO_BE_KILLED = 900  # that a job which has saved waits for Slurm to take it away


class RunInJob:
    """A run as a job, and as the job that continues it after its time is over; submitit calls both.

    Args:
      root: of the sweep.
    """

    def __init__(self, root: str):
        self._root = pathlib.Path(root)
        self._attempt: Attempt | None = None

    def __call__(self, run: Run) -> int:
        """Carries a run out; raises RuntimeError if it fails, so that Slurm sees it."""
        missing = [name for name in run.needs if not is_done(self._root, name)]
        if missing:
            raise RuntimeError(f"{run.name} needs {missing[0]}, which is not done.")
        attempt = self._attempt = Attempt(run, self._root)
        # A preempted job gets SIGTERM, which submitit ignores and not every cluster passes on to children of children.
        preempted: list[int] = []

        def stop(number: int, frame: Any) -> None:
            preempted.append(number)
            attempt.stop()

        before = signal.signal(signal.SIGTERM, stop)
        try:
            code = attempt.finish()
        finally:
            signal.signal(signal.SIGTERM, before)
        if preempted and code and "SLURM_JOB_ID" in os.environ:
            # A preempted job is queued again only if it has not ended by itself; a cancelled one ends here as well.
            time.sleep(SECONDS_TO_BE_KILLED)
        if code:
            raise RuntimeError(f"{run.name} ended with exit code {code}; its log says why.")
        return code

    def checkpoint(self, run: Run) -> Any:
        """Stops the run and has the job queued again; submitit calls it shortly before the end of the time."""
        from submitit.helpers import DelayedSubmission

        if self._attempt is not None:
            self._attempt.stop(signal.SIGTERM)
            self._attempt.finish("at the end of its time")
        return DelayedSubmission(RunInJob(str(self._root)), run)


def levels(runs: Sequence[Run]) -> list[list[Run]]:
    """Groups runs: those of a group need only those of earlier groups.

    Args:
      runs: in order, each after those that it needs, or without them where they are done.
    """
    depth: dict[str, int] = {}
    groups: list[list[Run]] = []
    for run in runs:
        depth[run.name] = max((depth[name] + 1 for name in run.needs if name in depth), default=0)
        groups += [[] for _ in range(depth[run.name] + 1 - len(groups))]
        groups[depth[run.name]].append(run)
    return groups


def submit(
    runs: Sequence[Run],
    root: pathlib.Path,
    *,
    name: str,
    parallelism: int = 100,
    minutes: int = 24 * 60,
    max_timeouts: int = 20,
    parameters: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Submits runs as job arrays; returns {run: job id}, which `root/slurm/jobs.json` keeps.

    Args:
      runs: those to do, in order.
      root: of the sweep, on a disk that all nodes see.
      name: of the jobs.
      parallelism: jobs of an array that run at the same time.
      minutes: limit of a job; a longer run continues in the next one.
      max_timeouts: how often.
      parameters: further options of sbatch, e.g. {"gpus_per_node": 1, "partition": "gpu"}.

    Raises:
      ValueError: this machine has no Slurm, or submitit is not installed.
    """
    executor = _executor(root, max_timeouts)
    executor.update_parameters(
        job_name=name,
        time=minutes,
        array_parallelism=parallelism,
        signal_delay_s=SECONDS_TO_SAVE,
        setup=[f"export PYTHONPATH={PROJECT}:$PYTHONPATH"],
        **(dict(parameters or {})),
    )
    file = root / "slurm" / "jobs.json"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    jobs: dict[str, str] = {name: kept[name] for name in queued(root)}  # earlier ones, that may be needed
    for group in levels(runs):
        arrays = {jobs[name].partition("_")[0] for run in group for name in run.needs if name in jobs}
        extra = {"requeue": True} | ({"dependency": f"afterany:{':'.join(sorted(arrays))}"} if arrays else {})
        executor.update_parameters(additional_parameters=extra)
        submitted = executor.map_array(RunInJob(str(root)), group)
        jobs |= {run.name: job.job_id for run, job in zip(group, submitted, strict=True)}
        file.write_text(json.dumps(kept | jobs, indent=1))
    return {run.name: jobs[run.name] for run in runs}


def _executor(root: pathlib.Path, max_timeouts: int) -> Any:
    if shutil.which("sbatch") is None:
        raise ValueError("This machine has no Slurm (no sbatch); use --backend=local or --backend=print.")
    try:
        import submitit
    except ImportError as error:
        raise ValueError(
            'submitit is not installed: pip install -c constraints.txt -e ".[slurm]".'
        ) from error
    return submitit.SlurmExecutor(folder=root / "slurm" / "%j", max_num_timeout=max_timeouts)


def queued(root: pathlib.Path) -> dict[str, str]:
    """Returns {run: state} of the runs of a sweep that are in Slurm's queue; empty without Slurm."""
    file = root / "slurm" / "jobs.json"
    if not file.is_file() or shutil.which("squeue") is None:
        return {}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["squeue", "--noheader", "--array", "--format=%i %T", "--me"]
        text = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        states = dict(line.split(maxsplit=1) for line in text.splitlines() if line.strip())
        jobs = json.loads(file.read_text())
        return {run: states[job] for run, job in jobs.items() if job in states}
    return {}
