"""A job made of several runs: each stage is a run of its own, by the mains of this package, in a subdirectory.

Stages that are done are not done again; one that was interrupted continues.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from experiments.runs.directory import FREE_TO_CHANGE, RunDirectory
from experiments.runs.settings import read_json, write_json
from experiments.runs.startup import set_up_process


class Stages:
    """Runs stages in subdirectories and remembers how long each took, over all attempts."""

    def __init__(self, workdir: Path):
        self._workdir = workdir
        self._file = workdir / "seconds.json"
        self.seconds: dict[str, float] = read_json(self._file) if self._file.is_file() else {}

    def path(self, name: str) -> Path:
        """Returns the directory of a stage."""
        return self._workdir / name

    def run(self, name: str, main: Callable, config) -> dict:
        """Runs a main in its directory; finished stages return what they had returned."""
        print(f"== {name}", flush=True)
        with self.timed(name):
            return main(config, self.path(name))

    @contextlib.contextmanager
    def beside(self, name: str, main: Callable, config) -> Iterator[Callable[[], dict]]:
        """Runs a main in a process of its own while the block continues; the block gets a function that waits for it.

        What it prints goes to `NAME.log`. It ends with the block: a block that fails or is interrupted stops it,
        saved, like any run.
        """
        log = self._workdir / f"{name}.log"
        print(f"== {name}, in a process of its own; what it prints is in {log}", flush=True)
        arguments = (main, config, self.path(name), log)
        process = multiprocessing.get_context("spawn").Process(target=run_logged, args=arguments)
        process.start()
        try:
            yield lambda: self._wait(name, process, log)
        finally:
            process.terminate()  # nothing happens to one that has ended
            process.join()

    def _wait(self, name: str, process, log: Path) -> dict:
        if process.is_alive():
            print(f"== waiting for {name}", flush=True)
        with self.timed(f"waiting for {name}"):
            process.join()
        if process.exitcode:
            raise ValueError(f"The stage {name!r} failed; {log} says why. The same command tries again.")
        return read_json(self.path(name) / "DONE")

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the duration of a block to a stage's, on disk too, also if it is interrupted."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
            write_json(self._file, self.seconds)


def run_study(
    work: Callable, config, workdir, *, fresh: bool = False, allow_changes: Sequence[str] = ()
) -> dict:
    """Returns and prints the summary, with "table", of a job that writes a report.

    Args:
      work: (config, run directory) -> summary, of what is not done yet.
      allow_changes: as of `RunDirectory`, besides those that are free to change.
    """
    allowed = (*FREE_TO_CHANGE, *allow_changes)
    with RunDirectory(workdir, config, fresh=fresh, allow_changes=allowed) as directory:
        summary = directory.result or work(config, directory)
        print(summary["table"], flush=True)
        print(f"Report: {directory / 'report.html'}", flush=True)
        return summary


def run_logged(main: Callable, config, workdir: Path, log: Path) -> dict:
    """Runs a main with what it prints going to a file; in a process of its own."""
    set_up_process()
    with (
        open(log, "a", buffering=1) as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        try:
            return main(config, workdir)
        except Exception:
            traceback.print_exc()  # while stderr is the file, which is where the user is sent
            raise


def changed(config, **changes):
    """Returns a copy of a config with some keys changed; the keys must exist."""
    config = config.copy_and_resolve_references()
    config.update(changes)
    return config


def run_seeds(directory: RunDirectory, train_seed: Callable[[RunDirectory], dict]) -> list[dict]:
    """Runs `train_seed` for the seeds seed .. seed + num_seeds - 1 in `directory/seeds/0`, `1`, ...

    Seeds that are done return what they had returned; one that was interrupted continues.

    Args:
      directory: of all; its config has `seed` and `num_seeds`.
      train_seed: run directory of one seed, with its config -> result.
    """
    results = []
    for index in range(directory.config["num_seeds"]):
        config = directory.config | {"seed": directory.config["seed"] + index, "num_seeds": 1}
        with RunDirectory(seed_path(directory, index), config) as single:
            results.append(single.result or single.mark_done(train_seed(single)))
    return results


def seed_path(directory: RunDirectory, index: int):
    """Returns the directory of seed `index`."""
    return directory / "seeds" / str(index)
