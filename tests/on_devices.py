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
from models import ACTION_SIZE, NET, make_batch, make_model

from agents.dreamer import Optimizers
from agents.fitting import FitSettings, FitState, fit
from agents.imagination import ImaginationOptions, value_networks
from aime.offline import make_imitation_update
from aime.online import OnlineBatch, OnlineSettings, create_online, make_online_update
from aime.regularizer import draw_model_batch
from aime.rewards import REWARDS, RewardInputs
from experiments.methods.online_parts import OnlineData
from worldmodels.action_head import TanhGaussianHead
from worldmodels.data.dataset import SequenceDataset, WindowTables, sample
from worldmodels.data.episodes import Episode
from worldmodels.data.loops import make_loops
from worldmodels.data.replay import Replay, append_episode
from worldmodels.data.streaming import StreamedDataset
from worldmodels.devices.sharding import ONE_DEVICE, Placement, place
from worldmodels.losses import LossOptions, elbo_loss
from worldmodels.nets import MLP
from worldmodels.training import TrainState, make_optimizer, make_train_loop, make_update

OPTIMIZER = make_optimizer(1e-2, 100.0)
OPTIMIZERS = Optimizers(OPTIMIZER, OPTIMIZER, OPTIMIZER)
BATCH_SIZE, NUM_UPDATES, LENGTH = 8, 3, 5


def records(with_actions: bool):
    """20 rows of noise, one episode."""
    return jax.tree.map(lambda x: x[0], make_batch(1, 20, actions=with_actions))


def dataset(with_actions: bool) -> SequenceDataset:
    """Windows of them."""
    rows, starts = records(with_actions), jnp.arange(16, dtype=jnp.int32)
    parts = {name: getattr(rows, name) for name in ("observation", "is_first", "is_last", "is_terminal")}
    return SequenceDataset(
        **parts,
        prev_action=rows.prev_action,
        reward=jnp.zeros(20) if with_actions else None,
        starts=starts,
        first_starts=starts[:1],
        num_windows=jnp.int32(16),
        num_episodes=jnp.int32(1),
        length=LENGTH,
    )


def online_buffer() -> Replay:
    """Them as an episode that was collected."""
    rows = jax.device_get(records(True))
    flags = {name: getattr(rows, name) for name in ("is_first", "is_last", "is_terminal")}
    values = {**rows.observation, **flags, "pre_action": rows.prev_action, "reward": np.zeros(20, np.float32)}
    episode = Episode(values, {})
    return append_episode(
        Replay.create(episode, capacity=50, length=LENGTH, sensors=list(rows.observation)), episode
    )


PLAIN = dict(inputs=("position",))  # another sensor has the same operations, whatever lies where


def small_model(key):
    """Just enough for both losses, and an IDM, whose loss is summed over the batch."""
    return make_model(seed=key, targets=("position",), predict_terminal=False, **PLAIN)


@functools.cache
def small_models(num_seeds: int):
    """Models of several seeds, leaves [num_seeds, ...]."""
    return jax.jit(jax.vmap(small_model))(keys_of(num_seeds))


def keys_of(num_seeds: int):
    """[num_seeds] keys."""
    return jax.vmap(jax.random.key)(jnp.arange(num_seeds))


@jax.jit
@jax.vmap
def create_state(module, key):
    """Train states of stacked modules."""
    return TrainState.create(module, OPTIMIZER, key)


def policy_for(model, key):
    """A tiny policy."""
    return TanhGaussianHead(model.feature_size, ACTION_SIZE, rngs=nnx.Rngs(key), **NET)


WINDOWS = dict(batch_size=BATCH_SIZE, first_fraction=0.3)
draw_windows = functools.partial(sample, **WINDOWS)


def world_model(num_seeds: int):
    """(state, update, draw, data, frozen) of a pretraining."""
    models = jax.tree.map(jnp.copy, small_models(num_seeds))  # the loop donates them
    state = create_state(models, keys_of(num_seeds))
    return state, make_update(elbo_loss, OPTIMIZER), draw_windows, dataset(True), ()


def aime(num_seeds: int):
    """The same of an imitation."""
    models, keys = small_models(num_seeds), keys_of(num_seeds)
    policies = jax.jit(jax.vmap(lambda key: policy_for(models, key)))(keys)
    state = create_state(policies, keys)
    return state, make_imitation_update(OPTIMIZER), draw_windows, dataset(False), (models,)


