"""Episodes from arrays in memory."""

from collections.abc import Mapping, Sequence

import numpy as np

from worldmodels.data.episodes import Episode, canonical_records
from worldmodels.data.records import NOT_SENSORS, ROUNDING


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
      actions: one array [T, A], or [T] of a single action, in [-1, 1] of each episode; None for demonstrations
        without actions.
      rewards: one array [T] of each episode, earned by the actions; None: zeros.
      terminal: whether episodes ended in a terminal state, instead of a time limit.
      metadata: kept with each episode, for example {"environment": "walker-walk"}.

    Raises:
      ValueError: numbers of episodes or steps that do not go together, actions outside [-1, 1], or sensors without
        names of their own.
    """
    _check_names(observations)
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


def from_transitions(
    observations: Mapping[str, np.ndarray],
    actions: np.ndarray,
    rewards: np.ndarray | None = None,
    *,
    next_observations: Mapping[str, np.ndarray] | None = None,
    terminals: np.ndarray | None = None,
    timeouts: np.ndarray | None = None,
    successes: np.ndarray | None = None,
    metadata: Mapping | None = None,
) -> list[Episode]:
    """Makes episodes of steps that stand one after the other, as replay buffers and offline data sets keep them.

    In step n `observations[n]` was seen, `actions[n]` done, `rewards[n]` earned, and `next_observations[n]` seen. Where
    these are not known, nothing is recorded of what the last action of an episode led to: the action is dropped, and
    its reward and success count with the last record, so that the episode keeps its return.

    Args:
      observations: {sensor: [N, d], or uint8 images [N, y, x, 3]}.
      actions: [N, A], or [N] of a single action, in [-1, 1].
      rewards: [N], earned by the actions; None: zeros.
      next_observations: as `observations`; None where they are not known.
      terminals: [N] bool, whether the step led to a terminal state, which ends an episode.
      timeouts: [N] bool, whether an episode ended after the step for another reason; so does the last one.
      successes: [N] bool, whether the step led to success; None where that is not defined.
      metadata: kept with each episode.

    Raises:
      ValueError: arrays of unequal length, an episode of which nothing is left, actions outside [-1, 1], or sensors
        without names of their own.
    """
    _check_names(observations)
    given = {"actions": actions, "rewards": rewards, "terminals": terminals, "timeouts": timeouts}
    given |= {"successes": successes} | {f"sensor {name}": value for name, value in observations.items()}
    given |= {f"next {name}": value for name, value in (next_observations or {}).items()}
    flat = {name: np.asarray(value) for name, value in given.items() if value is not None}
    counts = {name: len(value) for name, value in flat.items()}
    same_sensors = next_observations is None or set(next_observations) == set(observations)
    if len(set(counts.values())) != 1 or not same_sensors:
        raise ValueError(f"Every step needs all arrays; there are {_listed(counts)}.")
    is_terminal = flat.get("terminals", np.zeros(len(actions))).reshape(-1).astype(bool)
    ends = is_terminal | flat.get("timeouts", np.zeros(len(actions))).reshape(-1).astype(bool)
    ends = np.append(np.flatnonzero(ends[:-1]) + 1, len(actions))
    episodes = []
    for start, end in zip(np.append(0, ends[:-1]), ends, strict=True):
        part = {name: value[start:end] for name, value in flat.items()}
        if next_observations is None:
            part = _without_last_action(part)
            seen = {name: part[f"sensor {name}"] for name in observations}
        else:
            last = {name: part[f"next {name}"][-1:] for name in observations}
            seen = {name: np.append(part[f"sensor {name}"], last[name], axis=0) for name in observations}
        ended = bool(is_terminal[end - 1]) and next_observations is not None
        episode = _episode(seen, part["actions"], part.get("rewards"), ended, dict(metadata or {}))
        if successes is not None:
            episode.records["success"] = np.append(False, part["successes"].reshape(-1).astype(bool))
        episodes.append(episode)
    return episodes


def _check_names(observations: Mapping) -> None:
    if not isinstance(observations, Mapping) or not observations:
        raise ValueError("Observations have names; pass them as {sensor: arrays}.")
    if reserved := [name for name in observations if name in NOT_SENSORS]:
        names = " and ".join(map(repr, reserved))
        raise ValueError(f"The records have a part called {names}; give the sensor another name.")


def _without_last_action(part: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the steps of an episode without the last action; its reward and success are those of the one before."""
    if len(part["actions"]) < 2:
        raise ValueError("An episode of one step shows nothing of what its action led to; leave it out.")
    kept = dict(part)
    for name, join in (("rewards", np.add), ("successes", np.logical_or)):
        if name in part:
            kept[name] = np.append(part[name][:-2], join(part[name][-2:-1], part[name][-1:]), axis=0)
    return kept | {"actions": part["actions"][:-1]}


def _episode(
    seen: dict[str, np.ndarray],
    actions: np.ndarray | None,
    rewards: np.ndarray | None,
    terminal: bool,
    metadata: dict,
) -> Episode:
    num_steps = len(next(iter(seen.values()))) - 1
    actions = np.zeros((num_steps, 0)) if actions is None else actions
    actions = actions[:, None] if actions.ndim == 1 else actions
    rewards = np.zeros(num_steps) if rewards is None else rewards
    lengths = {name: len(value) - 1 for name, value in seen.items()}
    lengths |= {"actions": len(actions), "rewards": len(rewards)}
    if len(set(lengths.values())) != 1:
        raise ValueError(
            f"T actions and rewards go with T + 1 observations; the steps of an episode are {_listed(lengths)}."
        )
    if actions.ndim != 2:
        raise ValueError(f"Actions of an episode are [T, A]; there are some of shape {list(actions.shape)}.")
    largest = np.abs(actions).max(initial=0)
    if largest > 1 + ROUNDING:
        raise ValueError(f"Actions are in [-1, 1]; there is one of {largest:g}. Scale them.")
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
