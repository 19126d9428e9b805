"""The time axis: everything that knows about it lives here."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from worldmodels.structures import Array, SequenceBatch


def swap_batch_time(tree):
    """[B, T, ...] <-> [T, B, ...] for every leaf."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)


def scan_time(step: Callable, carry, xs, length: int | None = None):
    """`jax.lax.scan` over the time axis of batch-major sequences.

    Args:
      step: (carry, x_t) -> (carry, y_t); leaves of x_t and y_t are [B, ...].
      carry: initial carry.
      xs: inputs, leaves [B, T, ...], or None to run `length` steps without any.
      length: number of steps; needed only if `xs` has no leaves.

    Returns:
      The final carry and the outputs, leaves [B, T, ...].
    """
    carry, ys = jax.lax.scan(step, carry, swap_batch_time(xs), length)
    return carry, swap_batch_time(ys)


def termination_mask(is_terminal: Array) -> Array:
    """[B, T] float32: 0 for every terminal record after the first terminal one, else 1.

    A short episode is padded by its last record; if it ended by termination the padding is terminal too, and
    this mask hides it (the implementation of AIME-v2 multiplies by it).
    """
    seen_before = jnp.cumsum(is_terminal, axis=1) - is_terminal
    return 1.0 - is_terminal * (seen_before > 0)


def has_cause(batch: SequenceBatch) -> Array:
    """[B, T] float32: 1 where an action led to a record; not to the first one of an episode, nor into its padding."""
    return (1.0 - batch.is_first) * termination_mask(batch.is_terminal)


def recorded(is_last: Array) -> Array:
    """[B, T] float32: 0 behind the end of an episode, where its last record is repeated to fill a window, else 1."""
    return (jnp.cumsum(is_last, axis=1) - is_last == 0).astype(jnp.float32)


def masked_mean(x: Array, mask: Array) -> Array:
    """Mean of the values where the mask, of the same shape, is 1; 0 where it is 0 everywhere."""
    return (x * mask).sum() / jnp.maximum(mask.sum(), 1.0)


def mean_of_rows(x: Array, mask: Array) -> Array:
    """Mean of the rows of [B, ...] where the mask [B] is 1; 0 where it is 0 everywhere."""
    return masked_mean(x, jnp.broadcast_to(mask.reshape(-1, *[1] * (x.ndim - 1)), x.shape))


def sum_time_mean_batch(x: Array) -> Array:
    """[B, T] -> scalar: the published reduction, sum over time and mean over the batch."""
    return x.sum(axis=1).mean(axis=0)
