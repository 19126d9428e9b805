"""Scripted experts: programs that solve a task, by the name of their environment. Nothing here imports jax."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np

from experiments.envs.metaworld_tasks import PREFIX, TASKS
from experiments.envs.variation import base_name

Expert = Callable[[Mapping[str, np.ndarray]], np.ndarray]  # a record -> an action [A] in [-1, 1]


def expert(env_name: str) -> Expert:
    """Returns the scripted expert of an environment.

    Raises:
      ValueError: it has none.
    """
    base = base_name(env_name)
    if base.removeprefix(PREFIX) in TASKS and base.startswith(PREFIX):
        return _meta_world(env_name)
    if base in _EXPERTS:
        return _EXPERTS[base]
    known = ", ".join([f"{PREFIX}<task>", *_EXPERTS])
    raise ValueError(f"{env_name!r} has no scripted expert. Known: {known}; train one with SAC instead.")


def _meta_world(env_name: str) -> Expert:
    """Meta-World's own expert; it overshoots what actions can do, and they are clipped."""
    from experiments.envs.metaworld import scripted_policy

    policy = scripted_policy(env_name)

    def act(record: Mapping[str, np.ndarray]) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            action = policy.get_action(np.asarray(record["state"], np.float64))
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    return act


def _to_the_origin(record: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pushes the point of the fake environment to the origin and stops it there."""
    return np.clip(-4.0 * record["position"] - 6.0 * record["velocity"], -1.0, 1.0).astype(np.float32)


_EXPERTS: dict[str, Expert] = {"fake-pointmass": _to_the_origin}
