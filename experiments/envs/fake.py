"""A fake environment: no simulator, nothing to install, learnt in seconds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.envs.interface import (
    ArraySpec,
    Record,
    checked_action,
    checked_positive,
    checked_seed,
    image_size,
)

_DAMPING = 0.6  # share of the velocity that is kept per simulator step
_ACCELERATION = 0.1  # added velocity per simulator step at full action
_GOAL_RADIUS = 0.15
_DIAGONAL = float(np.sqrt(2.0))
_EPISODE_LENGTH = 25


def make(name: str, **options: Any) -> "FakePointMass":
    """Makes the environment; see `registry.make` for the options."""
    return FakePointMass(name, **options)


class FakePointMass:
    """A point with a little inertia that is pushed about a square; see `interface.Environment`.

    State: position and velocity, [2] each, position in [-1, 1]^2. Start: anywhere, at rest. Reward per
    simulator step: 1 minus the distance to the origin, over the half diagonal. Success: within 0.15 of the
    origin. No termination. Fully determined by the seed of the episode.
    """

    def __init__(
        self,
        name: str = "fake-pointmass",
        *,
        seed: int = 0,
        render_size: int | tuple[int, int] | None = None,
        camera: int | str | None = None,
        action_repeat: int | None = None,
        reward_version: str = "v1",
        episode_length: int | None = None,
        render_quality: str = "published",
    ):
        del camera, reward_version, render_quality  # one camera, one reward, no shadows
        self.name = name
        self.action_repeat = 1 if action_repeat is None else checked_positive("action_repeat", action_repeat)
        self.control_seconds = 0.05 * self.action_repeat
        self.action_spec = ArraySpec((2,), "float32", -1.0, 1.0)
        self.observation_spec = {
            "position": ArraySpec((2,), "float32"),
            "velocity": ArraySpec((2,), "float32"),
        }
        self._image_size = image_size(render_size)
        if self._image_size is not None:
            self.observation_spec["image"] = ArraySpec((*self._image_size, 3), "uint8", 0, 255)
        self._cut = {} if episode_length is None else {"episode_length": episode_length}
        self._length = (
            _EPISODE_LENGTH if episode_length is None else checked_positive("episode_length", episode_length)
        )
        self._seed: int | None = checked_seed(seed)
        self._random = np.random.default_rng(self._seed)
        self._seeded = True
        self._position, self._velocity = np.zeros(2), np.zeros(2)
        self._steps = self._length  # not running until the first reset

    def reset(self, seed: int | None = None) -> Record:
        """Starts an episode; the same seed starts the same episode, None continues the stream of seeds."""
        if seed is not None:
            self._seed = checked_seed(seed)
            self._random = np.random.default_rng(self._seed)
        elif not self._seeded:
            self._seed = None
        self._seeded = False
        self._position, self._velocity = self._random.uniform(-1.0, 1.0, 2), np.zeros(2)
        self._steps = 0
        return self._record(np.zeros(2, np.float32), 0.0)

    def step(self, action: np.ndarray) -> Record:
        """Pushes the point by an action [2]."""
        if self._steps >= self._length:
            raise ValueError(
                f"The episode of {self.name!r} is over or has not begun; call reset() before step()."
            )
        action = np.clip(checked_action(action, self.action_spec, self.name), -1.0, 1.0)
        reward = 0.0
        for _ in range(self.action_repeat):
            self._velocity = _DAMPING * self._velocity + _ACCELERATION * action
            self._position = np.clip(self._position + self._velocity, -1.0, 1.0)
            reward += 1.0 - float(np.linalg.norm(self._position)) / _DIAGONAL
        self._steps += 1
        return self._record(action, reward)

    def render(self, height: int = 64, width: int = 64, camera: int | str | None = None) -> np.ndarray:
        """Draws the point (white) and the origin (red) on black, uint8 [height, width, 3]; y points up."""
        del camera
        image = np.zeros((height, width, 3), np.uint8)
        scale = np.array([height - 1, width - 1]) / 2
        radius = max(1, min(height, width) // 16)
        for (x, y), colour in (((0.0, 0.0), (255, 0, 0)), (self._position, (255, 255, 255))):
            row, column = np.rint((np.array([-y, x]) + 1) * scale).astype(int)
            rows = slice(max(row - radius, 0), row + radius + 1)
            image[rows, max(column - radius, 0) : column + radius + 1] = colour
        return image

    def physics_state(self) -> np.ndarray:
        """Returns position, velocity and the number of steps taken, float64 [5]."""
        return np.concatenate([self._position, self._velocity, [self._steps]]).astype(np.float64)

    def set_physics_state(self, state: np.ndarray) -> None:
        """Returns to a state that `physics_state` gave."""
        state = np.asarray(state, np.float64)
        if state.shape != (5,):
            raise ValueError(
                f"A physics state of {self.name!r} has 5 numbers, got shape {list(state.shape)}."
            )
        self._position, self._velocity, self._steps = state[:2].copy(), state[2:4].copy(), int(state[4])

    def set_state_from_observation(self, observation: Mapping[str, np.ndarray]) -> None:
        """Sets the state that (predicted) sensors describe, to draw it: `position` [2], `velocity` [2] if known."""
        self._position = np.array(observation["position"], np.float64)
        self._velocity = np.array(observation.get("velocity", np.zeros(2)), np.float64)

    def metadata(self) -> dict[str, Any]:
        """Returns json-able facts about the environment and the present episode."""
        return {
            "environment": self.name,
            "suite": "fake",
            "seed": self._seed,
            "action_repeat": self.action_repeat,
            **self._cut,
            "control_seconds": self.control_seconds,
            "versions": {},
        }

    def close(self) -> None:
        """Has nothing to free."""

    def _record(self, action: np.ndarray, reward: float) -> Record:
        """The record of the present state."""
        record: Record = {
            "position": self._position.astype(np.float32),
            "velocity": self._velocity.astype(np.float32),
        }
        if self._image_size is not None:
            record["image"] = self.render(*self._image_size)
        record.update(
            pre_action=action,
            reward=reward,
            is_first=self._steps == 0,
            is_last=self._steps >= self._length,
            is_terminal=False,
            success=bool(np.linalg.norm(self._position) < _GOAL_RADIUS),
        )
        return record
