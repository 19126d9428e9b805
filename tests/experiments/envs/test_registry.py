"""Every registered environment against its specs, without rendering; names that do not exist."""

import numpy as np
import pytest

from experiments.envs import registry, sensors
from experiments.envs.interface import MissingPackageError


@pytest.mark.parametrize("name", registry.known())
def test_records_match_the_specs(name):
    environment = registry.make(name, seed=3)
    records = [environment.reset()]
    actions = np.random.default_rng(0).uniform(-1, 1, (2, *environment.action_spec.shape))
    records += [environment.step(action.astype(np.float32)) for action in actions]
    for index, record in enumerate(records):
        for sensor, spec in environment.observation_spec.items():
            spec.validate(sensor, record[sensor])
        environment.action_spec.validate("pre_action", record["pre_action"])
        assert [type(record[key]) for key in ("is_first", "is_last", "is_terminal")] == [bool] * 3
        assert type(record["reward"]) is float and np.isfinite(record["reward"])
        assert record["is_first"] == (index == 0)
    layout = [sensor.name for sensor in sensors.sensor_layout(name) if sensor.modality == "tabular"]
    assert sorted(layout) == sorted(environment.observation_spec)
    assert environment.metadata()["environment"] == name
    environment.close()


def test_an_unknown_task_lists_the_tasks_of_its_domain():
    with pytest.raises(ValueError, match=r"Unknown task 'wlak' of 'walker'\. Known: color.*, walk, walkback"):
        registry.make("walker-wlak")


def test_an_unknown_domain_lists_the_domains():
    with pytest.raises(
        ValueError, match=r"Unknown environment 'wlaker-walk'\. Known domains: acrobot, .*walker"
    ):
        registry.make("wlaker-walk")


def test_an_unknown_reward_version_is_refused():
    with pytest.raises(ValueError, match="Unknown reward_version 'v3'. Known: v1, v2"):
        registry.make("cheetah-flip", reward_version="v3")


def test_a_missing_simulator_says_which_extra_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dm_control", None)
    with pytest.raises(
        MissingPackageError, match=r"'walker-walk' needs dm_control.*pip install -e '\.\[dmc\]'"
    ):
        registry.make("walker-walk")


def test_a_registered_environment_can_be_made(monkeypatch):
    monkeypatch.setattr(registry.ENVIRONMENTS, "_parts", dict(registry.ENVIRONMENTS.items()))
    registry.register("mine-task", "experiments.envs.fake:FakePointMass")
    assert registry.make("mine-task", episode_length=3).name == "mine-task"
    assert "mine-task" in registry.known()
