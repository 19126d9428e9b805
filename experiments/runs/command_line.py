"""What every main shares: flags, environment variables, the compilation cache, and errors in one sentence.

A main is a module with `run(config, workdir, *, fresh=False) -> dict` and

    def main():
        launch(run, default_config="demo")

    if __name__ == "__main__":
        main()

which gives it the flags `--config=FILE[:PRESET]`, `--config.key=value`, `--workdir=DIR`, `--fresh`,
`--import=my.module:Name` and `--debug`. Notebooks and tests call `run` itself.
"""

import difflib
import inspect
import logging
import os
import pathlib
import platform
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.runs import own_parts, processes
from experiments.runs.directory import Interrupted
from experiments.runs.startup import choose_convolution_kernels, set_compilation_cache
from worldmodels import registry

_PROJECT = pathlib.Path(__file__).resolve().parents[2]
_OURS = ("worldmodels", "agents", "aime", "experiments", "launch")
_USER_ERROR, _DONE = 2, 0
_ALONE = (
    "This command runs in one process, on all its devices; of several processes are `pretrain` and "
    "`imitate`. Leave out --coordinator, --num_processes and --process_id."
)


class UsageError(ValueError):
    """The command line is wrong."""


def launch(
    run: Callable[..., Any],
    *,
    default_config: str | None = None,
    default_workdir: str | None = None,
    flags: Mapping[str, str] | None = None,
    several_processes: bool = False,
    argv: Sequence[str] | None = None,
    owns_process: bool = True,
) -> None:
    """Parses the command line, calls `run(config, workdir, fresh=..., **flags)` and exits.

    The exit code is 0 if it returned, 2 after an error of the user (one sentence; the traceback with
    `--debug`), 128 + the signal's number if it was interrupted, 1 after any other error.

    Args:
      run: does the work.
      default_config: config without `--config`, in the same form; None makes the flag required.
      default_workdir: directory without `--workdir`; None makes the flag required.
      flags: more flags, {name: help}; strings, passed on as keyword arguments (None if absent).
      several_processes: `run` can be one of several processes (`experiments.runs.processes`).
      argv: command line, `sys.argv` by default.
      owns_process: may start the process anew and silence its background threads.
    """
    try:
        arguments = parse(
            sys.argv if argv is None else argv,
            default_config,
            default_workdir,
            {**(flags or {}), **processes.FLAGS},
            getattr(inspect.getmodule(run), "__doc__", None),
        )
    except UsageError as error:
        sys.exit(_complain(error))
    debug = arguments.pop("debug")
    group = {name: arguments.pop(name) for name in processes.FLAGS}
    if any(group.values()) and not several_processes:
        sys.exit(_complain(UsageError(_ALONE)))
    if owns_process:
        use_huge_pages()
        if not debug:
            threading.excepthook = sys.unraisablehook = _in_one_line
            for name in (
                "absl",
                "asyncio",
            ):  # what Orbax logs there of a full disk, our error says in a sentence
                logging.getLogger(name).setLevel(logging.CRITICAL)
    imported = arguments.pop("import")
    set_up_process()
    try:
        for name in imported:
            registry.load(name)
        processes.join(**group)
        run(arguments.pop("config"), arguments.pop("workdir"), **arguments)
    except Interrupted as error:
        print(error, file=sys.stderr)
        sys.exit(128 + error.signal_number)
    except KeyboardInterrupt:
        print("Stopped at once; what came after the last checkpoint is lost.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if debug or not is_user_error(error):
            raise
        if owns_process:  # what background threads and destructors still say comes from the same error
            threading.excepthook = sys.unraisablehook = lambda *unused: None
        sys.exit(_complain(error, hint=" (--debug shows where)"))
    sys.exit(_DONE)


def parse(
    argv: Sequence[str],
    default_config: str | None = None,
    default_workdir: str | None = None,
    flags: Mapping[str, str] | None = None,
    description: str | None = None,
) -> dict[str, Any]:
    """Parses a command line into {"config", "workdir", "fresh", "debug", **flags}.

    Raises:
      UsageError: one sentence that says what is wrong and what is known.
    """
    argv = [argv[0], *_with_config_file(list(argv[1:]), default_config)]
    argv, own = own_parts.split(argv, lambda: _config_of(argv))
    values = _define_flags(argv, default_workdir, flags or {})
    try:
        rest = values(argv)[1:]
    except Exception as error:  # the config file runs in here, so that anything may come
        raise UsageError(_flag_sentence(error, argv)) from error
    if values.help:
        print(f"{description or ''}\n{values.get_help()}")
        sys.exit(_DONE)
    if rest:
        raise UsageError(
            f"Unexpected argument {rest[0]!r}. Flags look like --workdir=DIR or --config.key=value."
        )
    for name in ("config", "workdir"):
        if values[name].value is None:
            raise UsageError(f"--{name} is required. --help lists the flags.")
    _split_at_commas(values["config"].value, argv[1:])
    own_parts.put_in(values["config"].value, own)
    names = ("config", "workdir", "fresh", "debug", "import", *(flags or {}))
    return {name: values[name].value for name in names}


def find_config(path: str) -> str:
    """Completes `FILE[:PRESET]` to a file that exists.

    `demo`, `configs/demo.py` and `experiments/configs/demo.py` are looked for below the working directory and
    then in the installed project, so that the commands of the documentation work from everywhere.
    """
    file, colon, preset = path.partition(":")
    configs = _PROJECT / "experiments" / "configs"
    named = pathlib.Path(file).name.removesuffix(".py") + ".py"
    for candidate in (
        pathlib.Path(file),
        _PROJECT / file,
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


def set_up_process() -> None:
    """Sets what has to be set before JAX is first used."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    choose_convolution_kernels()
    set_compilation_cache()


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


def is_user_error(error: BaseException) -> bool:
    """True for errors that a user can cause and our code explains, as opposed to errors of the program.

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


def _define_flags(argv: Sequence[str], default_workdir: str | None, flags: Mapping[str, str]):
    """Flags of our own, so that nothing is global and tests and notebooks may parse often."""
    from absl import flags as absl_flags
    from ml_collections import config_flags

    values = absl_flags.FlagValues()
    text = "Config file, or its name in experiments/configs, and :preset."
    config_flags.DEFINE_config_file("config", None, text, lock_config=True, flag_values=values, sys_argv=argv)
    absl_flags.DEFINE_string("workdir", default_workdir, "Directory of the run.", flag_values=values)
    absl_flags.DEFINE_bool("fresh", False, "Delete what an earlier run left there.", flag_values=values)
    absl_flags.DEFINE_bool("debug", False, "Show the tracebacks of all errors.", flag_values=values)
    absl_flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
    text = "Parts of your own that models or data on disk name: my.module:Name, separated by commas."
    absl_flags.DEFINE_list("import", [], text, flag_values=values)
    for name, text in flags.items():
        absl_flags.DEFINE_string(name, None, text, flag_values=values)
    return values


def _with_config_file(arguments: list[str], default: str | None) -> list[str]:
    """Replaces the config by the path of an existing file, or puts in the default."""
    for i, argument in enumerate(arguments):
        if argument in ("--config", "-config") and i + 1 < len(arguments):
            return [*arguments[:i], f"--config={find_config(arguments[i + 1])}", *arguments[i + 2 :]]
        match = re.fullmatch(r"--?config=(.+)", argument)
        if match:
            return [*arguments[:i], f"--config={find_config(match[1])}", *arguments[i + 1 :]]
    return [f"--config={find_config(default)}", *arguments] if default else arguments


def _split_at_commas(config: Any, arguments: Sequence[str]) -> None:
    """Reads `--config.rewards=none,ail` as two names, as `=1,2` are two numbers already, not as one with a comma."""
    given = {text for argument in arguments for text in (argument, argument.partition("=")[2])}
    for key, value in config.items():
        if hasattr(value, "items"):
            _split_at_commas(value, arguments)
        elif isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], str) and value[0] in given:
            names = [name.strip() for name in value[0].split(",")]
            config[key] = tuple(filter(None, names))


