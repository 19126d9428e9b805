"""Which sensors an environment has, and which of them a set-up gives to the model.

Names, order of derivative and type are those of the published configurations; sizes come from the specs.
"""

import dataclasses
from collections.abc import Mapping

from experiments.envs import registry, variation
from experiments.envs.interface import Environment


@dataclasses.dataclass(frozen=True)
class Sensor:
    """One sensor of an embodiment.

    Attributes:
      name: key in the records.
      modality: "tabular" (a vector) or "visual" (an image).
      order: "first" (positions and the like) or "second" (velocities).
      type: "internal" (the robot's own), "external" (of the scene), or None where the papers leave it open.
    """

    name: str
    modality: str = "tabular"
    order: str = "first"
    type: str | None = None


@dataclasses.dataclass(frozen=True)
class Setup:
    """Names of sensors: `inputs` are encoded, `targets` decoded, `probes` decoded without gradient."""

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    probes: tuple[str, ...] = ()


# Name of a set-up: what is read in it.
SETUPS = {
    "mdp": "all vectors",
    "lpomdp": "vectors without velocities",
    "pomdp": "vectors without velocities",
    "visual": "images alone",
    "exp": "vectors without velocities, of which all are predicted",
    "full": "everything",
    "real": "images and what the robot itself measures",
}

IMAGE = Sensor("image", "visual", "first", "external")
EXOGENOUS = Sensor("exogenous", "tabular", "first", "external")


def _tabular(first: str, second: str, external: str = "", internal: str = "") -> tuple[Sensor, ...]:
    """Sensors from space-separated names: of first and of second order, and those whose type is known."""
    types = dict.fromkeys(external.split(), "external") | dict.fromkeys(internal.split(), "internal")
    return tuple(
        Sensor(name, "tabular", order, types.get(name))
        for order, listed in (("first", first), ("second", second))
        for name in listed.split()
    )


# By domain (papers' sensor table), with what single tasks add to it by full name.
LAYOUTS: dict[str, tuple[Sensor, ...]] = {
    "walker": _tabular("orientations height", "velocity"),
    "cheetah": _tabular("position", "velocity"),
    "hopper": _tabular("position touch", "velocity"),
    "finger": _tabular("position touch", "velocity"),
    "quadruped": _tabular("egocentric_state torso_upright imu force_torque", "torso_velocity"),
    "cartpole": _tabular("position", "velocity"),
    "humanoid": _tabular("joint_angles head_height extremities torso_vertical", "com_velocity velocity"),
    "reacher": _tabular("position to_target", "velocity", external="to_target"),
    "ball_in_cup": _tabular("position", "velocity"),
    "pendulum": _tabular("orientation", "velocity"),
    "acrobot": _tabular("orientations", "velocity"),
    "fish": _tabular("joint_angles upright target", "velocity", external="target"),
    "manipulator": _tabular(
        "arm_pos touch hand_pos object_pos target_pos",
        "arm_vel object_vel",
        external="object_pos target_pos",
        internal="arm_pos touch hand_pos arm_vel object_vel",
    ),
    "fake": _tabular("position", "velocity"),
    "metaworld": _tabular("", "state"),
}
# The published tables leave these out, but the goal of the task cannot be seen without them.
TASK_SENSORS: dict[str, tuple[Sensor, ...]] = {
    "finger-turn_easy": _tabular("target_position dist_to_target", "", external="target_position"),
    "finger-turn_hard": _tabular("target_position dist_to_target", "", external="target_position"),
    "quadruped-escape": _tabular("origin rangefinder", ""),
    "quadruped-fetch": _tabular("ball_state target_position", "", external="ball_state"),
}
# Sensors of the domain that a task does not have.
ABSENT_SENSORS: dict[str, tuple[str, ...]] = {"fish-upright": ("target",)}


def sensor_layout(env_name: str) -> list[Sensor]:
    """Returns the sensors of an environment: tabular of first order, of second order, then the image.

    For names outside the tables (`gymnasium:Id`, `my.module:make_env`) the environment is made once; see `layout_of`.
    """
    registry.entry_point(env_name)  # raises for unknown names
    base = variation.base_name(env_name)
    domain = base.split("-", 1)[0]
    if ":" in env_name or domain not in LAYOUTS:
        environment = registry.make(env_name)
        try:
            return layout_of(environment)
        finally:
            environment.close()
    absent = ABSENT_SENSORS.get(base, ())
    tabular = [sensor for sensor in LAYOUTS[domain] if sensor.name not in absent]
    tabular += TASK_SENSORS.get(base, ())
    tabular += [EXOGENOUS] * (variation.num_exogenous(env_name) > 0)
    return sorted(tabular, key=lambda sensor: sensor.order) + [IMAGE]


