"""Tiny world models and batches for tests."""

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels.action_head import TanhGaussianHead
from worldmodels.structures import SequenceBatch
from worldmodels.world_model import WorldModel

SIZES = {"position": 3, "velocity": 2}
ACTION_SIZE = 2
NET = dict(hidden_size=8, hidden_layers=1)


def make_model(*, seed: int = 0, family: str = "rssmo", num_classes=None, **options) -> WorldModel:
    """A world model of a few units; `options` override."""
    rssm = dict(family=family, deter_size=6, stoch_size=4, hidden_size=8, min_std=0.1)
    rssm |= dict(num_classes=num_classes) if num_classes else {}
    rssm |= dict(norm=None) if family == "rssm" else {}
    defaults = dict(
        inputs=("position", "velocity"),
        targets=("position", "velocity"),
        action_size=ACTION_SIZE,
        rssm=rssm,
        encoder=dict(name="mlp", **NET),
        decoder=dict(name="dmlp", **NET),
        idm=NET,
    )
    return WorldModel(SIZES, rngs=nnx.Rngs(seed), **(defaults | options))


def compiled(function):
    """`function` jitted, optimised little: what tests run once takes seconds to compile and milliseconds to run."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(function, compiler_options=options)


def make_batch(batch: int = 3, length: int = 5, *, seed: int = 0, actions: bool = True) -> SequenceBatch:
    """Random sequences that start at the first record of an episode."""
    keys = jax.random.split(jax.random.key(seed), len(SIZES) + 1)
    zeros = jnp.zeros((batch, length))
    return SequenceBatch(
        observation={
            n: jax.random.normal(k, (batch, length, d))
            for k, (n, d) in zip(keys[1:], SIZES.items(), strict=True)
        },
        prev_action=jnp.tanh(jax.random.normal(keys[0], (batch, length, ACTION_SIZE))) if actions else None,
        reward=zeros,
        is_first=zeros.at[:, 0].set(1.0),
        is_last=zeros,
        is_terminal=zeros,
    )


def make_policy(model, seed: int = 1) -> TanhGaussianHead:
    """A small policy over the features of the model."""
    return TanhGaussianHead(model.feature_size, model.read_size, **NET, rngs=nnx.Rngs(seed))
