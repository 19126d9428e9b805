"""The data-driven regulariser of AIME-v2: the model keeps seeing its pretraining data while it learns online.

Batches of pretraining data (D_body) and of the online buffer are joined; where a reward is stored with the online
episodes only, a mask keeps the pretraining data away from the reward head.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from worldmodels.data import dataset, replay
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.replay import Replay
from worldmodels.structures import Array, SequenceBatch

MODES = ("ratio", "append")


def draw_model_batch(
    body: SequenceDataset | None,
    online: Replay | None,
    key: Array,
    *,
    batch_size: int,
    mode: str = "ratio",
    fraction: float = 0.5,
    head: str | None = None,
) -> SequenceBatch:
    """Draws the batch of one model update.

    Args:
      body: pretraining data; None for no regulariser.
      online: collected episodes, at least one; None where an offline run has none, and all windows are of `body`.
      key: PRNG key, consumed.
      batch_size: B.
      mode: "ratio": int(B * fraction) windows of `body`, the rest of `online`; "append": B windows drawn uniformly
        from both together, so that `body` dominates at first.
      head: name of the reward that is stored with the online episodes, or None. Windows of `body` are masked for it
        unless they have it too.

    Returns:
      Leaves [B, T, ...]; with `head`, `masks[head]` is 1 where the reward is known.

    Raises:
      ValueError: as `check_mixing`; or all windows are of `body` and none of them has the reward `head`.
    """
    check_mixing(mode, fraction)
    body_key, online_key, choice_key = jax.random.split(key, 3)
    num_body = 0 if body is None else int(batch_size * fraction) if mode == "ratio" else batch_size
    num_online = batch_size if mode == "append" else batch_size - num_body
    if online is None:
        num_body, num_online = batch_size, 0
    if head is not None and not num_online and (body is None or head not in body.observation):
        raise ValueError(
            f"No window of any batch has {head!r}, whose head would stay untrained; label the pretraining data with "
            "it, or take windows of collected episodes too."
        )
    batches = []
    if body is not None and num_body:
        # The environment's own reward is recorded with pretraining data too, but for other tasks.
        known = head in body.observation
        batches.append(with_reward_mask(dataset.sample(body, body_key, num_body), head, known))
    if online is not None and num_online:
        batches.append(with_reward_mask(replay.sample(online, online_key, num_online), head, True))
    if len(batches) == 1:
        return batches[0]
    if mode == "ratio":
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *batches)
    assert online is not None and body is not None  # there are two batches
    share = online.num_windows / (online.num_windows + body.num_windows)
    is_online = jax.random.bernoulli(choice_key, share, (batch_size,))

    def choose(from_body, from_online):
        return jnp.where(is_online.reshape(-1, *(1,) * (from_body.ndim - 1)), from_online, from_body)

    return jax.tree.map(choose, *batches)


def check_mixing(mode: str, fraction: float) -> None:
    """Raises a ValueError for a mode or a fraction that `draw_model_batch` does not know."""
    if mode not in MODES:
        raise ValueError(f"Unknown regulariser mode {mode!r}. Known: {', '.join(MODES)}.")
    if not 0 <= fraction <= 1:
        raise ValueError(
            f"The fraction of pretraining data in a batch must be between 0 and 1, got {fraction}; "
            "set regularizer.fraction accordingly."
        )


def with_reward_mask(batch: SequenceBatch, head: str | None, known: bool) -> SequenceBatch:
    """Returns the batch with `masks[head]`, 1 where the reward is known; zeros stand for a reward that is not there."""
    if head is None:
        return batch
    mask = jnp.full(batch.batch_shape, float(known))
    observation = batch.observation
    if head != "reward" and head not in observation:
        observation = observation | {head: jnp.zeros_like(mask)[..., None]}
    return batch.replace(observation=observation, masks=batch.masks | {head: mask})
