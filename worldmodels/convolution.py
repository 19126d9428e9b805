"""Strided and transposed convolutions as convolutions of stride 1, which every device has fast kernels for.

A convolution of stride s is one of stride 1 over blocks of s x s pixels whose pixels are channels (space to depth). A
transposed convolution is one of stride 1 that computes such blocks of its result (depth to space): no zeros between
the pixels are multiplied. An update of a world model from 2,500 images takes 20 ms so on an H100 instead of 89, and on
two CPU cores 11 s instead of 17 (results/gpu.md, results/visual-demo.md).

XLA's CPU compiler hands a convolution to its fast kernels only if its axes are in the order [N, y, x, C], [y, x, I, O],
and its window is not larger than its input. It rewrites those of other orders, which the gradients of
`lax.conv_general_dilated` have, but not in the body of a loop: there they run in plain code. So the gradients on CPUs
are convolutions of that kind and products of matrices. Programs for other devices have those that JAX derives.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from worldmodels.structures import Array

ORDER = ("NHWC", "HWIO", "NHWC")
IMAGES_AT_ONCE = 64  # in the gradient of a kernel on a CPU
Pair = tuple[int, int]


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: Sequence[Pair],
    *,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: object = None,
    feature_group_count: int = 1,
    precision: object = None,
    **unused: object,
) -> Array:
    """`lax.conv_general_dilated` for what our layers need, with its signature: [N, y, x, I] -> [N, y', x', O].

    Args:
      rhs: [y, x, I, O] kernel.
      padding: explicit. lhs_dilation: of the input; a transposed convolution has its stride here.

    Raises:
      ValueError: a grouped convolution, a dilated kernel, or a stride together with a dilation.
    """
    del dimension_numbers, precision, unused
    strides, dilation = tuple(window_strides), tuple(lhs_dilation or (1, 1))
    if feature_group_count != 1 or any(step != 1 for step in rhs_dilation or ()):
        raise ValueError("Grouped convolutions and dilated kernels are not supported here.")
    if strides != (1, 1) and dilation != (1, 1):
        raise ValueError("A convolution has strides or is transposed; both at once are not supported here.")
    padding = tuple((low, high) for low, high in padding)
    if dilation != (1, 1):
        return _transposed(lhs, rhs, padding, dilation)
    return _strided(lhs, rhs, padding, strides) if strides != (1, 1) else _conv(lhs, rhs, padding)


def _strided(x: Array, kernel: Array, padding: Sequence[Pair], strides: Sequence[int]) -> Array:
    """y_n = sum_k x_{s n + k - p} kernel_k, over blocks: with k = s j + a, channel a of block n + j."""
    sizes = list(zip(x.shape[1:3], kernel.shape[:2], padding, strides, strict=True))
    taps = [-(-k // s) for _, k, _, s in sizes]
    outputs = [(n + sum(ends) - k) // s + 1 for n, k, ends, s in sizes]
    read = [(m - 1 + t) * s for m, t, s in zip(outputs, taps, strides, strict=True)]  # pixels of all windows
    ends = [(low, size - n - low) for (n, _, (low, _), _), size in zip(sizes, read, strict=True)]
    blocks = _space_to_depth(_pad(x, ends), strides)
    kernel = jnp.transpose(_whole_blocks(kernel, strides), (3, 0, 1, 2))
    return _conv(blocks, jnp.transpose(_space_to_depth(kernel, strides), (1, 2, 3, 0)), ((0, 0), (0, 0)))


def _transposed(x: Array, kernel: Array, padding: Sequence[Pair], strides: Sequence[int]) -> Array:
    """y_m = sum_k x'_{m + k - p} kernel_k, where x' is x with s - 1 zeros between its pixels.

    In blocks m = s i + a - q, with the shift q that makes s a divisor of p + q + 1: only every s-th k meets a pixel,
    k = s j + s - 1 - a, and that pixel is x_{i + j - (p + q + 1 - s) / s}, the same for all a.
    """
    if x.shape[1:3] == (1, 1):
        return _from_one_pixel(x, kernel, padding)
    sizes = list(zip(x.shape[1:3], kernel.shape[:2], padding, strides, strict=True))
    outputs = [(n - 1) * s + sum(ends) - k + 2 for n, k, ends, s in sizes]
    shifts = [-(low + 1) % s for _, _, (low, _), s in sizes]
    ends = []
    for (n, k, (low, _), s), m, q in zip(sizes, outputs, shifts, strict=True):
        begin = (low + q + 1 - s) // s
        ends.append((begin, -(-(m + q) // s) + -(-k // s) - 1 - n - begin))
    kernel = _whole_blocks(kernel, strides)
    (size_y, size_x, in_size, out_size), (s_y, s_x) = kernel.shape, strides
    taps = size_y // s_y, size_x // s_x
    phases = kernel.reshape(taps[0], s_y, taps[1], s_x, in_size, out_size)[:, ::-1, :, ::-1]
    blocks = jnp.transpose(phases, (0, 2, 4, 1, 3, 5)).reshape(*taps, in_size, s_y * s_x * out_size)
    y = _depth_to_space(_conv(x, blocks, tuple(ends)), strides)
    return y[:, shifts[0] : shifts[0] + outputs[0], shifts[1] : shifts[1] + outputs[1]]


def _from_one_pixel(x: Array, kernel: Array, padding: Sequence[Pair]) -> Array:
    """y_m = x_0 kernel_{p - m}: a product of matrices."""
    size_y, size_x, in_size, out_size = kernel.shape
    weights = jnp.transpose(kernel[::-1, ::-1], (2, 0, 1, 3)).reshape(in_size, -1)
    y = (x.reshape(-1, in_size) @ weights).reshape(-1, size_y, size_x, out_size)
    sizes = zip((size_y, size_x), padding, strict=True)
    return _pad(y, [(low - k + 1, high - k + 1) for k, (low, high) in sizes])


def _space_to_depth(x: Array, block: Sequence[int]) -> Array:
    """[N, y, x, C] -> [N, y / b_y, x / b_x, b_y b_x C]."""
    rows, columns = x.shape[1] // block[0], x.shape[2] // block[1]
    x = x.reshape(x.shape[0], rows, block[0], columns, block[1], x.shape[3])
    return jnp.transpose(x, (0, 1, 3, 2, 4, 5)).reshape(x.shape[0], rows, columns, -1)


def _depth_to_space(x: Array, block: Sequence[int]) -> Array:
    """[N, y, x, b_y b_x C] -> [N, y b_y, x b_x, C]."""
    number, rows, columns, _ = x.shape
    x = jnp.transpose(x.reshape(number, rows, columns, *block, -1), (0, 1, 3, 2, 4, 5))
    return x.reshape(number, rows * block[0], columns * block[1], -1)


def _whole_blocks(kernel: Array, block: Sequence[int]) -> Array:
    """Returns the kernel with rows and columns of zeros at its end, up to a multiple of the block."""
    return jnp.pad(kernel, [(0, -k % b) for k, b in zip(kernel.shape[:2], block, strict=True)] + 2 * [(0, 0)])


def _pad(x: Array, ends: Sequence[Pair]) -> Array:
    """[N, y, x, C] with zeros around it; what is below zero is cut off."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pair, 0) for pair in ends), (0, 0, 0)])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: Array, kernel: Array, padding: tuple[Pair, Pair]) -> Array:
    """y_n = sum_k x_{n + k - p} kernel_k."""
    return _apply(x, kernel, padding)


