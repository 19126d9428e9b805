"""What all environments share: options, seeds, action repeat, the limit of an episode, records and drawing."""

import importlib.metadata
import math
from typing import Any, NamedTuple

import numpy as np

from experiments.envs import exogenous, rendering, variation
from experiments.envs.interface import (
    ArraySpec,
    Record,
    checked_action,
    checked_positive,
    checked_seed,
    image_size,
)
from experiments.envs.model_variation import ModelVariation


class Outcome(NamedTuple):
    """Result of one simulator step.

    Attributes:
      reward: earned by the step.
      success: None where the task does not define it.
      is_terminal: the episode ends in a state that has no future.
      is_over: the environment cuts the episode for another reason.
    """

    reward: float
    success: bool | None = None
    is_terminal: bool = False
    is_over: bool = False


class BaseEnvironment:
    """An environment but for its simulator; see `interface.Environment`.

    A subclass sets `observation_spec`, `action_spec` and `control_seconds` and defines `_begin`, `_advance` and
    `_sensors`; `render` and the two methods of the physics state where it has them. Rewards of an agent step are
    summed over its simulator steps, and it is a success if any of them is.

    Args:
      name: as in the registry.
      seed, render_size, camera, action_repeat, episode_length, render_quality: as for `registry.make`.
      default_repeat: action repeat where none is given.
      max_steps: simulator steps after which every episode is cut; None means never.
      repeats_itself: a simulator step repeats the action already.
    """

    suite = ""
    draws = False  # whether it can render
    packages: tuple[str, ...] = ()  # whose versions the metadata record
    factors: tuple[str, ...] = ()  # of `variation` that it knows; `_factors` has those of the episode
    observation_spec: dict[str, ArraySpec]
    action_spec: ArraySpec
    control_seconds: float

    def __init__(
        self,
        name: str,
        *,
        seed: int = 0,
        render_size: int | tuple[int, int] | None = None,
        camera: int | str | None = None,
        action_repeat: int | None = None,
        episode_length: int | None = None,
        render_quality: str = "published",
        default_repeat: int = 1,
        max_steps: int | None = None,
        repeats_itself: bool = False,
    ):
        self.name = name
        self.action_repeat = checked_positive(
            "action_repeat", default_repeat if action_repeat is None else action_repeat
        )
        self._repeat = 1 if repeats_itself else self.action_repeat
        self._max_steps = math.inf if max_steps is None else max_steps
        self._cut = {} if episode_length is None else {"episode_length": episode_length}
        if episode_length is not None:
            steps = checked_positive("episode_length", episode_length) * self._repeat
            self._max_steps = min(steps, self._max_steps)
        self._image_size, self._camera = image_size(render_size), camera
        self._render_quality = rendering.checked_quality(render_quality)
        self._seed: int | None = checked_seed(seed)
        self._action_bounds: tuple[Any, Any] = (-1.0, 1.0)
        self._begun, self._running, self._steps = False, False, 0
        self._factors: dict[str, Any] = {}
        self._factor_seed = self._seed
        self._exogenous: exogenous.ExogenousNoise | None = None

    def reset(self, seed: int | None = None) -> Record:
        """Starts an episode; the same seed starts the same episode, None continues the stream of seeds."""
        if seed is not None:
            self._seed = checked_seed(seed)
        elif self._begun:
            self._seed = None
        self._begun, self._running, self._steps = True, True, 0
        self._draw_factors()
        success = self._begin(self._seed)
        return self._record(np.zeros(self.action_spec.shape, np.float32), 0.0, success)

    def step(self, action: np.ndarray) -> Record:
        """Applies an action [A] for `action_repeat` simulator steps, or until the episode ends."""
        if not self._running:
            raise ValueError(
                f"The episode of {self.name!r} is over or has not begun; call reset() before step()."
            )
        action = checked_action(action, self.action_spec, self.name)
        action = np.minimum(np.maximum(action, self._action_bounds[0]), self._action_bounds[1])
        reward, success = 0.0, None
        for _ in range(self._repeat):
            outcome = self._advance(action)
            reward += outcome.reward
            if outcome.success is not None:
                success = bool(success) or outcome.success
            self._steps += 1
            self._running = not (outcome.is_terminal or outcome.is_over) and self._steps < self._max_steps
            if not self._running:
                break
        return self._record(action, reward, success, is_terminal=outcome.is_terminal)

    def render(self, height: int = 64, width: int = 64, camera: int | str | None = None) -> np.ndarray:
        """Raises ValueError: the environment draws nothing."""
        raise ValueError(f"{self.name!r} draws no images; leave image_size at None.")

    def physics_state(self) -> np.ndarray | None:
        """Returns None: there is no physics state."""
        return None

    def set_physics_state(self, state: np.ndarray) -> None:
        """Raises ValueError: there is no physics state."""
        raise ValueError(f"{self.name!r} has no physics state that could be set.")

    def metadata(self) -> dict[str, Any]:
        """Returns json-able facts about the environment and the present episode."""
        return {
            "environment": self.name,
            "suite": self.suite,
            "seed": self._seed,
            "action_repeat": self.action_repeat,
            **self._cut,
            **({"factors": self._factors} if self._factors else {}),
            "control_seconds": self.control_seconds,
            "versions": {name: importlib.metadata.version(name) for name in self.packages},
        }

    def close(self) -> None:
        """Frees what the simulator and the renderer hold."""

    def _draw_factors(self) -> None:
        """Draws what varies from the seed of the episode; without one, from a stream that follows the last seed."""
        if self._seed is None:
            self._factor_seed = int(np.random.SeedSequence([self._factor_seed]).generate_state(1)[0])
        else:
            self._factor_seed = self._seed
        self._factors = variation.drawn(self.name, self._factor_seed)
        if "exogenous" in self._factors:
            number = variation.num_exogenous(self.name)
            self._exogenous = exogenous.ExogenousNoise(number, self._factors["exogenous"])

    def _begin(self, seed: int | None) -> bool | None:
        """Starts an episode, from the stream of seeds if `seed` is None; returns whether it starts in success."""
        raise NotImplementedError

    def _advance(self, action: np.ndarray) -> Outcome:
        """Does one simulator step with a clipped action [A]."""
        raise NotImplementedError

    def _sensors(self) -> Record:
        """Returns the sensors of the present state but for the image that was asked for."""
        raise NotImplementedError

    def _total_reward(self, record: Record, reward: float) -> float:
        """Returns the reward of an agent step from its sensors and the sum over its simulator steps."""
        return reward

    def _checked_state(self, state: np.ndarray, size: int) -> np.ndarray:
        """Returns a physics state as float64 [size], or raises ValueError."""
        state = np.asarray(state, np.float64)
        if state.shape != (size,):
            raise ValueError(
                f"A physics state of {self.name!r} has {size} numbers, got shape {list(state.shape)}; "
                "was it recorded in another environment?"
            )
        return state

    def _completed(self, specs: dict[str, ArraySpec]) -> dict[str, ArraySpec]:
        """Adds the specs of exogenous noise, if the name asks for it, and of the image."""
        if number := variation.num_exogenous(self.name):
            specs = specs | {"exogenous": exogenous.spec(number)}
        if self._image_size is None:
            return specs
        return specs | {"image": ArraySpec((*self._image_size, 3), "uint8", 0, 255)}

    @property
    def _agent_steps(self) -> int:
        return -(-self._steps // self._repeat)

    def _with_exogenous(self, image: np.ndarray) -> np.ndarray:
        """Returns a picture of the present state with what moves by itself, uint8 [height, width, 3]."""
        return image if self._exogenous is None else self._exogenous.draw(image, self._agent_steps)

    def _record(
        self, action: np.ndarray, reward: float, success: bool | None, *, is_terminal: bool = False
    ) -> Record:
        """Returns the record of the present state."""
        record = self._sensors()
        if self._exogenous is not None:
            record["exogenous"] = self._exogenous.places(self._agent_steps)
        if self._image_size is not None and "image" not in record:
            record["image"] = self.render(*self._image_size)
        if self._steps:
            reward = self._total_reward(record, reward)
        record.update(
            pre_action=action,
            reward=float(reward),
            is_first=self._steps == 0,
            is_last=not self._running,
            is_terminal=is_terminal,
        )
        if success is not None:
            record["success"] = success
        return record


class MujocoEnvironment(BaseEnvironment):
    """An environment on MuJoCo: what draws, and what makes up a physics state.

    A subclass has a camera, and sets `_model`, `_data` (of the package mujoco) and `_arrays`, all that changes.
    """

    draws = True
    _model: Any
    _data: Any
    _arrays: dict[str, np.ndarray]
    _camera: int | str

    def __init__(self, name: str, **options: Any):
        super().__init__(name, **options)
        if self._image_size is not None:
            rendering.require_rendering()
        self._renderers: dict[tuple[int, int], rendering.Renderer] = {}
        self._variation: ModelVariation | None = None

    def render(self, height: int = 64, width: int = 64, camera: int | str | None = None) -> np.ndarray:
        """Returns the present state as uint8 [height, width, 3], by default from the published camera."""
        size: Any = image_size((height, width))
        if size not in self._renderers:
            self._renderers[size] = rendering.Renderer(self._model, *size, quality=self._render_quality)
        renderer = self._renderers[size]
        if self._variation is not None:
            texture = self._variation.draw_background(self._steps)
            if texture is not None:
                renderer.upload_texture(texture)
        return self._with_exogenous(renderer.render(self._data, self._camera if camera is None else camera))

    def metadata(self) -> dict[str, Any]:
        """Returns json-able facts about the environment and the present episode."""
        facts = super().metadata()
        if self._image_size is not None:
            facts["rendering"] = rendering.describe(self._image_size, self._camera, self._render_quality)
        return facts

    def close(self) -> None:
        """Frees the renderers."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _vary(self) -> None:
        """Gives the model the factors of the episode; to be called before the data are reset."""
        factors = {factor: value for factor, value in self._factors.items() if factor != "exogenous"}
        if not factors:
            return
        if self._variation is None:
            amounts = variation.split(self.name)[1]
            self._variation = ModelVariation(self.name, self._model, self._data, amounts)
        self._variation.apply(factors)

    def _restore(self, values: np.ndarray) -> None:
        """Copies the values of `_arrays` [P] into the simulator and derives the rest from them."""
        for forward in (
            self._forward,
            lambda: None,
        ):  # `forward` overwrites the warm start that it began from
            start = 0
            for array in self._arrays.values():
                array[...] = values[start : start + array.size].reshape(array.shape)
                start += array.size
            forward()

    def _forward(self) -> None:
        """Computes what follows from positions and velocities."""
        import mujoco

        mujoco.mj_forward(self._model, self._data)
