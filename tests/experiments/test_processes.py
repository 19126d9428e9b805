"""Two processes train what one trains; what does not go together is said in one sentence."""

import socket
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from interruption import start, without_clock

from experiments import collect, processes
from experiments.configs import collect as collect_config
from experiments.metrics_writer import read_rows
from worldmodels.checkpoints import Checkpoints

FLAGS = ("--config=experiments/configs/pretrain.py:tiny", "--config.num_updates=4", "--config.save_every=2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of the same pretraining: by one process, by two, and by two with data that stream."""
    folder = tmp_path_factory.mktemp("processes")
    collect.run(collect_config.get_config("uniform-tiny"), folder / "data")
    data = f"--config.embodiment={folder / 'data' / 'episodes'}"
    finish(start("experiments.pretrain", *FLAGS, data, f"--workdir={folder / 'one'}"))
    for name, more in (("two", ()), ("streamed", ("--config.storage=memory",))):
        together(*FLAGS, data, f"--workdir={folder / name}", *more)
    return folder


def together(*flags) -> None:
    """The same command as two processes of this machine; again, if Gloo gave one up that compiled for too long."""
    for _ in range(3):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"--coordinator=localhost:{free.getsockname()[1]}"
        group = [
            start("experiments.pretrain", *flags, address, "--num_processes=2", f"--process_id={number}")
            for number in range(2)
        ]
        with ThreadPoolExecutor(2) as pool:
            errors = list(pool.map(errors_of, group))
        if not any("Gloo" in each and "timeout" in each for each in errors):
            break
    assert [process.returncode for process in group] == [0, 0], errors


def finish(process) -> None:
    errors = errors_of(process)
    assert process.returncode == 0, errors


def errors_of(process) -> str:
    """What a process says on stderr until its end."""
    return process.communicate(timeout=900)[1]


@pytest.mark.parametrize("name", ["two", "streamed"])
def test_two_processes_train_the_model_that_one_trains(runs, name):
    expected, found = (Checkpoints(runs / run / "model").read()[1] for run in ("one", name))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5), found, expected)


@pytest.mark.parametrize("name", ["two", "streamed"])
def test_one_of_two_processes_writes_the_logs_that_one_writes(runs, name):
    expected, found = (without_clock(read_rows(runs / run / "metrics.jsonl")) for run in ("one", name))
    assert [row["update"] for row in found] == [row["update"] for row in expected]
    np.testing.assert_allclose(
        [row["train/model/loss"] for row in found],
        [row["train/model/loss"] for row in expected],
        rtol=1e-4,
    )
    assert {path.name for path in (runs / name).iterdir()} == {path.name for path in (runs / "one").iterdir()}


def test_other_programs_refuse_several_processes():
    flags = ("--workdir=nowhere", "--coordinator=localhost:1", "--num_processes=2", "--process_id=0")
    process = start("experiments.evaluate", *flags)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.startswith("Error: This program runs in one process") and errors.count("\n") == 1


@pytest.mark.parametrize(
    "flags, words",
    [
        ((None, "2", None), "--num_processes needs --coordinator"),
        (("host:1", "2", None), "needs --process_id, or is auto"),
        (("host:1", "two", "0"), "are whole numbers"),
        (("host:1", "2", "2"), "--process_id=2 is none of 2 processes"),
    ],
)
def test_flags_that_do_not_go_together_say_what_is_missing(flags, words):
    with pytest.raises(ValueError, match=words):
        processes.join(*flags)


def test_one_process_needs_no_flags():
    processes.join(None, None, None)
    assert jax.process_count() == 1
