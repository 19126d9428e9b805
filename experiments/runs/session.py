"""What a reader needs to repeat a run: command, commit, versions, machine, devices."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pathlib
import platform
import socket
import subprocess
import sys
import time
from typing import Any

_PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "distrax",
    "orbax-checkpoint",
    "numpy",
    "h5py",
    "mujoco",
    "dm_control",
    "metaworld",
    "gymnasium",
    "torch",
)


def describe_session(workdir: pathlib.Path | None = None) -> dict[str, Any]:
    """Describes this process, and the directory of its run."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor_time": time.process_time(),  # seconds that the process has had before
        "argv": sys.argv,
        "directory": os.getcwd(),
        "workdir": None if workdir is None else str(workdir),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := version_of(name))},
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "num_cpus": len(os.sched_getaffinity(0)),
        "devices": _devices(),
        "environment": {
            name: os.environ[name]
            for name in ("XLA_FLAGS", "JAX_PLATFORMS", "GLIBC_TUNABLES", "MUJOCO_GL", "SLURM_JOB_ID")
            if name in os.environ
        },
    }


def _commit() -> dict[str, Any] | None:
    """Commit of the source tree, and whether it has been edited since; None for an installed package."""
    root = pathlib.Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        return {"hash": git("rev-parse", "HEAD"), "edited": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def version_of(name: str) -> str | None:
    """Returns the version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[str] | None:
    """Devices of JAX, or None in a program that does not use it."""
    if "jax" not in sys.modules:
        return None
    return [f"{device.platform}:{device.id} {device.device_kind}" for device in sys.modules["jax"].devices()]
