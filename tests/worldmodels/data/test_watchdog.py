"""A file that is opened for long is named, also while the library that reads it lets no thread run."""

import subprocess
import sys

READ = """
import sys
from worldmodels.data import watchdog
watchdog.SECONDS = 0.3
with watchdog.opening("/data/0.hdf5"):
    pass
with watchdog.opening(sys.argv[1]):
    exec("for _ in range(10**7): pass" if len(sys.argv) == 2 else sys.argv[2])
"""


def run(*arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", READ, *arguments], capture_output=True, text=True, timeout=60
    )
    return result.stderr


def test_a_file_that_takes_long_is_named_once():
    # A regular expression that backtracks holds the interpreter's lock.
    told = run("/data/1.hdf5", "import re; re.match(r'(a+)+b', 'a' * 26)")
    assert told.count("Opening /data/1.hdf5 takes more than 0.3 seconds") == 1
    assert "/data/0.hdf5" not in told


def test_nothing_is_said_of_files_that_open_at_once():
    assert run("/data/1.hdf5", "pass") == ""


def test_it_ends_with_the_process_that_it_watches():
    assert "Opening" not in run("/data/1.hdf5", "import os; os.kill(os.getpid(), 9)")
