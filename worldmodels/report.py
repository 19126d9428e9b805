"""What a world model sees and foresees, as arrays: for notebooks, figures and videos.

Everything takes a batch with actions, and modes of latents, and is compiled as a whole. Who calls several filters once,
and gives each the `output` of `model.filter(batch)`. To look at demonstrations without actions, put in those
that a policy infers: `batch.replace(prev_action=infer_actions(model, policy, batch).actions)` (aime/inference.py).

Shape letters: B windows, T records, d size of a vector, y, x pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from worldmodels.distributions import balanced_kl
from worldmodels.encoders import scaled_image
from worldmodels.losses import evidence_terms
from worldmodels.structures import Array, FilterOutput, LatentState, SequenceBatch
from worldmodels.world_model import WorldModel

SEEN = (0, 158, 115)  # colour around frames that the model was shown: green
FORESEEN = (213, 94, 0)  # and around those that it foresaw: orange
Comparison = tuple[dict[str, Array], dict[str, Array]]


@jax.jit
def reconstruct(model: WorldModel, batch: SequenceBatch, output: FilterOutput | None = None) -> Comparison:
    """Reconstructs each record after the model has seen it and all before.

    Args:
      batch: SequenceBatch [B, T] with actions.
      output: of its filter, where it is known.

    Returns:
      (truth, reconstruction), each {target or probe: [B, T, d] in raw units, or images [B, T, y, x, 3] in 0..1}.
    """
    output = model.filter(batch) if output is None else output
    return compare(model, batch, output.states)


@functools.partial(jax.jit, static_argnames="context")
def open_loop(
    model: WorldModel, batch: SequenceBatch, context: int, output: FilterOutput | None = None
) -> Comparison:
    """Filters `context` records, then predicts the rest from the actions alone.

    Args:
      batch: SequenceBatch [B, T] with actions, T > context.
      context: records that are seen.
      output: of the filter of all records, where it is known; the first ones are read.

    Returns:
      (truth, prediction) as `reconstruct` gives them; the first `context` predictions are reconstructions.
    """
    if not 0 < context < batch.batch_shape[1]:
        raise ValueError(
            f"The context of {context} records must be shorter than the sequences ({batch.batch_shape[1]})."
        )
    actions = model.actions_for_filter(batch)
    if output is None:
        output = model.filter(jax.tree.map(lambda x: x[:, :context], batch))
    filtered = jax.tree.map(lambda x: x[:, :context], output.states)
    last = jax.tree.map(lambda x: x[:, -1], filtered)
    predicted = model.rollout(last, actions[:, context:])
    return compare(model, batch, jax.tree.map(lambda x, y: jnp.concatenate([x, y], 1), filtered, predicted))


def compare(model: WorldModel, batch: SequenceBatch, states: LatentState) -> Comparison:
    """(truth, what is decoded from the states [B, T]) of every target and probe that the batch has."""
    decoded = model.predict(states.features)
    known = {name: value for name in decoded if (value := batch.target(name)) is not None}
    truth = {name: scaled_image(value) if is_image(value) else value for name, value in known.items()}
    return truth, {name: decoded[name] for name in truth}


def is_image(values: Array | np.ndarray) -> bool:
    """True for [B, T, y, x, 3], False for vectors [B, T, d]."""
    return values.ndim == 5


def open_loop_error(model: WorldModel, batch: SequenceBatch, *, context: int) -> dict[str, Array]:
    """{target or probe: [] mean squared error of open-loop prediction after the context}, in raw units squared.

    Of images, in 0..1, per pixel and channel.
    """
    truth, prediction = open_loop(model, batch, context)
    return {name: jnp.mean((truth[name] - prediction[name])[:, context:] ** 2) for name in truth}


class Evidence(struct.PyTreeNode):
    """The evidence lower bound of every record, in nats, along the posterior that `evidence` took.

    Attributes:
      log_prob: {target: [B, T]} log p(o_t | s_t) without the constant of the Normal, as published in AIME-v2.
      kl: [B, T] KL(q(s_t | .) || p(s_t | .)).
    """

    log_prob: dict[str, Array]
    kl: Array

    @property
    def elbo(self) -> Array:
        """[B, T] sum of the log-likelihoods minus the KL; higher is better."""
        return sum(self.log_prob.values()) - self.kl


@jax.jit
def evidence(model: WorldModel, batch: SequenceBatch, output: FilterOutput | None = None) -> Evidence:
    """Scores each record of the batch [B, T] by the model, given its actions, along modes.

    Args:
      output: of the filter of the batch, where it is known.
    """
    output = model.filter(batch) if output is None else output
    batch = model.with_embedding(batch)
    kl = balanced_kl(output.posterior, output.prior)
    terms = evidence_terms(model, batch.replace(masks={}), output.states.features, kl)
    return Evidence(log_prob=terms.log_prob, kl=terms.raw_kl)


@jax.jit
def probe_accuracy(
    model: WorldModel, batch: SequenceBatch, output: FilterOutput | None = None
) -> dict[str, dict[str, Array]]:
    """Measures how much of the sensors that the model was never shown can be read off its state.

    Args:
      output: of the filter of the batch [B, T], where it is known.

    Returns:
      {probe: {"state": [d], "embedding": [d]}}: the share of the variance that is explained (R squared, 1 is all, 0
      is no better than the mean) from the state, which remembers, and from the embedding of the present record, which
      models without baseline probes lack. The first record of a window is left out, as in the loss of probes.
    """
    embed = model.encode(batch.observation)
    features = (model.filter(batch, embed=embed) if output is None else output).states.features
    result = {}
    for name in model.probes:
        truth = model.target(batch, name)
        if truth is None:
            continue
        heads = {"state": model.probes[name](features)}
        if name in model.baseline_probes:  # AIME v1 has none
            heads["embedding"] = model.baseline_probes[name](embed)
        result[name] = {kind: explained(truth[:, 1:], head.mean()[:, 1:]) for kind, head in heads.items()}
    return result


def explained(truth: Array, prediction: Array) -> Array:
    """[B, T, d] x 2 -> [d]: 1 - mean squared error / variance; NaN where the truth does not vary."""
    variance = jnp.var(truth, axis=(0, 1))
    error = jnp.mean((truth - prediction) ** 2, axis=(0, 1))
    return 1.0 - error / jnp.where(variance > 0, variance, jnp.nan)


def comparison_video(
    truth: Array | np.ndarray, prediction: Array | np.ndarray, *, context: int | None = None, border: int = 1
) -> np.ndarray:
    """Rows truth, prediction and error = (truth - prediction) / 2 + 0.5; windows side by side.

    Args:
      truth, prediction: images [B, T, y, x, 3] in 0..1, as the functions of this module give them.
      context: records that the model was shown, with a green border around what it made of them, orange for what it
        foresaw; None: it was shown all.
      border: pixels of it, and of the gaps.

    Returns:
      [T, 3 (y + 2 border), B (x + 2 border), 3] uint8, a video.
    """
    truth, prediction = (np.asarray(values, np.float32) for values in (truth, prediction))
    if truth.ndim != 5 or truth.shape[-1] != 3 or truth.shape != prediction.shape:
        raise ValueError(
            "comparison_video needs truth and prediction [B, T, y, x, 3] alike, got "
            f"{list(truth.shape)} and {list(prediction.shape)}."
        )
    length = truth.shape[1]
    foreseen = np.arange(length) >= (length if context is None else context)
    colour = np.where(foreseen[:, None], FORESEEN, SEEN)[:, None, None]  # [T, 1, 1, 3]
    white = np.full_like(colour, 255)
    rows = [
        np.concatenate([framed(tile, edge, border) for tile in row], axis=2)
        for row, edge in (
            (truth, white),
            (prediction, colour),
            ((truth - prediction) / 2 + 0.5, white),
        )
    ]
    return np.concatenate(rows, axis=1)


def framed(frames: np.ndarray, colour: np.ndarray, border: int) -> np.ndarray:
    """[T, y, x, 3] in 0..1 -> uint8 [T, y + 2 border, x + 2 border, 3] inside a border of `colour` [T, 1, 1, 3]."""
    length, height, width, _ = frames.shape
    tile = np.broadcast_to(colour, (length, height + 2 * border, width + 2 * border, 3)).astype(np.uint8)
    inside = slice(border, border + height), slice(border, border + width)
    tile[:, *inside] = np.rint(255 * np.clip(frames, 0, 1)).astype(np.uint8)
    return tile


def vectors(names: Sequence[str], comparison: Comparison) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Joins the vectors among the named sensors of a comparison: truth and prediction [B, T, D], D labels."""
    truth, prediction = comparison
    names = [name for name in names if name in truth and not is_image(truth[name])]
    if not names:
        return np.zeros((0, 0, 0)), np.zeros((0, 0, 0)), []
    labels = [f"{name}[{i}]" for name in names for i in range(truth[name].shape[-1])]
    truths, predictions = (
        np.concatenate([np.asarray(values[name]) for name in names], -1) for values in (truth, prediction)
    )
    return truths, predictions, labels
