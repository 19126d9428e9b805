"""Action chunks: a policy decides on several actions at once, and acts by what its last decisions say together.

ACT (Zhao et al. 2023, arXiv 2304.13705): temporal ensembling weighs what was decided i steps after the oldest decision
by exp(-decay i), so that the old ones, which make motions smooth, count most. Losses are those of BC and BCO, squared
errors, where ACT's is that of absolute errors.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from agents.frame_stack import FrameStackNet
from agents.frame_stack_actor import FrameStackActor
from agents.loop import Actor


def frame_stack_actor(policy: FrameStackNet, chunk: int = 1, *, num_seeds: int | None = None) -> Actor:
    """Makes the actor of a policy of frames that decides on `chunk` actions at once; see `FrameStackActor`."""
    actor = FrameStackActor(policy, num_seeds=num_seeds)
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

    def __call__(self, records: Mapping[str, np.ndarray]) -> np.ndarray:
        """Records {name: [N, ...]} -> actions [N, A] float32."""
        newest = self._actor(dict(records))
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
        return (weights[..., None] * present).sum(axis=1).astype(np.float32)
