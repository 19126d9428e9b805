"""Rounds: one episode in each of several environments, and then all are at rest.

Between rounds no episode is open, so that a collection can stop there and continue exactly: episode k of every
environment belongs to round k, and its seed is known. An environment whose episode ends early waits for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Records = dict[str, np.ndarray]


def play_round(
    envs, act: Callable[[Records], np.ndarray], on_step: Callable[[Records, np.ndarray], None] | None = None
) -> list[Records]:
    """Plays one episode in every environment of a vector.

    Args:
      envs: vector environment of N environments (see experiments/envs/vector.py).
      act: records {name: [N, ...]} -> actions [N, A] in [-1, 1].
      on_step: told of the records of every step and of which environments moved, [N] bool.

    Returns:
      For each environment the records {name: [T, ...]} of its episode, the physics state among them if there is one.
      An episode that was lost with a worker process and began again is there once, from its new beginning.
    """
    records = envs.reset()
    history = [_with_physics(envs, records)]
    begin = np.zeros(envs.num_envs, int)
    end = np.zeros(envs.num_envs, int)
    active = np.ones(envs.num_envs, bool)
    while active.any():
        records = envs.step(act(records), active)
        history.append(_with_physics(envs, records))
        begin[active & records["is_first"]] = len(history) - 1
        if on_step is not None:
            on_step(records, active)
        active = active & ~records["is_last"]
        end[~active & (end == 0)] = len(history)
    stacked = {name: np.stack([step[name] for step in history]) for name in history[0]}  # [T, N, ...]
    return [{name: x[begin[i] : end[i], i] for name, x in stacked.items()} for i in range(envs.num_envs)]


def concatenate(records: Records, sensors: Sequence[str]) -> np.ndarray:
    """[..., O] float32: the named vector sensors of records side by side."""
    return np.concatenate([records[name] for name in sensors], axis=-1).astype(np.float32, copy=False)


def _with_physics(envs, records: Records) -> Records:
    physics = envs.physics_states()
    return records if physics is None else records | {"physics_state": physics}
