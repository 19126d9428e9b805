"""Gymnasium environments behind the one interface: `make("gymnasium:Pendulum-v1")`."""

import atexit
import os
import weakref
from typing import Any

import numpy as np

from experiments.envs import rendering
from experiments.envs.base import BaseEnvironment, Outcome
from experiments.envs.interface import ArraySpec, MissingPackageError, Record
from experiments.envs.spaces import ActionScale, sensors_of

_SUCCESS = ("success", "is_success")  # names in `info`


def make(
    name: str, *, render_size: int | tuple[int, int] | None = None, **options: Any
) -> "GymnasiumEnvironment":
    """Makes "gymnasium:Id"; see `registry.make`, further options go to `gymnasium.make`."""
    try:
        import gymnasium
    except ImportError as error:
        raise MissingPackageError(
            f"Environment {name!r} needs gymnasium, which cannot be imported ({error}); "
            "install it with: pip install -e '.[gymnasium]'"
        ) from error
    own = {key: options.pop(key) for key in ("seed", "action_repeat", "episode_length") if key in options}
    for ignored in ("camera", "reward_version"):
        options.pop(ignored, None)
    if options.pop("render_quality", "published") != "published":
        raise ValueError(f"{name!r} draws its own pictures; leave render_quality at 'published'.")
    if render_size is not None:
        options.setdefault("render_mode", "rgb_array")
    if options.get("render_mode") is not None:
        backend = rendering.find_backend()
        if backend is not None:  # for those that are built on MuJoCo
            os.environ.setdefault("MUJOCO_GL", backend)
    environment_id = name.partition(":")[2]
    try:
        environment = gymnasium.make(environment_id, **options)
    except gymnasium.error.Error as error:
        raise ValueError(f"gymnasium cannot make {environment_id!r}: {error}") from error
    return GymnasiumEnvironment(environment, name, render_size=render_size, **own)


