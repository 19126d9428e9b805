"""Looks at this machine: what works, what is missing, and how to get it.

    python -m experiments doctor

Simulators and OpenGL are tried in processes of their own, which are given up after a while, because a broken
driver can hang. Needs nothing but Python to start, so that it can also say that everything is missing.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator

from experiments.runs.session import version_of

CORE = (
    "numpy",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "distrax",
    "orbax-checkpoint",
    "h5py",
    "ml_collections",
    "tensorboardX",
)
OPTIONAL = {
    "dm_control": "dmc",
    "mujoco": "dmc",
    "metaworld": "metaworld",
    "torch": "published",
    "submitit": "slurm",
    "pytest": "dev",
}
_WITHOUT_DM_CONTROL = (
    "for DeepMind Control use Python 3.12: labmaze, which it needs, has no wheel for 3.13; the rest works"
)
APT_PACKAGES = "libegl1 libgl1 libgles2 libosmesa6"
_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
      name: what was looked at.
      state: "ok", "missing" (something optional does not work) or "broken" (the core does not).
      value: what was found.
      fix: what to do about it.
    """

    name: str
    state: str
    value: str
    fix: str = ""


def main(argv: list[str] | None = None) -> int:
    """Prints the report; returns 0 if the core works."""
    parser = argparse.ArgumentParser(prog="python -m experiments doctor", description=__doc__.splitlines()[0])
    parser.add_argument("--brief", action="store_true", help="only what is missing; no measurements")
    parser.add_argument(
        "--render-workers", type=int, default=2, help="processes that render at once (default 2)"
    )
    options = parser.parse_args(argv)
    findings = []
    for finding in examine(options.brief, options.render_workers):
        findings.append(finding)
        if finding.state != "ok" or not options.brief:
            print(line(finding), flush=True)
    broken = [finding.name for finding in findings if finding.state == "broken"]
    if broken:
        print(f"The core does not work: {', '.join(broken)}.")
    elif not options.brief:
        print("The core works.")
    return 1 if broken else 0


def examine(brief: bool = False, render_workers: int = 2) -> Iterator[Finding]:
    """Yields the findings one by one; `brief` leaves out what takes long."""
    checks: list[Callable[[], Finding | Iterator[Finding]]] = [
        check_python,
        check_packages,
        check_devices,
        check_memory,
        check_disk,
        check_ffmpeg,
        lambda: check_rendering(brief, render_workers),
    ]
    if not brief:
        checks[2:2] = [check_extras]
        checks[4:4] = [check_speed, check_cache, check_huge_pages]
        checks += [
            lambda: check_simulator("dm_control", "walker-walk"),
            lambda: check_simulator("metaworld", "metaworld-reach"),
        ]
    for check in checks:
        try:
            found = check()
            yield from [found] if isinstance(found, Finding) else found
        except Exception as error:  # a doctor that dies of what it finds is of no use
            yield Finding(getattr(check, "__name__", "check"), "broken", f"{type(error).__name__}: {error}")


def line(finding: Finding) -> str:
    """Returns a finding as text."""
    mark = {"ok": "  ok   ", "missing": "  --   ", "broken": "  !!   "}[finding.state]
    value = textwrap.fill(finding.value, 100, subsequent_indent=" " * 29, break_on_hyphens=False)
    fix = f"\n{'':29}-> {finding.fix}" if finding.fix else ""
    return f"{mark}{finding.name:<22}{value}{fix}"


def check_python() -> Finding:
    """Python 3.11 to 3.13, the last without DeepMind Control."""
    version = sys.version.split()[0]
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", "broken", version, "use Python 3.12, or 3.11 or 3.13")
    return _optional("python", _has_dm_control(), f"{version} in {sys.prefix}", _WITHOUT_DM_CONTROL)


def _has_dm_control() -> bool:
    """Returns True if this Python can have dm_control, whether or not it is installed."""
    return sys.version_info[:2] <= (3, 12)


def check_packages() -> Iterator[Finding]:
    """Versions of what is installed."""
    missing = [name for name in CORE if version_of(name) is None]
    found = ", ".join(f"{name} {version_of(name)}" for name in CORE if name not in missing)
    fix = 'pip install -c constraints.txt -e "."'
    yield (
        Finding("packages", "broken", f"missing: {', '.join(missing)}", fix)
        if missing
        else Finding("packages", "ok", found)
    )


