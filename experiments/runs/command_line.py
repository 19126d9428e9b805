"""The command line of a command: its flags, its help, and mistakes as a sentence.

Everything here starts without JAX, so that help and mistakes are answered at once.
"""

import ast
import dataclasses
import difflib
import functools
import importlib
import importlib.util
import logging
import os
import pathlib
import platform
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.runs import config_help, own_parts
from experiments.runs.startup import set_up_process

PROJECT = pathlib.Path(__file__).resolve().parents[2]
_OURS = ("worldmodels", "agents", "aime", "experiments", "launch")
_USER_ERROR, _DONE = 2, 0
_FORMAT = warnings.formatwarning
# A list of names, without brackets or quotes.
_LIST = re.compile(r"--?config\.([\w.]+)=([^\d\s()\[\]'\"-][^()\[\]'\"]*)")
_ALONE = (
    "This command runs in one process, on all its devices; of several processes are `pretrain` and "
    "`imitate`. Leave out --coordinator, --num_processes and --process_id."
)
_SWITCHES = {
    "fresh": "Delete what an earlier run left there.",
    "debug": "Show the tracebacks of all errors.",
}
_GROUP = {
    "coordinator": "Several processes: address of process 0, HOST:PORT; auto where Slurm or a TPU pod knows it.",
    "num_processes": "Several processes: how many.",
    "process_id": "Several processes: number of this one, from 0.",
}
_IMPORT = "Parts of your own that models or data on disk name: my.module:Name, separated by commas."


@dataclasses.dataclass(frozen=True)
class Command:
    """A verb of the command line.

    Attributes:
      module: has `run(config, workdir, *, fresh=False, **flags)`.
      config: config without `--config`; None makes the flag required.
      workdir: directory without `--workdir`; None makes the flag required.
      flags: more flags, {name: help}, which have to be given; strings.
      listed: key of the config that arguments without a flag are for, or "".
      several_processes: `run` can be one of several processes (`experiments.runs.processes`).
      alone: the module has `main(argv)` instead, which needs nothing that is installed.
    """

    module: str
    config: str | None = None
    workdir: str | None = None
    flags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    listed: str = ""
    several_processes: bool = False
    alone: bool = False

    def summary(self) -> str:
        """Returns the first line of the module's docstring, without importing the module."""
        spec: Any = importlib.util.find_spec(self.module)
        source = pathlib.Path(spec.origin).read_text()
        return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]

    def run(self, *arguments: Any, **flags: Any) -> Any:
        """Imports the module and calls its `run`."""
        return importlib.import_module(self.module).run(*arguments, **flags)


class UsageError(ValueError):
    """The command line is wrong."""