def aime_v2(num_seeds: int):
    """The same of online learning: half of the model's batch comes from a replay, and the reward is adversarial."""
    model = make_model(targets=("position", "ail_reward"), idm_mode="none", **PLAIN)
    inputs = RewardInputs(make_batch(2, 5, actions=False), jnp.full((2, 5), 0.2), model.encoder.out_size)
    reward = REWARDS.make(inputs, name="ail", hidden_size=8, hidden_layers=1)
    networks = value_networks([reward.head], model.feature_size, jax.random.key(1), **NET)
    policy = policy_for(model, jax.random.key(2))
    state = create_online(model, policy, networks, reward, OPTIMIZERS, jax.random.key(0))
    settings = OnlineSettings(
        model_loss=LossOptions(free_nats=0.0),
        imagination=ImaginationOptions(horizon=3),
        value_scale=0.5,
        target_rate=0.1,
    )

    def draw(data: OnlineData, key):
        model_key, *keys = jax.random.split(key, 3)
        batch = draw_model_batch(data.body, data.online, model_key, batch_size=BATCH_SIZE)
        return OnlineBatch(batch, *(draw_windows(data.demonstrations, key) for key in keys))

    data = OnlineData(body=dataset(True), online=online_buffer(), demonstrations=dataset(False))
    return (
        jax.tree.map(lambda x: x[None], state),
        make_online_update(OPTIMIZERS, settings, reward),
        draw,
        data,
        (),
    )


@functools.cache
def trained(build, num_seeds: int, placement: Placement = ONE_DEVICE, streams: bool = False):
    """State and metrics after some updates, as NumPy arrays without keys."""
    state, update, draw, data, frozen = build(num_seeds)
    options = dict(num_seeds=num_seeds, placement=placement)
    if streams:
        loops = make_loops(update, (on_the_host(data),), frozen, **WINDOWS, **options)
        return numbers(placement.fetch(loops(placement.put_state(state), NUM_UPDATES)))
    loop = make_train_loop(update, draw, NUM_UPDATES, **options)
    state, args = placement.put(state, (data, *frozen))
    return numbers(placement.fetch(loop(state, *args)))


def streamed(build, num_seeds: int, placement: Placement = ONE_DEVICE):
    """The same, on several devices with data that stream from the host."""
    alone = placement is ONE_DEVICE
    return trained(build, num_seeds) if alone else trained(build, num_seeds, placement, streams=True)


@functools.cache
def fitted(build, num_seeds: int, placement: Placement = ONE_DEVICE):
    """The same of a baseline's fit."""
    settings = FitSettings(batch_size=BATCH_SIZE, patience=None, max_updates=NUM_UPDATES)
    keys = jax.vmap(jax.random.key)(jnp.arange(num_seeds))
    state = jax.vmap(lambda key: FitState.create(build(key), settings, key))(keys)
    return numbers(fit(state, dataset(True), squared_error, settings, placement=placement))


def network(key):
    """position -> action."""
    return MLP(3, ACTION_SIZE, **NET, rngs=nnx.Rngs(key))


def squared_error(network, batch, key):
    """Of the actions, a mean over the batch."""
    loss = jnp.mean((network(batch.observation["position"]) - batch.prev_action) ** 2)
    return loss, {"loss": loss}


def on_the_host(data: SequenceDataset) -> StreamedDataset:
    """The same data in main memory."""
    fields = {field.name: getattr(data, field.name) for field in dataclasses.fields(StreamedDataset)}
    tables = (*WindowTables._fields, "length")
    records = jax.tree.map(np.asarray, {name: fields[name] for name in fields if name not in tables})
    return StreamedDataset(**records, **{name: fields[name] for name in tables})


def numbers(tree) -> list[np.ndarray]:
    """The leaves that are no keys."""
    leaves = jax.tree.leaves(tree)
    return jax.device_get([x for x in leaves if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)])


def difference(train, build, num_devices: int, num_seeds: int = 1) -> dict:
    """Largest difference to one device, relative to the largest value of each array."""
    devices = jax.devices()[:num_devices]
    placement = place("all", batch_sizes=[BATCH_SIZE], num_seeds=num_seeds, available=devices)
    pairs = zip(train(build, num_seeds), train(build, num_seeds, placement), strict=True)
    pairs = [(np.float64(a), np.float64(b)) for a, b in pairs if a.size]
    errors = [float(np.abs(a - b).max() / (1e-3 + np.abs(a).max())) for a, b in pairs]
    return {"error": max(errors), "devices": placement.num_devices, "deals_seeds": placement.deal_seeds}


def main() -> None:
    results = {
        "world model, batch on 4": difference(trained, world_model, 4),
        "aime, batch on 4": difference(trained, aime, 4),
        "aime-v2, batch on 8": difference(trained, aime_v2, 8),
        "baseline, batch on 4": difference(fitted, network, 4),
        "baseline, 4 seeds on 4": difference(fitted, network, 4, num_seeds=4),
        "world model, 4 seeds on 4": difference(trained, world_model, 4, num_seeds=4),
        "world model, 4 seeds, batch on 8": difference(trained, world_model, 8, num_seeds=4),
        "streamed, 4 seeds on 4": difference(streamed, world_model, 4, num_seeds=4),
        "streamed, 4 seeds, batch on 8": difference(streamed, world_model, 8, num_seeds=4),
    }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
