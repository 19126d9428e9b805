"""Collects episodes: by SAC, by flailing, by a trained policy or a scripted one, or from other folders."""

from __future__ import annotations

import dataclasses
import functools
from contextlib import nullcontext
from pathlib import Path

import jax
import numpy as np

from agents.actors import FilterActor
from agents.loop import Actor
from agents.noise import NOISES
from experiments.data.arena import Arena
from experiments.data.extraneous import Extraneous
from experiments.data.folders import (
    num_complete,
    play_rounds,
    remove_episodes,
    write_round,
)
from experiments.data.rounds import read_round, summary
from experiments.data.scripted import collect_scripted
from experiments.methods.collect_sac import SACAgents, policy_return
from experiments.models.loading import load_run, make_sac_actor
from experiments.runs.directory import FREE_TO_CHANGE, RunDirectory
from experiments.runs.metrics import MetricsWriter
from experiments.runs.progress import Clocks, Progress
from worldmodels.data.episode_folders import mix_folders, summarise_folder
from worldmodels.data.episodes import Episode

_DEMONSTRATION_SEED = 2_000_000  # added to the seed, so that demonstrations start where nothing was trained
_MAY_GROW = ("num_episodes", "*.num_episodes", "agent_steps", "num_agents")


def run(config, workdir, *, fresh: bool = False) -> dict:
    """Collects the episodes of a config (experiments/configs/collect.py) into `workdir/episodes`.

    Continues what an earlier call left unfinished, and ends with the same files.

    Returns:
      Statistics of the episodes (`summarise_folder`), and with SAC "policy_return" (mean of the best policy's
      last evaluation) and "demonstrations" (their statistics).
    """
    if config.method not in _METHODS:
        raise ValueError(f"Unknown method {config.method!r}. Known: {', '.join(_METHODS)}.")
    with RunDirectory(workdir, config, fresh, allow_changes=(*FREE_TO_CHANGE, *_MAY_GROW)) as directory:
        if directory.done:
            return directory.result
        result = _METHODS[config.method](config, directory)
        return directory.mark_done(summarise_folder(directory / "episodes") | result)


def _collect_sac(config, directory: RunDirectory) -> dict:
    """Trains agents, keeps their episodes, and lets the best one demonstrate."""
    result: dict[str, object] = {"policy_return": policy_return(SACAgents(directory).train())}
    if config.demonstrations.num_episodes:
        _demonstrate(config, directory, directory.path, "demonstrations", **config.demonstrations)
        result["demonstrations"] = summarise_folder(directory / "demonstrations")
    return result


def _collect_noise(config, directory: RunDirectory) -> dict:
    """Actions without any policy."""
    make_noise = NOISES[config.method]
    arena = Arena.of(config)
    action_size = _action_size(arena, config.seed)

    def make_actor(round_number: int) -> Actor:
        return make_noise(config.num_envs, action_size, seed=config.seed, first_episode=round_number)

    write = functools.partial(write_round, metadata={"policy": config.method})
    _fill(config, directory, "episodes", arena, make_actor, config.num_episodes, config.seed, write)
    return {}


def _collect_demonstrations(config, directory: RunDirectory) -> dict:
    """Episodes of the best policy of a run of SAC or `surrogate`, or of the first policy of any other run."""
    if not config.source:
        raise ValueError("Demonstrations need a trained policy: --config.source=DIR of a run that has one.")
    options = {name: config[name] for name in ("num_episodes", "with_actions", "sample")}
    _demonstrate(config, directory, config.source, "episodes", **options)
    return {}


def _collect_mix(config, directory: RunDirectory) -> dict:
    """Copies of the episodes of other runs or folders."""
    if not config.sources:
        raise ValueError("A mix needs folders, separated by commas: --config.sources=DIR,DIR.")
    sources = [
        Path(path) / "episodes" if (Path(path) / "episodes").is_dir() else path for path in config.sources
    ]
    mix_folders(sources, directory / "episodes", limit=config.limit, mode=config.mode, seed=config.seed)
    return {}


