"""Episodes from arrays in memory."""

from collections.abc import Mapping, Sequence

import numpy as np

from worldmodels.data.episodes import Episode, canonical_records


def from_arrays(
    observations: Mapping[str, Sequence[np.ndarray]],
    actions: Sequence[np.ndarray] | None = None,
    rewards: Sequence[np.ndarray] | None = None,
    *,
    terminal: bool = False,
    metadata: Mapping | None = None,
) -> list[Episode]:
    """Makes episodes of what was seen and done.

    `actions[t]` was chosen on seeing `observations[t]` and led to `observations[t + 1]`, as one logs them; in an
    episode each action is stored with the record that it led to (`prev_action[t]` led to `observation[t]`).

    Args:
      observations: {sensor: one array [T + 1, d], or uint8 image [T + 1, y, x, 3], of each episode}.
      actions: one array [T, A] in [-1, 1] of each episode; None for demonstrations without actions.
      rewards: one array [T] of each episode, earned by the actions; None: zeros.
      terminal: whether episodes ended in a terminal state, instead of a time limit.
      metadata: kept with each episode, for example {"environment": "walker-walk"}.

    Raises:
      ValueError: numbers of episodes or steps that do not go together, or actions outside [-1, 1].
    """
    counts = {name: len(arrays) for name, arrays in observations.items()}
    counts |= {name: len(of) for name, of in (("actions", actions), ("rewards", rewards)) if of is not None}
    if len(set(counts.values())) != 1:
        raise ValueError(f"Every episode needs all arrays; there are {_listed(counts)}.")
    return [
        _episode(
            {name: np.asarray(arrays[index]) for name, arrays in observations.items()},
            None if actions is None else np.asarray(actions[index]),
            None if rewards is None else np.asarray(rewards[index]),
            terminal,
            dict(metadata or {}),
        )
        for index in range(next(iter(counts.values())))
    ]


def _episode(
    seen: dict[str, np.ndarray],
    actions: np.ndarray | None,
    rewards: np.ndarray | None,
    terminal: bool,
    metadata: dict,
) -> Episode:
    num_steps = len(next(iter(seen.values()))) - 1
    actions = np.zeros((num_steps, 0)) if actions is None else actions
    rewards = np.zeros(num_steps) if rewards is None else rewards
    lengths = {name: len(value) - 1 for name, value in seen.items()}
    lengths |= {"actions": len(actions), "rewards": len(rewards)}
    if len(set(lengths.values())) != 1:
        raise ValueError(
            f"T actions and rewards go with T + 1 observations; the steps of an episode are {_listed(lengths)}."
        )
    if actions.size and np.abs(actions).max() > 1:
        raise ValueError(f"Actions are in [-1, 1]; there is one of {np.abs(actions).max():g}. Scale them.")
    last = np.arange(num_steps + 1) == num_steps
    records = {
        **seen,
        "pre_action": np.concatenate([np.zeros((1, actions.shape[1])), actions]),
        "reward": np.concatenate([[0.0], np.ravel(rewards)]),
        "is_first": np.arange(num_steps + 1) == 0,
        "is_last": last,
        "is_terminal": last & terminal,
    }
    return Episode(canonical_records(records, "an episode of arrays"), metadata)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {name}" for name, count in counts.items())
