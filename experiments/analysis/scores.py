"""What one finished run has scored, read from its directory."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.analysis import intervals
from experiments.runs.metrics import read_rows

SUCCESS_RULES = {
    "any": "any record of an episode is a success",
    "final": "its last record is one",
    "held": "more than three of its records are (the rule of ROT and ADS)",
}


@dataclasses.dataclass(frozen=True)
class RunScores:
    """The evaluation of one finished run, which may hold several seeds.

    Attributes:
      path: its directory.
      labels: suite, task, method, setup, dataset, seed, env, as far as they are known.
      returns: `[N][E]`. success: {"any", "final", "held": `[N][E]`}, empty where the environment defines none.
      expert, random: mean returns of its demonstrations and of the random policy, or None where none is recorded.
      curve: {"update", "env_step"?, "return": [P, N], "success_any"?: [P, N]} of evaluations during training.
      diverged: seeds that stopped early because something was not finite.
    """

    path: pathlib.Path
    labels: Mapping[str, str]
    returns: list[list[float]]
    success: Mapping[str, list[list[float]]]
    expert: float | None
    random: float | None
    curve: Mapping[str, np.ndarray]
    diverged: list[int]

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.labels["task"]

    @property
    def variant(self) -> tuple[str, str, str]:
        """Method, embodiment data and set-up: what is compared within a task."""
        return tuple(self.labels.get(key, "") for key in ("method", "dataset", "setup"))


def read_scores(path: pathlib.Path, labels: Mapping[str, str]) -> RunScores | None:
    """The scores of a finished run; None if it evaluates nothing.

    Raises:
      ValueError: its DONE cannot be read, or holds scores that cannot be averaged.
    """
    result = read_object(path / "DONE")
    if not isinstance(result.get("return"), list) or not result["return"]:
        return None
    returns = _per_seed(result, "return")
    success = {
        rule: _per_seed(result, f"success_{rule}")
        for rule in SUCCESS_RULES
        if result.get(f"success_{rule}") is not None
    }
    expert, random = (_finite(result.get(name)) for name in ("expert_return", "random_return"))
    curve = _curve(read_rows(path / "eval.jsonl"), len(returns))
    return RunScores(path, labels, returns, success, expert, random, curve, _diverged(result, len(returns)))


def read_object(path: pathlib.Path) -> dict:
    """The JSON object in a file.

    Raises:
      ValueError: there is none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} cannot be read ({error}); run its command again.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds no JSON object; run its command again.")
    return value


def _finite(value) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _per_seed(result: Mapping, name: str) -> list[list[float]]:
    """Scores `[N][E]`; those of a single agent, [E], are one seed."""
    scores = result[name]
    if isinstance(scores, list) and scores and not isinstance(scores[0], list):
        scores = [scores]
    try:
        intervals.seed_scores(scores)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name!r} in DONE: {error}") from error
    return scores


def _diverged(result: Mapping, num_seeds: int) -> list[int]:
    """Indices of the seeds that have diverged; a run of a single seed says `true`."""
    diverged = result.get("diverged") or []
    return list(range(num_seeds)) if diverged is True else [entry["seed"] for entry in diverged]


def _curve(rows: Sequence[Mapping], num_seeds: int) -> dict[str, np.ndarray]:
    """Means over episodes of every seed at every evaluation."""
    rows = [row for row in rows if len(_of_seeds(row.get("return"))) == num_seeds]
    if not rows:
        return {}
    curve = {}
    for name in ("return", "success_any"):
        if all(len(_of_seeds(row.get(name))) == num_seeds for row in rows):
            means = [[np.mean(np.asarray(seed, float)) for seed in _of_seeds(row[name])] for row in rows]
            curve[name] = np.array(means)
    for clock in ("update", "env_step"):
        if all(clock in row for row in rows):
            curve[clock] = np.array([row[clock] for row in rows])
    return curve


def _of_seeds(scores) -> list[list[float]]:
    """`[N][E]` of `[N][E]` or, of a single agent, [E]; nothing of anything else."""
    if not isinstance(scores, list) or not scores:
        return []
    return scores if all(isinstance(seed, list) and seed for seed in scores) else [scores]