def _forward(x, kernel, padding):
    return _apply(x, kernel, padding), (x, kernel)


def _backward(padding, saved, grad):
    return lax.platform_dependent(
        *saved,
        grad,
        cpu=functools.partial(_gradients_on_cpu, padding),
        default=functools.partial(_derived_gradients, padding),
    )


_conv.defvjp(_forward, _backward)


def _derived_gradients(padding, x, kernel, grad):
    convolution = functools.partial(lax.conv_general_dilated, dimension_numbers=ORDER)
    return jax.vjp(lambda x, kernel: convolution(x, kernel, (1, 1), padding), x, kernel)[1](grad)


def _gradients_on_cpu(padding, x, kernel, grad):
    """dx_m = sum_k grad_{m - k + p} kernel_k: the kernel turned round."""
    turned = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    ends = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip(kernel.shape[:2], padding, strict=True)]
    return _apply(grad, turned, ends), _kernel_gradient(x, grad, kernel.shape, padding)


def _kernel_gradient(x, grad, shape, padding):
    """dkernel_k = sum_n x_{n + k - p} grad_n: products of matrices, each of so many images as stay in the cache."""
    rows, columns = grad.shape[1:3]
    starts = [(row, column) for row in range(shape[0]) for column in range(shape[1])]

    def products(images):
        x, grad = images
        x = _pad(x, padding)
        parts = [x[:, row : row + rows, column : column + columns] for row, column in starts]
        return jnp.stack([jnp.einsum("nyxi,nyxo->io", part, grad) for part in parts])

    whole = x.shape[0] // IMAGES_AT_ONCE * IMAGES_AT_ONCE
    total = products((x[whole:], grad[whole:]))
    if whole:
        groups = [array[:whole].reshape(-1, IMAGES_AT_ONCE, *array.shape[1:]) for array in (x, grad)]
        total += lax.map(products, groups).sum(0)
    return total.reshape(shape)


def _apply(x, kernel, padding):
    if math.prod(kernel.shape[:2]) > math.prod(x.shape[1:3]) > 1:
        # XLA would exchange the two, and leave its fast kernels for that. So the padding is real.
        zeros = [tuple(max(end, 0) for end in ends) for ends in padding]
        padding = [tuple(min(end, 0) for end in ends) for ends in padding]
        x = lax.optimization_barrier(_pad(x, zeros))
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=ORDER)
