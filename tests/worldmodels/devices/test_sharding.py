"""Several devices give what one gives; the choice of devices is explained where it cannot be made."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from worldmodels.devices.sharding import ONE_DEVICE, place

TESTS = pathlib.Path(__file__).parents[2]
XLA_FLAGS = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"


@pytest.fixture(scope="module")
def differences():
    environment = os.environ | {"XLA_FLAGS": XLA_FLAGS, "JAX_PLATFORMS": "cpu"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    command = [sys.executable, str(TESTS / "on_devices.py")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


BATCHES = [("world model", 4), ("aime", 4), ("aime-v2", 8), ("baseline", 4)]


@pytest.mark.parametrize("what, num_devices", BATCHES)
def test_a_batch_on_several_devices_trains_what_one_device_trains(differences, what, num_devices):
    found = differences[f"{what}, batch on {num_devices}"]
    assert found["devices"] == num_devices and not found["deals_seeds"]
    assert found["error"] < 1e-3


def test_baselines_dealt_out_to_devices_are_those_of_one_device(differences):
    found = differences["baseline, 4 seeds on 4"]
    assert found["devices"] == 4 and found["deals_seeds"]
    assert found["error"] < 1e-3


def test_world_models_dealt_out_to_devices_are_those_of_one_device(differences):
    found = differences["world model, 4 seeds on 4"]
    assert found["devices"] == 4 and found["deals_seeds"]
    assert found["error"] < 1e-3


def test_world_models_that_do_not_divide_share_their_batches(differences):
    found = differences["world model, 4 seeds, batch on 8"]
    assert found["devices"] == 8 and not found["deals_seeds"]
    assert found["error"] < 1e-3


@pytest.mark.parametrize(("name", "deals"), [("4 seeds on 4", True), ("4 seeds, batch on 8", False)])
def test_data_that_stream_train_the_models_of_data_on_one_device(differences, name, deals):
    found = differences[f"streamed, {name}"]
    assert found["devices"] == int(name[-1]) and found["deals_seeds"] == deals
    assert found["error"] < 1e-3


class FakeDevice:
    """What `place` looks at before it makes a mesh."""

    def __init__(self, platform):
        self.platform = platform


def devices(platform: str, count: int) -> list[FakeDevice]:
    return [FakeDevice(platform) for _ in range(count)]


def test_one_is_one():
    assert place("one", batch_sizes=[8], available=devices("gpu", 4)) is ONE_DEVICE


def test_by_default_a_cpu_is_one_device():
    assert place("auto", batch_sizes=[8], available=devices("cpu", 4)) is ONE_DEVICE


def test_by_default_as_many_accelerators_as_divide_the_batch():
    assert place("auto", batch_sizes=[50], available=devices("gpu", 8)).num_devices == 5
    assert place("auto", batch_sizes=[50, 48], available=devices("gpu", 8)).num_devices == 2
    assert place("auto", batch_sizes=[7], available=devices("gpu", 4)) is ONE_DEVICE


def test_seeds_are_dealt_out_where_they_divide():
    placement = place("auto", batch_sizes=[50], num_seeds=8, available=devices("tpu", 8))
    assert placement.num_devices == 8 and placement.deal_seeds


def test_all_devices_must_divide_the_work():
    with pytest.raises(ValueError, match="4 devices divide neither 3 seeds nor batches of 50; set num_seeds"):
        place("all", batch_sizes=[50], num_seeds=3, available=devices("gpu", 4))


def test_an_unknown_choice_lists_the_known_ones():
    with pytest.raises(ValueError, match="Unknown devices 'many'. Known: auto, one, all"):
        place("many", batch_sizes=[50])
