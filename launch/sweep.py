"""Sweeps from the command line.

    python -m launch.sweep run walker18 --root=runs/walker18 --gpus=0,1 --per_gpu=2
    python -m launch.sweep run walker18 task=walk method=aime seed=0..2 model.num_updates=50000 --dry_run
    python -m launch.sweep run dmc9 --root=runs/dmc9 --backend=slurm --minutes=600 --sbatch partition=gpu
    python -m launch.sweep run imitate:small --root=runs/grid model=... demonstrations=... loss.kl_scale=0,1 seed=0..4
    python -m launch.sweep status --root=runs/walker18
    python -m launch.sweep report --root=runs/walker18

A suite (launch/suites.py) or a main with its preset becomes runs in `<root>/<suite>-<task>/<method>/seed_003`. The same
command continues where it was: finished runs are skipped, interrupted ones continue, failed ones are listed and, with
`--retry`, tried again. Runs that are done with other settings than those asked for now are listed and left; with
`--retry` their main decides: it makes a run longer, and refuses what would make it another one.
"""

import argparse
import ast
import dataclasses
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.runs import own_parts
from launch import attempts, cells, local, slurm, suites
from launch.attempts import Kind, State
from launch.grid import grid
from launch.runs import PROJECT, Run, check_settings, load_config, parse_axes

BACKENDS = ("local", "slurm", "print")
NEED_THE_USER = (Kind.FAILED, Kind.OTHER)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 if all is done or submitted, 1 if some is not, 2 after a mistake, 130 if stopped."""
    arguments = parsed(argv)
    try:
        return {"run": run_sweep, "status": status, "report": report}[arguments.command](arguments)
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a root that cannot be written
        where = f"{error.filename}: " if error.filename else ""
        print(f"Error: {where}{error.strerror or error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped. The same command continues.", file=sys.stderr)
        return 130


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments of a command line; exits with code 2 after a mistake."""
    flags = parser()
    arguments, rest = flags.parse_known_args(argv)
    if rest and (arguments.command != "run" or any(text.startswith("-") for text in rest)):
        flags.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # axes after flags
        arguments.axes += rest
    arguments.root = pathlib.Path(arguments.root).expanduser().absolute()
    if arguments.command == "run":
        arguments.imports = tuple(own_parts.listed(arguments.imports))
    return arguments


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    result = argparse.ArgumentParser("launch.sweep", description=__doc__, formatter_class=formatter)
    commands = result.add_subparsers(dest="command", required=True)
    known = "\n".join(f"  {name:17} {suite.text}" for name, suite in suites.SUITES.items())
    run = commands.add_parser(
        "run", help="start a sweep, or continue it", epilog=f"suites:\n{known}", formatter_class=formatter
    )
    run.add_argument("what", help="a suite, or MAIN:PRESET for a grid over config keys")
    run.add_argument(
        "axes", nargs="*", metavar="KEY=VALUES", help="seed=0..4, task=walk,run, model.num_updates=100"
    )
    run.add_argument("--backend", choices=BACKENDS, default="local")
    run.add_argument("--dry_run", action="store_true", help="print the runs and what they need; do nothing")
    run.add_argument("--retry", action="store_true", help="also the runs that failed or have other settings")
    run.add_argument("--name", default="", help="of a grid, first part of its directories")
    run.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="parts of your own that models or data of the runs name, separated by commas",
    )
    run.add_argument("--jobs", type=int, help="runs at a time; local, without GPUs: 1, slurm: 100")
    run.add_argument("--gpus", default="", help="local: ids of GPUs, 0,1")
    run.add_argument("--per_gpu", type=int, help="local: runs per GPU (1), which share its memory")
    run.add_argument("--restarts", type=int, default=5, help="local: of a run that is killed again and again")
    run.add_argument(
        "--stall_minutes", type=float, default=60.0, help="local: kill a run so long without a sign"
    )
    run.add_argument(
        "--minutes", type=int, default=24 * 60, help="slurm: limit of a job; longer runs continue"
    )
    run.add_argument(
        "--sbatch",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="slurm: partition=gpu mem=32GB, after the axes",
    )
    for name, text in (("status", "where the runs of a sweep are"), ("report", "tables, curves and a page")):
        commands.add_parser(name, help=text)
    for command in commands.choices.values():
        command.add_argument("--root", default="runs/sweep", help="directory of the sweep (runs/sweep)")
    return result


def planned(arguments: argparse.Namespace) -> list[Run]:
    """Plans the runs that the command line describes, each after those that it needs."""
    own_parts.load(arguments.imports)  # a name that leads nowhere shows before anything runs
    runs = _runs_of(arguments, parse_axes(arguments.axes))
    return [dataclasses.replace(run, imports=arguments.imports) for run in runs]


