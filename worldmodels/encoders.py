"""From observations to embeddings.

An encoder is a module with `out_size`, in `VECTOR_ENCODERS` or `IMAGE_ENCODERS`; one of your own is `my.module:Name`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels.nets import MLP, InstanceNorm, ResidualBlock, conv, num_stages
from worldmodels.registry import Registry
from worldmodels.structures import Array


class Identity(nnx.Module):
    """[..., d] -> [..., d], the vector encoder of `rssm`."""

    def __init__(self, in_size: int, *, rngs: nnx.Rngs):
        self.out_size = in_size

    def __call__(self, x: Array) -> Array:
        return x


class MLPEncoder(nnx.Module):
    """[..., d] -> [..., out_size]: an MLP, the vector encoder of `rssmo`; published without `head`.

    Args:
      out_size: of the head; None is `hidden_size`.
      output_activation: name of an activation of the head's output.

    Raises:
      ValueError: options of a head for an encoder without one.
    """

    def __init__(
        self,
        in_size: int,
        *,
        hidden_size: int = 512,
        hidden_layers: int = 2,
        activation: str = "swish",
        norm: str | None = "ln",
        head: bool = False,
        out_size: int | None = None,
        output_activation: str = "identity",
        rngs: nnx.Rngs,
    ):
        if not head and (out_size is not None or output_activation != "identity"):
            raise ValueError("out_size and output_activation are of the encoder's head; pass head=True too.")
        self.net = MLP(
            in_size,
            (hidden_size if out_size is None else out_size) if head else None,
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            activation=activation,
            norm=norm,
            output_activation=output_activation,
            rngs=rngs,
        )
        self.out_size = self.net.out_size

    def __call__(self, x: Array) -> Array:
        return self.net(x)


VECTOR_ENCODERS = Registry("vector encoder", {"identity": Identity, "mlp": MLPEncoder}, base=nnx.Module)


class CNNEncoder(nnx.Module):
    """`cnn_ha`: four strided convolutions, ReLU between them (Ha & Schmidhuber 2018).

    [..., y, x, 3] uint8 -> [..., 32 * width]. Images of another size are first resized to 64x64, as published. The
    output is flattened channel-first, as in the published weights.
    """

    SIZE = 64

    def __init__(self, size: tuple[int, int], *, width: int = 32, rngs: nnx.Rngs):
        self.size = tuple(size)
        if size[0] != size[1]:
            raise ValueError(
                f"cnn_ha reads square images, the sensor has {size[0]}x{size[1]}; render squares, crop them, or "
                "convert them with --config.image_size."
            )
        channels = (3, width, 2 * width, 4 * width, 8 * width)
        self.layers = nnx.List(
            [conv(i, o, 4, 2, rngs=rngs) for i, o in zip(channels[:-1], channels[1:], strict=True)]
        )
        self.out_size = 2 * 2 * channels[-1]

    def __call__(self, image: Array) -> Array:
        x = as_images(image, self.size)
        if self.size != (self.SIZE, self.SIZE):
            shape = (x.shape[0], self.SIZE, self.SIZE, 3)
            x = jax.image.resize(x, shape, "linear", antialias=False)
        for i, layer in enumerate(self.layers):
            x = layer(jax.nn.relu(x) if i else x)
        return channel_first_rows(x).reshape(*image.shape[:-3], self.out_size)


class ResNetEncoder(nnx.Module):
    """`dreamer_resnet`: halves the image until it has `minres` pixels a side (DreamerV3 as AIME-v2 has it).

    [..., y, x, 3] uint8 -> [..., minres² * width * 2^(stages - 1)]: per stage a convolution of stride 2, instance
    norm, SiLU and `blocks` residual blocks. Flattened channel-first.
    """

    def __init__(
        self, size: tuple[int, int], *, width: int = 48, blocks: int = 0, minres: int = 4, rngs: nnx.Rngs
    ):
        self.size = tuple(size)
        widths = [width * 2**i for i in range(num_stages(size, minres))]
        self.layers = nnx.List(
            [conv(i, o, 4, 2, padding=1, rngs=rngs) for i, o in zip([3, *widths], widths, strict=False)]
        )
        self.norms = nnx.List([InstanceNorm(w) for w in widths])
        self.blocks = nnx.List(
            [nnx.List([ResidualBlock(w, rngs=rngs) for _ in range(blocks)]) for w in widths]
        )
        self.out_size = minres**2 * widths[-1]

    def __call__(self, image: Array) -> Array:
        x = as_images(image, self.size) - 0.5
        for layer, norm, blocks in zip(self.layers, self.norms, self.blocks, strict=True):
            x = jax.nn.silu(norm(layer(x)))
            for block in blocks:
                x = block(x)
        x = jax.nn.silu(x) if self.blocks[-1] else x
        return channel_first_rows(x).reshape(*image.shape[:-3], self.out_size)


IMAGE_ENCODERS = Registry(
    "image encoder", {"cnn_ha": CNNEncoder, "dreamer_resnet": ResNetEncoder}, base=nnx.Module
)


def scaled_image(image: Array) -> Array:
    """[..., y, x, 3] uint8 -> float32 in 0..1."""
    if image.dtype != jnp.uint8:
        raise ValueError(
            f"Images are uint8 in 0..255 until the encoder, these are {image.dtype}; convert the data, for images in "
            "0..1 with np.uint8(255 * image + 0.5)."
        )
    return image.astype(jnp.float32) / 255.0


def as_images(image: Array, size: Sequence[int]) -> Array:
    """[..., y, x, 3] uint8 -> [N, y, x, 3] float32 in 0..1; anything else is an error that says what is wrong."""
    if image.shape[-3:] != (*size, 3):
        order = " These look channel-first; move the channels to the end." if image.shape[-3] == 3 else ""
        raise ValueError(
            f"The model reads images [..., {size[0]}, {size[1]}, 3], these are [..., "
            f"{', '.join(map(str, image.shape[-3:]))}].{order or ' Render or resize them to that size.'}"
        )
    return scaled_image(image).reshape(-1, *size, 3)


def channel_first_rows(x: Array) -> Array:
    """[N, y, x, C] -> [N, C * y * x] in the order of the published weights."""
    return jnp.moveaxis(x, -1, -3).reshape(x.shape[0], -1)


class Standardizer(nnx.Module):
    """Fixed affine map to zero mean and unit variance; identity unless statistics are given.

    The statistics are variables, so that they travel with checkpoints, but no gradient reaches them.

    Args:
      sizes: {sensor: d, or (y, x) of an image}; vectors alone have statistics.
      statistics: {sensor: (mean [d], std [d])} or None. Sensors without statistics pass unchanged.
      clip: standardised values stay between -clip and clip; None: they have no bounds.

    Raises:
      ValueError: `clip` is not positive, or statistics are of another size than their sensor.
    """

    def __init__(
        self, sizes: Mapping, statistics: Mapping[str, tuple] | None = None, clip: float | None = None
    ):
        if clip is not None and not clip > 0:
            raise ValueError(f"clip is a positive number of standard deviations or None, not {clip}.")
        statistics, self.clip = statistics or {}, clip
        self.mean: nnx.Dict[nnx.Variable] = nnx.Dict({})
        self.std: nnx.Dict[nnx.Variable] = nnx.Dict({})
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
        """Raw to standardised and clipped, [..., d]."""
        if name not in self.mean:
            return x
        sg = jax.lax.stop_gradient
        mean, std = sg(self.mean[name][...]), sg(self.std[name][...])
        standardized = (x - jnp.broadcast_to(mean, x.shape)) / jnp.broadcast_to(std, x.shape)
        return standardized if self.clip is None else jnp.clip(standardized, -self.clip, self.clip)

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
    """Embeds an observation dict; the parts are concatenated in the published order.

    Joint (`rssmo`): images first, each with an encoder of its own, then all vectors through one. Otherwise (`rssm`)
    each sensor has an encoder of its own, in the order of `sizes`.

    Args:
      sizes: {sensor: d, or (y, x) of an image} of the inputs, in the published sensor order.
      encoder: options of the vector encoder with its `name`; `joint` defaults to True but for "identity".
      image_encoder: options of the image encoders with their `name`.
    """

    def __init__(
        self, sizes: Mapping, *, encoder: Mapping, image_encoder: Mapping | None = None, rngs: nnx.Rngs
    ):
        images, vectors = split_sizes(sizes)
        options = dict(encoder)
        joint = options.pop("joint", options.get("name") != "identity")
        self.vector_names, self.image_names = tuple(vectors), tuple(images)
        self.images = nnx.Dict(
            {name: IMAGE_ENCODERS.make(images[name], rngs=rngs, **(image_encoder or {})) for name in images}
        )
        self.vector = (
            VECTOR_ENCODERS.make(sum(vectors.values()), rngs=rngs, **options) if vectors and joint else None
        )
        self.vectors = nnx.Dict(
            {} if joint else {n: VECTOR_ENCODERS.make(vectors[n], rngs=rngs, **options) for n in vectors}
        )
        self.order = (*images, *vectors) if joint else tuple(sizes)
        parts = [*self.images.values(), *self.vectors.values(), *([self.vector] if self.vector else [])]
        self.out_size = sum(part.out_size for part in parts)

    def __call__(self, observation: Mapping[str, Array]) -> Array:
        """{sensor: [..., d] or [..., y, x, 3]} -> [..., E] float32."""
        require(observation, self.order)
        if self.vector is None:
            parts = [self._encoder(name)(observation[name]) for name in self.order]
        else:
            parts = [self.images[name](observation[name]) for name in self.image_names]
            vectors = [observation[name] for name in self.vector_names]
            parts.append(self.vector(jnp.concatenate(vectors, axis=-1)))
        return jnp.concatenate(parts, axis=-1).astype(jnp.float32)

    def _encoder(self, name: str) -> nnx.Module:
        return self.images[name] if name in self.images else self.vectors[name]


class StandardizedEncoder(nnx.Module):
    """An encoder whose embeddings are brought to zero mean and unit variance, [E]; as they are until `measured`.

    Embeddings of frames of one scene differ little, and networks that read or predict them learn from differences.
    """

    def __init__(self, encoder: ObservationEncoder):
        self.encoder, self.out_size = encoder, encoder.out_size
        self.mean, self.std = nnx.Variable(jnp.zeros(self.out_size)), nnx.Variable(jnp.ones(self.out_size))

    def __call__(self, observation: Mapping[str, Array]) -> Array:
        """{sensor: [..., d] or [..., y, x, 3]} -> [..., E] float32."""
        mean, std = jax.lax.stop_gradient((self.mean[...], self.std[...]))
        embed = self.encoder(observation)
        return (embed - jnp.broadcast_to(mean, embed.shape)) / jnp.broadcast_to(std, embed.shape)

    @classmethod
    def measured(cls, encoder: ObservationEncoder, observation: Mapping[str, Array]) -> StandardizedEncoder:
        """Makes one of a trained encoder and the frames {sensor: [N, ...]} to standardise by.

        A part that hardly varies, by less than a thousandth of the part that varies most, is not blown up.
        """
        result, embed = cls(encoder), encoder(observation)
        std = embed.std(axis=0)
        least = jnp.maximum(1e-3 * std.max(), 1e-8)  # where nothing varies it stays finite
        result.mean[...], result.std[...] = embed.mean(axis=0), jnp.maximum(std, least)
        return result


class FrameEncoder(nnx.Module):
    """Sensors of single records -> embeddings: standardised vectors and images, each by their encoder.

    Args:
      sizes: {sensor: d, or (y, x) of an image} of the inputs, in the published sensor order.
      encoder: options of the encoder of the vectors of one frame with its `name`; by default the identity.
      image_encoder: the same of each image, uint8 [..., y, x, 3]; `cnn_ha` by default.
      statistics: {sensor: (mean [d], std [d])} to standardise by; None leaves the sensors as they are.
      standardize_embedding: whether the encoder is a `StandardizedEncoder`.
      rngs: initialisation.
    """

    def __init__(
        self,
        sizes: Mapping,
        *,
        encoder: Mapping | None = None,
        image_encoder: Mapping | None = None,
        statistics: Mapping[str, tuple] | None = None,
        standardize_embedding: bool = False,
        rngs: nnx.Rngs,
    ):
        self.standardizer = Standardizer(sizes, statistics)
        networks = dict(
            encoder=encoder or {"name": "identity"}, image_encoder=image_encoder or {"name": "cnn_ha"}
        )
        plain = ObservationEncoder(sizes, rngs=rngs, **networks)
        self.encoder = StandardizedEncoder(plain) if standardize_embedding else plain
        self.names = tuple(sizes)

    def encode(self, observation: Mapping[str, Array]) -> Array:
        """{sensor: [..., d] or [..., y, x, 3]} in raw units -> embeddings [..., E] float32."""
        require(observation, self.names)
        return self.encoder({name: self.standardizer(name, observation[name]) for name in self.names})


def split_sizes(sizes: Mapping) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Sizes of images, (y, x), and of vectors, d."""
    images = {name: tuple(size) for name, size in sizes.items() if not isinstance(size, int)}
    return images, {name: size for name, size in sizes.items() if name not in images}


def require(observation: Mapping[str, Array], names: Sequence[str]) -> None:
    """Returns a missing sensor is an error that says which there are."""
    missing = [name for name in names if name not in observation]
    if missing:
        raise ValueError(
            f"The observation lacks {', '.join(missing)}; of what the model was given there is "
            f"{', '.join(sorted(observation)) or 'nothing that it reads'}. "
            "Use data and an environment with the sensors that the model was built for."
        )
