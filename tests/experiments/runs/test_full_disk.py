"""A disk that is full: told in one sentence, what was complete stays, and the same command goes on."""

import contextlib
import os
import subprocess

import pytest
from interruption import assert_same_run, interrupting, start, terminated

from experiments.configs import collect as collect_config
from experiments.configs import pretrain as pretrain_config
from experiments.methods import collect, pretrain
from experiments.runs.metrics import MetricsWriter
from worldmodels.data.episodes import load_episodes


@contextlib.contextmanager
def small_disk(folder, size):
    """A disk of so many bytes, mounted on a folder; yields a function that gives it another size."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        result = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    if result.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {result.stderr.strip()}")
    try:
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
    finally:
        subprocess.run(["umount", str(folder)], check=False)


def told(process):
    """The exit code, and the lines on stderr that are not warnings or bars; threads that fail alike say so once."""
    _, errors = process.communicate(timeout=240)
    lines = [line for line in errors.splitlines() if line]
    warnings = [line for line in lines if "in the background" in line]
    assert len(warnings) == len(set(warnings)) and all(line.startswith("Warning: ") for line in warnings)
    return process.returncode, [line for line in lines if line.startswith(("Error", "Traceback"))]


def test_a_collection_goes_on_when_there_is_space(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, 150_000) as enlarge:
        flags = ("--config=collect:uniform-tiny", f"--workdir={disk / 'run'}")
        code, lines = told(start("collect", *flags, "--config.num_episodes=12"))
        assert code == 2 and len(lines) == 1
        assert "Cannot write episode" in lines[0] and "No space left on device" in lines[0]
        kept = len(load_episodes(disk / "run" / "episodes"))
        assert kept > 0 and len(os.listdir(disk / "run" / "episodes")) == kept  # nothing half-written
        enlarge(5_000_000)
        config = collect_config.get_config("uniform-tiny")
        config.num_episodes = 12
        collect.run(config, disk / "run")
        collect.run(config, tmp_path / "undisturbed")
        for ours, theirs in zip(
            *(load_episodes(d / "episodes") for d in (disk / "run", tmp_path / "undisturbed"))
        ):
            assert all((ours.records[name] == theirs.records[name]).all() for name in theirs.records)


def test_a_training_keeps_its_last_checkpoint_and_goes_on(tmp_path):
    collect.run(collect_config.get_config("uniform-tiny"), tmp_path / "data")
    disk, data = tmp_path / "disk", str(tmp_path / "data" / "episodes")
    disk.mkdir()
    with small_disk(disk, 5_000_000) as resize:
        flags = ("--config=pretrain:tiny", f"--config.embodiment={data}", f"--workdir={disk / 'run'}")
        config = pretrain_config.get_config("tiny")
        config.embodiment = data
        with interrupting(MetricsWriter, "write", 1, terminated):
            pretrain.run(config, disk / "run")
        kept, space = os.listdir(disk / "run" / "checkpoints"), os.statvfs(disk)
        resize((space.f_blocks - space.f_bfree) * space.f_frsize + 40_000)  # less than a checkpoint takes
        code, lines = told(start("pretrain", *flags))
        assert code == 2 and len(lines) == 1 and "No space left on device" in lines[0]
        assert os.listdir(disk / "run" / "checkpoints") == kept
        resize(5_000_000)
        pretrain.run(config, disk / "run")
        pretrain.run(config, tmp_path / "undisturbed")
        assert_same_run(disk / "run", tmp_path / "undisturbed", ("checkpoints", "model"))
