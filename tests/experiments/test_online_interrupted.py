"""A run of AIME-v2 that is stopped wherever it hurts ends like one that was never stopped."""

import pathlib
import subprocess
import sys

import pytest
from interruption import SIGKILL, SIGTERM, assert_same_run, environment

from experiments import collect, online, pretrain
from experiments.configs import collect as collect_config
from experiments.configs import online as online_config
from experiments.configs import pretrain as pretrain_config

SABOTAGED = pathlib.Path(__file__).parent / "online_sabotaged.py"
CHANGES = {"num_envs": 2, "num_episodes": 4, "reward.name": "ail", "updates_per_episode": 1}


@pytest.fixture(scope="module")
def changes(tmp_path_factory):
    """Changes of the tiny config of a run, {key: value}."""
    folder = tmp_path_factory.mktemp("online")
    collect.run(collect_config.get_config("scripted-tiny"), folder / "data")
    data = str(folder / "data" / "episodes")
    config = pretrain_config.get_config("tiny")
    config.embodiment = data
    pretrain.run(config, folder / "model")
    return CHANGES | {"embodiment": data, "demonstrations": data, "model": str(folder / "model")}


def run_here(changes, workdir):
    config = online_config.get_config("tiny")
    config.update_from_flattened_dict(changes)
    online.run(config, workdir)


def run_sabotaged(place, number, changes, workdir) -> int:
    """Runs until the signal; returns the exit code."""
    flags = [f"--config.{key}={value}" for key, value in changes.items()]
    config = "--config=experiments/configs/online.py:tiny"
    command = [sys.executable, SABOTAGED, place, str(int(number)), config, f"--workdir={workdir}", *flags]
    return subprocess.run(command, env=environment(), capture_output=True, timeout=240).returncode


def test_stopped_in_an_episode_between_files_and_while_saving_it_ends_bit_identical(changes, tmp_path):
    workdir = tmp_path / "stopped"
    for place in ("episode", "files", "checkpoint"):
        assert run_sabotaged(place, SIGKILL, changes, workdir) == -SIGKILL
    assert run_sabotaged("episode", SIGTERM, changes, workdir) == 128 + SIGTERM
    assert len(list((workdir / "episodes").iterdir())) == 2  # the round was finished before it stopped
    run_here(changes, workdir)
    run_here(changes, tmp_path / "reference")
    assert_same_run(workdir, tmp_path / "reference", ("checkpoints", "model", "policy", "critic"))
