"""Action chunks: a policy decides on several actions at once, and acts by what its last decisions say together.

ACT (Zhao et al. 2023, arXiv 2304.13705): temporal ensembling weighs what was decided i steps after the oldest decision
by exp(-decay i), so that the old ones, which make motions smooth, count most. Losses are those of BC, BCO and MBBC,
squared errors, where ACT's is that of absolute errors. A mean would undo what a flow has chosen, so that flows stream
(`agents.flow`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from agents.actors import FilterActor, ModelActor
from agents.flow import FlowActor, FlowFilter, FlowHead, FlowNet
from agents.frame_stack import FrameStackNet
from agents.frame_stack_actor import FrameStackActor
from agents.loop import Actor
from worldmodels.action_head import TanhGaussianHead
from worldmodels.world_model import WorldModel


def frame_stack_actor(
    policy: FrameStackNet | FlowNet, key: jax.Array, chunk: int = 1, *, num_seeds: int | None = None
) -> Actor:
    """Makes the actor of a policy of frames that decides on `chunk` actions at once; see `FrameStackActor`."""
    if isinstance(policy, FlowNet):
        return FlowActor(policy, key, num_seeds=num_seeds)
    return _ensembled(FrameStackActor(policy, num_seeds=num_seeds), chunk)


def filter_actor(
    model: WorldModel,
    policy: TanhGaussianHead | FlowHead,
    num_envs: int,
    key: jax.Array,
    chunk: int = 1,
    *,
    sample_action: bool = False,
    num_seeds: int | None = None,
    ensemble: int = 1,
) -> Actor:
    """Makes the actor of a policy over the state of a world model; see `FilterActor`. A flow samples in any case."""
    if isinstance(policy, FlowHead):
        return ModelActor(FlowFilter(), (model, policy), num_envs, key, num_seeds, ensemble)
    options: dict[str, Any] = dict(sample_action=sample_action, num_seeds=num_seeds, ensemble=ensemble)
    return _ensembled(FilterActor(model, policy, num_envs, key, **options), chunk)


def _ensembled(actor: Actor, chunk: int) -> Actor:
    return actor if chunk == 1 else TemporalEnsemble(actor, chunk)


class TemporalEnsemble:
    """Acts by the weighted mean of what the last H decisions say of the present step.

    Args:
      actor: records {name: [N, ...]} -> decisions [N, H * A], the first action first.
      chunk: H.
      decay: of the weight, per step since the oldest decision.
    """

    def __init__(self, actor: Actor, chunk: int, decay: float = 0.01):
        self._actor, self._chunk, self._decay = actor, chunk, decay
        self._decisions: np.ndarray | None = None
        self._done: dict[str, np.ndarray] = {}

    def __call__(self, records: Mapping[str, np.ndarray]) -> np.ndarray:
        """Records {name: [N, ...]} -> actions [N, A] float32."""
        newest = self._actor({**self._done, **records})
        newest = newest.reshape(len(newest), self._chunk, -1)  # [N, H, A]
        if self._decisions is None:
            self._decisions = np.zeros((len(newest), self._chunk, *newest.shape[1:]), np.float32)
            self._known = np.zeros(len(newest), int)
        self._decisions = np.concatenate([newest[:, None], self._decisions[:, :-1]], axis=1)
        self._known = np.where(records["is_first"], 1, np.minimum(self._known + 1, self._chunk))
        ages = np.arange(self._chunk)
        present = self._decisions[:, ages, ages]  # that of k steps ago says in its place k what to do now
        known = self._known[:, None]
        weights = (ages < known) * np.exp(-self._decay * (known - 1 - ages))  # [N, H]
        weights /= weights.sum(axis=1, keepdims=True)
        action = (weights[..., None] * present).sum(axis=1).astype(np.float32)
        self._done = {"pre_action": action}  # what a world model filters with, where records do not say it
        return action