class GymnasiumEnvironment(BaseEnvironment):
    """A Gymnasium environment with continuous actions; see `interface.Environment`.

    Sensors are those of `spaces.sensors_of`; actions in [-1, 1] are scaled to the bounds of the action space.
    `info["success"]` or `info["is_success"]` becomes `success`, from the first record on that has it.

    Raises:
      ValueError: it is not a single environment of Gymnasium's present interface, its spaces are not supported, or
        images are asked for and it draws none.
    """

    suite, packages = "gymnasium", ("gymnasium",)

    def __init__(self, environment: Any, name: str, *, repeats_itself: bool = False, **options: Any):
        """Wraps a `gymnasium.Env`.

        Args:
          environment: to be closed by this one.
          repeats_itself: its own step repeats the action `action_repeat` times.
          **options: see `base.BaseEnvironment`.
        """
        super().__init__(name, repeats_itself=repeats_itself, **options)
        self._close = weakref.finalize(self, _close, environment)
        self._closes_at_exit = False
        self._environment = environment
        self.sensors = getattr(getattr(environment, "unwrapped", environment), "sensors", ())
        if hasattr(environment, "num_envs"):
            raise ValueError(f"{name!r} gives several environments in one; make a single gymnasium.Env.")
        self._actions = ActionScale.of(environment.action_space, name)
        self.action_spec = ArraySpec(self._actions.low.shape, "float32", -1.0, 1.0)
        self._parts = sensors_of(environment.observation_space, name)
        self.observation_spec = {part.name: part.spec for part in self._parts}
        self._check_images()
        self.observation_spec = self._completed(self.observation_spec)
        frames_per_second = getattr(environment, "metadata", {}).get("render_fps") or 20
        self.control_seconds = self.action_repeat / float(frames_per_second)
        self._defines_success = False
        self._observation: Any = None

    @property
    def draws(self) -> bool:  # type: ignore[override]  # others know it beforehand
        """True if the environment draws itself, or would if it were made with `render_size`."""
        modes = getattr(self._environment, "metadata", {}).get("render_modes") or ()
        return self._can_render or (self.name.startswith("gymnasium:") and "rgb_array" in modes)

    @property
    def _can_render(self) -> bool:
        return getattr(self._environment, "render_mode", None) == "rgb_array"

    def render(self, height: int = 64, width: int = 64, camera: int | str | None = None) -> np.ndarray:
        """Returns the environment's own picture, resized to uint8 [height, width, 3]."""
        del camera
        if not self._can_render:
            raise ValueError(self._no_images())
        try:
            image = self._environment.render()
        except Exception as error:
            if type(error).__name__ != "DependencyNotInstalled":  # Gymnasium's, as of pygame
                raise
            raise MissingPackageError(f"{self.name!r} cannot draw: {error}") from error
        if not self._closes_at_exit:
            self._closes_at_exit = True
            atexit.register(self._close)  # registered after the driver's own, so called before it
        return rendering.resized(_picture(image, self.name), height, width)

    def metadata(self) -> dict[str, Any]:
        """Returns json-able facts about the environment and the present episode."""
        return {**super().metadata(), "action_bounds": self._actions.bounds()}

    def close(self) -> None:
        """Closes the wrapped environment."""
        self._close()

    def _check_images(self) -> None:
        """Raises ValueError if images are asked for that the environment does not give."""
        own = self.observation_spec.get("image")
        if self._image_size is None:
            return
        if own is None and not self._can_render:
            raise ValueError(self._no_images())
        if own is not None and own.shape != (*self._image_size, 3):
            raise ValueError(
                f"{self.name!r} has an `image` of its own, {list(own.shape)}, and images of "
                f"{list(self._image_size)} were asked for; leave image_size at None, or resize them with "
                "gymnasium.wrappers.ResizeObservation."
            )

    def _no_images(self) -> str:
        modes = getattr(self._environment, "metadata", {}).get("render_modes") or ()
        return (
            f"{self.name!r} was made with render_mode={getattr(self._environment, 'render_mode', None)!r}, with which "
            f"it draws no images (it knows: {', '.join(map(str, modes)) or 'none'}); make it with "
            'render_mode="rgb_array", or leave image_size at None.'
        )

    def _begin(self, seed: int | None) -> bool | None:
        result = self._environment.reset(seed=seed)
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
            raise ValueError(_older(self.name, "reset", "(observation, info)"))
        self._observation, info = result
        return self._success(info, 0)

    def _advance(self, action: np.ndarray) -> Outcome:
        result = self._environment.step(self._actions.to_space(action))
        if not (isinstance(result, tuple) and len(result) == 5 and isinstance(result[4], dict)):
            raise ValueError(_older(self.name, "step", "(observation, reward, terminated, truncated, info)"))
        self._observation, reward, terminated, truncated, info = result
        reward = np.asarray(reward)
        if reward.size != 1 or reward.dtype.kind not in "biuf" or not np.isfinite(reward).all():
            raise ValueError(
                f"The reward of {self._moment(self._steps + 1)} is {reward!r}, not a finite number."
            )
        return Outcome(reward.item(), self._success(info, self._steps + 1), bool(terminated), bool(truncated))

    def _sensors(self) -> Record:
        where = f"The observation of {self._moment(self._steps)}"
        return {part.name: part.read(self._observation, where) for part in self._parts}

    def _moment(self, step: int) -> str:
        """Returns when something happened, for messages."""
        seed = "" if self._seed is None else f" with seed {self._seed}"
        return f"{self.name!r} at {f'step {step}' if step else 'the reset'} of the episode{seed}"

    def _success(self, info: dict[str, Any], step: int) -> bool | None:
        """Returns whether the `info` of a step says that there is success; None as long as none has said anything."""
        said = [np.asarray(info[key]) for key in _SUCCESS if info.get(key) is not None]
        if not all(value.dtype.kind in "biuf" and np.isin(value, (0, 1)).all() for value in said):
            raise ValueError(f"The success of {self._moment(step)} is {said!r}, neither true nor false.")
        self._defines_success |= bool(said)
        return any(bool(value.any()) for value in said) if self._defines_success else None


def _older(name: str, method: str, expected: str) -> str:
    """Returns the sentence for an environment of an older interface."""
    return (
        f"{method}() of {name!r} returned no {expected}; it has another interface than Gymnasium's present one, for "
        "which the package shimmy has wrappers."
    )


def _close(environment: Any) -> None:
    """Closes a Gymnasium environment, and has those on MuJoCo free their renderer while OpenGL is alive."""
    environment.close()
    if hasattr(getattr(environment, "unwrapped", None), "mujoco_renderer"):
        environment.unwrapped.mujoco_renderer = None


def _picture(image: Any, name: str) -> np.ndarray:
    """Returns what an environment has drawn, uint8 [y, x, 3], or raises ValueError if it is something else."""
    pixels = np.asarray(image)
    in_range = pixels.dtype.kind in "iu" and pixels.size and pixels.min() >= 0 and pixels.max() <= 255
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or not in_range:
        raise ValueError(
            f"render() of {name!r} returned {type(image).__name__} of shape {list(pixels.shape)} and dtype "
            f"{pixels.dtype}; expected one picture of whole numbers from 0 to 255, [y, x, 3]."
        )
    return pixels.astype(np.uint8, copy=False)
