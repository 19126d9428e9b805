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
from experiments.envs.interface import ArraySpec
from experiments.envs.vector import VectorEnvironment, make_vector
from experiments.runs.directory import stop_if_overdue
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
    def joined(cls, parts: Iterable[Scores]) -> Self:
        """Joins the scores of seeds that were played one after the other."""
        parts = list(parts)
        success = {rule: _chained(part.success[rule] for part in parts) for rule in parts[0].success}
        lists = (_chained(part.returns for part in parts), _chained(part.lengths for part in parts))
        return dataclasses.replace(parts[0], returns=lists[0], lengths=lists[1], success=success)

    def row(self) -> dict:
        """Returns JSON for `DONE` and `eval.jsonl`: the lists, means, and % of the expert where that is above 0.

        It is empty where nothing was played.
        """
        if not self.returns:
            return {}
        by_seed = [float(np.mean(seed)) for seed in self.returns]
        row = {"return": self.returns, "length": self.lengths}
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
        keep = dict(record_physics=True, on_episode=lambda episode: played.append(rendered.filmed(episode)))
        per_seed = envs.num_envs // self.num_seeds
        rounds = -(-num_episodes // per_seed)
        total = num_episodes if self.num_seeds == 1 else envs.num_envs * rounds
        rows = evaluate(envs, actor, total, on_step=stop_if_overdue, **(keep if video else {}))
        if video:
            shown = (self.arena.name, self.arena.options, played, self.num_seeds)
            path, why_not = rendered.seeds_side_by_side(video, *shown)
            print(
                f"Video: {path}" if path else f"No video: {why_not}", file=sys.stdout if path else sys.stderr
            )

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


def by_expert(returns: float | Sequence[float] | np.ndarray, expert: float) -> float | np.ndarray:
    """100 return / expert: what the AIME papers print. In % of the expert; zero is not subtracted.

    The expert is the mean over all demonstrations of a folder, however few of them a run is shown.

    Raises:
      ValueError: the expert's return is not positive.
    """
    if not expert > 0:
        raise ValueError(f"by_expert needs an expert return above 0, got {expert}: train the expert longer.")
    return 100.0 * np.asarray(returns, np.float64)[()] / expert


def by_random_and_expert(
    returns: float | Sequence[float] | np.ndarray, random: float, expert: float
) -> float | np.ndarray:
    """100 (return - random) / (expert - random): 0 is the random policy, 100 the expert.

    Raises:
      ValueError: the expert is not better than the random policy.
    """
    if not expert > random:
        raise ValueError(
            f"by_random_and_expert needs an expert return above the random one, got {expert} and {random}: "
            "train the expert longer."
        )
    return 100.0 * (np.asarray(returns, np.float64)[()] - random) / (expert - random)


def _chained(lists: Iterable[PerEpisode]) -> PerEpisode:
    return list(itertools.chain.from_iterable(lists))


def _per_seed(values: object) -> PerEpisode:
    """`[N][E]` of `[N][E]` or, of a single agent, [E]; no seeds of anything else."""
    if not isinstance(values, list) or not values:
        return []
    return values if all(isinstance(seed, list) for seed in values) else [values]


def _finite(value: object) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


ENVIRONMENTS_PER_SEED = 10  # at once
RECORDED_OPTIONS = (
    "action_repeat",
    "reward_version",
    "episode_length",
    "goal_visible",
    "goal_seed",
    "mirrored",
)


def environment_of(name: str, episodes: Sequence[Episode], inputs: Sequence[str] = ()) -> tuple[str, dict]:
    """Returns the environment that data come from: (name, options of `registry.make`).

    Args:
      name: overrides what the data say; "" takes it from them, unless it is a name that imports code.
      episodes: their metadata name the environment, its action repeat and its reward version.
      inputs: sensors that a policy reads; for images the environment draws them as they were drawn for the data.
    """
    arena = Arena.of_episodes(episodes, name, inputs)
    return arena.name, dict(arena.options)


def rendering_of(metadata: Mapping, size: Sequence[int]) -> dict:
    """Options of `registry.make` for images of a size (y, x) like those that the metadata belong to."""
    drawn = metadata.get("rendering") or {}
    options = {"render_size": [int(n) for n in size]}
    options |= {"camera": drawn["camera"]} if drawn.get("camera") is not None else {}
    # Published data, and environments that know no qualities, are drawn with all that there is.
    return options | (
        {"render_quality": drawn["quality"]} if drawn.get("quality", "published") != "published" else {}
    )


def check_environment(
    name: str,
    options: Mapping,
    sizes: Mapping[str, int | Sequence[int]],
    *,
    action_size: int | None = None,
    workers: int = 0,
) -> None:
    """Raises a ValueError if the environment cannot be made, or lacks these sensors or actions.

    Args:
      name, options: of the environment.
      sizes: {sensor that a policy reads: d, or (y, x) of images}.
      action_size: of the policy; None does not compare it.
      workers: as for the evaluation.
    """
    if not Arena(name):
        return Arena(name).check(sizes, 0)
    with evaluation_envs(name, options, 1, seed=0, workers=workers) as envs:
        check_specs(name, envs.observation_spec, envs.action_spec, sizes, action_size)


def check_specs(
    name: str,
    specs: Mapping[str, ArraySpec],
    action_spec: ArraySpec,
    sizes: Mapping[str, int | Sequence[int]],
    action_size: int | None = None,
) -> None:
    """Raises a ValueError if an environment with such specs does not give these sensors or take these actions.

    Args:
      name: of the environment.
      specs, action_spec: what it gives and takes.
      sizes, action_size: as for `check_environment`.
    """
    for sensor, size in sizes.items():
        if sensor not in specs:
            raise ValueError(
                f"The environment {name!r} does not give {sensor!r}, which the model reads or predicts; it gives "
                f"{', '.join(specs)}. Choose another one with --config.env=NAME."
            )
        shape = (size,) if isinstance(size, int) else (*size, 3)
        if tuple(specs[sensor].shape) != shape:
            raise ValueError(
                f"The environment {name!r} gives {sensor!r} of shape {list(specs[sensor].shape)}, the model was built "
                f"for {list(shape)}. Choose another one with --config.env=NAME."
            )
    if action_size is not None and action_size != action_spec.shape[0]:
        raise ValueError(
            f"The environment {name!r} takes actions of size {action_spec.shape[0]}, the policy gives {action_size}. "
            "Choose another one with --config.env=NAME."
        )


def evaluation_envs(
    name: str, options: Mapping, num_envs: int, *, seed: int, workers: int
) -> VectorEnvironment:
    """Environments that step together, with images drawn in worker processes.

    Args:
      workers: processes; 0 means this one, but for images as many as there are processors: a driver that hangs then
        costs a worker and not the run, and drawing is most of the work.
    """
    if not workers and options.get("render_size") is not None:
        workers = min(len(os.sched_getaffinity(0)), num_envs)
    return make_vector(name, num_envs, seed=seed, workers=workers, **options)


def evaluate_seeds(
    make_actor: Callable[[int], Actor],
    name: str,
    options: Mapping,
    *,
    num_seeds: int,
    num_episodes: int,
    seed: int,
    workers: int = 0,
    on_episode: Callable[[Episode], None] | None = None,
) -> dict:
    """Plays `num_episodes` with every seed's policy.

    Args:
      make_actor: number of environments N -> actor whose blocks of N / num_seeds environments belong to a seed each.
      name, options: of the environment.
      seed: of the environments' initial states.
      on_episode: called with each episode, with physics states, to keep some for videos.

    Returns:
      {"return": `[num_seeds][num_episodes]`, "length": ..., "success_any": ... where defined}, and where that was,
      see `environment_facts`.
    """
    per_seed = min(num_episodes, ENVIRONMENTS_PER_SEED)
    rounds = -(-num_episodes // per_seed)
    num_envs = per_seed * num_seeds
    with evaluation_envs(name, options, num_envs, seed=seed, workers=workers) as envs:
        actor = make_actor(num_envs)
        rows = evaluate(
            envs, actor, num_envs * rounds, record_physics=on_episode is not None, on_episode=on_episode
        )
        facts = environment_facts(envs)
    # Rows are ordered by round, then environment: [rounds, seeds, per_seed] -> [seeds, rounds * per_seed].
    return {
        key: np.reshape(values, (rounds, num_seeds, per_seed))
        .swapaxes(0, 1)
        .reshape(num_seeds, -1)[:, :num_episodes]
        .tolist()
        for key, values in rows.items()
    } | facts


def environment_facts(envs: VectorEnvironment) -> dict[str, dict]:
    """{"environment": what a result depends on besides the policy}, of every result.

    Its name, action repeat and versions, and what a suite leaves open: of Meta-World, whether the goal is visible and
    whether every episode draws its own start (`goal_seed` null). The seeds are those of the config.
    """
    return {"environment": {key: value for key, value in envs.metadata().items() if key != "seed"}}


def expert_return(episodes: Sequence[Episode]) -> float | None:
    """Mean return of demonstrations, by which scores are normalised; None if they carry no reward."""
    returns = [episode.return_ for episode in episodes if "reward" in episode.records]
    return float(np.mean(returns)) if returns else None


def scores(returns: Sequence[Sequence[float]], expert: float | None, random: float | None) -> dict:
    """Raw and normalised summaries of returns `[num_seeds][num_episodes]`."""
    result = {"return_mean": float(np.mean(returns)), "return_by_seed": [float(np.mean(r)) for r in returns]}
    if expert is not None and expert > 0:
        result["expert_return"] = expert
        result["by_expert"] = [float(by_expert(r, expert)) for r in result["return_by_seed"]]
    if expert is not None and random is not None and expert > random:
        result["random_return"] = random
        result["by_random_and_expert"] = [
            float(by_random_and_expert(r, random, expert)) for r in result["return_by_seed"]
        ]
    return result
