"""Building blocks of all networks: MLPs and recurrent cells, initialised as PyTorch does.

Published results depend on the initialisation: weights *and* biases of a linear layer are uniform in
±1/sqrt(fan_in) (`torch.nn.Linear`), those of a GRU cell in ±1/sqrt(hidden size).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from worldmodels.convolution import conv_general_dilated
from worldmodels.structures import Array

NORM_EPSILON = 1e-5  # PyTorch's
NORMS = (None, "ln", "rms")
COMPUTE_DTYPES = ("float32", "bfloat16")

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,  # tanh approximation
    "gelu_exact": lambda x: jax.nn.gelu(x, approximate=False),  # what AIME v1 calls gelu
    "identity": lambda x: x,
    "leakyrelu": lambda x: jax.nn.leaky_relu(x, 0.1),
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
}


def activation(name: str) -> Callable[[Array], Array]:
    """Returns the activation function called `name` in the published configurations; "geglu" is a layer, see `MLP`."""
    if name not in ACTIVATIONS:
        raise ValueError(f"Unknown activation {name!r}. Known: {', '.join(sorted(ACTIVATIONS))}.")
    return ACTIVATIONS[name]


def uniform_init(bound: float) -> Callable:
    """Initializer uniform in [-bound, bound]: what `jax.random.uniform` draws for the shape, by fewer programs.

    Each length is a program of its own to compile, so that a power of four is drawn, of which the first numbers are the
    same.
    """

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        size = math.prod(shape)
        if not isinstance(size, int) or size >= 2**18:  # what is no shape is explained there
            return jax.random.uniform(key, shape, dtype, -bound, bound)
        length = 4 ** -(-(size - 1).bit_length() // 2)
        return jax.random.uniform(key, (length,), dtype, -bound, bound)[:size].reshape(shape)

    return init


class Linear(nnx.Linear):
    """[..., in_size] -> [..., out_size], computed as one product of matrices.

    With several leading axes XLA transposes whole activations for each weight gradient: a sixth of an update.
    """

    bias: nnx.Param  # that of a projection for representations is None, and nobody reads it

    def __call__(self, x: Array) -> Array:  # type: ignore[override]  # no sharding of the output
        return super().__call__(as_rows(x)).reshape(*x.shape[:-1], self.out_features)


def as_rows(x: Array) -> Array:
    """[..., n] -> [N, n]."""
    return x.reshape(-1, x.shape[-1])


def linear(in_size: int, out_size: int, *, rngs: nnx.Rngs, bound: float | None = None) -> Linear:
    """Linear layer with PyTorch's initialisation; `bound` defaults to 1/sqrt(in_size)."""
    bound = bound if bound is not None else 1.0 / max(in_size, 1) ** 0.5
    init = uniform_init(bound)
    return Linear(in_size, out_size, kernel_init=init, bias_init=init, rngs=rngs)


