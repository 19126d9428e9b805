"""Gymnasium environments behind the one interface: `make("gymnasium:Pendulum-v1")`."""

import atexit
import importlib.metadata
import os
import weakref
from typing import Any

import numpy as np

from experiments.envs import rendering
from experiments.envs.interface import (
    ArraySpec,
    MissingPackageError,
    Record,
    checked_action,
    checked_positive,
    checked_seed,
    image_size,
)


def make(
    name: str, *, render_size: int | tuple[int, int] | None = None, **options: Any
) -> "GymnasiumEnvironment":
    """Makes "gymnasium:Id"; see `registry.make`, further options go to `gymnasium.make`."""
    try:
        import gymnasium
    except ImportError as error:
        raise MissingPackageError(
            f"Environment {name!r} needs gymnasium, which cannot be imported ({error}); "
            "install it with: pip install -e '.[metaworld]'"
        ) from error
    own = {key: options.pop(key) for key in ("seed", "action_repeat", "episode_length") if key in options}
    for ignored in ("camera", "reward_version"):
        options.pop(ignored, None)
    if options.pop("render_quality", "published") != "published":
        raise ValueError(f"{name!r} draws its own pictures; leave render_quality at 'published'.")
    if render_size is not None:
        options.setdefault("render_mode", "rgb_array")
        backend = rendering.find_backend()
        if backend is not None:  # for those that are built on MuJoCo
            os.environ.setdefault("MUJOCO_GL", backend)
    environment_id = name.partition(":")[2]
    try:
        environment = gymnasium.make(environment_id, **options)
    except gymnasium.error.Error as error:
        raise ValueError(f"gymnasium cannot make {environment_id!r}: {error}") from error
    return GymnasiumEnvironment(environment, name, render_size=render_size, **own)


