"""A fake environment: no simulator, nothing to install, learnt in seconds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.envs.base import BaseEnvironment, Outcome
from experiments.envs.interface import ArraySpec, Record

_DAMPING = 0.6  # share of the velocity that is kept per simulator step
_ACCELERATION = 0.1  # added velocity per simulator step at full action
_GOAL_RADIUS = 0.15
_DIAGONAL = float(np.sqrt(2.0))
_EPISODE_LENGTH = 25


class FakePointMass(BaseEnvironment):
    """A point with a little inertia that is pushed about a square; see `interface.Environment`.

    State: position and velocity, [2] each, position in [-1, 1]^2. Start: anywhere, at rest. Reward per
    simulator step: 1 minus the distance to the origin, over the half diagonal. Success: within 0.15 of the
    origin. No termination, 25 agent steps. Fully determined by the seed of the episode. A mass
    divides the push, a friction is an exponent of the share of the velocity that is kept.
    """

    suite, draws, factors = "fake", True, ("mass", "friction", "exogenous")

    def __init__(
        self,
        name: str = "fake-pointmass",
        *,
        reward_version: str = "v1",
        episode_length: int | None = None,
        **options: Any,
    ):
        del reward_version  # one reward
        super().__init__(name, episode_length=episode_length, **options)
        if episode_length is None:
            self._max_steps = _EPISODE_LENGTH * self.action_repeat
        self.control_seconds = 0.05 * self.action_repeat
        self.action_spec = ArraySpec((2,), "float32", -1.0, 1.0)
        vector = ArraySpec((2,), "float32")
        self.observation_spec = self._completed({"position": vector, "velocity": vector})
        self._random = np.random.default_rng(self._seed)
        self._position, self._velocity = np.zeros(2), np.zeros(2)

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
        return self._with_exogenous(image)

    def physics_state(self) -> np.ndarray:
        """Returns position, velocity and the number of agent steps taken, float64 [5]."""
        steps = self._steps // self.action_repeat
        return np.concatenate([self._position, self._velocity, [steps]]).astype(np.float64)

    def set_physics_state(self, state: np.ndarray) -> None:
        """Returns to a state that `physics_state` gave."""
        state = self._checked_state(state, 5)
        self._position, self._velocity = state[:2].copy(), state[2:4].copy()
        self._steps = int(state[4]) * self.action_repeat
        self._running = self._steps < self._max_steps

    def set_state_from_observation(self, observation: Mapping[str, np.ndarray]) -> None:
        """Sets the state that (predicted) sensors describe, to draw it: `position` [2], `velocity` [2] if known."""
        self._position = np.array(observation["position"], np.float64)
        self._velocity = np.array(observation.get("velocity", np.zeros(2)), np.float64)

    def _begin(self, seed: int | None) -> bool:
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._position, self._velocity = self._random.uniform(-1.0, 1.0, 2), np.zeros(2)
        return self._at_the_origin()

    def _advance(self, action: np.ndarray) -> Outcome:
        mass, friction = (self._factors.get(name, 1.0) for name in ("mass", "friction"))
        self._velocity = _DAMPING**friction * self._velocity + _ACCELERATION / mass * action
        self._position = np.clip(self._position + self._velocity, -1.0, 1.0)
        reward = 1.0 - float(np.linalg.norm(self._position)) / _DIAGONAL
        return Outcome(reward, self._at_the_origin())

    def _sensors(self) -> Record:
        return {
            "position": self._position.astype(np.float32),
            "velocity": self._velocity.astype(np.float32),
        }

    def _at_the_origin(self) -> bool:
        return bool(np.linalg.norm(self._position) < _GOAL_RADIUS)
