"""What a world model predicts, as arrays: open-loop predictions and their errors."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from worldmodels.types import Array, SequenceBatch
from worldmodels.world_model import WorldModel


def open_loop(
    model: WorldModel, batch: SequenceBatch, context: int, key: Array | None = None
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Filters `context` records, then predicts the rest from the actions alone.

    Args:
      batch: SequenceBatch [B, T] with actions, T > context.
      context: records that are seen.
      key: PRNG key, consumed; None takes modes.

    Returns:
      (truth, prediction), each {target or probe: [B, T, d] in raw units}; the first `context` predictions are
      reconstructions.
    """
    if not 0 < context < batch.batch_shape[1]:
        raise ValueError(
            f"The context of {context} records must be shorter than the sequences ({batch.batch_shape[1]})."
        )
    filter_key, rollout_key = (None, None) if key is None else jax.random.split(key)
    actions = model.actions_for_filter(batch)
    seen = jax.tree.map(lambda x: x[:, :context], batch)
    filtered = model.filter(seen, filter_key).states
    last = jax.tree.map(lambda x: x[:, -1], filtered)
    predicted = model.rssm.rollout(last, actions[:, context:], rollout_key)
    states = jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=1), filtered, predicted)
    prediction = model.predict(states.features)
    truth = {name: batch.target(name) for name in prediction}
    known = [name for name, value in truth.items() if value is not None]
    return {name: truth[name] for name in known}, {name: prediction[name] for name in known}


def open_loop_error(model: WorldModel, batch: SequenceBatch, *, context: int) -> dict[str, Array]:
    """{target or probe: [] mean squared error of open-loop prediction after the context}, in raw units squared."""
    truth, prediction = open_loop(model, batch, context)
    return {name: jnp.mean((truth[name] - prediction[name])[:, context:] ** 2) for name in truth}
