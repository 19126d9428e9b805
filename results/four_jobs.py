"""Carries out the four jobs of a new user as their pages describe them, with the presets `tiny`, and times them.

    python results/four_jobs.py FOLDER

The jobs are an environment, arrays, a dataset of LeRobot and a method of one's own: whatever code the page has is
written or run, whatever command it has is given, in the page's order. Each job is done twice, with an empty compilation
cache and from the cache. Writes `four_jobs.{md,csv}` into the folder: commands, lines of Python that the user
writes, seconds of the clock, processor seconds of all commands.
"""

import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.drawing.table import Table
from experiments.runs.scripts import run_script

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
NUM_STEPS = 40
Step = tuple[str, str]  # ("write", code of a file), ("python", code) or ("command", its words)


@dataclass(frozen=True)
class Job:
    """A job of a new user.

    Attributes:
      page: of docs/how-to.
      bring: makes, in the working directory, what the user has before, with a function that carries out a command;
        returns names that the code of the page uses.
      leave_out: a pattern of commands and code of the page that are for other cases.
    """

    page: str
    bring: Callable[[Callable[[str], None]], dict]
    leave_out: str = r"$^"

    def steps(self) -> Iterator[Step]:
        """Yields what the page has the user do, with the presets `tiny`."""
        text = (ROOT / "docs" / "how-to" / f"{self.page}.md").read_text()
        for language, block in BLOCK.findall(text):
            code = block.replace("\\\n", " ")
            if language == "python":
                if not re.search(self.leave_out, block):
                    yield ("write" if block.startswith("# my/") else "python"), block
                continue
            values = dict(re.findall(r"^(\w+)=(\S+)$", code, re.MULTILINE))
            for line in code.splitlines():
                if line.startswith("python -m experiments ") and not re.search(self.leave_out, line):
                    for name, value in values.items():
                        line = line.replace(f"${name}", value)
                    yield "command", tiny(line.removeprefix("python -m experiments "))


def tiny(command: str) -> str:
    """Puts the preset `tiny` in the place of the page's."""
    command = re.sub(r"(--config=[\w.:]*[:-])small\b", r"\1tiny", command)
    return re.sub(r"(--config=collect:\w+)\b(?!-)", r"\1-tiny", command)


def walks(num_episodes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions [N, T + 1, 3] and the actions [N, T, 3] that led from each to the next."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (num_episodes, NUM_STEPS, 3)).astype(np.float32)
    starts = rng.uniform(-1, 1, (num_episodes, 1, 3)).astype(np.float32)
    return np.concatenate([starts, starts + 0.1 * actions.cumsum(axis=1)], axis=1), actions


def bring_nothing(run) -> dict:
    return {}


def bring_arrays(run) -> dict:
    positions, actions = walks(6, seed=0)
    body = {"eef_pos": positions, "gripper": positions[..., :1]}
    shown = {name: values[:3] for name, values in body.items()}
    now = dict(eef_pos=positions[0, 0], gripper=positions[0, 0, :1], first=True)
    return dict(body=body, actions=actions, rewards=None, shown=shown, **now)


def bring_lerobot(run) -> dict:
    """Makes a dataset of LeRobot of version 3.0 with a camera of 64 x 64."""
    from worldmodels import append_episode, from_arrays

    positions, actions = walks(4, seed=0)
    shades = (127 + 60 * positions[..., :1, None].clip(-2, 2)).astype(np.uint8)
    images = np.broadcast_to(shades[..., None, :, :], (*positions.shape[:2], 64, 64, 3))
    for episode in from_arrays({"state": positions, "top": images}, actions):
        append_episode("robot", episode)
    run(
        "dataset --config=dataset:export --config.data=robot --config.format=lerobot --config.fps=20 --workdir=."
    )
    os.rename("lerobot", "DATASET")
    return {}


def bring_data(run) -> dict:
    """Makes demonstrations with actions and embodiment data of the environment of tests."""
    run("collect --config=collect:sac-tiny --config.env=fake-pointmass --workdir=runs/expert")
    run("collect --config=collect:uniform-tiny --config.env=fake-pointmass --workdir=runs/noise")
    return {}


JOBS = {
    "own environment": Job("environment", bring_nothing, leave_out="BaseEnvironment"),
    "own arrays": Job("data", bring_arrays),
    "LeRobot data": Job("others", bring_lerobot, leave_out="robomimic|minari"),
    "own method": Job("method", bring_data),
}


def carry_out(
    job: Job, run: Callable[[str], None], write: Callable[[str, str], None]
) -> tuple[int, int, float]:
    """Does a job in the working directory.

    Args:
      job: which.
      run: carries out a command of `python -m experiments`.
      write: (module, code) -> None writes a file of the user's.

    Returns:
      Commands, lines of Python that are neither empty nor the name of the file, and the clock when it began.
    """
    names, commands, lines = job.bring(run), 0, 0
    began = time.time()
    for kind, text in job.steps():
        if kind == "command":
            commands += 1
            run(text)
            continue
        lines += sum(bool(line.strip()) for line in text.splitlines()) - (kind == "write")
        if kind == "write":
            write(re.match(r"# (\S+)\.py", text)[1].replace("/", "."), text)
        else:
            exec(text, names)
    return commands, lines, began


# --------------------------------------------------------------------------------------------------------------


def in_a_process(command: str) -> None:
    """Carries out a command as a user does."""
    words = [sys.executable, "-m", "experiments", *shlex.split(command)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def write_file(module: str, code: str) -> None:
    path = Path(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)


def processor_seconds() -> float:
    """Processor seconds of this process and of all that it has waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


def measured(name: str, cache: Path) -> dict:
    """Does a job in an empty directory, which is deleted, with a compilation cache."""
    home = cache.parent / "user"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    os.chdir(home)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    before = processor_seconds()
    commands, lines, began = carry_out(JOBS[name], in_a_process, write_file)
    numbers = dict(job=name, commands=commands, lines=lines, seconds=time.time() - began)
    return numbers | dict(processor_seconds=processor_seconds() - before)


def main(folder: str) -> None:
    """Measures all jobs and writes the table."""
    from experiments.speed.timing import machine

    out, facts, rows, numbers = Path(folder).resolve(), machine(), [], []
    out.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = f"{ROOT}:."
    for name in JOBS:
        cache = out / "scratch" / "cache"
        shutil.rmtree(cache.parent, ignore_errors=True)
        both = [measured(name, cache) | {"cache": kind} for kind in ("empty", "warm")]
        print(*both, sep="\n", flush=True)
        numbers += both
        times = [f"{each['seconds'] / 60:.1f} min, {each['processor_seconds']:.0f} s" for each in both]
        rows.append((name, f"{both[0]['commands']}", f"{both[0]['lines']}", *times))
    shutil.rmtree(out / "scratch")
    headings = ("Job", "Commands", "Lines of Python", "Empty cache", "From the cache")
    caption = (
        "Minutes of the clock and processor seconds of all commands with the presets `tiny`. "
        f"{facts['processor']}, {facts['cpus']} cores, load {facts['load']} before."
    )
    Table(headings, rows, caption, numbers=numbers).write(out / "four_jobs")


if __name__ == "__main__":
    run_script(main, __doc__)
