"""What policies score: many environments at once, all seeds in one call, a list entry per episode."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self

import numpy as np

from agents.loop import Actor, evaluate
from experiments.data.arena import Arena
from experiments.drawing import rendered
from experiments.drawing.video import VideoError
from experiments.envs.vector import VectorEnvironment
from experiments.runs.directory import patience
from worldmodels.data.episodes import Episode

SUCCESS_RULES = {
    "any": "any record of an episode is a success",
    "final": "its last record is one",
    "held": "more than three of its records are (the rule of ROT and ADS)",
}
PerEpisode = list[list[float]]


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of the policies of N seeds in E episodes each.

    Attributes:
      returns, lengths: `[N][E]`.
      success: {rule of `SUCCESS_RULES`: `[N][E]`}, empty where the environment defines no success.
      expert, random: mean returns of the demonstrations and of the random policy, or None.
      environment: what the scores depend on besides the policies: name, action repeat and versions, and what a suite
        leaves open, such as whether the goal is visible.
    """

    returns: PerEpisode
    lengths: PerEpisode = dataclasses.field(default_factory=list)
    success: Mapping[str, PerEpisode] = dataclasses.field(default_factory=dict)
    expert: float | None = None
    random: float | None = None
    environment: Mapping = dataclasses.field(default_factory=dict)

    @classmethod
    def of_row(cls, row: Mapping) -> Self:
        """Reads what `row` gives, and the [E] of a single agent in earlier releases; without scores, no seeds."""
        success = {rule: _per_seed(row.get(f"success_{rule}")) for rule in SUCCESS_RULES}
        expert, random = (_finite(row.get(name)) for name in ("expert_return", "random_return"))
        return cls(
            _per_seed(row.get("return")),
            _per_seed(row.get("length")),
            {rule: rates for rule, rates in success.items() if rates},
            expert,
            random,
            where if isinstance(where := row.get("environment"), Mapping) else {},
        )

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """Joins the scores of seeds that were played one after the other."""
        parts = list(parts)
        success = {rule: _chained(part.success[rule] for part in parts) for rule in parts[0].success}
        lists = (_chained(part.returns for part in parts), _chained(part.lengths for part in parts))
        return dataclasses.replace(parts[0], returns=lists[0], lengths=lists[1], success=success)

    @property
    def by_seed(self) -> list[float]:
        """Mean return of each seed."""
        return [float(np.mean(seed)) for seed in self.returns]

    def row(self) -> dict:
        """Returns JSON for `DONE` and `eval.jsonl`: the lists, means, and % of the expert where that is above 0.

        It is empty where nothing was played.
        """
        if not self.returns:
            return {}
        by_seed = self.by_seed
        row: dict[str, object] = {"return": self.returns, "length": self.lengths}
        row |= {f"success_{rule}": rates for rule, rates in self.success.items()}
        row |= {"environment": self.environment, "return_mean": float(np.mean(self.returns))}
        row["return_by_seed"] = by_seed
        expert, random = self.expert, self.random
        if expert is not None:
            row["expert_return"] = expert
        if expert is not None and expert > 0:
            row["by_expert"] = by_expert(by_seed, expert).tolist()
        if expert is not None and random is not None and expert > random:
            row["random_return"] = random
            row["by_random_and_expert"] = by_random_and_expert(by_seed, random, expert).tolist()
        return row


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Plays with policies and scores them.

    Attributes:
      arena: where.
      num_seeds: policies that play at once.
      expert, random: as in `Scores`.
      workers: processes, as of `Arena.make`.
      at_once: environments of each policy, at most.
    """

    arena: Arena
    num_seeds: int = 1
    expert: float | None = None
    random: float | None = None
    workers: int = 0
    at_once: int = 10

    def play(
        self,
        make_actor: Callable[[int], Actor],
        num_episodes: int,
        seed: int,
        *,
        video: str | os.PathLike | None = None,
    ) -> Scores:
        """Plays `num_episodes` with every policy; nowhere there are no scores.

        Args:
          make_actor: number of environments N -> actor; blocks of N / num_seeds environments belong to a seed each.
          seed: of the environments' initial states.
          video: file for the first episode of each of the first seeds, where something can be drawn.
        """
        if not self.arena:
            return Scores([])
        num_envs = min(num_episodes, self.at_once) * self.num_seeds
        with self.arena.make(num_envs, seed=seed, workers=self.workers) as envs:
            return self.play_in(envs, make_actor(num_envs), num_episodes, video=video)

    def play_in(
        self,
        envs: VectorEnvironment,
        actor: Actor,
        num_episodes: int,
        *,
        video: str | os.PathLike | None = None,
    ) -> Scores:
        """Plays as `play`, in environments that are open, from their next episodes on."""
        played: list[Episode] = []

        def film(episode: Episode) -> None:
            played.append(rendered.filmed(episode))

        per_seed = envs.num_envs // self.num_seeds
        rounds = -(-num_episodes // per_seed)
        total = num_episodes if self.num_seeds == 1 else envs.num_envs * rounds
        keep = film if video else None
        rows = evaluate(envs, actor, total, record_physics=bool(video), on_episode=keep, on_step=patience())
        if video:
            shown = (self.arena.name, self.arena.options, played, self.num_seeds)
            try:
                print(f"Video: {rendered.seeds_side_by_side(video, *shown)}")
            except VideoError as error:
                print(f"No video: {error}", file=sys.stderr)

        def by_seed(values: list[float]) -> PerEpisode:
            # Rows are ordered by round, then environment.
            if self.num_seeds == 1:
                return [values]
            parts = np.reshape(values, (rounds, self.num_seeds, per_seed)).swapaxes(0, 1)
            return parts.reshape(self.num_seeds, -1)[:, :num_episodes].tolist()

        return Scores(
            returns=by_seed(rows["return"]),
            lengths=by_seed(rows["length"]),
            success={r: by_seed(rows[f"success_{r}"]) for r in SUCCESS_RULES if f"success_{r}" in rows},
            expert=self.expert,
            random=self.random,
            environment={key: value for key, value in envs.metadata().items() if key != "seed"},
        )


def by_expert(returns: float | Sequence[float] | np.ndarray, expert: float) -> np.ndarray:
    """100 return / expert: what the AIME papers print. In % of the expert; zero is not subtracted.

    The expert is the mean over all demonstrations of a folder, however few of them a run is shown.

    Raises:
      ValueError: the expert's return is not positive.
    """
    if not expert > 0:
        raise ValueError(f"by_expert needs an expert return above 0, got {expert}: train the expert longer.")
    return np.asarray(100.0 * np.asarray(returns, np.float64) / expert)


def by_random_and_expert(
    returns: float | Sequence[float] | np.ndarray, random: float, expert: float
) -> np.ndarray:
    """100 (return - random) / (expert - random): 0 is the random policy, 100 the expert.

    Raises:
      ValueError: the expert is not better than the random policy.
    """
    if not expert > random:
        raise ValueError(
            f"by_random_and_expert needs an expert return above the random one, got {expert} and {random}: "
            "train the expert longer."
        )
    return np.asarray(100.0 * (np.asarray(returns, np.float64) - random) / (expert - random))


def _chained(lists: Iterable[PerEpisode]) -> PerEpisode:
    return list(itertools.chain.from_iterable(lists))


def _per_seed(values: object) -> PerEpisode:
    """`[N][E]` of `[N][E]` or, of a single agent, [E]; no seeds of anything else."""
    if not isinstance(values, list) or not values:
        return []
    return values if all(isinstance(seed, list) for seed in values) else [values]


def _finite(value: object) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None
