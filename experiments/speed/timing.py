"""Measuring programs: wall and processor time, arithmetic, and what the machine can do."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr


@dataclass(frozen=True)
class Timing:
    """Seconds of one call.

    Attributes:
      wall, wall_min: median and minimum over the repetitions.
      cpu: median of the time that all threads of this process were computing.
      repetitions: how many.
    """

    wall: float
    wall_min: float
    cpu: float
    repetitions: int


def measure(
    call: Callable[[], object], repetitions: int, *, inner: int = 1, count: int = 1, warm_up: bool = True
) -> Timing:
    """Times `call`, after one call that does not count.

    Args:
      call: returns arrays (or anything), which are waited for.
      repetitions: measurements, of which the median is taken.
      inner: calls per measurement, for calls too short for the clock of the processor time.
      count: things that one call does; times are per thing.
      warm_up: False leaves that first call out, for what is compiled and takes minutes.
    """
    if warm_up:
        jax.block_until_ready(call())
    walls, cpus = [], []
    for _ in range(repetitions):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(inner):
            jax.block_until_ready(call())
        walls.append((time.perf_counter() - wall) / (inner * count))
        cpus.append((time.process_time() - cpu) / (inner * count))
    return Timing(statistics.median(walls), min(walls), statistics.median(cpus), repetitions)


def product_flops(function: Callable, *args) -> float:
    """Floating-point operations in the products of matrices and the convolutions of `function(*args)`.

    Everything else is left out. A loop counts as often as it runs if it is a scan, once if it is a while loop.
    """
    return _sum_of_products(jax.make_jaxpr(function)(*args).jaxpr, _flops)


def product_bytes(function: Callable, *args) -> float:
    """Bytes of the operands and the results of those products, each moved once."""
    return _sum_of_products(jax.make_jaxpr(function)(*args).jaxpr, _bytes)


def _bytes(equation) -> float:
    return float(sum(x.aval.size * x.aval.dtype.itemsize for x in (*equation.invars, *equation.outvars)))


def _flops(equation) -> float:
    out = equation.outvars[0].aval
    if equation.primitive.name == "dot_general":
        (contracting, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2.0 * out.size * _product(shape[axis] for axis in contracting)
    kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
    zeros = _product(equation.params["lhs_dilation"])  # between pixels; most products are with them
    return 2.0 * out.size * _product(kernel) / kernel[numbers.rhs_spec[0]] / zeros


def _sum_of_products(jaxpr: Jaxpr, count: Callable) -> float:
    """Returns the sum of `count(equation)` over the products of a program."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            total += count(equation)
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        total += times * sum(_sum_of_products(inner, count) for inner in _inner(equation.params))
    return total


def _inner(params: dict) -> list[Jaxpr]:
    """Returns the programs inside an equation: loops, branches (of platforms, that of this one), jitted functions."""
    if params.get("branches_platforms"):
        for platforms, branch in zip(params["branches_platforms"], params["branches"], strict=True):
            if platforms is None or jax.default_backend() in platforms:
                return [branch.jaxpr]
    values = [v for value in params.values() for v in (value if isinstance(value, tuple) else (value,))]
    return [
        v.jaxpr if isinstance(v, ClosedJaxpr) else v for v in values if isinstance(v, ClosedJaxpr | Jaxpr)
    ]


def _product(numbers) -> float:
    result = 1.0
    for number in numbers:
        result *= number
    return result


def forget_peak_memory() -> None:
    """Lets `peak_memory` count from now on, on Linux."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int | None:
    """Bytes of main memory that this process has held at once since `forget_peak_memory`; None if not on Linux."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def matmul_rate(size: int, repetitions: int) -> float:
    """Floating-point operations per second of a float32 product [size, size] x [size, size], the fastest of several."""
    x = jnp.full((size, size), 1.0 / size)
    product = jax.jit(lambda x: x @ x)
    return 2.0 * size**3 / measure(lambda: product(x), repetitions).wall_min


def memory_rate(size: int, repetitions: int) -> float:
    """Bytes per second, read and written, of adding one to `size` float32 numbers, the fastest of several."""
    x = jnp.zeros(size, jnp.float32)
    add = jax.jit(lambda x: x + 1.0)
    return 8.0 * size / measure(lambda: add(x), repetitions).wall_min


def vector_product_rate(num_bytes: int, repetitions: int) -> float:
    """Bytes per second at which NumPy reads a float32 matrix of that size to multiply it with a vector, the fastest of
    several: from the caches where it fits."""
    width = max(1, math.isqrt(num_bytes // 4))
    x, matrix = np.ones(width, np.float32), np.ones((width, width), np.float32)
    return matrix.nbytes / measure(lambda: x @ matrix, repetitions).wall_min


def machine() -> dict:
    """Processor, memory, load."""
    info = {
        "system": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
    }
    for key, file, name in (
        ("processor", "/proc/cpuinfo", "model name"),
        ("memory", "/proc/meminfo", "MemTotal"),
    ):
        path = pathlib.Path(file)
        lines = path.read_text().splitlines() if path.is_file() else []
        value = next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")
        info[key] = f"{int(value.split()[0]) / 2**20:.0f} GiB" if value.endswith("kB") else value
    return info
