"""Runs by two processes of this machine: `python several_processes.py ADDRESS NUMBER JOBS` is one of them.

JOBS is a JSON file of a command line and of `job`s, which the process does one after the other, so that a test file
starts few processes.
"""

import importlib
import json
import pathlib
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from interruption import environment


def job(main: str, preset: str, workdir: pathlib.Path, **changes) -> dict:
    """A run of `experiments.runs.command_line` with a preset and changes of its config."""
    return {"main": main, "preset": preset, "workdir": str(workdir), "changes": changes}


def start_together(command: list[str], jobs: list[dict], folder: pathlib.Path) -> list[subprocess.Popen]:
    """Two processes that carry out a command line together, and then jobs."""
    file, address = folder / "jobs.json", free_address()
    file.write_text(json.dumps({"command": command, "jobs": jobs}))
    arguments = [sys.executable, __file__, address]
    return [subprocess.Popen([*arguments, number, str(file)], **streams()) for number in "01"]


def start_main(main: str, *flags: str, only_second: tuple[str, ...] = ()) -> list[subprocess.Popen]:
    """The same command line as two processes, of which the second has some flags more."""
    address = f"--coordinator={free_address()}"
    command = [sys.executable, "-m", "experiments", main, *flags, address, "--num_processes=2"]
    numbered = [("--process_id=0",), ("--process_id=1", *only_second)]
    return [subprocess.Popen([*command, *more], **streams()) for more in numbered]


def streams() -> dict:
    """Options of all subprocesses."""
    return dict(env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def errors_of(group: list[subprocess.Popen], timeout: float = 300) -> list[str]:
    """What each says on stderr until its end; what Gloo says of its connections is left out."""
    try:
        with ThreadPoolExecutor(len(group)) as pool:
            said = list(pool.map(lambda process: process.communicate(timeout=timeout)[1], group))
    finally:
        for process in group:  # none is left behind, whatever has gone wrong
            process.kill()
    return ["".join(line for line in text.splitlines(True) if "[Gloo]" not in line) for text in said]


def assert_all_ended(group: list[subprocess.Popen]) -> None:
    """They end without an error."""
    errors = errors_of(group)
    assert [process.returncode for process in group] == [0] * len(group), errors


def free_address() -> str:
    """HOST:PORT that nobody listens to."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def main() -> None:
    """One process; it becomes one of two by its command line."""
    from experiments.__main__ import main as command_line

    address, number, file = sys.argv[1:]
    work = json.loads(pathlib.Path(file).read_text())
    group = [f"--coordinator={address}", "--num_processes=2", f"--process_id={number}"]
    code = command_line([*work["command"], *group])
    assert code == 0, f"exit code {code}"
    carry_out(work["jobs"])


def carry_out(jobs: list[dict]) -> None:
    """Does jobs in this process."""
    from experiments.__main__ import COMMANDS

    for each in jobs:
        config = importlib.import_module(f"experiments.configs.{each['main']}").get_config(each["preset"])
        config.update_from_flattened_dict(each["changes"])
        importlib.import_module(COMMANDS[each["main"]].module).run(config, each["workdir"])


if __name__ == "__main__":
    main()
