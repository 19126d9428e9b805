"""From features to predictive distributions of targets: one class per published decoder, and a registry.

Names are the published ones: `dmlp` fixed std, `smlp` learned std, `ssmlp` one global std, `binary` Bernoulli,
`cnn_ha` images.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels.distributions import Bernoulli, Distribution, Normal
from worldmodels.nets import MLP, conv_transpose, linear
from worldmodels.types import Array

MIN_STD = 1e-6


class FixedStdDecoder(nnx.Module):
    """`dmlp`: Normal(MLP(f), std). The published std is 1, a squared error."""

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        hidden_size: int = 512,
        hidden_layers: int = 2,
        activation: str = "elu",
        norm: str | None = None,
        std: float = 1.0,
        rngs: nnx.Rngs,
    ):
        options = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, activation=activation, norm=norm)
        self.net = MLP(in_size, out_size, rngs=rngs, **options)
        self.std = std

    def __call__(self, features: Array) -> Distribution:
        mean = self.net(features)
        return Normal(mean, jnp.full_like(mean, self.std))


class LearnedStdDecoder(nnx.Module):
    """`smlp`: Normal(MLP_mean(f), softplus(MLP_std(f)) + min_std), two separate networks."""

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        hidden_size: int = 128,
        hidden_layers: int = 2,
        activation: str = "elu",
        norm: str | None = None,
        min_std: float = MIN_STD,
        rngs: nnx.Rngs,
    ):
        options = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, activation=activation, norm=norm)
        self.mean_net = MLP(in_size, out_size, rngs=rngs, **options)
        self.std_net = MLP(in_size, out_size, output_activation="softplus", rngs=rngs, **options)
        self.min_std = min_std

    def __call__(self, features: Array) -> Distribution:
        return Normal(self.mean_net(features), self.std_net(features) + self.min_std)


class GlobalStdDecoder(nnx.Module):
    """`ssmlp`: Normal(MLP(f), exp(log_std) + min_std) with one learned log_std per dimension, zero at first."""

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        hidden_size: int = 128,
        hidden_layers: int = 2,
        activation: str = "elu",
        norm: str | None = None,
        min_std: float = MIN_STD,
        rngs: nnx.Rngs,
    ):
        options = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, activation=activation, norm=norm)
        self.net = MLP(in_size, out_size, rngs=rngs, **options)
        self.log_std = nnx.Param(jnp.zeros(out_size))
        self.min_std = min_std

    def __call__(self, features: Array) -> Distribution:
        mean = self.net(features)
        std = jnp.exp(self.log_std[...]) + self.min_std
        return Normal(mean, jnp.broadcast_to(std, mean.shape))


class BinaryDecoder(nnx.Module):
    """`binary`: Bernoulli(logits=MLP(f)), for terminations."""

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        hidden_size: int = 128,
        hidden_layers: int = 2,
        activation: str = "elu",
        norm: str | None = None,
        rngs: nnx.Rngs,
    ):
        options = dict(hidden_size=hidden_size, hidden_layers=hidden_layers, activation=activation, norm=norm)
        self.net = MLP(in_size, out_size, rngs=rngs, **options)

    def __call__(self, features: Array) -> Distribution:
        return Bernoulli(logits=self.net(features))


class CNNDecoder(nnx.Module):
    """`cnn_ha`: a linear layer and four transposed convolutions, ReLU between them; Normal(mean, 1).

    [..., in_size] -> distribution over [..., 64, 64, 3] in 0..1.

    Args:
      sigmoid: the mean is a sigmoid (AIME v1) instead of shifted by 0.5 (AIME-v2).
    """

    SIZE = 64

    def __init__(
        self, in_size: int, size: tuple[int, int], *, width: int = 32, sigmoid: bool = False, rngs: nnx.Rngs
    ):
        if tuple(size) != (self.SIZE, self.SIZE):
            raise ValueError(
                f"cnn_ha draws images of {self.SIZE}x{self.SIZE}, the sensor has {size[0]}x{size[1]}."
            )
        channels, kernels = (32 * width, 4 * width, 2 * width, width, 3), (5, 5, 6, 6)
        self.input_layer = linear(in_size, channels[0], rngs=rngs)
        self.layers = nnx.List(
            [conv_transpose(channels[i], channels[i + 1], kernels[i], 2, rngs=rngs) for i in range(4)]
        )
        self.sigmoid = sigmoid

    def __call__(self, features: Array) -> Distribution:
        x = self.input_layer(features).reshape(-1, 1, 1, self.input_layer.out_features)
        for i, layer in enumerate(self.layers):
            x = layer(jax.nn.relu(x) if i else x)
        mean = jax.nn.sigmoid(x) if self.sigmoid else x + 0.5
        mean = mean.reshape(*features.shape[:-1], *mean.shape[1:])
        return Normal(mean, jnp.ones_like(mean))


DECODERS = {
    "dmlp": FixedStdDecoder,
    "smlp": LearnedStdDecoder,
    "ssmlp": GlobalStdDecoder,
    "binary": BinaryDecoder,
    "cnn_ha": CNNDecoder,
}


def make_decoder(
    in_size: int, out_size: int | tuple[int, int], *, name: str, rngs: nnx.Rngs, **options
) -> nnx.Module:
    """The decoder registered as `name`: features [..., in_size] -> distribution over [..., out_size]."""
    if name not in DECODERS:
        raise ValueError(f"Unknown decoder {name!r}. Known: {', '.join(sorted(DECODERS))}.")
    return DECODERS[name](in_size, out_size, rngs=rngs, **options)