def layout_of(environment: Environment) -> list[Sensor]:
    """Returns the layout of an environment: its own `sensors`, and of those that it does not list what the specs allow.

    These are visual if they are images, and tabular of first order if they are vectors, so that the default set-up
    gives them to the model. An environment that draws has the sensor `image`, which appears where images are asked for.
    """
    layout = {
        name: dataclasses.replace(IMAGE, name=name) if len(spec.shape) == 3 else Sensor(name)
        for name, spec in environment.observation_spec.items()
    }
    if getattr(environment, "draws", False):
        layout.setdefault("image", IMAGE)
    own = {sensor.name: sensor for sensor in getattr(environment, "sensors", ())}
    if own.keys() - layout.keys():
        raise ValueError(
            f"{environment.name!r} lists the sensors {', '.join(own)}, its observation_spec has {', '.join(layout)}; "
            "list those."
        )
    return list((layout | own).values())


def setup_of(config: Mapping, env_name: str, shapes: Mapping[str, tuple[int, ...]]) -> Setup:
    """Returns which sensors are inputs, targets and probes, as a config says.

    Args:
      config: `sensors`, and perhaps `targets` and `probes`: names with commas between them; without `targets` they are
        the inputs. With no `sensors` it is `setup`, as of `observation_setup`.
      env_name: as in the registry; "" where data are of no known environment, so that their sensors make the set-up.
      shapes: {sensor: [T, ...] in the data}. They may lack `image`, which is drawn only where it is asked for.

    Raises:
      ValueError: targets or probes without inputs, or as of `observation_setup`.
    """
    inputs, targets, probes = (
        tuple(name.strip() for name in config.get(key, "").split(",") if name.strip())
        for key in ("sensors", "targets", "probes")
    )
    if inputs:
        return Setup(inputs, targets or inputs, probes)
    if targets or probes:
        raise ValueError("targets and probes are named, and no inputs; name them too: --config.sensors=a,b.")
    if env_name:
        layout = [each for each in sensor_layout(env_name) if each.name in shapes or each.name != "image"]
        return _setup(layout, config["setup"], repr(env_name), everything=":" in env_name)
    layout = [
        dataclasses.replace(IMAGE, name=name) if len(shape) == 4 else Sensor(name)
        for name, shape in shapes.items()
    ]
    return _setup(layout, config["setup"], "the data", everything=True)


def observation_setup(env_name: str, setup: str) -> Setup:
    """Returns which sensors are inputs, targets and probes (AIME, table of observation set-ups).

    An environment of the user's own that has no vectors gives its images to the set-ups that ask for vectors.

    Args:
      env_name: as in the registry.
      setup: one of `SETUPS`.
    """
    if setup not in SETUPS:
        raise ValueError(f"Unknown observation set-up {setup!r}. Known: {', '.join(SETUPS)}.")
    return _setup(sensor_layout(env_name), setup, repr(env_name), everything=":" in env_name)


def _setup(layout: list[Sensor], setup: str, whose: str, *, everything: bool) -> Setup:
    """Divides a layout; `everything`: without vectors, the images take their place; `whose` it is, for messages."""
    if setup not in SETUPS:
        raise ValueError(f"Unknown observation set-up {setup!r}. Known: {', '.join(SETUPS)}.")
    tabular = [sensor.name for sensor in layout if sensor.modality == "tabular"]
    first = [sensor.name for sensor in layout if sensor.modality == "tabular" and sensor.order == "first"]
    second = [name for name in tabular if name not in first]
    visual = [sensor.name for sensor in layout if sensor.modality == "visual"]
    real = [sensor.name for sensor in layout if sensor.modality == "visual" or sensor.type == "internal"]
    names = [sensor.name for sensor in layout]
    if everything and not tabular:
        tabular = first = names
    setups = {
        "mdp": (tabular, tabular, []),
        "lpomdp": (first, first, second),
        "pomdp": (first, first, second),
        "visual": (visual, visual, [name for name in tabular if name not in visual]),
        "exp": (first, tabular, []),
        "full": (names, names, []),
        "real": (real, real, [name for name in names if name not in real]),
    }
    inputs, targets, probes = setups[setup]
    if not inputs:
        others = [name for name, (left, *_) in setups.items() if left]
        raise ValueError(
            f"Set-up {setup!r} leaves no input for {whose}, whose sensors are {', '.join(names)}; choose one "
            f"that does: --config.setup={', '.join(others)}."
        )
    return Setup(tuple(inputs), tuple(targets), tuple(probes))
