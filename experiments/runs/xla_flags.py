"""The one option of XLA that our programs need to be fast on a CPU."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import MutableMapping
from importlib import metadata

NAME = "--xla_cpu_experimental_ynn_fusion_type"
KNOWN_TO = ("0.10.2", "0.11.")  # versions of jaxlib; XLA stops at an option that it does not know
ACCELERATORS = ("jax_plugins", "libtpu")  # packages with an XLA of their own, which reads the options too


def choose_convolution_kernels(
    environment: MutableMapping[str, str] = os.environ,
    version: str | None = None,
    accelerators: tuple[str, ...] = ACCELERATORS,
) -> None:
    """Keeps XLA from its YNN kernels for convolutions, before JAX is first used; for the rest its defaults stay.

    Their convolutions run on one core: without them an update from 2,500 images of 64 x 64 takes two thirds of the time
    on two cores, that of a policy half (results/visual-demo.md). An option that the user has set stays.

    Args:
      environment: where `XLA_FLAGS` is. version: of jaxlib; None: the one that is installed.
      accelerators: packages beside which nothing is set.
    """
    flags = environment.get("XLA_FLAGS", "")
    known = (version or metadata.version("jaxlib")).startswith(KNOWN_TO)
    if NAME in flags or not known or any(importlib.util.find_spec(name) for name in accelerators):
        return
    environment["XLA_FLAGS"] = f"{flags} {NAME}=individual_dot,reduce".strip()