class GymnasiumEnvironment:
    """A Gymnasium environment with a continuous action; see `interface.Environment`.

    A vector observation becomes the sensor `state`, an image `image`, a dict of these its keys. Actions in
    [-1, 1] are scaled to the bounds of the action space. `info["success"]` or `info["is_success"]`, if
    present after the reset, becomes `success`.
    """

    def __init__(
        self,
        environment: Any,
        name: str,
        *,
        seed: int = 0,
        render_size: int | tuple[int, int] | None = None,
        action_repeat: int | None = None,
        episode_length: int | None = None,
    ):
        """Wraps a `gymnasium.Env`."""
        self._close = weakref.finalize(self, _close, environment)
        self.name = name
        self._environment = environment
        self._seed: int | None = checked_seed(seed)
        self._seeded = True
        self.sensors = getattr(environment.unwrapped, "sensors", ())
        self.action_repeat = 1 if action_repeat is None else checked_positive("action_repeat", action_repeat)
        self._length = None if episode_length is None else checked_positive("episode_length", episode_length)
        self._image_size = image_size(render_size)
        self._low, self._high = _action_bounds(environment.action_space, name)
        self.action_spec = ArraySpec(self._low.shape, "float32", -1.0, 1.0)
        self.observation_spec = _observation_spec(environment.observation_space, name)
        if self._image_size is not None:
            self.observation_spec["image"] = ArraySpec((*self._image_size, 3), "uint8", 0, 255)
        frames_per_second = environment.metadata.get("render_fps") or 20
        self.control_seconds = self.action_repeat / float(frames_per_second)
        self._steps, self._running, self._success_key = 0, False, None
        self._close_at_exit = False

    def reset(self, seed: int | None = None) -> Record:
        """Starts an episode; the same seed starts the same episode, None continues the stream of seeds."""
        if seed is not None:
            self._seed, self._seeded = checked_seed(seed), True
        elif not self._seeded:
            self._seed = None
        self._seeded = False
        observation, info = self._environment.reset(seed=self._seed)
        self._steps, self._running = 0, True
        self._success_key = next((key for key in ("success", "is_success") if key in info), None)
        record = self._sensors(observation)
        record["pre_action"] = np.zeros(self.action_spec.shape, np.float32)
        record.update(reward=0.0, is_first=True, is_last=False, is_terminal=False)
        if self._success_key:
            record["success"] = bool(info[self._success_key])
        return record

    def step(self, action: np.ndarray) -> Record:
        """Applies an action [A] for `action_repeat` simulator steps, or until the episode ends."""
        if not self._running:
            raise ValueError(
                f"The episode of {self.name!r} is over or has not begun; call reset() before step()."
            )
        action = np.clip(checked_action(action, self.action_spec, self.name), -1.0, 1.0)
        scaled = self._low + (action + 1) / 2 * (self._high - self._low)
        reward, terminated, truncated, success = 0.0, False, False, False
        for _ in range(self.action_repeat):
            observation, step_reward, terminated, truncated, info = self._environment.step(
                scaled.astype(self._environment.action_space.dtype)
            )
            reward += float(step_reward)
            success = success or bool(info.get(self._success_key, False))
            if terminated or truncated:
                break
        self._steps += 1
        is_last = bool(terminated or truncated or self._steps == self._length)
        self._running = not is_last
        record = self._sensors(observation)
        record["pre_action"] = action
        record.update(reward=reward, is_first=False, is_last=is_last, is_terminal=bool(terminated))
        if self._success_key:
            record["success"] = success
        return record

    def render(self, height: int = 64, width: int = 64, camera: int | str | None = None) -> np.ndarray:
        """Returns the environment's own picture, resized to uint8 [height, width, 3]."""
        del camera
        if self._environment.render_mode != "rgb_array":
            raise ValueError(f"{self.name!r} was made without images; pass render_size to make it with them.")
        image = np.asarray(self._environment.render(), np.uint8)
        if not self._close_at_exit:
            self._close_at_exit = True
            atexit.register(self._close)  # registered after the driver's own, so called before it
        return _resized(image, height, width)

    def physics_state(self) -> None:
        """Gymnasium has no common physics state."""

    def set_physics_state(self, state: np.ndarray) -> None:
        """Raises ValueError."""
        raise ValueError(f"{self.name!r} has no physics state that could be set.")

    def metadata(self) -> dict[str, Any]:
        """Returns json-able facts about the environment and the present episode."""
        return {
            "environment": self.name,
            "suite": "gymnasium",
            "seed": self._seed,
            "action_repeat": self.action_repeat,
            **({} if self._length is None else {"episode_length": self._length}),
            "control_seconds": self.control_seconds,
            "versions": {"gymnasium": importlib.metadata.version("gymnasium")},
        }

    def close(self) -> None:
        """Closes the wrapped environment."""
        self._close()

    def _sensors(self, observation: Any) -> Record:
        """The sensors of an observation: vectors float32 [d], images uint8."""
        parts = observation if isinstance(observation, dict) else {"state": observation}
        record: Record = {}
        for key, value in parts.items():
            array = np.asarray(value)
            is_image = array.ndim == 3
            record["image" if is_image and key == "state" else key] = (
                np.array(array, np.uint8) if is_image else np.array(array, np.float32).reshape(-1)
            )
        if self._image_size is not None:
            record["image"] = self.render(*self._image_size)
        return record


def _close(environment: Any) -> None:
    """Closes a Gymnasium environment, and has those on MuJoCo free their renderer while OpenGL is alive."""
    environment.close()
    if hasattr(environment.unwrapped, "mujoco_renderer"):
        environment.unwrapped.mujoco_renderer = None


def _action_bounds(space: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Bounds [A] of the actions, float32; raises ValueError for actions that are not a bounded vector."""
    if getattr(space, "low", None) is None or len(space.shape) != 1:
        raise ValueError(
            f"{name!r} has the action space {space}; only a vector of continuous actions is supported."
        )
    low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{name!r} has unbounded actions ({space}); wrap it so that they are bounded.")
    return low, high


def _observation_spec(space: Any, name: str) -> dict[str, ArraySpec]:
    """Specs of the sensors of an observation space; raises ValueError where there is no vector or image."""
    parts = space.spaces if hasattr(space, "spaces") else {"state": space}
    specs = {}
    for key, part in parts.items():
        if getattr(part, "low", None) is None:
            raise ValueError(
                f"{name!r} has the observation {key!r} in {part}; only vectors and images are supported."
            )
        if len(part.shape) == 3:
            specs["image" if key == "state" else key] = ArraySpec(tuple(part.shape), "uint8", 0, 255)
        else:
            specs[key] = ArraySpec((int(np.prod(part.shape)),), "float32")
    return specs


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest-neighbour resize of [y, x, 3]."""
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    return np.ascontiguousarray(image[rows][:, columns])
