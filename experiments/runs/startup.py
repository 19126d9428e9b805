"""What has to be set before JAX is first used: the compilation cache, the flags of XLA."""

import hashlib
import importlib.util
import os
import pathlib
import sys
import zlib
from collections.abc import MutableMapping
from importlib import metadata

_CHECKED = ".checked"
_ZLIB = b"\x78"


def set_up_process() -> None:
    """Sets what has to be set before JAX is first used."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    choose_options_of_xla()
    set_compilation_cache()


def set_compilation_cache() -> pathlib.Path | None:
    """Makes JAX keep compiled programs on disk; returns where, or None if that cannot be written.

    `$JAX_COMPILATION_CACHE_DIR`, or `~/.cache/aime-jax/jax/<processor>`: programs compiled for one processor
    may not run on another that shares the home directory.
    """
    import jax

    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = pathlib.Path(chosen or f"~/.cache/aime-jax/jax/{processor()}").expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drop_broken_entries(folder)
    except OSError as error:
        print(f"Compiled programs are not kept: {folder}: {error.strerror}.", file=sys.stderr)
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    return folder


def drop_broken_entries(folder: pathlib.Path) -> list[str]:
    """Deletes entries that a killed process or a full disk has cut short; returns their names.

    JAX never replaces an entry, and would warn about a broken one and compile anew at every start. Only
    entries written since the last check are read.
    """
    marker = folder / _CHECKED
    checked = marker.stat().st_mtime if marker.exists() else 0.0
    marker.touch()
    broken = [
        path
        for path in folder.glob("*-cache")
        if path.stat().st_mtime >= checked and not _whole(path.read_bytes())
    ]
    for path in broken:
        path.unlink(missing_ok=True)
    return [path.name for path in broken]


def processor() -> str:
    """Eight hexadecimal digits that stand for the features of this processor."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), os.uname().machine)
    return hashlib.sha256(features.encode()).hexdigest()[:8]


def _whole(content: bytes) -> bool:
    """False for an entry that is empty or whose compressed stream has no end."""
    if not content.startswith(_ZLIB):
        return bool(content)  # compressed with zstandard: not checked
    try:
        stream = zlib.decompressobj()
        stream.decompress(content)
        return stream.eof
    except zlib.error:
        return False


OPTIONS = {  # of XLA
    # Its YNN kernels of convolutions run on one core: without them an update from 2,500 images of 64 x 64 takes two
    # thirds of the time on two cores, that of a policy half (results/visual-demo.md).
    "--xla_cpu_experimental_ynn_fusion_type": "individual_dot,reduce",
    # Policies compile in half of the time, and updates of no size take longer (results/start-up.md).
    "--xla_backend_optimization_level": "1",
}
KNOWN_TO = ("0.10.2", "0.11.")  # versions of jaxlib; XLA stops at an option that it does not know
ACCELERATORS = ("jax_plugins", "libtpu")  # packages with an XLA of their own, which reads the options too


def choose_options_of_xla(
    environment: MutableMapping[str, str] = os.environ,
    version: str | None = None,
    accelerators: tuple[str, ...] = ACCELERATORS,
) -> None:
    """Gives XLA the options that are best on a CPU, before JAX is first used; one that the user has set stays.

    Args:
      environment: where `XLA_FLAGS` is. version: of jaxlib; None: the one that is installed.
      accelerators: packages with which nothing is set.
    """
    flags = environment.get("XLA_FLAGS", "")
    known = (version or metadata.version("jaxlib")).startswith(KNOWN_TO)
    if not known or any(importlib.util.find_spec(name) for name in accelerators):
        return
    chosen = [f"{name}={value}" for name, value in OPTIONS.items() if name not in flags]
    environment["XLA_FLAGS"] = " ".join(filter(None, [flags, *chosen]))
