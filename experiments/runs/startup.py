"""Compiled programs on disk, so that only the first start of a program waits for the compiler."""

import hashlib
import os
import pathlib
import sys
import zlib

_CHECKED = ".checked"
_ZLIB = b"\x78"


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
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
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
