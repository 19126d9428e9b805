"""The tasks on DeepMind Control: those of the suite, and the papers' own with both published rewards.

AIME (v1) looks at the observation once, after the last simulator step of an agent step, and *replaces* the
reward by the result. AIME-v2 (v2) looks at the physics after every simulator step and sums.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# Simulator (control) steps per episode, the same in every domain of the suite.
EPISODE_STEPS = 1000

SUITE_TASKS: dict[str, tuple[str, ...]] = {
    "walker": ("stand", "walk", "run"),
    "cheetah": ("run",),
    "hopper": ("stand", "hop"),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "quadruped": ("walk", "run", "escape", "fetch"),
    "cartpole": ("balance", "balance_sparse", "swingup", "swingup_sparse"),
    "reacher": ("easy", "hard"),
    "ball_in_cup": ("catch",),
    "pendulum": ("swingup",),
    "humanoid": ("stand", "walk", "run"),
    "acrobot": ("swingup", "swingup_sparse"),
    "fish": ("upright", "swim"),
    "manipulator": ("bring_ball", "bring_peg", "insert_ball", "insert_peg"),
}
# Where AIME (v1) repeats actions other than twice; AIME-v2 always repeats twice.
_V1_ACTION_REPEATS = {"cartpole": 8, "reacher": 4, "ball_in_cup": 4}

Observation = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class CustomTask:
    """A task of the papers on top of one of the suite.

    Attributes:
      base: the suite's task whose dynamics, starts and observations it keeps.
      step_reward: v2, (physics, base reward of this simulator step) -> reward, summed over the repeat.
      last_reward: v1, (observation after the last simulator step, base reward summed over the repeat) ->
        reward; None for tasks that only AIME-v2 has, whose reward is `step_reward` in both versions.
      uses_base: whether the base reward matters; if not it is not computed.
      start: draws what the task varies in the model, (physics, random state) -> None, before each episode.
    """

    base: str
    step_reward: Callable[[Any, float], float]
    last_reward: Callable[[Observation, float], float] | None = None
    uses_base: bool = False
    start: Callable[[Any, np.random.RandomState], None] | None = None


def names() -> list[str]:
    """Returns all "domain-task" names."""
    suite_names = [f"{domain}-{task}" for domain, tasks in SUITE_TASKS.items() for task in tasks]
    return suite_names + [f"{domain}-{task}" for domain, tasks in CUSTOM_TASKS.items() for task in tasks]


def default_action_repeat(domain: str, reward_version: str) -> int:
    """Returns the published number of simulator steps per agent step."""
    return _V1_ACTION_REPEATS.get(domain, 2) if reward_version == "v1" else 2


def _unit(value: float) -> float:
    """Clips to [0, 1]."""
    return min(max(float(value), 0.0), 1.0)


def _forward_velocity(physics: Any) -> float:
    """m/s along x of the centre of mass of the torso's subtree."""
    return physics.named.data.sensordata["torso_subtreelinvel"][0]


def _upward_velocity(physics: Any) -> float:
    """m/s along z of the centre of mass of the torso's subtree."""
    return physics.named.data.sensordata["torso_subtreelinvel"][2]


def _angular_momentum(physics: Any) -> float:
    """kg m^2/s about y of the torso's subtree; up to date because the model has a subtree velocity sensor."""
    return physics.named.data.subtree_angmom["torso"][1]


def _spin(base: str, sign: float) -> CustomTask:
    """Somersaults: the pitch rate (v1) or angular momentum (v2), full reward at 5."""
    return CustomTask(
        base=base,
        last_reward=lambda observation, _: _unit(sign * observation["velocity"][2] / 5),
        step_reward=lambda physics, _: _unit(sign * _angular_momentum(physics) / 5),
    )


def _cheetah_backward() -> CustomTask:
    """Running backwards, full reward at 10 m/s."""
    return CustomTask(
        base="run",
        last_reward=lambda observation, _: _unit(-observation["velocity"][0] / 10),
        step_reward=lambda physics, _: _unit(-_forward_velocity(physics) / 10),
    )


def _walker_backward(target_speed: float) -> CustomTask:
    """Walking or running backwards upright, full reward at `target_speed` m/s.

    The published v1 reads velocity[0], which on the walker is the vertical joint (the model lists rootz
    before rootx): it rewards standing that sinks. Kept as published; v2 reads the forward velocity.
    """
    return CustomTask(
        base="stand",
        last_reward=lambda observation, stand: (
            stand * (5 * _unit(-observation["velocity"][0] / target_speed) + 1) / 6
        ),
        step_reward=lambda physics, stand: (
            stand * (5 * _unit(-_forward_velocity(physics) / target_speed) + 1) / 6
        ),
        uses_base=True,
    )


def _walker_jump() -> CustomTask:
    """Height of the torso over 5 m (v1), or standing while moving up, full reward at 2 m/s (v2)."""
    return CustomTask(
        base="stand",
        last_reward=lambda observation, _: _unit(observation["height"][0] / 5),
        step_reward=lambda physics, stand: stand * _unit(_upward_velocity(physics) / 2),
        uses_base=True,
    )


def _walker_colour(draw: Callable[[np.random.RandomState], float]) -> CustomTask:
    """Moving at 16 c - 8 m/s, where c in [0, 1] is the grey of the body, drawn at each start."""

    def start(physics: Any, random: np.random.RandomState) -> None:
        physics.named.model.mat_rgba["self", ["r", "g", "b"]] = draw(random)

    def step_reward(physics: Any, stand: float) -> float:
        target_speed = 16 * physics.named.model.mat_rgba["self", "r"] - 8
        return stand * (5 * max(1 - abs(_forward_velocity(physics) - target_speed) / 8, 0) + 1) / 6

    return CustomTask(base="stand", step_reward=step_reward, uses_base=True, start=start)


def _manipulator_dense(base: str, prop: str) -> CustomTask:
    """Mean of nearness of object and target, and of hand and object (full within 0.1 m)."""

    def step_reward(physics: Any, _: float) -> float:
        hand, thing, target = (physics.body_2d_pose(body)[:2] for body in ("hand", prop, f"target_{prop}"))
        at_target = 1 / (1 + 25 * np.linalg.norm(thing - target))
        in_hand = 1 / (1 + 25 * max(float(np.linalg.norm(hand - thing)) - 0.1, 0.0))
        return float(at_target + in_hand) / 2

    return CustomTask(base=base, step_reward=step_reward)


CUSTOM_TASKS: dict[str, dict[str, CustomTask]] = {
    "cheetah": {
        "runbackward": _cheetah_backward(),
        "flip": _spin("run", 1.0),
        "flipbackward": _spin("run", -1.0),
    },
    "walker": {
        "walkbackward": _walker_backward(1.0),
        "runbackward": _walker_backward(8.0),
        "flip": _spin("stand", 1.0),
        "flipbackward": _spin("stand", -1.0),
        "jump": _walker_jump(),
        "color_move_discrete": _walker_colour(lambda random: random.choice([0.0, 0.4375, 0.5, 0.5625, 1.0])),
        "color_move_continuous": _walker_colour(lambda random: random.uniform()),
    },
    "manipulator": {
        f"{base}_dense": _manipulator_dense(base, base.split("_")[1]) for base in SUITE_TASKS["manipulator"]
    },
}
