"""From a loss to a training run: `TrainState`, `gradient_step`, `make_update`, `make_train_loop`.

A loss is a pure function `loss_fn(model, *args, key)` that returns (scalar, metrics), or (scalar, (metrics, output))
where a later computation needs what it has made. An update differentiates it with respect to its first argument only:
everything else is frozen by construction. A training loop runs many updates in one dispatch, with batches drawn on the
device. Update n draws from `fold_in(key, n)`, so that a resumed run is the uninterrupted run. Non-finite updates are
skipped (`only_finite`): a diverged seed stays frozen while the others continue. Optimizers of equal settings are one
object, so that later runs of a process can use what an earlier one has compiled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from worldmodels.devices.sharding import ONE_DEVICE, Placement
from worldmodels.structures import Array

Metrics = dict[str, Array]


class TrainState(struct.PyTreeNode):
    """Everything that changes while one loss is minimised.

    Attributes:
      model: pytree that is trained (an nnx module, or a dict of them).
      opt_state: state of the optimizer.
      key: scalar PRNG key (`jax.random.key`), never changed.
      step: [] int32, number of updates made.
    """

    model: Any
    opt_state: Any
    key: Array
    step: Array

    @classmethod
    def create(cls, model, optimizer: optax.GradientTransformation, key: Array) -> TrainState:
        """State before the first update."""
        return cls(model=model, opt_state=optimizer.init(model), key=key, step=jnp.zeros((), jnp.int32))


@functools.lru_cache(maxsize=64)
def make_optimizer(
    learning_rate: float | optax.Schedule, grad_clip: float | None = None
) -> optax.GradientTransformation:
    """Adam (0.9, 0.999, 1e-8) after clipping by the global norm, as in all published scripts."""
    adam = optax.adam(learning_rate)
    return adam if grad_clip is None else optax.chain(optax.clip_by_global_norm(grad_clip), adam)


@functools.lru_cache(maxsize=64)
def cosine_schedule(learning_rate: float, num_updates: int, final_fraction: float = 1.0) -> optax.Schedule:
    """Cosine from `learning_rate` to `final_fraction` of it over `num_updates`; 1.0 is the published constant."""
    return optax.cosine_decay_schedule(learning_rate, max(num_updates, 1), alpha=final_fraction)


def gradient_step(
    loss_fn: Callable, optimizer: optax.GradientTransformation, state: TrainState, *args
) -> tuple[TrainState, Metrics, Any]:
    """Takes one step of the optimizer on a loss.

    What a model changes besides the gradient (a momentum encoder) it does first, in its method `before_update`.

    Args:
      loss_fn: (model, *args, key) -> (scalar, metrics), or (scalar, (metrics, output)).
      optimizer: the one whose state `TrainState.create` made.

    Returns:
      The next state; metrics, with `grad_norm`, the global norm before clipping; the output of the loss, or None.
    """
    key = jax.random.fold_in(state.key, state.step)
    before_update = getattr(state.model, "before_update", None)
    model = state.model if before_update is None else before_update()
    grads, aux = jax.grad(loss_fn, has_aux=True)(model, *args, key)
    metrics, output = aux if isinstance(aux, tuple) else (aux, None)
    state = apply_gradient(optimizer, state.replace(model=model), grads)
    return state, {**metrics, "grad_norm": optax.global_norm(grads)}, output


def apply_gradient(optimizer: optax.GradientTransformation, state: TrainState, grads) -> TrainState:
    """Takes one step of the optimizer along a gradient, which has the structure of `state.model`."""
    updates, opt_state = optimizer.update(grads, state.opt_state, state.model)
    model = optax.apply_updates(state.model, updates)
    return state.replace(model=model, opt_state=opt_state, step=state.step + 1)


def gradient_of_parts(parts: Mapping[str, Callable], model) -> tuple[Any, Metrics]:
    """Differentiates a loss that is a sum, part by part.

    Args:
      parts: {name: model -> scalar}.

    Returns:
      The gradient of the sum; metrics: the `loss`, `NAME_loss` and `NAME_grad_norm` of each part, and `grad_norm`.
    """
    found = {name: jax.value_and_grad(part)(model) for name, part in parts.items()}
    metrics = {f"{name}_loss": loss for name, (loss, _) in found.items()}
    metrics |= {f"{name}_grad_norm": optax.global_norm(grads) for name, (_, grads) in found.items()}
    total = jax.tree.map(lambda *leaves: sum(leaves), *(grads for _, grads in found.values()))
    loss = jnp.asarray(sum(loss for loss, _ in found.values()))
    return total, {"loss": loss, **metrics, "grad_norm": optax.global_norm(total)}


def make_update(loss_fn: Callable, optimizer: optax.GradientTransformation) -> Callable:
    """Returns the pure function `update(state, *args) -> (state, metrics)`; arguments as of `gradient_step`."""

    def update(state: TrainState, *args) -> tuple[TrainState, Metrics]:
        state, metrics, _ = gradient_step(loss_fn, optimizer, state, *args)
        return state, metrics

    return update


def make_train_loop(
    update: Callable,
    sample: Callable,
    num_updates: int,
    *,
    num_seeds: int | None = None,
    data_axes: object = None,
    placement: Placement = ONE_DEVICE,
) -> Callable:
    """Returns a jitted `loop(state, data, *frozen) -> (state, metrics)` of `num_updates` updates.

    Args:
      update: (state, batch, *frozen) -> (state, metrics).
      sample: (data, key) -> batch, pure; the key is derived from the state's key and step.
      num_updates: updates per dispatch.
      num_seeds: None for one run. N trains N runs in one program: leaves of `state` and of `frozen` have a leading
        axis [N], `data` is shared, metrics are [N].
      data_axes: which leaves of `data` are not shared, as `in_axes` of `jax.vmap`: 0 for those with an axis [N].
      placement: the devices of the run, whose `put` must have placed the arguments.

    Returns:
      The loop. It donates `state`. Metrics are averaged over the updates of the call, with those of `only_finite`.
    """
    update = only_finite(update)

    def one_update(state, data, frozen):
        batch = placement.share_batch(sample(data, sample_key(state.key, state.step)))
        return update(state, batch, *frozen)

    if placement.deal_seeds and num_seeds is not None:
        num_seeds = num_seeds // placement.num_devices  # of each device
    if num_seeds is not None and num_seeds > 1:
        one_update = jax.vmap(one_update, in_axes=(0, data_axes, 0), axis_size=num_seeds)

    def loop(state, data, *frozen):
        state, metrics = jax.lax.scan(lambda s, _: one_update(s, data, frozen), state, None, num_updates)
        return state, jax.tree.map(lambda x: x.mean(axis=0), metrics)

    if num_seeds == 1:
        loop = without_seed_axis(loop)  # a vmap over one seed costs a third of the update on a CPU

    return placement.compile(loop)


def only_finite(update: Callable) -> Callable:
    """Skips updates with a metric (among them the norm of the gradient) that is NaN or infinite.

    The state then stays frozen for good: its step does not advance, so that the next call repeats the same update on
    the same batch.

    Returns:
      `update(state, *args) -> (state, metrics)` with the additional metric `finite`, 1.0 where the update was made.
    """

    def guarded(state, *args):
        updated, metrics = update(state, *args)
        finite = jnp.stack([jnp.isfinite(value).all() for value in jax.tree.leaves(metrics)]).all()
        metrics = {**metrics, "finite": finite.astype(jnp.float32)}
        return where(finite, updated, state), metrics

    return guarded


def where(condition: Array, this, other):
    """Chooses leaf by leaf: `this` if the scalar condition holds, else `other`. Keys never change, either will do."""

    def choose(x, y):
        return x if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else jnp.where(condition, x, y)

    return jax.tree.map(choose, this, other)


def sample_key(key: Array, step: Array) -> Array:
    """Returns the key to draw the batch of update `step`: another stream than the loss's `fold_in(key, step)`."""
    return jax.random.fold_in(jax.random.fold_in(key, step), 1)


def without_seed_axis(loop: Callable) -> Callable:
    """Returns the same loop for one seed whose state and frozen models have a leading axis [1]."""

    def stacked_loop(state, data, *frozen):
        state, frozen = jax.tree.map(lambda x: x[0], (state, frozen))
        return jax.tree.map(lambda x: x[None], loop(state, data, *frozen))

    return stacked_loop


def stack_seeds(trees: Sequence):
    """Returns states (or models, or data) of several seeds as one, leaves [N, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def select_seed(tree, index: int):
    """Returns the state (or model) of one seed out of a stacked one."""
    return jax.tree.map(lambda x: x[index], tree)
