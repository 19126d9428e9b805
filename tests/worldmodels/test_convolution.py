"""Our convolutions equal XLA's, values and gradients, in the shapes of all image networks."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from worldmodels.convolution import IMAGES_AT_ONCE, conv_general_dilated

ORDER = ("NHWC", "HWIO", "NHWC")
# Pixels, kernel, stride, padding, dilation of the input (the stride of a transposed convolution).
SHAPES = [
    (8, 4, 2, 0, 1),
    (8, 4, 2, 1, 1),
    (5, 3, 1, 1, 1),
    (9, 4, 3, 1, 1),
    (7, 5, 1, 4, 2),
    (4, 4, 1, 2, 2),
    (2, 4, 1, 3, 2),  # a window larger than the input
    (6, 4, 2, 0, 1),  # whose gradient has one
    (3, 3, 1, 2, 1),
    (1, 5, 1, 4, 2),
    (3, 2, 1, -1, 2),  # a transposed convolution that cuts off its edges
    (1, 4, 1, 2, 2),  # one pixel, whose picture is cut off
    (1, 3, 1, 4, 2),  # and one with a margin
    (5, 5, 1, 4, 3),
    (9, 2, 3, 1, 1),  # a stride beyond the kernel
]


@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "dilation"), SHAPES)
def test_values_and_gradients_equal_those_of_xla(size, kernel, stride, padding, dilation):
    x_key, kernel_key, grad_key = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(x_key, (3, size, size, 2))
    weights = jax.random.normal(kernel_key, (kernel, kernel, 2, 5))
    shared = dict(lhs_dilation=(dilation, dilation), dimension_numbers=ORDER)
    args = (stride, stride), 2 * [(padding, padding)]
    expected, expected_vjp = jax.vjp(lambda *a: lax.conv_general_dilated(*a, *args, **shared), x, weights)
    value, vjp = jax.vjp(lambda *a: conv_general_dilated(*a, *args, **shared), x, weights)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    grad = jax.random.normal(grad_key, value.shape)
    for ours, theirs in zip(vjp(grad), expected_vjp(grad), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_the_gradient_of_a_kernel_counts_every_image():
    """On CPUs it is a sum over groups of images, of which the last is not full."""
    x = jax.random.normal(jax.random.key(0), (2 * IMAGES_AT_ONCE + 3, 6, 6, 2))
    kernel = jax.random.normal(jax.random.key(1), (4, 4, 2, 3))

    def gradient(convolution):
        layer = functools.partial(convolution, window_strides=(2, 2), padding=2 * [(1, 1)])
        return jax.grad(lambda kernel: jnp.sin(layer(x, kernel, dimension_numbers=ORDER)).sum())(kernel)

    expected = gradient(lax.conv_general_dilated)
    np.testing.assert_allclose(gradient(conv_general_dilated), expected, rtol=1e-4, atol=1e-3)


def test_what_is_not_supported_is_refused():
    x, kernel = jnp.zeros((1, 4, 4, 2)), jnp.zeros((2, 2, 2, 2))
    with pytest.raises(ValueError, match="dilated kernels are not supported"):
        conv_general_dilated(x, kernel, (1, 1), 2 * [(0, 0)], rhs_dilation=(2, 2))


def test_a_stride_together_with_a_dilation_is_refused():
    with pytest.raises(ValueError, match="both at once"):
        conv_general_dilated(
            jnp.zeros((1, 4, 4, 2)), jnp.zeros((2, 2, 2, 2)), (2, 2), 2 * [(0, 0)], lhs_dilation=(2, 2)
        )


@pytest.mark.parametrize(
    ("strides", "dilation", "padding"), [((2, 2), (1, 1), (1, 1)), ((1, 1), (2, 2), (3, 3))]
)
def test_every_convolution_has_stride_one_and_no_zeros_between_pixels(strides, dilation, padding):
    """Forwards and backwards: those that XLA makes of strides and dilations are slow, on GPUs by far."""
    x, kernel = jnp.zeros((2, 6, 6, 3)), jnp.zeros((4, 4, 3, 5))
    layer = functools.partial(conv_general_dilated, window_strides=strides, lhs_dilation=dilation)
    gradients = jax.grad(lambda *a: (layer(*a, padding=2 * [padding]) ** 2).sum(), (0, 1))
    for platform, expected in (("cpu", 2), ("cuda", 3)):
        text = jax.jit(gradients).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
        lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
        # Forwards, of the image, and of the kernel, which on CPUs is a product of matrices.
        assert len(lines) == expected
        for line in lines:
            window = re.search(r"window = \{(.*?)\}", line)[1]
            assert re.search(r"stride = \[1, 1\]", window) or "stride" not in window
            assert "[2, 2]" not in re.sub(r"pad = \[\[.*?\]\]", "", window)


def test_one_pixel_needs_no_convolution():
    x, kernel = jnp.zeros((2, 1, 1, 3)), jnp.zeros((5, 5, 3, 4))
    layer = functools.partial(conv_general_dilated, window_strides=(1, 1), lhs_dilation=(2, 2))
    assert "conv" not in str(jax.make_jaxpr(lambda *a: layer(*a, padding=2 * [(4, 4)]))(x, kernel))


def test_convolutions_in_a_loop_have_no_window_larger_than_its_input():
    """XLA's CPU compiler would run those in plain code."""
    x, kernel = jnp.zeros((2, 2, 2, 3)), jnp.zeros((8, 8, 3, 5))
    transposed = functools.partial(conv_general_dilated, window_strides=(1, 1), padding=2 * [(7, 7)])
    program = jax.make_jaxpr(jax.grad(lambda *a: (transposed(*a, lhs_dilation=(2, 2)) ** 2).sum(), (0, 1)))(
        x, kernel
    )
    convolutions = [e for e in equations(program.jaxpr) if e.primitive.name == "conv_general_dilated"]
    assert len(convolutions) == 2
    for equation in convolutions:
        image, window = (v.aval.shape for v in equation.invars)
        assert window[0] <= image[1], "the window is larger than the image"


def equations(jaxpr):
    """All equations of a program on a CPU, those of the programs inside them too."""
    for equation in jaxpr.eqns:
        yield equation
        platforms = equation.params.get("branches_platforms") or ()
        branches = [
            equation.params["branches"][i] for i, names in enumerate(platforms) if "cpu" in (names or ())
        ]
        for value in (*equation.params.values(), *branches):
            if hasattr(value, "jaxpr"):
                yield from equations(value.jaxpr)
