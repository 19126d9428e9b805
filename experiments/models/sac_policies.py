"""Policies of SAC as runs keep them: saved with what shapes them, loaded with one call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from agents.observer import Observer
from agents.sac import Actor, NumpyPolicy, SACState
from agents.sac_rounds import SACActor
from experiments.data.folders import environment_choice
from worldmodels.checkpoints import Checkpoints


def save_policy(
    folder: str | os.PathLike, config, state: SACState, sensors: tuple[str, ...], returns: list[float]
):
    """Saves the actor alone, with what `load_policy` needs and the environment it was trained in."""
    first, last = state.actor.model.net.first, state.actor.model.net.head
    extra = {
        "sensors": list(sensors),
        "observation_size": first.kernel.shape[0],
        "action_size": last.bias.shape[0] // 2,
        "hidden_size": config.sac.hidden_size,
        "hidden_layers": config.sac.hidden_layers,
        "returns": returns,
        "environment": environment_choice(config),
    }
    Checkpoints(folder, keep=1).save(0, state.actor.model, extra)


def load_policy(folder: str | os.PathLike) -> tuple[NumpyPolicy, dict]:
    """Loads what `save_policy` saved: the policy and the facts about it.

    Raises:
      ValueError: there is no policy.
    """
    checkpoints = Checkpoints(folder)
    if checkpoints.latest_step() is None:
        raise ValueError(f"{folder} holds no policy; name a finished run of `collect` with SAC.")
    _, _, extra = checkpoints.read()
    sizes = {
        name: extra[name] for name in ("observation_size", "action_size", "hidden_size", "hidden_layers")
    }
    _, actor, _ = checkpoints.restore(jax.eval_shape(lambda: Actor(**sizes, rngs=nnx.Rngs(0))))
    return NumpyPolicy(actor), extra


def saved_actor(policy: NumpyPolicy, facts: Mapping, rng: np.random.Generator | None = None) -> SACActor:
    """An actor at its first record of what `load_policy` gave, which reads what the policy was trained on."""
    observer = Observer(facts["sensors"], facts.get("num_frames", 1), facts.get("statistics"))
    return SACActor(policy, facts["sensors"], rng, observer=observer)


def best_policy(run: str | os.PathLike) -> Path:
    """Folder of the policy of a run whose last evaluation was best.

    Raises:
      ValueError: the run has none.
    """
    folders = [
        path for path in (Path(run) / "policies").glob("*") if Checkpoints(path).latest_step() is not None
    ]
    if not folders:
        raise ValueError(f"{run} holds no policies; name a finished run that trains with SAC.")
    scores = {path: float(np.mean(Checkpoints(path).read()[2]["returns"])) for path in sorted(folders)}
    return max(scores, key=scores.get)
