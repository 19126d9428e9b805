"""The table of observation set-ups."""

import pytest

from experiments.envs.fake import FakePointMass
from experiments.envs.sensors import IMAGE, SETUPS, Sensor, Setup, observation_setup, sensor_layout

WALKER = {
    "mdp": Setup(("orientations", "height", "velocity"), ("orientations", "height", "velocity")),
    "lpomdp": Setup(("orientations", "height"), ("orientations", "height"), ("velocity",)),
    "pomdp": Setup(("orientations", "height"), ("orientations", "height"), ("velocity",)),
    "visual": Setup(("image",), ("image",), ("orientations", "height", "velocity")),
    "exp": Setup(("orientations", "height"), ("orientations", "height", "velocity")),
    "full": Setup(
        ("orientations", "height", "velocity", "image"), ("orientations", "height", "velocity", "image")
    ),
    "real": Setup(("image",), ("image",), ("orientations", "height", "velocity")),
}


@pytest.mark.parametrize("setup", SETUPS)
def test_set_ups_of_the_walker_are_as_published(setup):
    assert observation_setup("walker-walk", setup) == WALKER[setup]


def test_real_takes_what_the_robot_itself_measures():
    assert observation_setup("manipulator-bring_ball", "real") == Setup(
        ("arm_pos", "touch", "hand_pos", "arm_vel", "object_vel", "image"),
        ("arm_pos", "touch", "hand_pos", "arm_vel", "object_vel", "image"),
        ("object_pos", "target_pos"),
    )


def test_a_target_is_a_sensor_of_the_task_that_has_one():
    names = {name: [sensor.name for sensor in sensor_layout(name)] for name in ("fish-swim", "fish-upright")}
    assert "target" in names["fish-swim"] and "target" not in names["fish-upright"]
    assert "target_position" in observation_setup("finger-turn_hard", "lpomdp").inputs


def test_unknown_environments_are_described_by_their_specs():
    for setup in ("lpomdp", "mdp"):
        assert observation_setup("experiments.envs.fake:FakePointMass", setup).inputs == (
            "position",
            "velocity",
        )


def test_an_environment_of_ones_own_lists_its_sensors_itself(monkeypatch):
    own = (Sensor("position", type="internal"), Sensor("velocity", order="second", type="internal"))
    monkeypatch.setattr(FakePointMass, "sensors", own, raising=False)
    assert sensor_layout("experiments.envs.fake:FakePointMass") == [*own, IMAGE]
    assert observation_setup("experiments.envs.fake:FakePointMass", "lpomdp").inputs == ("position",)
    monkeypatch.setattr(FakePointMass, "sensors", (Sensor("speed"),))
    with pytest.raises(
        ValueError, match="lists the sensors speed, its observation_spec has position, velocity"
    ):
        sensor_layout("experiments.envs.fake:FakePointMass")


def test_an_unknown_set_up_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"Unknown observation set-up 'pixels'\. Known: mdp, lpomdp, pomdp, visual"
    ):
        observation_setup("walker-walk", "pixels")


def test_an_unknown_environment_is_refused():
    with pytest.raises(ValueError, match="Unknown task 'wlak' of 'walker'"):
        sensor_layout("walker-wlak")


def test_a_set_up_without_inputs_is_refused():
    with pytest.raises(ValueError, match="leaves no input"):
        observation_setup("user_environments:Walk", "visual")


@pytest.mark.parametrize(
    ("name", "inputs"), [("Draws", ()), ("draws", ("image",)), ("Everything", ("camera",))]
)
def test_the_layout_has_the_images_that_an_environment_gives_or_draws(name, inputs):
    layout = sensor_layout(f"user_environments:{name}")
    assert tuple(sensor.name for sensor in layout if sensor.modality == "visual") == inputs


def test_set_ups_that_leave_inputs_are_named():
    """All that Meta-World's state holds counts as second order: the default set-up has nothing to read there."""
    with pytest.raises(ValueError, match="--config.setup=mdp, visual, full, real"):
        observation_setup("metaworld-push", "lpomdp")
