"""On a CPU XLA gets the options that compile and compute fastest, unless the user or its version says otherwise."""

import os
import subprocess
import sys

from experiments.runs.startup import OPTIONS, choose_options_of_xla

KERNELS, LEVEL = (f"{name}={value}" for name, value in OPTIONS.items())


def flags_after(version: str, accelerators: tuple[str, ...] = (), **environment: str) -> str | None:
    """`XLA_FLAGS` afterwards."""
    choose_options_of_xla(environment, version, accelerators)
    return environment.get("XLA_FLAGS")


def test_the_options_join_those_of_the_user():
    assert flags_after("0.10.2") == f"{KERNELS} {LEVEL}"
    assert flags_after("0.11.2", XLA_FLAGS="--xla_a=1") == f"--xla_a=1 {KERNELS} {LEVEL}"


def test_what_the_user_has_set_stays():
    mine = "--xla_backend_optimization_level=3"
    assert flags_after("0.10.2", XLA_FLAGS=mine) == f"{mine} {KERNELS}"
    both = f"{KERNELS.partition('=')[0]}= {mine}"
    assert flags_after("0.10.2", XLA_FLAGS=both) == both


def test_another_version_of_xla_is_left_alone():
    assert flags_after("0.12.0") is None
    assert flags_after("0.10.0") is None


def test_beside_the_xla_of_an_accelerator_nothing_is_set():
    assert flags_after("0.10.2", accelerators=("no_such_package", "json")) is None


def test_the_xla_that_is_installed_accepts_them():
    code = (
        "from experiments.runs.startup import set_up_process; set_up_process()\n"
        "import jax.numpy as jnp, os; print(os.environ.get('XLA_FLAGS', ''), jnp.ones(3).sum())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("3.0")
