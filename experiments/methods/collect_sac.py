"""Trains SAC and keeps everything: the episodes it played, the final policies, demonstrations by the best.

A checkpoint is saved between rounds only. To resume, later episodes are deleted, and the replay is filled
again from those on disk.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from agents.loop import evaluate
from agents.noise import Disturbance
from agents.sac import NumpyPolicy, SACSettings, SACState, create_sac
from agents.sac_rounds import Progress, RoundSettings, SACActor, SACRun, vector_sensors
from experiments.data.folders import (
    environment_choice,
    image_choice,
    make_envs,
    remove_episodes,
    write_round,
)
from experiments.models import architectures, files
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import Diverged, MetricsWriter, check_finite
from experiments.runs.progress import Progress as Bar
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.episodes import Episode, read_episode
from worldmodels.export import Models

_EVALUATION_SEED = 1_000_000  # added to an agent's seed, so that it is not evaluated where it trained


@dataclasses.dataclass
class Position:
    """Where a run is; JSON-able by `dataclasses.asdict`.

    Attributes:
      finished: for each agent that is done its rounds, agent_steps, updates, and returns when evaluated; none for one
        that has diverged.
      progress: of the agent that learns now.
    """

    finished: list[dict] = dataclasses.field(default_factory=list)
    progress: Progress = dataclasses.field(default_factory=Progress)

    @property
    def num_rounds(self) -> int:
        """Rounds played by all agents."""
        return self.first_round + self.progress.rounds

    @property
    def first_round(self) -> int:
        """Rounds played before the present agent began."""
        return sum(agent["rounds"] for agent in self.finished)

    @property
    def agent_steps(self) -> int:
        """Steps of all agents."""
        return sum(agent["agent_steps"] for agent in self.finished) + self.progress.agent_steps


@dataclasses.dataclass
class _Outputs:
    """Where results go."""

    run: RunDirectory
    checkpoints: Checkpoints
    writer: MetricsWriter
    bar: Bar


def train_agents(config, run: RunDirectory) -> Position:
    """Trains `num_agents` agents, one after the other, from the newest checkpoint in `run` if there is one.

    Writes `episodes/` (every training episode) and `policies/<agent>/`.
    """
    with make_envs(environment_choice(config), 1, seed=config.seed) as probe:
        sensors = vector_sensors(probe.observation_spec)
        sizes = sum(probe.observation_spec[name].shape[0] for name in sensors), probe.action_spec.shape[0]
    checkpoints = Checkpoints(run / "checkpoints")
    position, state = _restore(checkpoints, sizes, SACSettings(**config.sac))
    num_episodes = position.num_rounds * config.num_envs
    remove_episodes(run / "episodes", num_episodes)
    total = config.num_agents * config.agent_steps
    with (
        MetricsWriter(run.path, start_update=num_episodes) as writer,
        Bar(total, f"SAC {config.env}", initial=position.agent_steps) as bar,
    ):
        outputs = _Outputs(run, checkpoints, writer, bar)
        while len(position.finished) < config.num_agents:
            _train_agent(config, outputs, position, state, sensors)
            state = None
    agents = [run / "policies" / str(i) for i, agent in enumerate(position.finished) if agent["returns"]]
    files.save(run.path, config, files.merge(agents))
    return position


def _restore(checkpoints: Checkpoints, sizes: tuple[int, int], settings: SACSettings):
    """(position, SACState or None): the state is None where an agent begins."""
    template = jax.eval_shape(lambda: create_sac(*sizes, settings, jax.random.key(0)))
    restored = checkpoints.restore(template)
    if restored is None:
        return Position(), None
    _, state, extra = restored
    position = Position(finished=extra["finished"], progress=Progress(**extra["progress"]))
    return position, state if position.progress.rounds else None


def _train_agent(
    config, outputs: _Outputs, position: Position, state: SACState | None, sensors: tuple[str, ...]
):
    """Trains the agent number `len(position.finished)`; when it returns, that agent is among the finished."""
    agent, progress = len(position.finished), position.progress
    seed = config.seed + agent
    settings = SACSettings(**config.sac)
    start = {"seed": seed, "first_episode": progress.rounds}
    processes = {"workers": config.workers, "images": image_choice(config)}
    with make_envs(environment_choice(config), config.num_envs, **processes, **start) as envs:
        disturb = Disturbance(
            config.num_envs, envs.action_spec.shape[0], share=config.disturbed_share, **start
        )
        sac = SACRun(
            envs,
            sensors,
            sac=settings,
            rounds=RoundSettings(**config.rounds),
            seed=seed,
            disturb=disturb if config.disturbed_share else None,
        )
        if state is not None:
            sac.restore(state, progress, _recorded_rounds(config, outputs.run, position, sensors))
        position.progress = sac.progress
        while len(position.finished) == agent:
            try:
                _play_round(config, outputs, position, sac, sensors)
            except Diverged as error:
                _give_up(config, position, error)


def _give_up(config, position: Position, error: Diverged):
    """Goes on with the next agent; the error, if none is left that could have learnt anything."""
    if (
        not any(agent["returns"] for agent in position.finished)
        and len(position.finished) + 1 == config.num_agents
    ):
        raise error
    print(f"Agent {len(position.finished)} leaves no policy: {error}", file=sys.stderr)
    facts = dataclasses.asdict(position.progress)
    summary = {name: facts[name] for name in ("rounds", "agent_steps", "updates")}
    position.finished.append(summary | {"returns": [], "diverged": True})
    position.progress = Progress()


def _play_round(config, outputs: _Outputs, position: Position, sac: SACRun, sensors: tuple[str, ...]):
    """Plays a round, writes what it gave, and saves a checkpoint if it is time."""
    agent, before, began = len(position.finished), sac.progress.agent_steps, time.perf_counter()
    updates = sac.progress.updates
    first = position.num_rounds * config.num_envs
    episodes, metrics = sac.play_round()
    steps = sac.progress.agent_steps - before
    write_round(outputs.run / "episodes", first, episodes, metadata={"policy": "sac", "agent": agent})
    clocks = {
        "update": first + len(episodes),
        "agent_step": position.agent_steps,
        "episode": first + len(episodes),
    }
    clocks["env_step"] = position.agent_steps * episodes[0].metadata["action_repeat"]
    row = {f"train/{name}": value for name, value in metrics.items()} | _summary(episodes)
    row |= {"train/agent": agent, "train/updates": sac.progress.updates}
    seconds = time.perf_counter() - began
    row |= {"fps/agent_steps": steps / seconds, "fps/updates": (sac.progress.updates - updates) / seconds}
    check_finite(outputs.writer.write(row, **clocks), clocks["update"])
    mean = float(np.mean(row["episode/return"]))
    is_done = sac.progress.agent_steps >= config.agent_steps
    if is_done or (config.evaluate_every and _passes(before, steps, config.evaluate_every)):
        results = evaluate_policy(config, sac.state, sensors, seed=config.seed + agent + _EVALUATION_SEED)
        outputs.writer.write_eval({**clocks, "agent": agent, **results})
        mean = float(np.mean(results["return"]))
    outputs.bar.update(min(steps, config.agent_steps - before), agent=agent, **{"return": mean})
    if is_done:
        _save_policy(outputs.run / "policies" / str(agent), config, sac.state, sensors, results["return"])
        summary = {"rounds": sac.progress.rounds, "agent_steps": sac.progress.agent_steps}
        position.finished.append(summary | {"updates": sac.progress.updates, "returns": results["return"]})
        position.progress = Progress()
    if is_done or sac.progress.rounds % config.checkpoint_every == 0 or outputs.run.interrupted():
        outputs.checkpoints.save(clocks["update"], sac.state, dataclasses.asdict(position))
        outputs.run.stop_if_interrupted()


def _save_policy(
    folder: Path, config, state: SACState, sensors: tuple[str, ...], returns: list[float]
) -> None:
    """Saves the actor of one agent with what makes it act again."""
    actor = state.actor.model
    options = {name: value for name, value in environment_choice(config).items() if value is not None}
    card = dict(method="sac", returns=[returns], environment=options.pop("env"), environment_options=options)
    arguments = {"policy": architectures.sac_actor(actor, dict(sensors=list(sensors)))}
    files.save(folder, config, Models(arguments, policy=actor, card=card))


def evaluate_policy(
    config, state: SACState, sensors: tuple[str, ...], *, seed: int
) -> dict[str, list[float]]:
    """Per-episode lists of the mode of the policy, from the same starts at every call."""
    num_episodes = config.evaluation_episodes
    actor = SACActor(NumpyPolicy(state.actor.model), sensors)
    with make_envs(environment_choice(config), min(num_episodes, config.num_envs), seed=seed) as envs:
        return evaluate(envs, actor, num_episodes)


def _recorded_rounds(config, run: RunDirectory, position: Position, sensors) -> Iterator[list[Episode]]:
    """The rounds that the present agent has played, from the disk."""
    for round_number in range(position.first_round, position.num_rounds):
        numbers = range(round_number * config.num_envs, (round_number + 1) * config.num_envs)
        yield [read_episode(run / "episodes" / f"{n}.hdf5", [*sensors, "pre_action"]) for n in numbers]


def _summary(episodes: list[Episode]) -> dict[str, list[float]]:
    return {
        "episode/return": [episode.return_ for episode in episodes],
        "episode/length": [episode.length for episode in episodes],
    }


def _passes(before: int, steps: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, before + steps]."""
    return (before + steps) // every > before // every
