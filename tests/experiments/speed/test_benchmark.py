"""The benchmark, with the tiny preset."""

import functools

import jax.numpy as jnp
from jax import lax

from experiments.configs import benchmark as benchmark_config
from experiments.speed import benchmark
from experiments.speed.timing import product_flops
from worldmodels.convolution import ORDER


def test_every_part_is_timed_and_saved(tmp_path):
    benchmark.run(benchmark_config.get_config("tiny"), tmp_path / "run")
    table = (tmp_path / "run" / "benchmark.md").read_text()
    for row in (
        "world-model update",
        "policy update",
        "acting, 1 environment",
        "20 sequences of 3 actions, 2 iterations",
        "sampling a batch",
        "collection",
        "compute_dtype=bfloat16; data in main memory, streamed",
        "gradients of convolutions in a loop, ours",
    ):
        assert row in table
    acting = next(line for line in table.splitlines() if "acting, 1 environment" in line).split("|")
    assert acting[1 + benchmark.HEADINGS.index("Floor")].strip()


def test_zeros_between_the_pixels_of_a_transposed_convolution_are_not_arithmetic():
    x, kernel = jnp.zeros((1, 4, 4, 3)), jnp.zeros((2, 2, 3, 5))
    spread = functools.partial(lax.conv_general_dilated, window_strides=(1, 1), padding=2 * [(1, 1)])
    flops = product_flops(lambda x, k: spread(x, k, lhs_dilation=(2, 2), dimension_numbers=ORDER), x, kernel)
    assert flops == 2 * (8 * 8 * 5) * (2 * 2 * 3) / 4