def layer_norm(size: int, *, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """LayerNorm over the last axis with PyTorch's epsilon and two-pass variance."""
    return nnx.LayerNorm(size, epsilon=NORM_EPSILON, use_fast_variance=False, rngs=rngs)


def rms_norm(size: int, *, rngs: nnx.Rngs) -> nnx.RMSNorm:
    """RMSNorm over the last axis, an option of AIME-NoB."""
    return nnx.RMSNorm(size, epsilon=NORM_EPSILON, rngs=rngs)


def make_norm(name: str | None, size: int, *, rngs: nnx.Rngs) -> nnx.Module:
    """Returns the norm called `name` in the published configurations."""
    if name not in NORMS[1:]:
        raise ValueError(f"Unknown norm {name!r}. Known: {', '.join(map(repr, NORMS))}.")
    return {"ln": layer_norm, "rms": rms_norm}[name](size, rngs=rngs)


def instance_norm(x: Array) -> Array:
    """[N, y, x, C] normalised per image and channel over y and x."""
    wide = x.astype(jnp.float32)  # statistics need more digits than bfloat16 has
    centred = wide - wide.mean(axis=(1, 2), keepdims=True)
    variance = (centred**2).mean(axis=(1, 2), keepdims=True)
    return (centred * jax.lax.rsqrt(variance + NORM_EPSILON)).astype(x.dtype)


class InstanceNorm(nnx.Module):
    """`instance_norm` and an affine map of every channel."""

    def __init__(self, size: int):
        self.scale = nnx.Param(jnp.ones(size))
        self.bias = nnx.Param(jnp.zeros(size))

    def __call__(self, x: Array) -> Array:
        scale, bias = (v[...].reshape(1, 1, 1, -1).astype(x.dtype) for v in (self.scale, self.bias))
        return instance_norm(x) * scale + bias


class GEGLU(nnx.Module):
    """[..., size] -> [..., size]: gelu(gate(x)) * linear(x), the activation "geglu"."""

    def __init__(self, size: int, *, rngs: nnx.Rngs):
        self.gate = linear(size, size, rngs=rngs)
        self.linear = linear(size, size, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return jax.nn.gelu(self.gate(x)) * self.linear(x)


def add_bias(x: Array, bias: Array) -> Array:
    """x [..., n] + bias [n], with the broadcast written out."""
    return x + bias.reshape((1,) * (x.ndim - 1) + bias.shape)


class MLP(nnx.Module):
    """[..., in_size] -> [..., out_size]: hidden layers of Linear, optional norm, activation; then a linear head.

    Args:
      out_size: None leaves out the head: the output is the last hidden layer, [..., hidden_size].
      activation: a name of `ACTIVATIONS`, or "geglu".
      norm: None, "ln" (LayerNorm) or "rms" (RMSNorm).
      output_activation: the same of the head's output; without a head it has no effect.
      zero_init: the head starts at zero.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int | None,
        *,
        hidden_size: int = 32,
        hidden_layers: int = 2,
        activation: str = "elu",
        norm: str | None = None,
        output_activation: str = "identity",
        zero_init: bool = False,
        rngs: nnx.Rngs,
    ):
        sizes = [in_size] + [hidden_size] * hidden_layers
        self.layers = nnx.List([linear(i, o, rngs=rngs) for i, o in zip(sizes[:-1], sizes[1:], strict=True)])
        self.norms = nnx.List([make_norm(norm, hidden_size, rngs=rngs) for _ in self.layers if norm])
        self.head = (
            linear(sizes[-1], out_size, rngs=rngs, bound=0.0 if zero_init else None)
            if out_size is not None
            else None
        )
        self.gated = nnx.List([GEGLU(hidden_size, rngs=rngs) for _ in self.layers if activation == "geglu"])
        self.activation = activation
        self.output_activation = output_activation
        self.out_size = out_size if out_size is not None else sizes[-1]
        gated = output_activation == "geglu" and self.head is not None
        self.output_gate = GEGLU(self.out_size, rngs=rngs) if gated else None

    @property
    def first(self) -> Linear | None:
        """The first linear map, which is the head where there are no hidden layers."""
        return self.layers[0] if self.layers else self.head

    def __call__(self, x: Array) -> Array:
        return self.finish(self.first(x)) if self.first is not None else x

    def project(self, x: Array, start: int) -> Array:
        """Returns the share of the first map's output that inputs [start, start + x.shape[-1]) give; bias with start 0.

        What does not depend on the recurrence is projected once for the whole sequence; `finish` takes the sum.
        """
        layer = self.first
        assert layer is not None, "a network without layers has no first map"
        kernel, bias = layer.kernel[...][start : start + x.shape[-1]], layer.bias[...]
        x, kernel, bias = layer.promote_dtype((x, kernel, bias), dtype=layer.dtype)
        share = as_rows(x) @ kernel
        share = add_bias(share, bias) if start == 0 else share
        return share.reshape(*x.shape[:-1], share.shape[-1])

    def finish(self, hidden: Array) -> Array:
        """From the first map's output (before norm and activation) to the network's output."""
        for i in range(len(self.layers)):
            hidden = self.layers[i](hidden) if i else hidden
            hidden = self.norms[i](hidden) if self.norms else hidden
            hidden = (self.gated[i] if self.gated else activation(self.activation))(hidden)
        if self.head is None:
            return hidden
        hidden = self.head(hidden) if self.layers else hidden
        return (self.output_gate or activation(self.output_activation))(hidden)


def conv(
    in_size: int, out_size: int, kernel: int, stride: int, *, padding: int = 0, rngs: nnx.Rngs
) -> nnx.Conv:
    """Convolution [N, y, x, in_size] -> [N, y', x', out_size] with zero padding, initialised as PyTorch's."""
    init = uniform_init(1.0 / (in_size * kernel**2) ** 0.5)
    options: dict[str, Any] = dict(kernel_size=(kernel, kernel), strides=(stride, stride))
    options |= dict(padding=2 * ((padding, padding),), kernel_init=init, bias_init=init)
    return nnx.Conv(in_size, out_size, rngs=rngs, conv_general_dilated=conv_general_dilated, **options)


def conv_transpose(
    in_size: int, out_size: int, kernel: int, stride: int, *, padding: int = 0, rngs: nnx.Rngs
) -> nnx.Conv:
    """Transposed convolution, size n -> (n - 1) * stride - 2 * padding + kernel.

    PyTorch's fan-in counts the *output* channels. Padding is PyTorch's: what is cut off the result.
    """
    init = uniform_init(1.0 / (out_size * kernel**2) ** 0.5)
    edge = kernel - 1 - padding
    options: dict[str, Any] = dict(kernel_size=(kernel, kernel), input_dilation=(stride, stride))
    options |= dict(padding=2 * ((edge, edge),), kernel_init=init, bias_init=init)
    return nnx.Conv(in_size, out_size, rngs=rngs, conv_general_dilated=conv_general_dilated, **options)


class ResidualBlock(nnx.Module):
    """[N, y, x, C] -> the same: x + (norm, SiLU, 3x3 convolution, twice) of `dreamer_resnet`."""

    def __init__(self, size: int, *, rngs: nnx.Rngs):
        self.norms = nnx.List([InstanceNorm(size) for _ in range(2)])
        self.layers = nnx.List([conv(size, size, 3, 1, padding=1, rngs=rngs) for _ in range(2)])

    def __call__(self, x: Array) -> Array:
        y = x
        for norm, layer in zip(self.norms, self.layers, strict=True):
            y = layer(jax.nn.silu(norm(y)))
        return x + y


def num_stages(size: tuple[int, int], minres: int) -> int:
    """Counts how often an image is halved until it has `minres` x `minres` pixels."""
    stages = max(size[0] // minres, 1).bit_length() - 1
    if size[0] != size[1] or minres * 2**stages != size[0] or stages < 1:
        raise ValueError(
            f"dreamer_resnet needs square images of {minres} times a power of two pixels, the sensor has "
            f"{size[0]}x{size[1]}; resize the images or choose another minres."
        )
    return stages


class GRUCell(nnx.Module):
    """PyTorch's GRU cell: `n = tanh(W_in x + b_in + r * (W_hn h + b_hn))`, `h' = (1 - z) * n + z * h`.

    The memory of `rssm` and of version 1 of `rssmo`. Gate order in the weights: reset, update, new.
    """

    def __init__(self, in_size: int, deter_size: int, *, rngs: nnx.Rngs):
        bound = 1.0 / deter_size**0.5
        self.input_layer = linear(in_size, 3 * deter_size, rngs=rngs, bound=bound)
        self.memory_layer = linear(deter_size, 3 * deter_size, rngs=rngs, bound=bound)

    def __call__(self, x: Array, deter: Array) -> Array:
        reset_x, update_x, new_x = jnp.split(self.input_layer(x), 3, axis=-1)
        reset_h, update_h, new_h = jnp.split(self.memory_layer(deter), 3, axis=-1)
        reset = jax.nn.sigmoid(reset_x + reset_h)
        update = jax.nn.sigmoid(update_x + update_h)
        new = jnp.tanh(new_x + reset * new_h)
        return (1 - update) * new + update * deter


class LayerNormGRUCell(nnx.Module):
    """GRU with one LayerNorm over all gates, the memory of `rssmo` (AIME-v2; after Dreamer-v2, without its -1 bias).

    Gate order in the weights: update (which *keeps*), reset, candidate.
    """

    def __init__(self, in_size: int, deter_size: int, *, rngs: nnx.Rngs):
        self.input_layer = linear(in_size + deter_size, 3 * deter_size, rngs=rngs)
        self.norm = layer_norm(3 * deter_size, rngs=rngs)

    def __call__(self, x: Array, deter: Array) -> Array:
        gates = self.norm(self.input_layer(jnp.concatenate([x, deter], axis=-1)))
        update, reset, candidate = jnp.split(gates, 3, axis=-1)
        update = jax.nn.sigmoid(update)
        candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
        return (1 - update) * candidate + update * deter


class EnsembleMLP(nnx.Module):
    """K independent MLPs in one, [..., in_size] -> [..., K, out_size] (disagreement, Plan2Explore)."""

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        num_members: int,
        hidden_size: int,
        hidden_layers: int,
        activation: str = "elu",
        rngs: nnx.Rngs,
    ):
        sizes = [in_size] + [hidden_size] * hidden_layers + [out_size]
        init_keys = [rngs.params() for _ in range(2 * (len(sizes) - 1))]
        self.kernels: nnx.List[nnx.Param] = nnx.List([])
        self.biases: nnx.List[nnx.Param] = nnx.List([])
        for i, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            init = uniform_init(1.0 / fan_in**0.5)
            self.kernels.append(nnx.Param(init(init_keys[2 * i], (num_members, fan_in, fan_out))))
            self.biases.append(nnx.Param(init(init_keys[2 * i + 1], (num_members, fan_out))))
        self.activation = activation
        self.dtype = None  # of the products; None: that of the parameters

    def __call__(self, x: Array) -> Array:
        act = activation(self.activation)
        x = x[..., None, :]  # [..., 1, in_size] broadcasts against the members
        for i, (kernels, biases) in enumerate(zip(self.kernels, self.biases, strict=True)):
            kernel, bias, x = (y.astype(self.dtype or y.dtype) for y in (kernels[...], biases[...], x))
            x = jnp.einsum(
                "...ki,kio->...ko", jnp.broadcast_to(x, (*x.shape[:-2], *kernel.shape[:2])), kernel
            )
            x = x + bias.reshape((1,) * (x.ndim - 2) + bias.shape)
            x = act(x) if i < len(self.kernels) - 1 else x
        return x


def set_compute_dtype(module: nnx.Module, dtype: str) -> None:
    """Lets every product of matrices and every convolution in a freshly built module compute in `dtype`.

    Parameters stay float32, and so do norms, recurrent states and distributions.
    """
    if dtype not in COMPUTE_DTYPES:
        raise ValueError(f"Unknown compute_dtype {dtype!r}. Known: {', '.join(COMPUTE_DTYPES)}.")
    if dtype == "float32":
        return
    for _, part in nnx.iter_modules(module):
        if isinstance(part, nnx.Linear | nnx.Conv | EnsembleMLP):
            part.dtype = jnp.dtype(dtype)
