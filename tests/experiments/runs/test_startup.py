import os
import subprocess
import sys
import zlib

from experiments.runs.startup import drop_broken_entries, processor

COMPILE = """
import jax, jax.numpy as jnp
from experiments.runs.startup import set_compilation_cache
print(set_compilation_cache())
jax.jit(lambda x: jnp.tanh(x @ x) + 1)(jnp.ones((8, 8))).block_until_ready()
"""


def compile_with_cache(folder):
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder), "PYTHONPATH": os.getcwd()}
    result = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == f"{folder}\n"
    return result.stderr


def test_an_entry_cut_short_is_compiled_anew_without_a_word(tmp_path):
    folder = tmp_path / "new" / "cache"
    compile_with_cache(folder)
    entries = {path: path.stat().st_size for path in folder.glob("*-cache")}
    assert entries
    for path in entries:
        path.write_bytes(path.read_bytes()[:100])
    assert compile_with_cache(folder) == ""
    assert {path: path.stat().st_size for path in folder.glob("*-cache")} == entries


def test_only_broken_entries_are_dropped(tmp_path):
    whole = zlib.compress(bytes(range(256)) * 50)
    (tmp_path / "a-cache").write_bytes(whole)
    (tmp_path / "b-cache").write_bytes(whole[:-10])
    (tmp_path / "c-cache").write_bytes(b"")
    (tmp_path / "notes").write_bytes(b"")
    assert sorted(drop_broken_entries(tmp_path)) == ["b-cache", "c-cache"]
    assert sorted(path.name for path in tmp_path.glob("[a-z]*")) == ["a-cache", "notes"]


def test_what_was_checked_is_not_read_again(tmp_path):
    drop_broken_entries(tmp_path)
    (tmp_path / "a-cache").write_bytes(b"")
    os.utime(tmp_path / "a-cache", (0, 0))
    assert drop_broken_entries(tmp_path) == []


def test_a_processor_has_a_stable_name():
    assert processor() == processor()
    assert len(processor()) == 8
