"""Scripts of one file, as those in `results/`: mistakes in calling them are one sentence."""

from __future__ import annotations

import inspect
import pathlib
import sys
from collections.abc import Callable

from experiments.runs.command_line import UsageError, complain, is_user_error


def run_script(main: Callable[..., None], usage: str | None) -> None:
    """Calls `main` with the arguments of the command line; after an error of the user ends with exit code 2.

    Args:
      main: takes its arguments by position.
      usage: docstring of the script, of which the lines that call it answer a wrong number of arguments.
    """
    name, *arguments = sys.argv
    try:
        try:
            inspect.signature(main).bind(*arguments)
        except TypeError as error:
            lines = (line.partition("    #")[0].strip() for line in (usage or "").splitlines())
            calls = [line for line in lines if line.startswith("python ") and pathlib.Path(name).name in line]
            raise UsageError(f"It is called so: {', or '.join(calls)}") from error
        main(*arguments)
    except Exception as error:
        if not is_user_error(error):
            raise
        sys.exit(complain(error))
