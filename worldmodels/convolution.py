"""Convolutions whose gradients are fast inside a loop on a CPU.

XLA's CPU compiler hands a convolution to its fast kernels only if its axes are in the order [N, y, x, C], [y, x, I, O],
and its window is not larger than its input. It rewrites those of other orders, which the gradients of
`lax.conv_general_dilated` have, but not in the body of a loop: there they run in plain code, and a training loop of
image models takes seven times as long. So the gradients here are convolutions of that kind too. Programs for other
devices have the gradients that JAX derives, which GPU libraries have kernels for.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from worldmodels.types import Array

ORDER = ("NHWC", "HWIO", "NHWC")
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
    """
    del dimension_numbers, precision, unused
    if feature_group_count != 1 or any(step != 1 for step in rhs_dilation or ()):
        raise ValueError("Grouped convolutions and dilated kernels are not supported here.")
    return _conv(lhs, rhs, tuple(window_strides), tuple(map(tuple, padding)), tuple(lhs_dilation or (1, 1)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x: Array, kernel: Array, strides: Pair, padding: tuple[Pair, Pair], dilation: Pair) -> Array:
    """y_n = sum_k x'_{n s + k - p} kernel_k, where x' is x with d - 1 zeros between its pixels."""
    return _apply(x, kernel, strides, padding, dilation)


def _forward(x, kernel, strides, padding, dilation):
    return _apply(x, kernel, strides, padding, dilation), (x, kernel)


def _backward(strides, padding, dilation, saved, grad):
    options = strides, padding, dilation
    return lax.platform_dependent(
        *saved,
        grad,
        cpu=functools.partial(_gradients_on_cpu, options),
        default=functools.partial(_derived_gradients, options),
    )


def _derived_gradients(options, x, kernel, grad):
    convolution = functools.partial(lax.conv_general_dilated, dimension_numbers=ORDER)
    return jax.vjp(lambda x, kernel: convolution(x, kernel, *options), x, kernel)[1](grad)


def _gradients_on_cpu(options, x, kernel, grad):
    strides, padding, dilation = options
    sizes = list(
        zip(x.shape[1:3], kernel.shape[:2], grad.shape[1:3], strides, padding, dilation, strict=True)
    )
    # dx_m = sum_n grad_n kernel_{m d - n s + p}: the gradient, spread by s, with the kernel turned round.
    ends = [(k - 1 - low, (n - 1) * d + 1 - ((m - 1) * s + 1) + low) for n, k, m, s, (low, _), d in sizes]
    turned = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    grad_x = _apply(grad, turned, dilation, ends, strides)
    return grad_x, _kernel_gradient(x, grad, kernel.shape[:2], strides, padding, dilation)


def _kernel_gradient(x, grad, kernel_sizes, strides, padding, dilation):
    """dkernel_k = sum_n x'_{n s + k - p} grad_n: channels as a batch, the batch as channels.

    The smaller of the two is the window. With x as the window, kernel_{-k} comes out, that is, turned round.
    """
    sizes = list(zip(x.shape[1:3], kernel_sizes, grad.shape[1:3], strides, padding, dilation, strict=True))
    if grad.shape[1] <= x.shape[1]:
        ends = [(low, k + (m - 1) * s - 1 - (n - 1) * d - low) for n, k, m, s, (low, _), d in sizes]
        inputs, windows = jnp.transpose(x, (3, 1, 2, 0)), jnp.transpose(grad, (1, 2, 0, 3))
        return jnp.transpose(_apply(inputs, windows, (1, 1), ends, dilation, strides), (1, 2, 0, 3))
    ends = [(k - 1 - low, (n - 1) * d - (m - 1) * s + low) for n, k, m, s, (low, _), d in sizes]
    inputs, windows = jnp.transpose(grad, (3, 1, 2, 0)), jnp.transpose(x, (1, 2, 0, 3))
    turned = _apply(inputs, windows, (1, 1), ends, strides, dilation)
    return jnp.transpose(turned[:, ::-1, ::-1], (1, 2, 3, 0))


_conv.defvjp(_forward, _backward)


def _apply(x, kernel, strides, padding, dilation, rhs_dilation=(1, 1)):
    if math.prod(kernel.shape[:2]) > math.prod(x.shape[1:3]) > 1:
        # XLA would exchange the two, and leave its fast kernels for that. So a part of the padding is real.
        zeros = [tuple(max(end, 0) // d for end in ends) for ends, d in zip(padding, dilation, strict=True)]
        padding = [
            tuple(end - d * number for end, number in zip(ends, numbers, strict=True))
            for ends, numbers, d in zip(padding, zeros, dilation, strict=True)
        ]
        x = lax.optimization_barrier(jnp.pad(x, ((0, 0), *zeros, (0, 0))))
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dilation, rhs_dilation, dimension_numbers=ORDER
    )