def _runs_of(arguments: argparse.Namespace, axes: Mapping[str, Sequence[Any]]) -> list[Run]:
    if arguments.what in suites.SUITES or arguments.what.partition(":")[0] in suites.SUITES:
        return suites.runs_of(arguments.what, axes)
    if not (PROJECT / "experiments" / "configs" / f"{arguments.what.partition(':')[0]}.py").is_file():
        raise ValueError(
            f"{arguments.what!r} is neither a suite ({', '.join(suites.SUITES)}) nor a config in experiments/configs."
        )
    return grid(arguments.what, axes, arguments.name)


def check_flags(arguments: argparse.Namespace) -> None:
    """Refuses flags that no run could come of, also in a dry run.

    Raises:
      ValueError: the first one that is wrong.
    """
    if arguments.root.exists() and not arguments.root.is_dir():
        raise ValueError(f"--root={arguments.root} is a file; give a directory.")
    places(arguments)
    if arguments.restarts < 0:
        raise ValueError(f"--restarts is {arguments.restarts}; it must be at least 0.")
    if arguments.minutes < 1 or not arguments.stall_minutes > 0:
        raise ValueError("--minutes and --stall_minutes must be positive.")
    if arguments.sbatch and arguments.backend != "slurm":
        raise ValueError(
            f"--sbatch {' '.join(arguments.sbatch)} is for --backend=slurm; write axes before --sbatch."
        )
    for pair in arguments.sbatch:  # it takes all that follows it
        key = pair.partition("=")[0]
        is_key = arguments.what not in suites.SUITES and key in load_config(arguments.what)
        if "." in key or key in cells.AXES or is_key:
            raise ValueError(f"{pair} is no option of sbatch but an axis; write it before --sbatch.")


def places(arguments: argparse.Namespace) -> list[dict[str, str]]:
    """Returns where runs of this machine go, one at a time in each, see `local.slots`.

    Raises:
      ValueError: flags that say nothing together.
    """
    gpus = [gpu for gpu in arguments.gpus.split(",") if gpu]
    if gpus and arguments.backend == "slurm":
        raise ValueError("--gpus is for --backend=local; Slurm gives GPUs, e.g. --sbatch gpus_per_node=1.")
    if arguments.per_gpu is not None and not gpus:
        raise ValueError(f"--per_gpu={arguments.per_gpu} needs to know the GPUs, e.g. --gpus=0,1.")
    if arguments.jobs is not None and gpus:
        raise ValueError(
            f"--jobs={arguments.jobs} is for runs without --gpus; --per_gpu says how many share one."
        )
    jobs, per_gpu = (1 if number is None else number for number in (arguments.jobs, arguments.per_gpu))
    return local.slots(jobs, gpus, per_gpu)


def run_sweep(arguments: argparse.Namespace) -> int:
    """Plans, and runs, submits or prints."""
    runs, root = planned(arguments), arguments.root
    check_flags(arguments)
    restarts = arguments.restarts if arguments.backend == "local" else None
    if arguments.dry_run:
        return dry_run(runs, root, restarts)
    check_settings(runs)
    if arguments.backend == "print":
        return print_commands(runs, root, arguments.retry)
    if arguments.backend == "slurm":
        return submit(arguments, runs)
    with attempts.hold(root):
        return run_here(arguments, runs)


def run_here(arguments: argparse.Namespace, runs: Sequence[Run]) -> int:
    """Carries the runs out on this machine."""
    root = arguments.root
    attempts.write_sweep(root, arguments.what, runs, arguments.restarts)
    again = give_other_chances(runs, root, slurm.queued(root), arguments.restarts) if arguments.retry else ()
    seconds = 60 * arguments.stall_minutes
    states = local.LocalSweep(runs, root, places(arguments), arguments.restarts, seconds, again).run()
    print_states(states)
    return 0 if all(state.kind == Kind.DONE for state in states.values()) else 1


def give_other_chances(
    runs: Sequence[Run], root: pathlib.Path, queue: Mapping[str, str], restarts: int | None
) -> set[str]:
    """Forgets failures; returns the runs that are done with other settings, which are for their mains to judge."""
    states = attempts.states_of(root, runs, queue, restarts)
    for name, state in states.items():
        if state.kind == Kind.FAILED:
            attempts.give_another_chance(root, name)
    return attempts.with_other_settings(states)


