"""Many environments as one, in this process or in worker processes that never import jax.

A worker that dies or hangs is replaced, and the episodes that it was in begin again with the same seed: the
consumer sees a record with `is_first` and drops the partial episode.
"""

import warnings
import weakref
from typing import Any, Self

import numpy as np

from experiments.envs import rendering, variation
from experiments.envs.groups import (
    CONTINUE,
    SKIP,
    LocalGroup,
    WorkerGroup,
    close_all,
    episode_seed,
    setup_of,
)
from experiments.envs.interface import ArraySpec, EnvironmentFailure, Record, checked_positive

_MAX_FAILURES = 3  # in a row, of one worker


class VectorEnvironment:
    """N environments as one; records are batched dicts {name: [N, ...]}. A context manager.

    Episode k of environment i is seeded by (seed, i, k), whatever the number of workers. After the last record of an
    environment the next `step` returns the first record of its next episode and ignores its action.

    Args:
      name: as in the registry.
      num_envs: number of environments, N.
      seed: not negative.
      workers: worker processes; 0 steps in this process, with identical results.
      first_episode: number k of the first episode, to continue an earlier collection.
      timeout: seconds after which a worker that does not answer a step is replaced.
      **options: for `registry.make`: render_size, action_repeat, reward_version, episode_length, ...

    Attributes:
      name, observation_spec, action_spec, action_repeat, control_seconds: as in `interface.Environment`.
      num_envs: N.
    """

    observation_spec: dict[str, ArraySpec]
    action_spec: ArraySpec
    action_repeat: int
    control_seconds: float

    def __init__(
        self,
        name: str,
        num_envs: int,
        *,
        seed: int,
        workers: int = 0,
        first_episode: int = 0,
        timeout: float = 60.0,
        **options: Any,
    ):
        checked_positive("num_envs", num_envs)
        if not isinstance(seed, (int, np.integer)) or seed < 0 or first_episode < 0 or workers < 0:
            raise ValueError(
                "seed, first_episode and workers are integers from 0, got "
                f"{seed!r}, {first_episode!r}, {workers!r}."
            )
        self.name, self.num_envs, self._seed = name, num_envs, int(seed)
        parts = [
            part.tolist() for part in np.array_split(np.arange(num_envs), min(max(workers, 1), num_envs))
        ]
        setups = [setup_of(name, part, self._seed, options) for part in parts]
        self._draws = options.get("render_size") is not None
        self._groups: list[Any]
        if workers:
            if self._draws:
                rendering.find_backend()  # once, for all workers
            self._groups = [WorkerGroup(setup, timeout) for setup in setups]
        else:
            self._groups = [LocalGroup(setup) for setup in setups]
        self._close = weakref.finalize(self, close_all, self._groups)
        self._parts = [np.array(part) for part in parts]
        descriptions = [group.wait_until_ready() for group in self._groups]
        self._metadata = descriptions[0].pop("metadata")
        vars(self).update(descriptions[0])
        self._episodes = np.full(num_envs, first_episode - 1)  # number of the present episode
        self._plan = self._episodes + 1  # what the next step does: start this episode, or CONTINUE
        self._no_actions = np.zeros((num_envs, *self.action_spec.shape), np.float32)
        self._records: dict[str, np.ndarray] = {}
        self._physics: Any = None

    def reset(self) -> dict[str, np.ndarray]:
        """Starts the next episode of every environment; returns the first records, {name: [N, ...]}."""
        self._plan = np.where(self._plan == CONTINUE, self._episodes + 1, self._plan)
        return self._run(self._plan, self._no_actions)

    def rewind(self, episode: int) -> None:
        """Makes `reset` start episode number `episode` of every environment, played before or not."""
        if episode < 0:
            raise ValueError(f"Episodes are numbered from 0, got {episode!r}.")
        self._episodes = np.full(self.num_envs, episode - 1)
        self._plan = self._episodes + 1

    def step(self, actions: np.ndarray, active: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Steps all environments.

        Args:
          actions: [N, A] in [-1, 1]; ignored where a new episode starts.
          active: [N] bool, which environments move; the others repeat their record. None means all.

        Returns:
          {name: [N, ...]}: sensors and pre_action float32 (images uint8), reward float32, flags bool.
        """
        actions = self._checked_actions(actions)
        plan = self._plan if active is None else np.where(np.asarray(active, bool), self._plan, SKIP)
        if not self._records and (plan == SKIP).any():
            raise ValueError(
                "The first step of a vector of environments must move all of them; pass active=None."
            )
        return self._run(plan, actions)

    def physics_states(self) -> np.ndarray | None:
        """Returns the physics states that belong to the latest records, float64 [N, P], or None."""
        return self._physics

    def metadata(self, env_index: int | None = None) -> dict[str, Any]:
        """Returns json-able facts; with an index also the number and the seed of its present episode."""
        common = dict(self._metadata)
        if "rendering" in common:  # workers may have fallen back to another backend
            common["rendering"] = common["rendering"] | {"backend": rendering.find_backend()}
        if env_index is None:
            return {**common, "seed": self._seed}
        episode = int(self._episodes[env_index])
        seed = episode_seed(self._seed, env_index, max(episode, 0))
        factors = variation.drawn(self.name, seed)
        return {
            **common,
            **({"factors": factors} if factors else {}),
            "seed": seed,
            "vector_seed": self._seed,
            "env_index": int(env_index),
            "episode": episode,
        }

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers, in the order of their environments."""
        return [group.pid for group in self._groups if isinstance(group, WorkerGroup)]

    def close(self) -> None:
        """Ends the worker processes and frees the environments."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _checked_actions(self, actions: np.ndarray) -> np.ndarray:
        """Returns float32 [N, A], or raises ValueError."""
        actions = np.asarray(actions, np.float32)
        if actions.shape != self._no_actions.shape:
            raise ValueError(
                f"{self.num_envs} environments {self.name!r} take actions of shape "
                f"{list(self._no_actions.shape)}, got {list(actions.shape)}; check the policy's action size."
            )
        if not np.isfinite(actions).all():
            bad = np.flatnonzero(~np.isfinite(actions).all(axis=1)).tolist()
            raise ValueError(
                f"The actions for environments {bad} of {self.name!r} are not finite; "
                "check the policy for NaN (a diverged run) before acting."
            )
        return actions

    def _run(self, plan: np.ndarray, actions: np.ndarray) -> dict[str, np.ndarray]:
        """Carries a plan out in all groups and merges the results; after an error all begin again."""
        if not self._close.alive:
            raise ValueError(f"The environments {self.name!r} are closed; make new ones.")
        try:
            rows, plan, records, physics = self._collect(plan, actions)
        except BaseException:  # also Ctrl-C: some environments have moved, and answers may be under way
            self._plan = np.where(self._plan == CONTINUE, self._episodes, self._plan)
            for group in self._groups:
                group.abandon()
            raise
        self._merge(rows, plan, records, physics)
        return dict(self._records)

    def _collect(self, plan: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, list, list]:
        """Has all groups carry a plan out; replaces workers that fail.

        Returns:
          Indices of the environments that moved, the plan as carried out, their records and physics states.
        """
        for group, part in zip(self._groups, self._parts, strict=True):
            group.send(plan[part], actions[part])
        rows: list[np.ndarray] = []
        records: list[Record] = []
        physics: list[np.ndarray | None] = []
        for group, part in zip(self._groups, self._parts, strict=True):
            result = group.receive()
            if result is None:
                result, plan = self._retry(group, part, plan)
            rows.append(part[plan[part] != SKIP])
            records += result[0]
            physics += result[1]
        return np.concatenate(rows), plan, records, physics

    def _retry(self, group: WorkerGroup, part: np.ndarray, plan: np.ndarray) -> tuple[Any, np.ndarray]:
        """Replaces a worker until it answers; the episodes that it was in the middle of begin again."""
        lost = part[self._plan[part] == CONTINUE]
        self._plan[lost] = self._episodes[lost]
        plan = plan.copy()
        moved = part[plan[part] != SKIP]
        plan[moved] = self._plan[moved]
        for attempt in range(_MAX_FAILURES):
            if attempt and self._draws:  # twice in a row: it may be the renderer
                rendering.fall_back(group.failure)
            warnings.warn(
                f"A worker process of {self.name!r} failed ({group.failure}) and is replaced; the episodes that it was "
                "in begin again.",
                stacklevel=2,
            )
            group.replace()
            group.send(plan[part], self._no_actions[part])
            result = group.receive()
            if result is not None:
                return result, plan
        raise EnvironmentFailure(
            f"A worker process of {self.name!r} failed {_MAX_FAILURES + 1} times in a row (last: "
            f"{group.failure}); try workers=0 to see the cause in this process."
        )

    def _merge(self, rows: np.ndarray, plan: np.ndarray, records: list[Record], physics: list[Any]) -> None:
        """Writes the results of environments `rows` over the previous ones, in fresh arrays."""
        if not len(rows):
            return
        complete = len(rows) == self.num_envs
        if "success" in self._records or any("success" in record for record in records):
            self._records.setdefault("success", np.zeros(self.num_envs, bool))
            for record in records:  # one may say only later that its task defines success
                record.setdefault("success", False)
        merged = {}
        for name in records[0]:
            values = _stack([record[name] for record in records])
            merged[name] = values if complete else _overwritten(self._records[name], rows, values)
        self._records = merged
        if physics[0] is not None:
            states = np.stack(physics)
            self._physics = states if complete else _overwritten(self._physics, rows, states)
        self._plan = self._plan.copy()
        self._episodes = np.where(plan >= 0, plan, self._episodes)
        is_last = merged["is_last"][rows]
        self._plan[rows] = np.where(is_last, self._episodes[rows] + 1, CONTINUE)


def _stack(values: list[Any]) -> np.ndarray:
    """Stacks one entry of several records; Python floats become float32."""
    if isinstance(values[0], float):
        return np.array(values, np.float32)
    return np.array(values)


def _overwritten(array: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns a copy of `array` with some rows replaced."""
    array = array.copy()
    array[rows] = values
    return array
