"""The command line: `python -m experiments NAME --config=FILE:PRESET --config.key=value --workdir=DIR`.

NAME is one of the table's, or a module of yours, `my.module`, with `run(config, workdir, *, fresh=False)` or
`main(argv)`. Without a name it prints the table of commands; `NAME --help` prints what a command does and every key of
its config.
"""

import ast
import dataclasses
import difflib
import importlib
import importlib.util
import pathlib
import sys
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Command:
    """A verb of the command line.

    Attributes:
      module: has `run(config, workdir, *, fresh=False, **flags)`, or with `own_flags` `main(argv)`.
      config: config without `--config`; None makes the flag required.
      workdir: directory without `--workdir`; None makes the flag required.
      flags: more flags, {name: help}.
      several_processes: `run` can be one of several processes.
      own_flags: the module reads its command line itself.
    """

    module: str
    config: str | None = None
    workdir: str | None = None
    flags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    several_processes: bool = False
    own_flags: bool = False


_RUN = "Directory of the run to look at."
COMMANDS = {
    "collect": Command("experiments.methods.collect", "collect"),
    "convert": Command("experiments.data.convert"),
    "dataset": Command("experiments.data.dataset", workdir=""),
    "pretrain": Command("experiments.methods.pretrain", "pretrain", several_processes=True),
    "imitate": Command("experiments.methods.imitate", "imitate", several_processes=True),
    "baseline": Command("experiments.methods.baseline", "baseline"),
    "surrogate": Command("experiments.methods.surrogate", "surrogate"),
    "dreamer": Command("experiments.methods.dreamer", "dreamer"),
    "online": Command("experiments.methods.online", "online"),
    "compare": Command("experiments.studies.compare", "compare"),
    "aggregate": Command("experiments.studies.aggregate", "aggregate", "runs/aggregate"),
    "rewards": Command("experiments.analysis.rewards", "rewards", "runs/rewards"),
    "evaluate": Command("experiments.analysis.evaluate", "evaluate", "", {"run": _RUN}),
    "inspect": Command("experiments.analysis.inspect_run", "inspect_run", "", {"run": _RUN}),
    "curves": Command("experiments.analysis.curves", "curves"),
    "report": Command("experiments.analysis.report", own_flags=True),
    "export": Command(
        "experiments.analysis.export",
        "export",
        "",
        {"run": "Run or published folder to export.", "to": "Folder to write; it must not exist."},
    ),
    "demo": Command("experiments.studies.demo", "demo", "runs/demo"),
    "demo_online": Command("experiments.studies.demo_online", "demo_online", "runs/demo-online"),
    "benchmark": Command("experiments.speed.benchmark", "benchmark", "runs/benchmark"),
    "doctor": Command("experiments.speed.doctor", own_flags=True),
}


def summary(command: Command) -> str:
    """The first line of the docstring of a command's module, which is not imported for it."""
    source = pathlib.Path(__file__).parents[1] / (command.module.replace(".", "/") + ".py")
    return ast.get_docstring(ast.parse(source.read_text())).splitlines()[0]


def table() -> str:
    """A line for each command."""
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {summary(command)}" for name, command in COMMANDS.items()]
    return "\n".join(["python -m experiments NAME [--help]", "", *rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first argument names."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] in ("--help", "-h", "help"):
        print(table())
        return 0
    name, *rest = given
    if name not in COMMANDS and "." not in name:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        print(f"Error: There is no command {name!r}.{guess} Known: {', '.join(COMMANDS)}.", file=sys.stderr)
        return 2
    command = COMMANDS.get(name) or Command(name)
    module = importlib.import_module(command.module)
    if command.own_flags or (command.module == name and hasattr(module, "main")):
        return module.main(rest)
    from experiments.runs.command_line import launch

    launch(
        module.run,
        default_config=command.config,
        default_workdir=command.workdir,
        flags=command.flags,
        several_processes=command.several_processes,
        argv=[name, *rest],
        owns_process=argv is None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