def dry_run(runs: Sequence[Run], root: pathlib.Path, restarts: int | None) -> int:
    """Prints every run with its state, its command and what it needs."""
    wrong, comparable = None, runs
    try:
        check_settings(runs)
    except ValueError as error:  # then there is no config to compare with
        wrong, comparable = error, [dataclasses.replace(run, config="") for run in runs]
    states = attempts.states_of(root, comparable, None, restarts)
    for run in runs:
        state = states[run.name]
        print(f"{run.name}  [{state.kind}{f': {state.detail}' if state.kind == Kind.OTHER else ''}]")
        print(f"    {shlex.join(run.command(root))}")
        if run.needs:
            print(f"    needs {', '.join(run.needs)}")
    print(f"{len(runs)} runs: {attempts.counts(states.values())}")
    if wrong:
        print(f"This will not run: {wrong}", file=sys.stderr)
        return 2
    return 1 if attempts.with_other_settings(states) else 0


def print_commands(runs: Sequence[Run], root: pathlib.Path, retry: bool) -> int:
    """Prints the commands of what is left to do, as `submit` would submit it."""
    states = attempts.states_of(root, runs)
    todo = left_to_do(runs, states, Kind.FAILED if retry else None, Kind.OTHER if retry else None)
    for run in todo:
        print(shlex.join(run.command(root)))
    names = {run.name for run in todo}
    others = {name: state for name, state in states.items() if name not in names}
    if others:
        print(f"Left out: {attempts.counts(others.values())}.", file=sys.stderr)
    return 0 if all(state.kind == Kind.DONE for state in others.values()) else 1


def left_to_do(runs: Sequence[Run], states: Mapping[str, State], *also: Kind | None) -> list[Run]:
    """Runs in order that are not done, failed, at work, or in need of one that is done with other settings.

    Args:
      runs, states: in order.
      also: kinds of those that are to do all the same.
    """
    left_out = {Kind.DONE, Kind.OTHER, Kind.FAILED, Kind.RUNNING} - set(also)
    todo, blocked = [], attempts.with_other_settings(states) if Kind.OTHER in left_out else set()
    for run in runs:
        if states[run.name].kind in left_out:
            continue
        if blocked.intersection(run.needs):
            blocked.add(run.name)
        else:
            todo.append(run)
    return todo


def submit(arguments: argparse.Namespace, runs: Sequence[Run]) -> int:
    """Submits what is left to do and not in the queue."""
    root = arguments.root
    attempts.write_sweep(root, arguments.what, runs)
    queue = slurm.queued(root)
    again = give_other_chances(runs, root, queue, None) if arguments.retry else ()
    states = attempts.states_of(root, runs, queue)
    also = Kind.OTHER if again else None
    todo = [run for run in left_to_do(runs, states, also) if run.name not in queue]
    if todo:
        jobs = slurm.submit(
            todo,
            root,
            name=arguments.what.replace(":", "-"),
            parallelism=arguments.jobs or 100,
            minutes=arguments.minutes,
            parameters=sbatch_parameters(arguments.sbatch),
        )
        arrays = sorted({job.partition("_")[0] for job in jobs.values()})
        print(f"Submitted {len(jobs)} runs as {len(arrays)} job arrays: {', '.join(arrays)}.")
    states |= {run.name: State(Kind.WAITING, "submitted") for run in todo}
    print_states(states)
    return 1 if any(state.kind in NEED_THE_USER for state in states.values()) else 0


def sbatch_parameters(pairs: Sequence[str]) -> dict[str, Any]:
    """Parses `partition=gpu gpus_per_node=1`."""
    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--sbatch takes KEY=VALUE, e.g. partition=gpu; got {pair!r}.")
        try:
            parameters[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            parameters[name] = text
    return parameters


def status(arguments: argparse.Namespace) -> int:
    """Prints where the runs of all sweeps below the root are; 1 if one has failed or has other settings."""
    queue = slurm.queued(arguments.root)
    states: dict[str, State] = {}
    for kept in attempts.read_sweeps(arguments.root):
        others = attempts.with_other_settings(states)
        states[kept.run.name] = attempts.state_of(arguments.root, kept.run, queue, kept.restarts, others)
    print_states(states)
    return 1 if any(state.kind in NEED_THE_USER for state in states.values()) else 0


def print_states(states: dict[str, State]) -> None:
    """Counts, then every run that is not done."""
    print(f"{len(states)} runs: {attempts.counts(states.values())}")
    for name, state in states.items():
        if state.kind != Kind.DONE:
            print(f"  {state.kind:11} {name}  {state.detail}".rstrip())


def report(arguments: argparse.Namespace) -> int:
    """Runs `python -m experiments report ROOT`."""
    attempts.read_sweeps(arguments.root)
    command = [sys.executable, "-m", "experiments", "report", str(arguments.root)]
    return subprocess.run(command, cwd=PROJECT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
