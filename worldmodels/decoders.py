"""From features to predictive distributions of targets: one class per published decoder, and a registry.

Names are the published ones: `dmlp` fixed std, `smlp` learned std, `ssmlp` one global std, `binary` Bernoulli,
`two_hot` DreamerV3's bins, `cnn_ha` and `dreamer_resnet` images. With `constant` a Gaussian's log-density keeps
0.5 log(2 pi), as in AIME v1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from worldmodels.distributions import Bernoulli, Distribution, normal
from worldmodels.nets import MLP, ResidualBlock, conv_transpose, instance_norm, linear, num_stages
from worldmodels.registry import Registry
from worldmodels.structures import Array
from worldmodels.two_hot import TwoHot, TwoHotMLP

MIN_STD = 1e-6


class VectorDecoder(nnx.Module):
    """An MLP of features, [..., in_size] -> [..., out_size], and what a distribution makes of it.

    Args:
      hidden_size, hidden_layers, activation, norm: of the MLP.
      rngs: initialisation.
    """

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
        self._make_networks(in_size, out_size, dict(options, rngs=rngs))

    def _make_networks(self, in_size: int, out_size: int, options: dict) -> None:
        self.net = MLP(in_size, out_size, **options)


class FixedStdDecoder(VectorDecoder):
    """`dmlp`: Normal(MLP(f), std). The published std is 1, a squared error."""

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        hidden_size: int = 512,
        std: float = 1.0,
        constant: bool = False,
        **options,
    ):
        super().__init__(in_size, out_size, hidden_size=hidden_size, **options)
        self.std, self.constant = std, constant

    def __call__(self, features: Array) -> Distribution:
        mean = self.net(features)
        return normal(mean, jnp.full(mean.shape, self.std), self.constant)


class LearnedStdDecoder(VectorDecoder):
    """`smlp`: Normal(MLP_mean(f), softplus(MLP_std(f)) + min_std), two separate networks."""

    def __init__(
        self, in_size: int, out_size: int, *, min_std: float = MIN_STD, constant: bool = False, **options
    ):
        super().__init__(in_size, out_size, **options)
        self.min_std, self.constant = min_std, constant

    def _make_networks(self, in_size, out_size, options):
        self.mean_net = MLP(in_size, out_size, **options)
        self.std_net = MLP(in_size, out_size, output_activation="softplus", **options)

    def __call__(self, features: Array) -> Distribution:
        return normal(self.mean_net(features), self.std_net(features) + self.min_std, self.constant)


class GlobalStdDecoder(VectorDecoder):
    """`ssmlp`: Normal(MLP(f), exp(log_std) + min_std) with one learned log_std per dimension, zero at first."""

    def __init__(
        self, in_size: int, out_size: int, *, min_std: float = MIN_STD, constant: bool = False, **options
    ):
        super().__init__(in_size, out_size, **options)
        self.log_std = nnx.Param(jnp.zeros(out_size))
        self.min_std, self.constant = min_std, constant

    def __call__(self, features: Array) -> Distribution:
        mean = self.net(features)
        std = jnp.exp(self.log_std[...]) + self.min_std
        return normal(mean, jnp.broadcast_to(std, mean.shape), self.constant)


class BinaryDecoder(VectorDecoder):
    """`binary`: Bernoulli(logits=MLP(f)), for terminations."""

    def __call__(self, features: Array) -> Distribution:
        return Bernoulli(logits=self.net(features).astype(jnp.float32))


class TwoHotDecoder(VectorDecoder):
    """`two_hot`: each number over DreamerV3's bins, for rewards; begins at exactly 0."""

    net: TwoHotMLP

    def _make_networks(self, in_size, out_size, options):
        self.net = TwoHotMLP(in_size, out_size, **options)

    def __call__(self, features: Array) -> TwoHot:
        return self.net.distribution(features)


class ImageDecoder(nnx.Module):
    """Base of image decoders: Normal(mean, 1), the mean a sigmoid (AIME v1) or shifted by 0.5 (AIME-v2)."""

    sigmoid: bool
    constant: bool

    def _distribution(self, x: Array, features: Array) -> Distribution:
        """[N, y, x, 3] raw outputs -> distribution over [..., y, x, 3], images in 0..1."""
        x = x.astype(jnp.float32)
        mean = jax.nn.sigmoid(x) if self.sigmoid else x + 0.5
        mean = mean.reshape(*features.shape[:-1], *mean.shape[1:])
        return normal(mean, jnp.ones(mean.shape), self.constant)


