"""Episodes of scripted experts with graded noise, of many tasks, in several processes.

    python -m experiments collect --config=collect:scripted --config.tasks=mt39 --workdir=DIR

Episodes lie in a folder per environment, as the published multi-task sets do; the start, the kind and the noise of
episode i depend on the seed, the task and i alone, so that a collection can be continued and extended. What runs in
the processes does not import jax.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np

from agents.loop import collect_episodes
from agents.noise import ColouredActor
from experiments.data.arena import Arena
from experiments.data.extraneous import Extraneous
from experiments.data.folders import num_complete, remove_episodes, write_round
from experiments.envs import registry
from experiments.envs.metaworld_tasks import PREFIX as META_WORLD
from experiments.envs.metaworld_tasks import SETS, TASKS, tasks_of
from experiments.envs.scripted import expert
from experiments.runs.directory import RunDirectory
from experiments.runs.progress import Progress
from worldmodels.data.episodes import Episode, read_episode

Given = ParamSpec("Given")
Result = TypeVar("Result")

CHUNK = 10  # episodes that a process plays before it looks for other work
_MOST_ATTEMPTS = 10  # per successful episode
_GOLDEN, _PLASTIC = 0.6180339887498949, 0.7548776662466927  # multiples of these fill (0, 1) evenly

KINDS = ("expert", "noisy", "random")
SUCCESSES = ("end", "ever")


@dataclasses.dataclass(frozen=True)
class Job:
    """Some episodes of one task; what `play` needs, and nothing that cannot be sent to another process.

    Attributes:
      arena: where.
      folder: where they are written, as `first`.hdf5 and so on.
      first, count: which episodes.
      seed: of the environment and the noise.
      shares: {kind: share of the episodes}; see `kind_of`.
      max_noise: greatest std of the noise in noisy episodes.
      successful_only: only expert episodes that are a success; others are tried until there are `count`.
      success_at: "end", of their last record, or "ever", of any of them.
      with_actions: False writes demonstrations without actions.
      extraneous: what experts, noisy or not, do besides.
    """

    arena: Arena
    folder: str
    first: int
    count: int
    seed: int
    shares: Mapping[str, float]
    max_noise: float
    successful_only: bool
    success_at: str
    with_actions: bool
    extraneous: Extraneous


def collect_scripted(config, directory: RunDirectory) -> None:
    """Plays `config.num_episodes` of every task of `config.tasks` into WORKDIR/episodes/<environment>."""
    if not set(config.shares) == set(KINDS) or not np.isclose(sum(config.shares.values()), 1.0):
        raise ValueError(f"Shares are of {', '.join(KINDS)} and add up to 1, got {config.shares.to_dict()}.")
    if config.success_at not in SUCCESSES:
        raise ValueError(
            f"An episode is a success at its end or ever, got --config.success_at={config.success_at}."
        )
    jobs = [job for name in environments_of(config.tasks) for job in jobs_of(config, directory, name)]
    missing = sum(job.count for job in jobs)
    with Progress(missing, "scripted episodes") as bar, process_pool(config.workers) as pool:
        pending = {pool.submit(play, job): job for job in jobs}
        try:
            while pending:
                done, _ = concurrent.futures.wait(pending, timeout=1.0, return_when="FIRST_COMPLETED")
                for future in done:
                    job, successes = pending.pop(future), future.result()
                    check_enough(job, successes)
                    bar.update(job.count, success=float(np.mean(successes)))
                directory.stop_if_interrupted()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def environments_of(tasks: str) -> list[str]:
    """Names of the environments that tasks and sets of tasks, separated by commas, stand for, each once.

    `mt39`, `push,reach`, `metaworld-push,fake-pointmass` and `mt39?mass=0.2` are examples.
    """
    names: list[str] = []
    for given in filter(None, (task.strip() for task in tasks.split(","))):
        task, mark, varied = given.partition("?")
        is_meta_world = task.startswith(META_WORLD) or task in SETS or task in TASKS
        found = [META_WORLD + name for name in tasks_of(task)] if is_meta_world else [task]
        names += [name + mark + varied for name in found if name + mark + varied not in names]
    if not names:
        raise ValueError(f"Which tasks? --config.tasks=NAME or a set: {', '.join(SETS)}.")
    for name in names:
        registry.entry_point(name)  # raises for unknown names
        if not name.startswith(META_WORLD):
            expert(name)  # raises where there is none
    return names


def jobs_of(config, directory: RunDirectory, name: str) -> list[Job]:
    """Lists the jobs that are missing of one task."""
    folder = directory / "episodes" / name
    done = num_complete(folder)
    remove_episodes(folder, done)
    options = dict(
        arena=Arena.of({**config, "env": name}).with_images(config),
        folder=str(folder),
        seed=config.seed,
        shares=config.shares.to_dict(),
        max_noise=config.max_noise,
        successful_only=config.successful_only,
        success_at=config.success_at,
        with_actions=config.with_actions,
        extraneous=Extraneous.of(config, config.seed),
    )
    # Successes are found one after the other, so that a task is one job.
    chunk = config.num_episodes if config.successful_only else CHUNK
    return [
        Job(first=first, count=min(chunk, config.num_episodes - first), **options)
        for first in range(done, config.num_episodes, chunk)
    ]


class _InThisProcess(concurrent.futures.Executor):
    """Runs what is submitted at once."""

    def submit(
        self, fn: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> concurrent.futures.Future[Result]:
        future: concurrent.futures.Future[Result] = concurrent.futures.Future()
        future.set_result(fn(*args, **kwargs))
        return future


def process_pool(workers: int) -> concurrent.futures.Executor:
    """Processes that play; none, if `workers` is 0."""
    if not workers:
        return _InThisProcess()
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(workers, context, initializer=_ignore_signals)


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def play(job: Job) -> list[bool]:
    """Plays and writes the episodes of a job; returns whether each was a success, fewer if there are not enough."""
    return _play_successes(job) if job.successful_only else _play_all(job)


def _play_all(job: Job) -> list[bool]:
    successes = []
    for number in range(job.first, job.first + job.count):
        episode, noise = play_one(job, number, *kind_of(number, job.shares, job.max_noise))
        write_round(job.folder, number, [episode], metadata=noise, with_actions=job.with_actions)
        successes.append(bool(episode.success))
    return successes


def _play_successes(job: Job) -> list[bool]:
    """Continues after the last episode that was written."""
    attempt, last = 0, job.first + job.count
    if job.first:
        attempt = read_episode(Path(job.folder) / f"{job.first - 1}.hdf5").metadata["episode"] + 1
    number = job.first
    while number < last and attempt < _MOST_ATTEMPTS * last:
        episode, noise = play_one(job, attempt, "expert", 0.0)
        attempt += 1
        if episode.records["success"][-1] if job.success_at == "end" else episode.success:
            write_round(job.folder, number, [episode], metadata=noise, with_actions=job.with_actions)
            number += 1
    return [True] * (number - job.first)


def check_enough(job: Job, successes: list[bool]) -> None:
    """Raises a ValueError if an expert has not shown as many successes as it was to."""
    if len(successes) == job.count:
        return
    found, attempts = job.first + len(successes), _MOST_ATTEMPTS * (job.first + job.count)
    did, more = "came to success", ""
    if job.success_at == "end":
        did, more = "ended in success", "pass --config.success_at=ever if it may lose it again, or "
    raise ValueError(
        f"The scripted expert of {job.arena.name!r} {did} {found} times in {attempts} episodes; {more}ask for fewer "
        "demonstrations or another task."
    )


def kind_of(number: int, shares: Mapping[str, float], max_noise: float) -> tuple[str, float]:
    """("expert", 0), ("noisy", std) or ("random", 0) for episode `number`: shares and noise are spread evenly."""
    place = (number + 0.5) * _GOLDEN % 1.0
    if place < shares["expert"]:
        return "expert", 0.0
    if place < shares["expert"] + shares["noisy"]:
        return "noisy", max_noise * ((number + 0.5) * _PLASTIC % 1.0)
    return "random", 0.0


def play_one(job: Job, number: int, kind: str, scale: float) -> tuple[Episode, dict]:
    """Episode `number` of a task, and what its metadata say about the policy."""
    envs = _environment(tuple(job.arena.facts.items()), job.seed)
    envs.rewind(number)
    size = envs.action_spec.shape[0]
    facts = {"policy": f"scripted-{kind}", "noise": scale}
    if kind == "random":
        actor = ColouredActor(1, size, seed=job.seed, first_episode=number)
        (episode,) = collect_episodes(envs, actor, 1)
        return episode, facts
    demonstrator = NoisyExpert(job.arena.name, scale, np.random.default_rng([job.seed, number]))
    (episode,) = collect_episodes(envs, job.extraneous.digress(demonstrator, 1, size, number), 1)
    return episode, facts | job.extraneous.facts(episode)


class NoisyExpert:
    """A scripted expert with Gaussian noise of std `scale` on its actions; for one environment."""

    def __init__(self, env_name: str, scale: float, random: np.random.Generator):
        self._name, self._scale, self._random = env_name, scale, random
        self._expert = expert(env_name)

    def __call__(self, records: Mapping[str, np.ndarray]) -> np.ndarray:
        """Records {name: [1, ...]} -> actions [1, A] float32."""
        if records["is_first"][0]:
            self._expert = expert(self._name)  # some remember what they did
        action = self._expert({name: value[0] for name, value in records.items()})
        noise = self._scale * self._random.standard_normal(action.shape)
        return np.clip(action + noise, -1.0, 1.0).astype(np.float32)[None]


@functools.lru_cache(maxsize=1)
def _environment(facts: tuple, seed: int):
    """Returns the environment of a job, kept for the next one of the same task."""
    return Arena.of_facts(dict(facts)).make(1, seed=seed)