def check_extras() -> Iterator[Finding]:
    """Versions of what belongs to the extras of setup.py."""
    for name, extra in OPTIONAL.items():
        fix = _install("metaworld" if name == "mujoco" and not _has_dm_control() else extra)
        yield _optional(name, version_of(name) is not None, version_of(name) or "not installed", fix)


def _install(extra: str) -> str:
    """Returns how to get what belongs to an extra of setup.py."""
    if extra == "dmc" and not _has_dm_control():
        return _WITHOUT_DM_CONTROL
    return f'pip install -c constraints.txt -e ".[{extra}]"'


def _optional(name: str, works: bool, value: str, fix: str) -> Finding:
    """Returns a finding on what the core can do without."""
    return Finding(name, "ok", value) if works else Finding(name, "missing", value, fix)


def check_devices() -> Finding:
    """Checks the devices that JAX computes on."""
    import jax

    devices = jax.devices()
    text = ", ".join(f"{device.platform}:{device.id} {device.device_kind}" for device in devices)
    chosen = devices[0].platform != "cpu" or "cpu" in os.environ.get("JAX_PLATFORMS", "")
    works = chosen or not shutil.which("nvidia-smi")
    text += f", {len(os.sched_getaffinity(0))} CPUs" if works else ", though there is an NVIDIA GPU"
    return _optional("devices", works, text, 'pip install -e ".[cuda13]", or cuda12 for drivers before 580')


def check_speed() -> Finding:
    """Times a matrix product and a compilation."""
    import jax
    import jax.numpy as jnp

    x = jnp.ones((1024, 1024))
    start = time.perf_counter()
    square = jax.jit(lambda x: x @ x / 1024).lower(x).compile()
    compiled = time.perf_counter() - start
    square(x).block_until_ready()
    start = time.perf_counter()
    for _ in range(10):
        x = square(x)
    x.block_until_ready()
    rate = 10 * 2 * 1024**3 / (time.perf_counter() - start) / 1e9
    return Finding("speed", "ok", f"matrix product {rate:.0f} GFLOP/s, its compilation {compiled:.2f} s")


def check_memory() -> Finding:
    """Free main memory, and that of the first accelerator."""
    import jax
    import psutil

    free = psutil.virtual_memory().available / _GIB
    stats = jax.local_devices()[0].memory_stats() or {}
    limit = stats.get("bytes_limit")
    text = f"{free:.1f} GiB free" + (f", {limit / _GIB:.1f} GiB on the accelerator" if limit else "")
    fix = "free at least 2 GiB, or use smaller batches and fewer workers"
    return _optional("memory", free >= 2, text, fix)


def check_disk() -> Finding:
    """Free disk space where runs are written by default."""
    free = shutil.disk_usage(".").free / _GIB
    fix = "free at least 2 GiB, or choose a --workdir elsewhere"
    return _optional("disk", free >= 2, f"{free:.1f} GiB free in {os.getcwd()}", fix)


def check_cache() -> Finding:
    """Checks where compiled programs are kept."""
    from experiments.runs.startup import set_compilation_cache

    folder = set_compilation_cache()
    files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()] if folder else []
    found = f"{folder}: {len(files)} files, {sum(files) / 2**20:.0f} MiB" if folder else "cannot be written"
    fix = "set JAX_COMPILATION_CACHE_DIR to a directory that can"
    return _optional("compilation cache", folder is not None, found, fix)


def check_huge_pages() -> Finding:
    """Checks that glibc can be told to use huge pages, as the commands do."""
    path = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    setting = path.read_text() if path.exists() else "absent"
    given = "[never]" not in setting and setting != "absent"
    how = "the mains start themselves with GLIBC_TUNABLES=glibc.malloc.hugetlb=1"
    fix = f"as root: echo madvise > {path} (training on the CPU is up to a sixth faster)"
    return _optional("huge pages", given, how if given else "the kernel gives none", fix)


