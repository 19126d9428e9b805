"""Sweeps on a real Slurm: an array of runs, a run at the end of its time, a preempted run.

    python tests/slurm/check_slurm.py        (make test-slurm)

Starts a Slurm of one node (as root; installs Debian's packages if they are missing), says what it sees, and exits with
0 if all is well, with 1 if not, and with 0 and the reason where there can be no Slurm.
"""

import contextlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from cluster import cluster, why_not
from interruption import assert_same_run

from experiments.configs import pretrain as pretrain_config
from experiments.methods import pretrain
from launch import attempts, slurm, sweep

UPDATES = 400


def run_sweep(root: pathlib.Path, *arguments: str) -> str:
    """`python -m launch.sweep run ...` on Slurm; returns what it has printed."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = sweep.main(["run", *arguments, "--backend=slurm", "--minutes=10", f"--root={root}"])
    assert code == 0, said.getvalue()
    return said.getvalue()


def wait_for(condition, what: str, root: pathlib.Path, seconds: float = 400.0) -> None:
    """Polls until something is so."""
    deadline = time.time() + seconds
    while not condition():
        if time.time() > deadline:
            logs = [f"== {path}\n{path.read_text()[-2000:]}" for path in root.rglob("*.log")]
            logs += [f"== {path}\n{path.read_text()[-2000:]}" for path in (root / "slurm").rglob("*.err")]
            raise TimeoutError(
                "\n".join([f"No {what} in {seconds:.0f} s.", *logs, command("squeue", "--long")])
            )
        time.sleep(0.5)


def command(*words: str) -> str:
    """Output of a command of Slurm."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def rows(run: pathlib.Path) -> int:
    """Rows of metrics of a run."""
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def check_array(root: pathlib.Path) -> pathlib.Path:
    """Four runs as one array; returns the episodes of the first."""
    said = run_sweep(root, "collect:uniform-tiny", "seed=0..3", "env=fake-pointmass")
    assert "Submitted 4 runs as 1 job arrays" in said, said
    runs = attempts.read_sweeps(root)
    wait_for(lambda: all(attempts.is_done(root, run.name) for run in runs), "end of the array", root)
    assert "4 runs: 4 done" in run_sweep(root, "collect:uniform-tiny", "seed=0..3", "env=fake-pointmass")
    jobs = json.loads((root / "slurm" / "jobs.json").read_text())
    assert len({job.partition("_")[0] for job in jobs.values()}) == 1
    print(f"An array of 4 runs has ended: jobs {', '.join(jobs.values())}.", flush=True)
    return root / runs[0].name / "episodes"


def check_requeue(root: pathlib.Path, episodes: pathlib.Path) -> pathlib.Path:
    """A run that is stopped by the end of its time, then by preemption, and continues each time."""
    run_sweep(root, "pretrain:tiny", f"embodiment={episodes}", f"num_updates={UPDATES}", "--name=long")
    (run,) = [run for run in attempts.read_sweeps(root) if run.name.startswith("long")]
    workdir, job = root / run.name, json.loads((root / "slurm" / "jobs.json").read_text())[run.name]
    assert run.name in slurm.queued(root)

    wait_for(lambda: rows(workdir) >= 10, "start of the long run", root)
    command("scancel", "--signal=USR2", job)  # what Slurm sends before the end of the time
    log = attempts.log_path(root, run.name)
    wait_for(lambda: "Stopped by" in log.read_text(), "stop at the end of the time", root)
    print(f"At the end of its time job {job} has saved: {last_stop(log)}", flush=True)

    before = rows(workdir)
    wait_for(lambda: rows(workdir) >= before + 10, "continuation after the end of the time", root)
    print(f"It goes on: {before} rows of metrics before, {rows(workdir)} now.", flush=True)
    command("sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    wait_for(lambda: log.read_text().count("Stopped by") == 2, "preemption", root)
    print(f"A job of higher priority has preempted it: {last_stop(log)}", flush=True)

    wait_for(lambda: attempts.is_done(root, run.name), "end of the long run", root)
    sessions = json.loads((workdir / "metadata.json").read_text())["sessions"]
    assert len(sessions) == 3, sessions
    restarts = command("scontrol", "show", "job", job).partition("Restarts=")[2].split()[0]
    print(f"It has ended in its third session; Slurm counts {restarts} restarts.", flush=True)
    return workdir


def last_stop(log: pathlib.Path) -> str:
    """The sentence with which a run has stopped."""
    return [line for line in log.read_text().splitlines() if "Stopped by" in line][-1]


def main() -> int:
    """All checks; returns the exit code."""
    reason = why_not()
    if reason:
        print(f"No check with Slurm: {reason}")
        return 0
    with cluster(), tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        print(command("sinfo", "--version"), flush=True)
        root = pathlib.Path(folder)
        episodes = check_array(root)
        workdir = check_requeue(root, episodes)
        config = pretrain_config.get_config("tiny")
        config.update(embodiment=str(episodes), num_updates=UPDATES)
        pretrain.run(config, root / "undisturbed")
        assert_same_run(workdir, root / "undisturbed", ("checkpoints", "model"))
        print("It is identical, to the bit, to a run that nobody stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
