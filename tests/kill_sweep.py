"""A sweep whose runs, simulators and launcher are killed at random ends like one that nobody disturbs.

    PYTHONPATH=. python tests/kill_sweep.py --runs=50 --kills=40 --root=/tmp/sweep

Carries the same runs out twice: undisturbed, one after the other in this process, and by `launch.local` while SIGKILL
hits a random process of it, again and again. Then compares everything that the runs have left, to the bit.
"""

import argparse
import importlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import psutil
from interruption import ROOT as PROJECT
from interruption import assert_same_episodes, kept, without_clock

from experiments.__main__ import COMMANDS
from experiments.runs.metrics import read_rows
from launch.attempts import Kind, give_another_chance, is_done, state_of
from launch.grid import grid
from launch.local import LocalSweep, slots
from launch.runs import Output, Run, in_order, load_config
from launch.suites import runs_of


def make_runs(number: int) -> list[Run]:
    """So many runs: the 20 of a `walker18:tiny`, if there is room for them, and collections with a worker."""
    suite = {"seed": range(4), "method": ["aime", "bco", "bc"]}
    runs = runs_of("walker18:tiny", suite) if number >= 20 else []
    seeds = range(number - len(runs))
    axes = {"seed": seeds, "workers": [1], "num_episodes": [60], "env": ["fake-pointmass"]}
    return in_order([*runs, *grid("collect:uniform-tiny", axes)])


def undisturbed(runs: list[Run], root: pathlib.Path) -> None:
    """One after the other, by calling the mains."""
    for run in runs:
        config = load_config(run.config)
        paths = {key: _path(value, root) for key, value in run.settings.items()}
        config.update_from_flattened_dict(paths)
        importlib.import_module(COMMANDS[run.main].module).run(config, run.directory(root))


def _path(value, root: pathlib.Path):
    if isinstance(value, Output):
        return str(root / value.run / value.path)
    return tuple(_path(entry, root) for entry in value) if isinstance(value, tuple | list) else value


def start_launcher(number: int, root: pathlib.Path) -> subprocess.Popen:
    """This file again, as the launcher; what it says goes to root/launcher.log."""
    command = [sys.executable, __file__, f"--runs={number}", f"--root={root}", "--launcher"]
    path = os.pathsep.join((str(PROJECT), str(PROJECT / "tests")))
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "launcher.log", "ab") as log:
        return subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": path}, stdout=log, stderr=subprocess.STDOUT
        )


def disturbed(number: int, root: pathlib.Path, kills: int, seed: int = 0) -> Counter:
    """Kills random processes of the sweep until `kills` have died, then lets it end; counts what was killed."""
    rng, killed = random.Random(seed), Counter()
    runs = make_runs(number)
    launcher = start_launcher(number, root)
    try:
        while not all(is_done(root, run.name) for run in runs):
            time.sleep(rng.uniform(0.2, 2.5))
            if launcher.poll() is not None and not all(is_done(root, run.name) for run in runs):
                states = {run.name: state_of(root, run, None, 1000) for run in runs}
                failed = [f"{name}: {s.detail}" for name, s in states.items() if s.kind == Kind.FAILED]
                # A simulator that is killed before it has started fails its run: that run is tried again.
                if failed and not all(
                    "did not start: the process died, exit code -9" in text for text in failed
                ):
                    raise RuntimeError(f"Runs have failed: {'; '.join(failed)}")
                for name, state in states.items():
                    if state.kind == Kind.FAILED:
                        give_another_chance(root, name)
                launcher = start_launcher(number, root)
            if killed.total() < kills:
                kill_something(rng, root, launcher, killed)
        launcher.wait(60)
    finally:
        for process in processes(root):
            process.kill()
        launcher.kill()
        launcher.wait()
    return killed


def kill_something(
    rng: random.Random, root: pathlib.Path, launcher: subprocess.Popen, killed: Counter
) -> None:
    """SIGKILL to a run or, half of the time where there is one, a simulator's worker; once in eight to the launcher."""
    if rng.random() < 0.125 and launcher.poll() is None:
        launcher.kill()
        launcher.wait()
        killed["launcher"] += 1
        return
    running = processes(root)
    workers = [process for process in running if _is_worker(process)]
    if running:
        victim = rng.choice(workers if workers and rng.random() < 0.5 else running)
        try:
            kind = "worker" if _is_worker(victim) else "run"
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            return
        killed[kind] += 1


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "experiments.envs.worker" in process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def processes(root: pathlib.Path) -> list[psutil.Process]:
    """Runs of the sweep and their workers."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if any(f"--workdir={root}/" in part for part in command):
            try:
                found += [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
    return found


def assert_same(run: Run, root: pathlib.Path, reference: pathlib.Path) -> None:
    """Equal results, metrics, episodes and parameters, to the bit."""
    ours, theirs = run.directory(root), run.directory(reference)
    assert json.loads((ours / "DONE").read_text()) == json.loads((theirs / "DONE").read_text()), run.name
    for name in ("metrics.jsonl", "eval.jsonl"):
        assert without_clock(read_rows(ours / name)) == without_clock(read_rows(theirs / name)), run.name
    assert leftovers(ours) == []
    for folder in ("episodes", "demonstrations"):
        if (theirs / folder).is_dir():
            assert_same_episodes(ours / folder, theirs / folder)
    for folder in ("checkpoints", "model"):
        if (theirs / folder).is_dir():
            (step, arrays), (expected, others) = (kept(d / folder) for d in (ours, theirs))
            assert step == expected and arrays.keys() == others.keys()
            for name in arrays:
                np.testing.assert_array_equal(arrays[name], others[name], err_msg=f"{run.name} {name}")


def leftovers(folder: pathlib.Path) -> list[str]:
    """Files and folders that were being written when a process died, in what counts."""
    found = [*folder.glob("checkpoints/.*"), *folder.glob(".*.writing")]
    return [str(path) for path in found]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--root", default="/tmp/kill_sweep")
    parser.add_argument("--launcher", action="store_true", help="for this script's own use")
    arguments = parser.parse_args()
    root, runs = pathlib.Path(arguments.root), make_runs(arguments.runs)
    if arguments.launcher:
        LocalSweep(runs, root, slots(jobs=2), max_restarts=1000).run()
        return
    began = time.time()
    undisturbed(runs, root / "undisturbed")
    print(f"{len(runs)} runs undisturbed, in one process: {time.time() - began:.0f} s", flush=True)
    began = time.time()
    killed = disturbed(arguments.runs, root / "disturbed", arguments.kills)
    print(f"the same with {dict(killed)} killed: {time.time() - began:.0f} s", flush=True)
    for run in runs:
        assert_same(run, root / "disturbed", root / "undisturbed")
    print(f"{len(runs)} runs are complete, and identical to the bit.")
    usage = [sum(os.times()[:2]), sum(os.times()[2:4])]
    print(f"CPU: {usage[0]:.0f} s in this process, {usage[1]:.0f} s in its children that were waited for.")


if __name__ == "__main__":
    main()
