"""From observations to embeddings.

Vector encoders are registered in `VECTOR_ENCODERS`, image encoders in `IMAGE_ENCODERS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels.nets import MLP, conv
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


class CNNEncoder(nnx.Module):
    """`cnn_ha`: four strided convolutions, ReLU between them (Ha & Schmidhuber 2018).

    [..., 64, 64, 3] uint8 -> [..., 32 * width]. The output is flattened channel-first, as in the published weights.
    """

    SIZE = 64

    def __init__(self, size: tuple[int, int], *, width: int = 32, rngs: nnx.Rngs):
        if tuple(size) != (self.SIZE, self.SIZE):
            raise ValueError(
                f"cnn_ha reads images of {self.SIZE}x{self.SIZE}, the sensor has {size[0]}x{size[1]}."
            )
        channels = (3, width, 2 * width, 4 * width, 8 * width)
        self.layers = nnx.List(
            [conv(i, o, 4, 2, rngs=rngs) for i, o in zip(channels[:-1], channels[1:], strict=True)]
        )
        self.out_size = 2 * 2 * channels[-1]

    def __call__(self, image: Array) -> Array:
        x = scaled_image(image)
        x = x.reshape(-1, *x.shape[-3:])
        for i, layer in enumerate(self.layers):
            x = layer(jax.nn.relu(x) if i else x)
        return jnp.moveaxis(x, -1, -3).reshape(*image.shape[:-3], self.out_size)


IMAGE_ENCODERS = {"cnn_ha": CNNEncoder}


def make_image_encoder(size: tuple[int, int], *, name: str, rngs: nnx.Rngs, **options) -> nnx.Module:
    """The image encoder registered as `name`."""
    if name not in IMAGE_ENCODERS:
        raise ValueError(f"Unknown image encoder {name!r}. Known: {', '.join(sorted(IMAGE_ENCODERS))}.")
    return IMAGE_ENCODERS[name](size, rngs=rngs, **options)


def scaled_image(image: Array) -> Array:
    """[..., y, x, 3] uint8 -> float32 in 0..1."""
    if image.dtype != jnp.uint8:
        raise ValueError(
            f"Images are uint8 in 0..255 until the encoder, these are {image.dtype}; convert the data."
        )
    return image.astype(jnp.float32) / 255.0


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

    def unit(self, name: str) -> Array:
        """[d] or [] raw units per standardised unit."""
        return jax.lax.stop_gradient(self.std[name][...]) if name in self.std else jnp.ones(())

    def inverse(self, name: str, x: Array) -> Array:
        """Standardised to raw, [..., d]."""
        if name not in self.mean:
            return x
        sg = jax.lax.stop_gradient
        mean, std = sg(self.mean[name][...]), sg(self.std[name][...])
        return x * jnp.broadcast_to(std, x.shape) + jnp.broadcast_to(mean, x.shape)


class ObservationEncoder(nnx.Module):
    """Embeds an observation dict: images first, each with an encoder of its own, then all vectors through one.

    For "identity" the vector part is the concatenation itself, as in `rssm`.

    Args:
      sizes: {sensor: d, or (y, x) of an image} of the inputs, in the published sensor order.
      encoder: options of the vector encoder with its `name`.
      image_encoder: options of the image encoders with their `name`.
    """

    def __init__(
        self, sizes: Mapping, *, encoder: Mapping, image_encoder: Mapping | None = None, rngs: nnx.Rngs
    ):
        images, vectors = split_sizes(sizes)
        self.vector_names = tuple(vectors)
        self.images = nnx.Dict(
            {name: make_image_encoder(images[name], rngs=rngs, **(image_encoder or {})) for name in images}
        )
        self.image_names = tuple(images)
        self.vector = make_vector_encoder(sum(vectors.values()), rngs=rngs, **encoder) if vectors else None
        self.out_size = sum(self.images[name].out_size for name in images)
        self.out_size += self.vector.out_size if vectors else 0

    def __call__(self, observation: Mapping[str, Array]) -> Array:
        """{sensor: [..., d] or [..., y, x, 3]} -> [..., E]."""
        require(observation, (*self.image_names, *self.vector_names))
        parts = [self.images[name](observation[name]) for name in self.image_names]
        if self.vector is not None:
            parts.append(
                self.vector(jnp.concatenate([observation[name] for name in self.vector_names], axis=-1))
            )
        return jnp.concatenate(parts, axis=-1)


def split_sizes(sizes: Mapping) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Sizes of images, (y, x), and of vectors, d."""
    images = {name: tuple(size) for name, size in sizes.items() if not isinstance(size, int)}
    return images, {name: size for name, size in sizes.items() if name not in images}


def require(observation: Mapping[str, Array], names: Sequence[str]) -> None:
    """A missing sensor is an error that says which there are."""
    missing = [name for name in names if name not in observation]
    if missing:
        raise ValueError(
            f"The observation lacks {', '.join(missing)}; it has {', '.join(sorted(observation)) or 'nothing'}. "
            "Use data and an environment with the sensors that the model was built for."
        )