def _collect_scripted(config, directory: RunDirectory) -> dict:
    """Episodes of scripted experts, more or less noisy, of many tasks."""
    collect_scripted(config, directory)
    return {"environments": sorted(path.name for path in (directory / "episodes").iterdir())}


def _demonstrate(
    config,
    directory: RunDirectory,
    source: str | Path,
    folder: str,
    *,
    num_episodes: int,
    with_actions: bool,
    sample: bool = False,
):
    """Lets the best policy of SAC or `surrogate`, or the first of any other run, play.

    It plays where it was evaluated, or in the environment of the config.
    """
    run = load_run(source, config.get("env") or "")
    arena = dataclasses.replace(run.arena, name=config.get("env") or run.arena.name)
    seed, method = config.seed + _DEMONSTRATION_SEED, run.models.card.get("method", run.kind)
    if sample and run.kind == "baseline":
        raise ValueError(f"The policy in {source} has no noise to sample; set --config.sample=False.")
    actor, models = run.actor(config.num_envs, run.best, sample_action=sample), run.models.agent(run.best)
    extraneous = Extraneous.of(config, seed)
    action_size = _action_size(arena, seed) if extraneous.segments.share else 0

    def make_actor(round_number: int) -> Actor:
        demonstrator = make_demonstrator(round_number)
        return extraneous.digress(demonstrator, config.num_envs, action_size, round_number)

    def make_demonstrator(round_number: int) -> Actor:
        if run.kind == "sac":
            rng = np.random.default_rng([seed, round_number]) if sample else None
            return make_sac_actor(models, rng)
        if isinstance(actor, FilterActor):  # the memory of others begins anew with every episode
            actor.renew((models.world_model, models.policy), jax.random.key(seed + round_number))
        return actor

    samples = sample or "euler_steps" in run.models.arguments["policy"]  # a flow does in any case
    policy = {"policy": f"{method}-{'sampled' if samples else 'mode'}"}

    def write(place: Path, first: int, episodes: list[Episode]) -> None:
        told = [Episode(each.records, each.metadata | extraneous.facts(each)) for each in episodes]
        write_round(place, first, told, metadata=policy, with_actions=with_actions)

    _fill(config, directory, folder, arena, make_actor, num_episodes, seed, write)


def _action_size(arena: Arena, seed: int) -> int:
    with arena.make(1, seed=seed) as probe:
        return probe.action_spec.shape[0]


def _fill(
    config,
    directory: RunDirectory,
    folder: str,
    arena: Arena,
    make_actor,
    num_episodes: int,
    seed: int,
    write,
):
    """Collects rounds into a folder of the run, after those that it holds already.

    Metrics are kept for `episodes` only: where a policy was trained those are of the training.
    """
    num_envs = config.num_envs
    complete = num_complete(directory / folder)
    first = num_episodes if complete >= num_episodes else complete // num_envs * num_envs
    remove_episodes(directory / folder, first)
    if first == num_episodes:
        return
    clocks = Clocks().after(read_round(directory / folder, 0, first, ()))
    start = {"seed": seed, "first_episode": first // num_envs, "workers": config.workers}
    with (
        arena.with_images(config).make(num_envs, **start) as envs,
        Progress(num_episodes, f"{folder} of {arena.name}", initial=first) as bar,
        MetricsWriter(directory, vars(clocks)) if folder == "episodes" else nullcontext() as writer,
    ):
        for number, episodes in play_rounds(envs, make_actor, first, num_episodes, directory.stop_if_overdue):
            clocks = clocks.after(episodes)
            if writer is not None:
                writer.write(summary(episodes), **vars(clocks))
            write(directory / folder, number, episodes)
            bar.update(len(episodes), **{"return": float(np.mean([episode.return_ for episode in episodes]))})
            directory.stop_if_interrupted()


_METHODS = {
    "sac": _collect_sac,
    **dict.fromkeys(NOISES, _collect_noise),
    "demonstrations": _collect_demonstrations,
    "mix": _collect_mix,
    "scripted": _collect_scripted,
}