def check_ffmpeg() -> Finding:
    """Writes a video."""
    import numpy as np

    from experiments.drawing import video

    frames = np.random.default_rng(0).integers(0, 255, (10, 64, 64, 3), np.uint8)
    try:
        with tempfile.TemporaryDirectory() as folder:
            video.write_mp4(pathlib.Path(folder) / "video.mp4", frames, 25)
    except video.VideoError as error:
        fix = "pip install imageio-ffmpeg, or apt-get install ffmpeg"
        return Finding("ffmpeg", "missing", str(error), fix)
    return Finding("ffmpeg", "ok", video.ffmpeg())


def check_rendering(brief: bool, workers: int) -> Iterator[Finding]:
    """Checks which OpenGL backends draw, and how fast, with several processes at once."""
    if version_of("mujoco") is None:
        return
    from experiments.envs import rendering

    working = []
    for backend in rendering.BACKENDS:
        reason = rendering.probe(backend)
        if reason is None:
            working.append(backend)
        if not brief:
            state = "ok" if reason is None else "missing"
            speed = "draws" if reason or version_of("dm_control") is None else _render_speed(backend, workers)
            yield Finding(f"OpenGL {backend}", state, (reason or speed).rpartition("Error: ")[-1])
            if speed != "draws":
                fast = _render_speed(backend, workers, "fast")
                yield Finding(f"OpenGL {backend}, fast", "ok", f"{fast}, with render_quality=fast")
        if brief and working:
            return
    if not working:
        fix = f"as root: apt-get install -y {APT_PACKAGES} (all runs without, but for images and videos)"
        yield Finding("rendering", "missing", "neither EGL nor OSMesa works", fix)


def check_simulator(package: str, task: str) -> Finding:
    """Loads a task and steps it."""
    if version_of(package) is None:
        result = {"error": "not installed"}
    else:
        result = run_snippet(_STEPS.format(task=task), {"MUJOCO_GL": "disable"})
    works = "error" not in result
    found = f"{task}: loads in {{load:.1f}} s, {{rate:.0f}} steps/s" if works else "{error}"
    fix = _install(OPTIONAL[package])
    return _optional(f"{package} task", works, found.format(**result), fix)


def run_snippet(code: str, environment: dict[str, str], timeout: float = 120.0) -> dict:
    """Runs Python code that prints a line of JSON, in its own process; {"error": reason} if that fails."""
    return _outcome(_start(code, environment), timeout)


def _start(code: str, environment: dict[str, str]) -> subprocess.Popen:
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _outcome(process: subprocess.Popen, timeout: float) -> dict:
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"error": f"no answer within {timeout:.0f} s"}
    if process.returncode:
        lines = errors.strip().splitlines()
        return {"error": lines[-1] if lines else f"the process died with code {process.returncode}"}
    return json.loads(output.strip().splitlines()[-1])


def _render_speed(backend: str, workers: int, quality: str = "published", timeout: float = 60.0) -> str:
    """Images per second of one process and of several at once, which some drivers do not survive."""
    parts = []
    for number in sorted({1, workers}):
        code = _RENDERS.format(quality=quality)
        processes = [_start(code, {"MUJOCO_GL": backend}) for _ in range(number)]
        results = [_outcome(process, timeout) for process in processes]
        errors = [result["error"] for result in results if "error" in result]
        rate = sum(result.get("rate", 0) for result in results)
        parts.append(f"{number} at once: {errors[0] if errors else f'{rate:.0f} images/s'}")
    return ", ".join(parts) + " (64 x 64)"


_STEPS = """
import json, time
import numpy as np
from experiments.envs import registry
start = time.perf_counter()
environment = registry.make({task!r})
environment.reset(0)
load = time.perf_counter() - start
action = np.zeros(environment.action_spec.shape, np.float32)
start, steps = time.perf_counter(), 0
while time.perf_counter() - start < 1:
    steps += 1
    if environment.step(action)["is_last"]:
        environment.reset(steps)
rate = steps / (time.perf_counter() - start)
print(json.dumps(dict(load=load, rate=rate)))
"""

_RENDERS = """
import json, time
from experiments.envs import registry
environment = registry.make("walker-walk", render_quality={quality!r})
environment.reset(0)
environment.render(64, 64)
start, images = time.perf_counter(), 0
while time.perf_counter() - start < 1:
    environment.render(64, 64)
    images += 1
rate = images / (time.perf_counter() - start)
environment.close()
print(json.dumps(dict(rate=rate)))
"""
