"""Says which file is being opened when that takes long.

HDF5 can read a damaged file for ever and lets no other thread of the process run meanwhile, so that a process of its
own keeps the time.
"""

import atexit
import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Iterator

SECONDS = 15.0

_PROGRAM = """
import os, select, sys
seconds, path, told = float(sys.argv[1]), b"", False
while True:
    if select.select([0], [], [], seconds)[0]:
        content = os.read(0, 65536)
        if not content:
            break
        path, told = content[:-1].rpartition(b"\\0")[2], False
    elif path and not told:
        told = True
        print(f"Opening {os.fsdecode(path)} takes more than {seconds:g} seconds; if it does not end, the file may be "
              "damaged: move it elsewhere. `python -m experiments dataset --config=dataset:check` finds such files.",
              file=sys.stderr, flush=True)
"""


@contextlib.contextmanager
def opening(path: str | os.PathLike) -> Iterator[None]:
    """Prints a sentence with the path while the block runs for more than `SECONDS`."""
    _tell(os.fsencode(os.path.abspath(path)))
    try:
        yield
    finally:
        _tell(b"")


def _tell(path: bytes) -> None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # without it files are opened all the same
        pipe = _process(SECONDS).stdin
        assert pipe is not None  # the process was started with one
        pipe.write(path + b"\0")


@functools.cache
def _process(seconds: float) -> subprocess.Popen:
    """Starts the process that keeps the time; it ends with this one, whose end of the pipe it reads."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROGRAM, str(seconds)], stdin=subprocess.PIPE, bufsize=0
    )
    atexit.register(process.communicate)  # closes the pipe and waits
    return process
