"""The command line: `python -m experiments NAME --config=FILE:PRESET --config.key=value --workdir=DIR`.

NAME is one of the table's, or a module of yours, `my.module`, with `run(config, workdir, *, fresh=False)` or
`main(argv)`. Without a name it prints the table of commands; `NAME --help` prints what a command does and every key
of its config, and `--version` the version.
`aime-jax NAME ...` is the same from any directory.
"""

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Sequence

from experiments.runs.command_line import Command, UsageError, complain, launch, show
from worldmodels import __version__

_RUN = "Directory of the run to look at."
COMMANDS = {
    "collect": Command("experiments.methods.collect", "collect"),
    "convert": Command("experiments.data.convert", "convert"),
    "dataset": Command("experiments.data.dataset", "dataset", ""),
    "pretrain": Command("experiments.methods.pretrain", "pretrain", several_processes=True),
    "imitate": Command("experiments.methods.imitate", "imitate", several_processes=True),
    "baseline": Command("experiments.methods.baseline", "baseline"),
    "surrogate": Command("experiments.methods.surrogate", "surrogate"),
    "dreamer": Command("experiments.methods.dreamer", "dreamer"),
    "online": Command("experiments.methods.online", "online"),
    "compare": Command("experiments.studies.compare", "compare"),
    "aggregate": Command("experiments.studies.aggregate", "aggregate", "runs/aggregate"),
    "rewards": Command("experiments.analysis.rewards", "rewards", "runs/rewards"),
    "evaluate": Command(
        "experiments.analysis.evaluate",
        "evaluate",
        "",
        {"run": "Run, or folder of `export`, that is to play."},
    ),
    "inspect": Command("experiments.analysis.inspect_run", "inspect_run", "", {"run": _RUN}),
    "curves": Command("experiments.analysis.curves", "curves", listed="runs"),
    "report": Command("experiments.analysis.report", "report", "", listed="runs"),
    "export": Command(
        "experiments.analysis.export",
        "export",
        "",
        {
            "run": "Run or published folder to export.",
            "to": "Folder to write, which must not exist, or hf://USER/NAME.",
        },
    ),
    "demo": Command("experiments.studies.demo", "demo", "runs/demo"),
    "demo_online": Command("experiments.studies.demo_online", "demo_online", "runs/demo-online"),
    "benchmark": Command("experiments.speed.benchmark", "benchmark", "runs/benchmark"),
    "doctor": Command("experiments.speed.doctor", alone=True),
}


def table() -> str:
    """Returns a line for each command."""
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {command.summary()}" for name, command in COMMANDS.items()]
    return "\n".join(["python -m experiments NAME [--help]", "", *rows])


def command_of(name: str) -> Command:
    """Returns the command of a name of the table, or of a module of the user's.

    Raises:
      UsageError: there is none; the sentence lists the known ones.
    """
    if name in COMMANDS:
        return COMMANDS[name]
    try:
        if "." in name and importlib.util.find_spec(name):
            return Command(name, alone=hasattr(importlib.import_module(name), "main"))
    except ModuleNotFoundError:
        pass
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"There is no command {name!r}.{guess} Known: {', '.join(COMMANDS)}.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first argument names; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] in ("--help", "-h", "help"):
        show(table())
        return 0
    if given[0] == "--version":
        print(f"aime-jax {__version__}")
        return 0
    try:
        command = command_of(given[0])
    except UsageError as error:
        return complain(error)
    if command.alone:
        return importlib.import_module(command.module).main(given[1:])
    return launch(command, given, owns_process=argv is None)


def console() -> int:
    """Runs `aime-jax`: as `python -m experiments`, it finds modules in the working directory."""
    sys.path.insert(0, "")
    return main()


if __name__ == "__main__":
    sys.exit(main())