def _config_of(argv: Sequence[str]) -> Any:
    """Returns the config that a command line names, without its settings."""
    file = next((argument for argument in argv if argument.startswith("--config=")), "")
    return parse([argv[0], file, "--workdir="])["config"]


def _flag_sentence(error: Exception, argv: Sequence[str]) -> str:
    """What went wrong with the flags, in one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "Traceback (most recent call last):" in lines:  # an error in `get_config`: the last line says what
        return re.sub(r"^[\w.]*(?:Error|Exception): ", "", lines[-1])
    file = next((a.partition("=")[2] for a in argv if a.startswith("--config=")), None)
    if file and isinstance(error, AttributeError | KeyError):
        known = list(_config_keys(_config_of(argv).to_dict()))
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


def _config_keys(config: Mapping[str, Any], prefix: str = ""):
    for key in config:
        if isinstance(config[key], Mapping):
            yield from _config_keys(config[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _in_one_line(failure) -> None:
    """What a background thread or a destructor, such as TensorBoard's, says of a disk that is full."""
    name = failure.exc_type.__name__
    print(f"Warning: in the background, {name}: {failure.exc_value} (--debug shows where)", file=sys.stderr)


def _complain(error: BaseException, hint: str = "") -> int:
    """Prints an error of the user as one sentence and returns the exit code for it."""
    if isinstance(error, OSError) and error.strerror:
        text = (
            f"Cannot read or write {error.filename}: {error.strerror}."
            if error.filename
            else f"{error.strerror}."
        )
    else:
        text = " ".join(str(error).split()) or type(error).__name__
    print(f"Error: {text}{hint}", file=sys.stderr)
    return _USER_ERROR