class CNNDecoder(ImageDecoder):
    """`cnn_ha`: a linear layer and four transposed convolutions, ReLU between them.

    [..., in_size] -> distribution over [..., y, x, 3]; drawn with 64x64, other sizes take the nearest pixel.
    """

    SIZE = 64

    def __init__(
        self,
        in_size: int,
        size: tuple[int, int],
        *,
        width: int = 32,
        sigmoid: bool = False,
        constant: bool = False,
        rngs: nnx.Rngs,
    ):
        channels, kernels = (32 * width, 4 * width, 2 * width, width, 3), (5, 5, 6, 6)
        self.input_layer = linear(in_size, channels[0], rngs=rngs)
        self.layers = nnx.List(
            [conv_transpose(channels[i], channels[i + 1], kernels[i], 2, rngs=rngs) for i in range(4)]
        )
        self.size, self.sigmoid, self.constant = tuple(size), sigmoid, constant

    def __call__(self, features: Array) -> Distribution:
        x = self.input_layer(features).reshape(-1, 1, 1, self.input_layer.out_features)
        for i, layer in enumerate(self.layers):
            x = layer(jax.nn.relu(x) if i else x)
        for axis, size in enumerate(self.size, start=1):
            if size != self.SIZE:
                x = jnp.take(x, nearest(self.SIZE, size), axis=axis)
        return self._distribution(x, features)


def nearest(size: int, new_size: int) -> np.ndarray:
    """[new_size] indices into `size` pixels of the nearest ones, as PyTorch's interpolation rounds them in float32."""
    scale = np.float32(size) / np.float32(new_size)
    return np.minimum(np.floor(np.arange(new_size, dtype=np.float32) * scale).astype(int), size - 1)


class ResNetDecoder(ImageDecoder):
    """`dreamer_resnet`: from `minres` pixels a side doubles up to the image (DreamerV3 as AIME-v2 has it).

    [..., in_size] -> distribution over [..., y, x, 3]: a linear layer, then per stage `blocks` residual blocks and a
    transposed convolution of stride 2, with instance norm (not affine) and SiLU between the stages.
    """

    def __init__(
        self,
        in_size: int,
        size: tuple[int, int],
        *,
        width: int = 48,
        blocks: int = 0,
        minres: int = 4,
        sigmoid: bool = False,
        constant: bool = False,
        rngs: nnx.Rngs,
    ):
        stages = num_stages(size, minres)
        widths = [width * 2**i for i in reversed(range(stages))]
        self.input_layer = linear(in_size, minres**2 * widths[0], rngs=rngs)
        self.blocks = nnx.List(
            [nnx.List([ResidualBlock(w, rngs=rngs) for _ in range(blocks)]) for w in widths]
        )
        self.layers = nnx.List(
            [
                conv_transpose(i, o, 4, 2, padding=1, rngs=rngs)
                for i, o in zip(widths, [*widths[1:], 3], strict=True)
            ]
        )
        self.minres, self.sigmoid, self.constant = minres, sigmoid, constant

    def __call__(self, features: Array) -> Distribution:
        x = self.input_layer(features).reshape(-1, self.layers[0].in_features, self.minres, self.minres)
        x = jnp.moveaxis(x, 1, -1)  # the published weights are channel-first
        for i, (blocks, layer) in enumerate(zip(self.blocks, self.layers, strict=True)):
            x = jax.nn.silu(instance_norm(x)) if i else x
            for block in blocks:
                x = block(x)
            x = layer(x)
        return self._distribution(x, features)


DECODERS = Registry(
    "decoder",
    {
        "dmlp": FixedStdDecoder,
        "smlp": LearnedStdDecoder,
        "ssmlp": GlobalStdDecoder,
        "binary": BinaryDecoder,
        "two_hot": TwoHotDecoder,
        "cnn_ha": CNNDecoder,
        "dreamer_resnet": ResNetDecoder,
    },
    base=nnx.Module,
)
