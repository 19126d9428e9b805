"""Switches for all tests: implicit rank promotion is an error; `--golden-dir` chooses the recorded cases."""

import ctypes
import gc
import os
import pathlib
import shutil
import sys
from importlib import metadata

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MUJOCO_GL", "disable")  # tests that render choose a backend themselves

# Programs are compiled once for all tests and the processes that they start, and kept for the next time.
CACHE = pathlib.Path(__file__).parent.parent / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Compiling is most of what tests do; so it takes a sixth of the time, and tiny programs run as fast.
QUICKLY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if metadata.version("jaxlib").startswith("0.10."):  # later ones have no others, and stop at the option
    QUICKLY += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", QUICKLY)

from experiments.runs.startup import choose_options_of_xla  # noqa: E402

choose_options_of_xla()  # as commands do, so that they find in the cache what tests have compiled

# A file counts as written once it is on the disk, which takes a moment each time, but in memory no time at all.
MEMORY = pathlib.Path("/dev/shm")
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 * 2**30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

import jax  # noqa: E402  (it reads the environment)
import psutil  # noqa: E402
import pytest  # noqa: E402

from worldmodels import registry  # noqa: E402

# Tracing makes millions of objects that live on; to look through them for cycles as often as Python does takes a tenth.
gc.set_threshold(50_000, 10, 10)
jax.config.update("jax_numpy_rank_promotion", "raise")

GOLDEN = pathlib.Path(__file__).parent / "golden"
LARGE = 4 * 2**30  # bytes of a process


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        type=pathlib.Path,
        default=GOLDEN,
        help="directory of recorded cases of the published implementation (default: tests/golden)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden_case" in metafunc.fixturenames:
        folders = sorted(
            path.parent for path in metafunc.config.getoption("--golden-dir").glob("*/expected.npz")
        )
        metafunc.parametrize("golden_case", folders, ids=[folder.name for folder in folders])


@pytest.fixture(scope="module", autouse=True)
def bounded_memory():
    """Drops the compiled programs of the files so far where the process is large; those on the disk come back quickly.

    They are nearly all of its memory.
    """
    yield
    if psutil.Process().memory_info().rss > LARGE:
        jax.clear_caches()
        gc.collect()
        give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps what is freed
        if give_back is not None:
            give_back(0)


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """(name of a module, its code) -> a module of the user's own that can be imported, and has not been yet."""
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    written = []

    def write(module: str, code: str) -> None:
        path = tmp_path.joinpath("own", *module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        written.append(module.partition(".")[0])

    yield write
    for loaded in [name for name in sys.modules if name.partition(".")[0] in written]:
        del sys.modules[loaded]
