"""Acting in environments: collect episodes, evaluate an actor.

Depends on the interface of a vector of environments only, not on any simulator.
"""

import warnings
from collections.abc import Callable, Generator
from typing import Any, Protocol

import numpy as np

from worldmodels.data.episodes import Episode
from worldmodels.data.records import stack_records

Records = dict[str, np.ndarray]

# A success is held if there are more; the rule of ROT (Haldar et al. 2022) and ADS (Liu et al. 2024).
HELD_RECORDS = 3
LONG_EPISODE = 10_000  # records; ten times what the suites have


class Actor(Protocol):
    """Chooses actions for N environments at once, and remembers what it needs between calls."""

    def __call__(self, records: Records) -> np.ndarray:
        """Returns actions [N, A] float32 in [-1, 1] for the records {name: [N, ...]} just received.

        Where `records["is_first"]` is set an episode begins, and the memory of that environment is void.
        """


class VectorEnvironment(Protocol):
    """N environments as the loop uses them; see `experiments.envs.vector.VectorEnvironment`."""

    num_envs: int

    def reset(self) -> Records:
        """Starts the next episode of every environment."""

    def step(self, actions: np.ndarray, active: np.ndarray | None = None) -> Records:
        """Steps the active environments; after a last record the next step begins a new episode."""

    def physics_states(self) -> np.ndarray | None:
        """Returns float64 [N, P] that belong to the latest records, or None."""

    def metadata(self, env_index: int | None = None) -> dict[str, Any]:
        """Returns json-able facts about an environment and its present episode."""


def collect_episodes(
    vector_env: VectorEnvironment,
    actor: Actor,
    num_episodes: int,
    *,
    record_physics: bool = True,
    on_episode: Callable[[Episode], None] | None = None,
    on_step: Callable[[], None] | None = None,
) -> list[Episode]:
    """Lets an actor play whole episodes.

    Each environment plays its share, the first ones one more if `num_episodes` is no multiple of N, so that
    short episodes are not preferred; the episodes are the same for any number of worker processes. An episode
    that is interrupted (a worker died) is dropped and played again.

    Args:
      vector_env: N environments; all begin a new episode.
      actor: [N] records to [N, A] actions.
      num_episodes: how many to collect.
      record_physics: whether to keep `physics_state` [T, P] float64 in the records.
      on_episode: called with each episode as it ends, so that none has to be kept.
      on_step: called before each step; raises to stop, as for a signal in an episode that never ends.

    Returns:
      The episodes, ordered by round and environment; empty if `on_episode` is given.
    """
    playing = play_episodes(vector_env, num_episodes, record_physics=record_physics, on_episode=on_episode)
    actions: Any = None
    while True:
        try:
            records = playing.send(actions)
        except StopIteration as over:
            return over.value
        if on_step is not None:
            on_step()
        actions = actor(records)


def play_episodes(
    vector_env: VectorEnvironment,
    num_episodes: int,
    *,
    record_physics: bool = True,
    on_episode: Callable[[Episode], None] | None = None,
) -> Generator[Records, np.ndarray, list[Episode]]:
    """Plays as `collect_episodes`, step by step: yields records, is sent actions, and returns the episodes."""
    if num_episodes < 1:
        raise ValueError(f"num_episodes must be at least 1, got {num_episodes!r}.")
    num_envs = vector_env.num_envs
    quota = num_episodes // num_envs + (np.arange(num_envs) < num_episodes % num_envs)
    done = np.zeros(num_envs, int)
    partial: list[list[dict[str, Any]]] = [[] for _ in range(num_envs)]
    episodes: list[tuple[int, int, Episode]] = []
    records, moved = vector_env.reset(), quota > 0
    while True:
        physics = vector_env.physics_states() if record_physics else None
        for index in np.flatnonzero(moved).tolist():
            _append(partial[index], records, physics, index)
            if len(partial[index]) == LONG_EPISODE:
                name = vector_env.metadata(index).get("environment")
                warnings.warn(
                    f"An episode of {name!r} has not ended after {LONG_EPISODE} records; if it never does, set "
                    "episode_length, the number of steps after which it is cut.",
                    stacklevel=2,
                )
            if records["is_last"][index]:
                episode = Episode(stack_records(partial[index]), vector_env.metadata(index))
                partial[index] = []
                if on_episode is None:
                    episodes.append((int(done[index]), index, episode))
                else:
                    on_episode(episode)
                done[index] += 1
        moved = done < quota
        if not moved.any():
            return [episode for *_, episode in sorted(episodes, key=lambda entry: entry[:2])]
        actions = yield records
        records = vector_env.step(actions, None if moved.all() else moved)


def evaluate(
    vector_env: VectorEnvironment,
    actor: Actor,
    num_episodes: int,
    *,
    record_physics: bool = False,
    on_episode: Callable[[Episode], None] | None = None,
    on_step: Callable[[], None] | None = None,
) -> dict[str, list[float]]:
    """Lets an actor play whole episodes and returns one number per episode.

    Args:
      vector_env, actor, num_episodes: as in `collect_episodes`.
      record_physics: whether the episodes given to `on_episode` hold the physics states.
      on_episode: called with each episode as it ends, to keep some for videos.
      on_step: as in `collect_episodes`.

    Returns:
      "return": undiscounted sums of rewards; "length": agent steps; and where the environment defines success
      "success_any", "success_final" and "success_held", see `episode_summary`. Ordered as in `collect_episodes`.
    """
    rows: list[tuple[int, int, dict[str, float]]] = []

    def summarise(episode: Episode) -> None:
        order = (episode.metadata.get("episode", 0), episode.metadata.get("env_index", len(rows)))
        rows.append((*order, episode_summary(episode)))
        if on_episode is not None:
            on_episode(episode)

    collect_episodes(
        vector_env, actor, num_episodes, record_physics=record_physics, on_episode=summarise, on_step=on_step
    )
    rows.sort(key=lambda row: row[:2])
    names = {name: None for *_, row in rows for name in row}
    # An episode without `success` where others have it had none.
    return {name: [row.get(name, 0.0) for *_, row in rows] for name in names}


def episode_summary(episode: Episode) -> dict[str, float]:
    """Returns return, length and, where the task defines success, the three that the literature counts as one.

    "success_any": 1.0 if any record was a success (Meta-World); "success_final": if the last one was (TD-MPC2,
    AIME-v2); "success_held": if more than three were (ROT, ADS).
    """
    summary = {"return": episode.return_, "length": float(episode.length)}
    if "success" in episode.records:
        success = episode.records["success"]
        summary["success_any"] = float(np.any(success))
        summary["success_final"] = float(success[-1])
        summary["success_held"] = float(np.sum(success) > HELD_RECORDS)
    return summary


def _append(partial: list[dict[str, Any]], records: Records, physics: np.ndarray | None, index: int) -> None:
    """Adds the record of one environment to its episode; a first record drops what was there."""
    if records["is_first"][index]:
        partial.clear()
    record = {name: values[index] for name, values in records.items()}
    if physics is not None:
        record["physics_state"] = physics[index]
    partial.append(record)
