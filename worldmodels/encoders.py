"""From observations to embeddings.

A vector encoder is registered in `VECTOR_ENCODERS`. Image encoders will be registered beside it, one per sensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels.nets import MLP
from worldmodels.types import Array


class Identity(nnx.Module):
    """[..., d] -> [..., d], the vector encoder of `rssm`."""

    def __init__(self, in_size: int, *, rngs: nnx.Rngs):
        self.out_size = in_size

    def __call__(self, x: Array) -> Array:
        return x


class MLPEncoder(nnx.Module):
    """[..., d] -> [..., hidden_size]: an MLP without head, the vector encoder of `rssmo`."""

    def __init__(
        self,
        in_size: int,
        *,
        hidden_size: int = 512,
        hidden_layers: int = 2,
        activation: str = "swish",
        norm: str | None = "ln",
        rngs: nnx.Rngs,
    ):
        self.net = MLP(
            in_size,
            None,
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            activation=activation,
            norm=norm,
            rngs=rngs,
        )
        self.out_size = hidden_size

    def __call__(self, x: Array) -> Array:
        return self.net(x)


VECTOR_ENCODERS = {"identity": Identity, "mlp": MLPEncoder}


def make_vector_encoder(in_size: int, *, name: str, rngs: nnx.Rngs, **options) -> nnx.Module:
    """The encoder registered as `name`."""
    if name not in VECTOR_ENCODERS:
        raise ValueError(f"Unknown vector encoder {name!r}. Known: {', '.join(sorted(VECTOR_ENCODERS))}.")
    return VECTOR_ENCODERS[name](in_size, rngs=rngs, **options)


class Standardizer(nnx.Module):
    """Fixed affine map to zero mean and unit variance; identity unless statistics are given.

    The statistics are variables, so that they travel with checkpoints, but no gradient reaches them.

    Args:
      sizes: {sensor: d} of the vector sensors.
      statistics: {sensor: (mean [d], std [d])} or None. Sensors without statistics pass unchanged.
    """

    def __init__(self, sizes: Mapping[str, int], statistics: Mapping[str, tuple] | None = None):
        statistics = statistics or {}
        self.mean = nnx.Dict({})
        self.std = nnx.Dict({})
        for name in sizes:
            if name in statistics:
                mean, std = (jnp.asarray(x, jnp.float32) for x in statistics[name])
                if mean.shape != (sizes[name],):
                    raise ValueError(
                        f"Statistics of {name!r} have size {mean.shape}, the sensor has ({sizes[name]},). "
                        "Compute them from data of the same environment."
                    )
                self.mean[name] = nnx.Variable(mean)
                self.std[name] = nnx.Variable(std)

    def __call__(self, name: str, x: Array) -> Array:
        """Raw to standardised, [..., d]."""
        if name not in self.mean:
            return x
        sg = jax.lax.stop_gradient
        mean, std = sg(self.mean[name][...]), sg(self.std[name][...])
        return (x - jnp.broadcast_to(mean, x.shape)) / jnp.broadcast_to(std, x.shape)

    def inverse(self, name: str, x: Array) -> Array:
        """Standardised to raw, [..., d]."""
        if name not in self.mean:
            return x
        sg = jax.lax.stop_gradient
        mean, std = sg(self.mean[name][...]), sg(self.std[name][...])
        return x * jnp.broadcast_to(std, x.shape) + jnp.broadcast_to(mean, x.shape)


class ObservationEncoder(nnx.Module):
    """Embeds an observation dict.

    All vector sensors are concatenated in the order of `inputs` and go through one encoder (for "identity" that is
    the concatenation itself, as in `rssm`).

    Args:
      sizes: {sensor: d} of the inputs, in the published sensor order.
      encoder: options of the vector encoder with its `name`.
    """

    def __init__(self, sizes: Mapping[str, int], *, encoder: Mapping, rngs: nnx.Rngs):
        self.names = tuple(sizes)
        self.vector = make_vector_encoder(sum(sizes.values()), rngs=rngs, **encoder)
        self.out_size = self.vector.out_size

    def __call__(self, observation: Mapping[str, Array]) -> Array:
        """{sensor: [..., d]} -> [..., E]."""
        return self.vector(jnp.concatenate(require(observation, self.names), axis=-1))


def require(observation: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
    """The named sensors; a missing one is an error that says which there are."""
    missing = [name for name in names if name not in observation]
    if missing:
        raise ValueError(
            f"The observation lacks {', '.join(missing)}; it has {', '.join(sorted(observation)) or 'nothing'}. "
            "Use data and an environment with the sensors that the model was built for."
        )
    return [observation[name] for name in names]
