"""One loop for all that learns while it plays: rounds of episodes, their metrics, evaluations and checkpoints.

Between rounds everything is at rest. There a checkpoint holds what is learnt and the clocks; what is missing, the
memory of the episodes, is filled again from the disk. What belongs to a round is written before its checkpoint, and
what a round plays and draws depends on the seed and its number alone, so that a continued run equals one that was not
stopped.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from agents.loop import Actor, collect_episodes, episode_summary
from agents.noise import UniformActor
from agents.planners import PLANNERS
from experiments.data.folders import num_complete, remove_episodes, write_round
from experiments.envs.vector import VectorEnvironment
from experiments.runs.directory import RunDirectory, RunError
from experiments.runs.metrics import MetricsWriter, check_finite
from experiments.runs.progress import Clocks, Every, Progress, Stopwatch
from worldmodels.checkpoints import Checkpoints
from worldmodels.data.episodes import Episode, read_episode
from worldmodels.training import Metrics


def check_planner(config: Mapping) -> None:
    """Raises a ValueError if the planner of a config or its options are not known, or it needs demonstrations."""
    if not config["planning"]["name"]:
        return
    PLANNERS.choose(config["planning"]["name"])
    planner = PLANNERS.make("reward", name=config["planning"]["name"], **config["planning"]["options"])
    if getattr(planner, "uses_demonstrations", False):
        raise ValueError(
            f"--config.planning.name={config['planning']['name']} follows demonstrations and seeks no reward; use it "
            "in `evaluate`, and here guided, mppi, icem or cem."
        )


class Learner(Protocol):
    """A method that learns from the episodes of rounds.

    Attributes:
      state: pytree of all that is learnt. position: JSON values. A checkpoint holds both, and may replace them.
      num_updates: gradient updates made, pretraining included.
      learns: "before" a round is played, "after" it, or "meanwhile".
    """

    state: Any
    position: dict
    learns: str

    @property
    def num_updates(self) -> int: ...

    def remember(self, episodes: Sequence[Episode]) -> None:
        """Takes in the episodes of a round, as they are on disk."""

    def learn(self) -> Metrics:
        """Makes the updates of a round; of one that learns meanwhile, returns the metrics of those made."""


class Rounds:
    """A run that plays and learns in rounds: the only mutable thing here, because environments and disks are.

    A subclass sets `learner` and says how it plays and evaluates.

    Args:
      directory: opened.
      total: of `done`, with which the run is over.
      evaluate_every: of `done`; 0 or None: never. save_every: rounds.
      episodes_per_round: how many, but for rounds without any.
      description: of the progress bar; may be changed until the run starts.

    Attributes:
      number: rounds played, prefill included. clocks: how far the run is.
      facts: JSON values of the run that a checkpoint holds. "diverged" among them ends it.
      watch: times the parts of a round.
    """

    learner: Learner
    # Records that are read from episodes on disk to remember them; None: all.
    records: Sequence[str] | None = None

    def __init__(
        self,
        directory: RunDirectory,
        *,
        total: int,
        evaluate_every: int | None,
        save_every: int,
        episodes_per_round: int,
        description: str,
    ):
        self.directory, self.config = directory, directory.config
        self.number, self.clocks = 0, Clocks()
        self.facts: dict[str, Any] = {}
        self.watch = Stopwatch()
        self.folder = directory / "episodes"
        self.checkpoints = Checkpoints(directory / "checkpoints")
        self.total, self._size, self.description = total, episodes_per_round, description
        self._evaluates, self._saves = Every(evaluate_every), Every(save_every)

    # What a subclass says ---------------------------------------------------------------------------------------

    def play(self, number: int) -> Sequence[Episode]:
        """Plays round `number`, lets the learner remember it, and returns its episodes as they are written."""
        raise NotImplementedError

    def before_rounds(self, writer: MetricsWriter) -> None:
        """Writes what belongs before the first round, at every start."""

    def evaluate(self, *, due: bool, over: bool) -> Iterable[dict]:
        """Yields the rows of eval.jsonl after a round with which an evaluation is due or the learner's time is over."""
        return ()

    @property
    def done(self) -> int:
        """Amount that `total` and `evaluate_every` count."""
        return self.clocks.episode

    @property
    def learner_is_done(self) -> bool:
        """True when the learner has come to its end."""
        return self.done >= self.total or "diverged" in self.facts

    @property
    def over(self) -> bool:
        """True when nothing is left to play; as `learner_is_done`, unless there are more learners."""
        return self.learner_is_done

    @property
    def shown(self) -> tuple[int, int]:
        """Amount that is done, and of how much, for the progress bar."""
        return min(self.done, self.total), self.total

    @property
    def num_updates(self) -> int:
        """Updates made by all learners of the run."""
        return self.learner.num_updates

    @property
    def first_episode(self) -> int:
        """The first one that the present learner has played."""
        return 0

    def metadata(self) -> dict:
        """Returns metadata for the episodes' files besides the environments' own."""
        return {}

    def summary(self, episodes: Sequence[Episode]) -> dict[str, list[float]]:
        """Returns the metrics of the episodes of a round."""
        return summary(episodes)

    def check(self, row: dict) -> None:
        """Raises `Diverged` if a metric of the round is not finite; a subclass may end the run in order."""
        check_finite(row, self.clocks.update)

    # What it can use --------------------------------------------------------------------------------------------

    def collect(
        self, envs: VectorEnvironment, actor: Actor, num_episodes: int | None = None
    ) -> list[Episode]:
        """Plays an episode in every environment, or `num_episodes`."""
        with self.watch("collection"):
            number = num_episodes or envs.num_envs
            return collect_episodes(envs, actor, number, on_step=self.directory.stop_if_overdue)

    def prefill(self, envs: VectorEnvironment, num_rounds: int) -> Iterator[list[Episode]]:
        """Yields rounds of uniform actions; those that an interrupted prefill has left are read from the disk."""
        size, seed = envs.num_envs, self.config["seed"]
        complete = min(num_complete(self.folder) // size, num_rounds)
        remove_episodes(self.folder, complete * size)
        for number in range(num_rounds):
            if number < complete:
                episodes = read_round(self.folder, number * size, size)
            else:
                self.directory.stop_if_interrupted()
                envs.rewind(number)
                actor = UniformActor(size, envs.action_spec.shape[0], seed=seed, first_episode=number)
                episodes = collect_episodes(envs, actor, size, on_step=self.directory.stop_if_overdue)
                write_round(self.folder, number * size, episodes, metadata={"policy": "uniform"})
            self._count(episodes)
            yield episodes

    def restore(self, like: Any = None, step: int | None = None) -> bool:
        """Continues from the newest checkpoint; returns False if there is none.

        Args:
          like: a state of the same structure; None: that of the learner.
          step: of the checkpoint; None: the newest.

        Raises:
          RunError: the checkpoint is of an earlier release.
        """
        restored = self.checkpoints.restore(self.learner.state if like is None else like, step)
        if restored is None:
            return False
        _, state, extra = restored
        if "clocks" not in extra:
            raise RunError(
                f"The run in {self.directory.path} was begun by an earlier release, which counted differently; finish "
                "it with that one, or start over with --fresh."
            )
        self.number, self.clocks, self.facts = extra["round"], Clocks(**extra["clocks"]), extra["facts"]
        remove_episodes(self.folder, self.clocks.episode)
        self.begin()
        if extra["learner"] is None:
            return True
        self.learner.state = state
        for first in range(self.first_episode, self.clocks.episode, self._size):
            self.learner.remember(read_round(self.folder, first, self._size, self.records))
        self.learner.position = extra["learner"]
        self.clocks = self.clocks.at(self.num_updates)
        return True

    def begin(self) -> None:
        """Makes the learner of the present `facts`, where the run has several."""

    def extra(self) -> dict:
        """Returns what a checkpoint holds beside the learner's state."""
        clocks = {"clocks": vars(self.clocks), "round": self.number}
        return clocks | {"learner": self.learner.position, "facts": self.facts}

    def save(self) -> None:
        """Saves a checkpoint."""
        self.checkpoints.save(self.clocks.order, self.learner.state, self.extra())

    # The loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Plays and learns until the run is over."""
        done, total = self.shown
        with (
            MetricsWriter(self.directory, vars(self.clocks)) as writer,
            Progress(total, self.description, initial=done) as bar,
        ):
            self.before_rounds(writer)
            while not self.over:
                row = self._round(writer)
                bar.update(self.shown[0] - bar.completed, **shown_return([row]))
                self.directory.stop_if_interrupted()

    def _round(self, writer: MetricsWriter) -> dict:
        """Plays and learns, writes what that gave, evaluates and saves if it is time; returns the row of metrics."""
        before = self.learner.learns == "before"
        counts = self.done, self.num_updates
        metrics = self._learn() if before else {}
        episodes = self.play_round()
        return self.finish_round(writer, episodes, metrics if before else self._learn(), counts)

    def play_round(self) -> Sequence[Episode]:
        """Plays the next round, and writes and counts its episodes."""
        return self.take(self.play(self.number))

    def take(self, episodes: Sequence[Episode]) -> Sequence[Episode]:
        """Writes and counts the episodes of a round; returns them."""
        write_round(self.folder, self.clocks.episode, episodes, metadata=self.metadata())
        self._count(episodes)
        return episodes

    def finish_round(
        self, writer: MetricsWriter, episodes: Sequence[Episode], metrics: Metrics, counts: tuple[int, int]
    ) -> dict:
        """Writes the row of a round, evaluates and saves if it is time; returns the row.

        Args:
          episodes: of the round. metrics: of its updates.
          counts: `done` and `num_updates` before it.
        """
        done, updates = counts
        self.clocks = self.clocks.at(self.num_updates)
        learnt = {n if n.startswith("analysis/") else f"train/{n}": value for n, value in metrics.items()}
        speed = self._speed(episodes, self.num_updates - updates)
        parts = {**learnt, **self.summary(episodes), **speed, **self.watch.read()}
        row = writer.write(parts, **vars(self.clocks))
        self.check(row)
        due, over = self._evaluates(done, self.done), self.learner_is_done
        if due or over:
            with self.watch("evaluation"):
                for result in self.evaluate(due=due, over=over):
                    writer.write_eval({**vars(self.clocks), **result})
        if over or self._saves(self.number - 1, self.number) or self.directory.interrupted():
            with self.watch("checkpoint"):
                self.save()
        return row

    def _learn(self) -> Metrics:
        if self.learner.learns == "meanwhile":
            return self.learner.learn()
        with self.watch("updates"):
            return jax.block_until_ready(self.learner.learn())

    def _count(self, episodes: Sequence[Episode]) -> None:
        self.number, self.clocks = self.number + 1, self.clocks.after(episodes)

    def _speed(self, episodes: Sequence[Episode], num_updates: int) -> dict[str, float]:
        """Updates and steps per second of the time that was spent on them."""
        part = "collection" if self.learner.learns == "meanwhile" else "updates"
        speed = {"fps/updates": num_updates / self.watch.wall(part)}
        if episodes:
            steps = sum(episode.length for episode in episodes)
            speed["fps/agent_steps"] = steps / self.watch.wall("collection")
        return speed


def summary(episodes: Sequence[Episode]) -> dict[str, list[float]]:
    """Returns {"episode/return": one entry per episode, ...}."""
    rows = [episode_summary(episode) for episode in episodes]
    names = {name: None for row in rows for name in row}
    # An episode without `success` where others have it had none.
    return {f"episode/{name}": [row.get(name, 0.0) for row in rows] for name in names}


def shown_return(rows: Sequence[Mapping]) -> dict[str, float]:
    """Returns {"return": mean over the episodes of rows of metrics} for a progress bar; {} without any."""
    returns = [value for row in rows for value in row.get("episode/return", ())]
    return {"return": float(np.mean(returns))} if returns else {}


def mean_metrics(rows: Sequence[tuple[int, Metrics]]) -> Metrics:
    """Averages the metrics of programs over their numbers of updates; {} without any."""
    total = sum(count for count, _ in rows)
    names = rows[0][1] if rows else ()
    return {
        name: functools.reduce(operator.add, (n * row[name] for n, row in rows)) / total for name in names
    }


def read_round(
    folder: Path, first: int, num_episodes: int, records: Sequence[str] | None = None
) -> list[Episode]:
    """Reads the episodes first, ..., first + num_episodes - 1."""
    return [read_episode(folder / f"{n}.hdf5", records) for n in range(first, first + num_episodes)]
