"""Trains tiny models on one and on several simulated devices and prints the largest differences as JSON.

Run as a program of its own: the number of devices of a CPU is fixed when JAX starts.
"""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from models import ACTION_SIZE, make_batch, make_model

from agents.policies import TanhGaussianPolicy
from aime.offline import make_imitation_update
from worldmodels.dataset import SequenceDataset
from worldmodels.losses import elbo_loss
from worldmodels.sharding import ONE_DEVICE, Placement, place
from worldmodels.streaming import StreamedDataset, make_loops
from worldmodels.training import TrainState, make_optimizer, make_update

OPTIMIZER = make_optimizer(1e-2, 100.0)
BATCH_SIZE, NUM_UPDATES = 8, 3


def dataset(with_actions: bool) -> SequenceDataset:
    """20 rows of noise, one episode."""
    rows = jax.tree.map(lambda x: x[0], make_batch(1, 20, actions=with_actions))
    starts = jnp.arange(16, dtype=jnp.int32)
    parts = {name: getattr(rows, name) for name in ("observation", "is_first", "is_last", "is_terminal")}
    return SequenceDataset(
        **parts, prev_action=rows.prev_action, reward=None, starts=starts, first_starts=starts[:1], length=5
    )


def small_model(key):
    """Just enough for both losses, and an IDM, whose loss is summed over the batch."""
    return make_model(seed=key, targets=("position",), predict_terminal=False)


def stack(create, num_seeds: int):
    """`create(key)` of several keys, leaves [num_seeds, ...]."""
    return jax.jit(jax.vmap(create))(jax.vmap(jax.random.key)(jnp.arange(num_seeds)))


def world_model(num_seeds: int):
    """(state, update, data, frozen) of a pretraining."""
    return stack(small_model, num_seeds), make_update(elbo_loss, OPTIMIZER), dataset(True), ()


def aime(num_seeds: int):
    """The same of an imitation."""
    models = stack(small_model, num_seeds)
    options = dict(hidden_size=8, hidden_layers=1)
    policies = stack(
        lambda key: TanhGaussianPolicy(models.feature_size, ACTION_SIZE, rngs=nnx.Rngs(key), **options),
        num_seeds,
    )
    return policies, make_imitation_update(OPTIMIZER), dataset(False), (models,)


@functools.cache
def trained(build, num_seeds: int, placement: Placement = ONE_DEVICE, streams: bool = False):
    """State and metrics after some updates, as NumPy arrays without keys."""
    modules, update, data, frozen = build(num_seeds)
    data = on_the_host(data) if streams else data
    keys = jax.vmap(jax.random.key)(jnp.arange(num_seeds))
    state = jax.jit(jax.vmap(lambda module, key: TrainState.create(module, OPTIMIZER, key)))(modules, keys)
    draw = dict(batch_size=BATCH_SIZE, first_fraction=0.3)
    loop = make_loops(update, data, num_seeds=num_seeds, placement=placement, **draw)(NUM_UPDATES)
    state, args = placement.put(state, (data, *frozen))
    state, metrics = placement.fetch(loop(state, *args))
    return jax.device_get((state.model, state.step, metrics))


def on_the_host(data: SequenceDataset) -> StreamedDataset:
    """The same data in main memory."""
    fields = {field.name: getattr(data, field.name) for field in dataclasses.fields(StreamedDataset)}
    tables = ("starts", "first_starts", "length")
    records = jax.tree.map(np.asarray, {name: fields[name] for name in fields if name not in tables})
    return StreamedDataset(**records, **{name: fields[name] for name in tables})


def difference(build, num_devices: int, num_seeds: int = 1, streams: bool = False) -> dict:
    """Largest difference to one device that holds the data, relative to the largest value of each array."""
    devices = jax.devices()[:num_devices]
    placement = place("all", batch_sizes=[BATCH_SIZE], num_seeds=num_seeds, available=devices)
    pairs = zip(
        *map(jax.tree.leaves, (trained(build, num_seeds), trained(build, num_seeds, placement, streams))),
        strict=True,
    )
    errors = [float(np.abs(a - b).max() / (1e-3 + np.abs(a).max())) for a, b in pairs if a.size]
    return {"error": max(errors), "devices": placement.num_devices, "deals_seeds": placement.deal_seeds}


def main() -> None:
    results = {
        "aime, batch on 4": difference(aime, 4),
        "aime, batch on 8": difference(aime, 8),
        "world model, 4 seeds on 4": difference(world_model, 4, num_seeds=4),
        "world model, 4 seeds, batch on 8": difference(world_model, 8, num_seeds=4),
        "streamed, 4 seeds on 4": difference(world_model, 4, num_seeds=4, streams=True),
        "streamed, 4 seeds, batch on 8": difference(world_model, 8, num_seeds=4, streams=True),
    }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
