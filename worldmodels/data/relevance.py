"""Which windows of the embodiment data look like the demonstrations: an explicit choice, off by default.

A body that learns to stand spends most of its time on the ground or at rest, and a small model spends its updates
there. A classifier that separates short runs of *observations* of the demonstrations from those of the embodiment data
estimates their density ratio (logistic regression as density ratio estimation, Sugiyama et al. 2012); windows are then
drawn in proportion to a tempered and clipped ratio. No action of a demonstration is looked at. Every window keeps a
share, so that the model still learns what happens off the demonstrated path.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from worldmodels.data.dataset import SequenceDataset, window_rows
from worldmodels.data.loops import Dataset
from worldmodels.nets import MLP
from worldmodels.structures import Array
from worldmodels.training import TrainState, make_optimizer, make_train_loop, make_update

FRAMES = 3  # a run of three positions holds velocity and acceleration
BATCH_SIZE = 256
MAX_LOGIT = 8.0


def weighted_windows(
    dataset: Dataset,
    demonstrations: SequenceDataset,
    key: Array,
    *,
    sensors: tuple[str, ...],
    num_updates: int = 1500,
    temperature: float = 2.0,
    floor: float = 0.3,
    ceiling: float = 20.0,
) -> Dataset:
    """Returns the embodiment dataset with its windows redrawn, with replacement, in proportion to their relevance.

    Args:
      dataset: W windows of embodiment data. demonstrations: windows of demonstrations; only sensors are read.
      key: PRNG key, consumed.
      sensors: vectors that are compared.
      num_updates: of the classifier.
      temperature: the log-ratio is divided by it.
      floor: share of the weight that all windows have alike.
      ceiling: greatest ratio of a window to the mean.

    Returns:
      The dataset with another table of W starts, which `sample` draws from uniformly. First windows stay as they are.
    """
    fit_key, draw_key = jax.random.split(key)
    ratio = density_ratio(
        dataset, demonstrations, fit_key, sensors=sensors, num_updates=num_updates, temperature=temperature
    )
    weights = window_weights(ratio, np.asarray(dataset.starts), dataset.length, floor=floor, ceiling=ceiling)
    seed = int(jax.random.randint(draw_key, (), 0, np.iinfo(np.int32).max))
    starts = np.random.default_rng(seed).choice(np.asarray(dataset.starts), len(weights), p=weights)
    return dataset.replace(starts=jnp.asarray(np.sort(starts)))


def density_ratio(
    dataset: Dataset,
    demonstrations: SequenceDataset,
    key: Array,
    *,
    sensors: tuple[str, ...],
    num_updates: int,
    temperature: float,
) -> np.ndarray:
    """[R] tempered p_demo / p_body of the run of records that begins at each row; meaningful where windows lie."""
    body, shown = (_flat(data, sensors) for data in (dataset, demonstrations))
    mean, std = body.mean(axis=0), body.std(axis=0) + 1e-6
    body, shown = (_runs((x - mean[None]) / std[None]) for x in (body, shown))
    starts = tuple(jnp.asarray(data.starts) for data in (dataset, demonstrations))

    def draw(data, key):
        body_key, shown_key = jax.random.split(key)
        rows = [
            table[jax.random.randint(k, (BATCH_SIZE,), 0, len(table))]
            for table, k in zip(data[2:], (body_key, shown_key), strict=True)
        ]
        return data[0][rows[0]], data[1][rows[1]]

    def loss(classifier, batch, key):
        negative, positive = (classifier(x)[..., 0] for x in batch)
        value = jax.nn.softplus(negative).mean() + jax.nn.softplus(-positive).mean()
        return value, {"loss": value}

    init_key, train_key = jax.random.split(key)
    classifier = MLP(body.shape[-1], 1, hidden_size=64, hidden_layers=2, rngs=nnx.Rngs(init_key))
    optimizer = make_optimizer(1e-3)
    state = TrainState.create(classifier, optimizer, train_key)
    loop = make_train_loop(make_update(loss, optimizer), draw, num_updates)
    state, _ = loop(state, (body, shown, *starts))
    logits = jax.jit(lambda c, x: c(x)[..., 0])(state.model, body)
    return np.exp(np.clip(np.asarray(logits), -MAX_LOGIT, MAX_LOGIT) / temperature)


def window_weights(
    ratio: np.ndarray, starts: np.ndarray, length: int, *, floor: float, ceiling: float
) -> np.ndarray:
    """[W] probabilities of windows from the ratios [R] of the runs inside them."""
    rows = np.asarray(window_rows(jnp.asarray(starts), max(length - FRAMES + 1, 1)))
    weights = ratio[np.minimum(rows, len(ratio) - 1)].mean(axis=1)
    weights = floor + (1.0 - floor) * np.minimum(weights / weights.mean(), ceiling)
    return weights / weights.sum()


# Helpers of density_ratio -----------------------------------------------------------------------------------


def _flat(data: Dataset, sensors: tuple[str, ...]) -> Array:
    """[R, d] of the sensors side by side."""
    return jnp.concatenate([jnp.asarray(data.observation[name]) for name in sensors], axis=-1)


def _runs(x: Array) -> Array:
    """[R, d] -> [R, FRAMES * d]: the record at each row and its differences from the FRAMES - 1 that follow."""
    later = [jnp.roll(x, -i, axis=0) - x for i in range(1, FRAMES)]
    return jnp.concatenate([x, *later], axis=-1)
