"""What an environment is: specs, records and the errors that users can cause."""

import dataclasses
from typing import Any, Protocol

import numpy as np

Record = dict[str, Any]


class EnvironmentFailure(RuntimeError):
    """A simulation diverged, or a worker process could not be kept alive."""


class MissingPackageError(ImportError):
    """The simulator of an environment is not installed."""


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """Shape, dtype and bounds of one array of a record.

    Attributes:
      shape: without time and batch axes.
      dtype: "float32" or "uint8".
      low, high: inclusive bounds of every element; None means unbounded.
    """

    shape: tuple[int, ...]
    dtype: str
    low: float | None = None
    high: float | None = None

    def validate(self, name: str, value: Any) -> None:
        """Raises ValueError unless `value` is an array of this shape and dtype."""
        shape, dtype = getattr(value, "shape", None), str(getattr(value, "dtype", type(value).__name__))
        if shape != self.shape or dtype != self.dtype:
            raise ValueError(
                f"Observation {name!r} is {dtype}{list(shape or ())}, the spec says "
                f"{self.dtype}{list(self.shape)}. Check the environment in experiments/envs."
            )


class Environment(Protocol):
    """One simulated episode at a time.

    Record t of an episode is what is known on arrival at time t: a dict of the sensors
    (float32 [d], images uint8 [y, x, 3]) and of
      pre_action: [A] float32, the action that led here (zeros in the first record),
      reward: float, earned by `pre_action` (0 in the first record),
      is_first, is_last, is_terminal: bool,
      success: bool, where the task defines it.
    N steps make N + 1 records.

    Attributes:
      name: as in the registry.
      observation_spec: {sensor: ArraySpec}.
      action_spec: ArraySpec([A], float32, -1, 1).
      action_repeat: simulator steps per agent step.
      control_seconds: simulated seconds per agent step.
      draws: optional, whether it can `render`.
      sensors: optional, of `sensors.Sensor`: which are velocities, and which are the robot's own.
    """

    name: str
    observation_spec: dict[str, ArraySpec]
    action_spec: ArraySpec
    action_repeat: int
    control_seconds: float

    def reset(self, seed: int | None = None) -> Record:
        """Starts an episode; the same seed starts the same episode, None continues the stream of seeds."""

    def step(self, action: np.ndarray) -> Record:
        """Applies an action [A] for one agent step; raises ValueError after the last record."""

    def render(self, height: int = 64, width: int = 64, camera: int | str | None = None) -> np.ndarray:
        """Returns the present state as uint8 [height, width, 3]."""

    def physics_state(self) -> np.ndarray | None:
        """Returns float64 [P], enough to render and continue from, or None if there is none."""

    def set_physics_state(self, state: np.ndarray) -> None:
        """Returns to a state that `physics_state` gave, perhaps in another process."""

    def metadata(self) -> dict[str, Any]:
        """Returns json-able facts: name, action repeat, seed, reward version, versions of the simulator."""

    def close(self) -> None:
        """Frees what the simulator and the renderer hold."""


def checked_action(action: Any, spec: ArraySpec, env_name: str) -> np.ndarray:
    """Returns the action as float32, or raises ValueError if it is misshapen or not finite."""
    array = np.asarray(action, dtype=np.float32)
    if array.shape != spec.shape:
        raise ValueError(
            f"Environment {env_name!r} takes actions of shape {list(spec.shape)}, got {list(array.shape)}; "
            "check the action size of the policy."
        )
    if not np.isfinite(array).all():
        raise ValueError(
            f"Environment {env_name!r} got an action that is not finite: {array.tolist()}; "
            "check the policy for NaN (a diverged run) before acting."
        )
    return array


def checked_seed(seed: Any) -> int:
    """Returns the seed as an int in [0, 2**32), or raises ValueError."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
        raise ValueError(f"A seed is an integer from 0 to 2**32 - 1, got {seed!r}.")
    return int(seed)


def checked_positive(name: str, value: Any) -> int:
    """Returns a positive integer option, or raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}.")
    return int(value)


def image_size(render_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Returns (height, width) of the image sensor for `render_size`, or None for no image."""
    if render_size is None:
        return None
    size = (render_size, render_size) if isinstance(render_size, (int, np.integer)) else tuple(render_size)
    if len(size) != 2 or any(int(edge) != edge or edge < 1 for edge in size):
        raise ValueError(f"render_size is an integer or (height, width) in pixels, got {render_size!r}.")
    return int(size[0]), int(size[1])