def launch(command: Command, argv: Sequence[str], *, owns_process: bool = True) -> int:
    """Parses the command line, runs the command and returns its exit code.

    Args:
      command: what to run.
      argv: the command's name and its arguments.
      owns_process: may start the process anew and silence its background threads.

    Returns:
      0 if it has done its work, 2 after an error of the user (one sentence; the traceback with `--debug`), 128 + the
      signal's number if it was interrupted. Any other error is raised.
    """
    try:
        arguments = parse(command, argv)
    except UsageError as error:
        return complain(error)
    if arguments is None:
        return _DONE
    debug = arguments.pop("debug")
    if owns_process:
        use_huge_pages()
        if not debug:
            threading.excepthook = sys.unraisablehook = _in_one_line
            warnings.formatwarning = format_warning
            # What Orbax logs there of a full disk, our error says in a sentence.
            for name in ("absl", "asyncio"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
    # Not at the top: they import NumPy, which a mistake need not wait for.
    from experiments.runs import processes
    from experiments.runs.directory import Interrupted
    from experiments.runs.outcome import sentence, when_done

    imported = arguments.pop("import")
    set_up_process()
    try:
        own_parts.load(imported)
        processes.join(**{name: arguments.pop(name) for name in _GROUP})
        workdir = arguments.pop("workdir")
        before = when_done(workdir)
        result = command.run(arguments.pop("config"), workdir, **arguments)
        after = when_done(workdir) if processes.leads() else None
        if after and (said := sentence(result, workdir, again=after == before)):
            print(said, flush=True)
    except Interrupted as error:
        print(error, file=sys.stderr)
        return 128 + error.signal_number
    except KeyboardInterrupt:
        print("Stopped at once; what came after the last checkpoint is lost.", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:
        if debug or not is_user_error(error):
            raise
        if owns_process:  # what background threads and destructors still say comes from the same error
            threading.excepthook = lambda *unused: None
            sys.unraisablehook = lambda *unused: None
        return complain(error, hint=" (--debug shows where)")
    return _DONE


def parse(command: Command, argv: Sequence[str]) -> dict[str, Any] | None:
    """Parses the name and the arguments of a command.

    Returns:
      {"config", "workdir", "fresh", "debug", **flags}, or None if it has printed the help.

    Raises:
      UsageError: one sentence that says what is wrong and what is known.
    """
    argv = [argv[0], *_with_config_file(_joined(argv[1:]), command.config)]
    argv, own = own_parts.split(argv, lambda: _config_of(argv, command))
    argv = _with_tuples(argv, command)
    values = _define_flags(argv, command)
    wants_help = not {"--help", "-h"}.isdisjoint(argv)
    try:
        rest = values(argv)[1:]
    except Exception as error:  # the config file runs in here, so that anything may come
        if not wants_help:
            raise UsageError(_flag_sentence(error, argv, command)) from error
    config = values["config"].value
    if wants_help:
        show("\n".join(_help(argv[0], command, config, _given_config(argv))))
        return None
    if config is None:
        raise UsageError("--config is required. --help lists the flags.")
    own_parts.put_in(config, own)
    if rest and command.listed:
        config[command.listed] = (*config[command.listed], *rest)
    elif rest:
        raise UsageError(
            f"Unexpected argument {rest[0]!r}. Flags look like --workdir=DIR or --config.key=value."
        )
    for name in ("workdir", *command.flags):
        if values[name].value is None:
            raise UsageError(f"--{name} is required. --help lists the flags.")
    if not command.several_processes and any(values[name].value for name in _GROUP):
        raise UsageError(_ALONE)
    names = ("config", "workdir", *_SWITCHES, *command.flags, *_GROUP)
    imported = own_parts.listed(values["import"].value)
    return {name: values[name].value for name in names} | {"import": imported}


def find_config(path: str) -> str:
    """Completes `FILE[:PRESET]` to a file that exists.

    `demo`, `configs/demo.py` and `experiments/configs/demo.py` are looked for below the working directory and
    then in the installed project, so that the commands of the documentation work from everywhere.
    """
    file, colon, preset = path.partition(":")
    configs = PROJECT / "experiments" / "configs"
    named = pathlib.Path(file).name.removesuffix(".py") + ".py"
    for candidate in (
        pathlib.Path(file),
        PROJECT / file,
        configs / file,
        configs.parent / file,
        configs / named,
    ):
        if candidate.is_file():
            return f"{candidate}{colon}{preset}"
    known = sorted(path.stem for path in configs.glob("*.py") if not path.stem.startswith("_"))
    raise UsageError(
        f"There is no config file {file!r}. Known: {', '.join(known) or 'none'}, or the path of yours."
    )


def use_huge_pages(environment: Mapping[str, str] = os.environ) -> None:
    """Starts this program again with huge pages for freed and allocated memory, unless it runs so already.

    A training update on the CPU allocates hundreds of megabytes of temporaries, and each of their pages
    faults anew: up to a sixth of an update. glibc reads this setting only when a process starts. It keeps its
    id.
    """
    if "GLIBC_TUNABLES" in environment or platform.libc_ver()[0] != "glibc" or sys.gettrace():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, sys.orig_argv, {**environment, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"})


def show(text: str) -> None:
    """Prints a text; whoever closes the pipe before its end, as `--help | head` does, has seen enough."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_user_error(error: BaseException) -> bool:
    """Returns True for errors that a user can cause and our code explains, as opposed to errors of the program.

    Those are our own exceptions, a ValueError or OSError that our code, not a library, has raised, and whatever the
    system says of a file that our code has asked for, also by way of a library such as pathlib.
    """
    if type(error).__module__.partition(".")[0] in _OURS:
        return True
    if not isinstance(error, ValueError | OSError) or error.__traceback__ is None:
        return False
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [name.partition(".")[0] in (*_OURS, "__main__") for name in names]
    of_a_file = isinstance(error, OSError) and error.errno is not None and error.filename is not None
    return any(ours) if of_a_file else ours[-1]


def complain(error: BaseException, hint: str = "") -> int:
    """Prints an error of the user as one sentence and returns the exit code for it."""
    if isinstance(error, OSError) and error.strerror:
        text = (
            f"Cannot read or write {error.filename}: {error.strerror}."
            if error.filename
            else f"{error.strerror}."
        )
    else:
        text = " ".join(str(error).split()) or type(error).__name__
    _say(f"Error: {text}{hint}")
    return _USER_ERROR


def _define_flags(argv: Sequence[str], command: Command):
    """Flags of our own, so that nothing is global and tests and notebooks may parse often."""
    from absl import flags
    from ml_collections import config_flags

    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", lock_config=True, flag_values=values, sys_argv=argv)
    flags.DEFINE_string("workdir", command.workdir, "", flag_values=values)
    for name in _SWITCHES:
        flags.DEFINE_bool(name, False, "", flag_values=values)
    flags.DEFINE_bool("help", False, "", short_name="h", flag_values=values)
    flags.DEFINE_multi_string("import", [], "", flag_values=values)
    for name in (*command.flags, *_GROUP):
        flags.DEFINE_string(name, None, "", flag_values=values)
    return values


def _help(name: str, command: Command, config: Any, path: str) -> Iterator[str]:
    """Lines on what a command does, its flags, and every key of its config."""
    listed = f" [{command.listed.upper()} ...]" if command.listed else ""
    yield f"python -m experiments {name} [--config=FILE:PRESET] [--config.KEY=VALUE ...] [--FLAG=VALUE ...]{listed}"
    yield f"\n{command.summary()}\n"
    default = {None: "", "": ""}.get(command.workdir, f" ({command.workdir})")
    flags = {
        "config=FILE:PRESET": f"Config file, or its name in experiments/configs ({command.config or 'required'}).",
        "workdir=DIR": f"Directory of the run{default or ' (required)' * (command.workdir is None)}.",
        **{flag: f"{text.removesuffix('.')} (required)." for flag, text in command.flags.items()},
        **_SWITCHES,
        "import": _IMPORT,
        **(_GROUP if command.several_processes else {}),
    }
    yield from (f"  --{flag:<20} {text}" for flag, text in flags.items())
    if path:
        yield from config_help.lines(*path.partition(":")[::2], config)


def _joined(arguments: Sequence[str]) -> list[str]:
    """Writes `--config.key value` as one argument."""
    joined: list[str] = []
    for argument in arguments:
        if joined and re.fullmatch(r"--?config\.[\w.]+", joined[-1]) and not argument.startswith("-"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _with_config_file(arguments: list[str], default: str | None) -> list[str]:
    """Replaces the config by the path of an existing file, or puts in the default."""
    for i, argument in enumerate(arguments):
        if argument in ("--config", "-config") and i + 1 < len(arguments):
            return [*arguments[:i], f"--config={find_config(arguments[i + 1])}", *arguments[i + 2 :]]
        match = re.fullmatch(r"--?config=(.+)", argument)
        if match:
            return [*arguments[:i], f"--config={find_config(match[1])}", *arguments[i + 1 :]]
    return [f"--config={find_config(default)}", *arguments] if default else arguments


def _config_of(argv: Sequence[str], command: Command) -> Any:
    """Returns the config that a command line names, without its settings."""
    required = [f"--{name}=" for name in ("workdir", *command.flags)]
    arguments = parse(command, [argv[0], f"--config={_given_config(argv)}", *required])
    assert arguments is not None  # nobody asks for help
    return arguments["config"]


def _given_config(argv: Sequence[str]) -> str:
    """Returns "FILE:PRESET" of a command line that `_with_config_file` has completed; "" if there is none."""
    return next((text.partition("=")[2] for text in argv if text.startswith("--config=")), "")


def _with_tuples(argv: Sequence[str], command: Command) -> list[str]:
    """Writes lists of names, `--config.rewards=none,my.module:Reward`, as the tuples that those keys are."""
    matches = [_LIST.fullmatch(argument) for argument in argv]
    if not any(matches):
        return list(argv)
    known = dict(config_help.flat(_config_of(argv, command)))
    names = ((match, [name.strip() for name in match[2].split(",")]) if match else () for match in matches)
    return [
        f"--config.{found[0][1]}={tuple(filter(None, found[1]))!r}"
        if found and isinstance(known.get(found[0][1]), tuple)
        else argument
        for argument, found in zip(argv, names, strict=True)
    ]


def _flag_sentence(error: Exception, argv: Sequence[str], command: Command) -> str:
    """Says what is wrong with the flags."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "Traceback (most recent call last):" in lines:  # an error in `get_config`: the last line says what
        return re.sub(r"^[\w.]*(?:Error|Exception): ", "", lines[-1])
    file = _given_config(argv)
    if file and isinstance(error, AttributeError | KeyError):
        known = [key for key, _ in config_help.flat(_config_of(argv, command))]
        for argument in argv[1:]:
            match = re.match(r"--?(?:no)?config\.([\w.]+)", argument)
            if match and match[1] not in known:
                near = difflib.get_close_matches(match[1], known, n=1)
                guess = f"Did you mean {near[0]!r}? " if near else ""
                group = match[1].rpartition(".")[0]
                siblings = [key for key in known if key.rpartition(".")[0] == group] or known
                return f"The config has no key {match[1]!r}. {guess}Known: {', '.join(siblings)}."
    if type(error).__module__.startswith("absl."):
        return f"{' '.join(lines).rstrip('.')}. --help lists the flags."
    return f"The config {file} does not load: {type(error).__name__}: {' '.join(lines)}."


def format_warning(message, category, filename, lineno, line=None) -> str:
    """Writes what our code warns of as a sentence, and other warnings as Python does."""
    if any(pathlib.Path(filename).is_relative_to(PROJECT / name) for name in _OURS):
        return f"Warning: {message}\n"
    return _FORMAT(message, category, filename, lineno, line)


_BACKGROUND = threading.RLock()  # a destructor may fail while a thread's failure is told


def _in_one_line(failure) -> None:
    """Prints what a background thread or a destructor, such as TensorBoard's, says of a full disk."""
    name = failure.exc_type.__name__
    with _BACKGROUND:
        _say_once(f"Warning: in the background, {name}: {failure.exc_value} (--debug shows where)")


@functools.cache
def _say_once(text: str) -> None:
    """Says what many threads may have to say, as all those that write a checkpoint onto a full disk."""
    _say(text)


def _say(text: str) -> None:
    """Writes a line to stderr at once, so that no other thread writes into it."""
    sys.stderr.write(f"{text}\n")
