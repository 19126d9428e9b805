"""DeepMind Control: the suite and the papers' own tasks behind the one interface.

dm_control is imported inside functions and without OpenGL; images come from `rendering.Renderer`.
"""

import importlib.metadata
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.envs import dmc_tasks, rendering
from experiments.envs.interface import (
    ArraySpec,
    EnvironmentFailure,
    MissingPackageError,
    Record,
    checked_action,
    checked_positive,
    checked_seed,
    image_size,
)

# What a domain or a task draws at random in the *model* at each start: (array, kind and name of its element).
# quadruped-escape's terrain is missing here: it is drawn anew by `reset` from the episode's seed.
_RANDOM_MODEL = {
    "reacher": (("geom_pos", "GEOM", "target"),),
    "fish": (("geom_pos", "GEOM", "target"),),
    "finger": (("site_pos", "SITE", "target"),),
    "walker-color_move_discrete": (("mat_rgba", "MATERIAL", "self"),),
    "walker-color_move_continuous": (("mat_rgba", "MATERIAL", "self"),),
    "manipulator": tuple(
        (array, "BODY", body)
        for body in ("target_ball", "target_peg", "cup", "slot")
        for array in ("body_pos", "body_quat")
    ),
}
# Published camera of the image sensor, where it is not 0.
_CAMERAS = {"quadruped": 2}


def make(name: str, **options: Any) -> "DMCEnvironment":
    """Makes the environment "domain-task"; see `registry.make` for the options."""
    return DMCEnvironment(name, **options)


class DMCEnvironment:
    """One task of DeepMind Control; see `interface.Environment`.

    Actions are clipped to the simulator's own limits (narrower than [-1, 1] only for quadruped), and
    `pre_action` is the clipped action, as published. `physics_state` holds positions, velocities,
    activations, controls, warm start, what the task drew at random in the model, and the time.
    """

    def __init__(
        self,
        name: str,
        *,
        seed: int = 0,
        render_size: int | tuple[int, int] | None = None,
        camera: int | str | None = None,
        action_repeat: int | None = None,
        reward_version: str = "v1",
        episode_length: int | None = None,
        render_quality: str = "published",
    ):
        self.name = name
        domain, task = name.split("-", 1)
        self._custom = dmc_tasks.CUSTOM_TASKS.get(domain, {}).get(task)
        self._reward_version = reward_version
        self._last_reward = self._custom.last_reward if self._custom and reward_version == "v1" else None
        self._seed: int | None = checked_seed(seed)
        self._image_size = image_size(render_size)
        self._camera = _CAMERAS.get(domain, 0) if camera is None else camera
        self._render_quality = rendering.checked_quality(render_quality)
        if action_repeat is None:
            action_repeat = dmc_tasks.default_action_repeat(domain, reward_version)
        self.action_repeat = checked_positive("action_repeat", action_repeat)
        self._max_simulator_steps = dmc_tasks.EPISODE_STEPS
        self._cut = {} if episode_length is None else {"episode_length": episode_length}
        if episode_length is not None:
            steps = checked_positive("episode_length", episode_length) * self.action_repeat
            self._max_simulator_steps = min(steps, self._max_simulator_steps)
        if self._image_size is not None:
            rendering.require_rendering()
        environment = _load(name, domain, self._custom.base if self._custom else task, self._seed)
        self._physics, self._task = environment.physics, environment.task
        self._control_seconds = float(environment.control_timestep())
        self.control_seconds = self._control_seconds * self.action_repeat
        self._substeps = round(self._control_seconds / self._physics.timestep())
        bounds = environment.action_spec()
        self._action_low = bounds.minimum.astype(np.float32)
        self._action_high = bounds.maximum.astype(np.float32)
        self.action_spec = ArraySpec(tuple(bounds.shape), "float32", -1.0, 1.0)
        self._state_arrays = _state_arrays(self._physics, name, domain)
        self._state_size = sum(array.size for array in self._state_arrays.values()) + 1
        self._seeded = True
        self._running = False
        self._simulator_steps = 0
        self._renderers: dict[tuple[int, int], rendering.Renderer] = {}
        self.observation_spec = self._make_observation_spec(environment)

    def reset(self, seed: int | None = None) -> Record:
        """Starts an episode; the same seed starts the same episode, None continues the stream of seeds."""
        if seed is not None:
            self._seed = checked_seed(seed)
            self._task.random.seed(self._seed)
        elif not self._seeded:
            self._seed = None
        self._seeded = False
        if self._custom is not None and self._custom.start is not None:
            self._custom.start(self._physics, self._task.random)
        with self._physics.reset_context():
            self._task.initialize_episode(self._physics)
        self._simulator_steps = 0
        self._running = True
        record = self._sensors()
        record["pre_action"] = np.zeros(self.action_spec.shape, np.float32)
        record.update(reward=0.0, is_first=True, is_last=False, is_terminal=False)
        return record

    def step(self, action: np.ndarray) -> Record:
        """Applies an action [A] for `action_repeat` simulator steps, or until the episode ends."""
        if not self._running:
            raise ValueError(
                f"The episode of {self.name!r} is over or has not begun; call reset() before step()."
            )
        action = checked_action(action, self.action_spec, self.name)
        action = np.minimum(np.maximum(action, self._action_low), self._action_high)
        reward, discount = self._advance(action)
        self._running = discount is None
        record = self._sensors()
        if self._last_reward is not None:
            reward = self._last_reward(record, reward)
        record["pre_action"] = action
        record.update(
            reward=float(reward), is_first=False, is_last=discount is not None, is_terminal=discount == 0.0
        )
        return record

    def render(self, height: int = 64, width: int = 64, camera: int | str | None = None) -> np.ndarray:
        """Returns the present state as uint8 [height, width, 3], by default from the published camera."""
        size = image_size((height, width))
        if size not in self._renderers:
            model = self._physics.model.ptr
            self._renderers[size] = rendering.Renderer(model, *size, quality=self._render_quality)
        return self._renderers[size].render(
            self._physics.data.ptr, self._camera if camera is None else camera
        )

    def physics_state(self) -> np.ndarray:
        """Returns float64 [P]; `metadata()["physics_layout"]` names its parts."""
        return np.concatenate([*map(np.ravel, self._state_arrays.values()), (self._physics.data.ptr.time,)])

    def set_physics_state(self, state: np.ndarray) -> None:
        """Returns to a state that `physics_state` gave: it can be rendered, and stepping on is exact."""
        state = np.asarray(state, np.float64)
        if state.shape != (self._state_size,):
            raise ValueError(
                f"A physics state of {self.name!r} has {self._state_size} numbers, got shape "
                f"{list(state.shape)}; was it recorded in another environment?"
            )
        data = self._physics.data.ptr
        data.time = state[-1]
        self._write_state(state)
        self._physics.forward()
        self._write_state(state)  # again, because `forward` overwrites the warm start that it began from
        self._simulator_steps = round(data.time / self._control_seconds)
        self._running = self._simulator_steps < self._max_simulator_steps

    def set_state_from_observation(self, observation: Mapping[str, np.ndarray]) -> None:
        """Sets the state that (predicted) sensors describe, to draw it; published for cheetah only.

        Args:
          observation: `position` [8], and `velocity` [9] if known; the cheetah is put at x = 0.
        """
        if not self.name.startswith("cheetah-"):
            raise ValueError(
                f"The sensors of {self.name!r} do not determine its state; draw stored physics states."
            )
        self._physics.data.qpos[:] = np.concatenate([[0.0], observation["position"]])
        self._physics.data.qvel[:] = observation.get("velocity", 0.0)
        self._physics.forward()

    def metadata(self) -> dict[str, Any]:
        """Returns json-able facts about the environment and the present episode."""
        images = (self._image_size, self._camera, self._render_quality)
        return {
            "environment": self.name,
            "suite": "dmc",
            "seed": self._seed,
            "action_repeat": self.action_repeat,
            **self._cut,
            "control_seconds": self.control_seconds,
            "reward_version": self._reward_version,
            "physics_layout": {name: array.size for name, array in self._state_arrays.items()} | {"time": 1},
            "versions": {name: importlib.metadata.version(name) for name in ("dm_control", "mujoco")},
        } | ({"rendering": rendering.describe(*images)} if self._image_size else {})

    def close(self) -> None:
        """Frees the renderers."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _write_state(self, state: np.ndarray) -> None:
        """Copies a checked physics state into the simulator."""
        start = 0
        for array in self._state_arrays.values():
            array[...] = state[start : start + array.size].reshape(array.shape)
            start += array.size

    def _advance(self, action: np.ndarray) -> tuple[float, float | None]:
        """Steps the simulator; returns the summed reward and the discount, None while the episode goes on."""
        physics, task, custom = self._physics, self._task, self._custom
        base_matters = custom is None or custom.uses_base
        reward, discount = 0.0, None
        for _ in range(self.action_repeat):
            try:
                task.before_step(action, physics)
                physics.step(self._substeps)
                task.after_step(physics)
            except _physics_error() as error:
                raise EnvironmentFailure(f"The simulation of {self.name!r} diverged: {error}") from error
            step_reward = task.get_reward(physics) if base_matters else 0.0
            if custom is not None and self._last_reward is None:
                step_reward = custom.step_reward(physics, step_reward)
            reward += step_reward
            self._simulator_steps += 1
            at_limit = self._simulator_steps >= self._max_simulator_steps
            discount = 1.0 if at_limit else task.get_termination(physics)
            if discount is not None:
                break
        return reward, discount

    def _sensors(self) -> Record:
        """The sensors of the present state: vectors float32 [d] and, if asked for, the image."""
        observation = self._task.get_observation(self._physics)
        record = {name: np.array(value, np.float32).reshape(-1) for name, value in observation.items()}
        if self._physics_hides_sensors:
            record = {name: value for name, value in record.items() if value.size}
        if self._image_size is not None:
            record["image"] = self.render(*self._image_size)
        return record

    def _make_observation_spec(self, environment: Any) -> dict[str, ArraySpec]:
        """Specs of the sensors; empty ones are dropped."""
        sizes = {name: int(np.prod(spec.shape)) for name, spec in environment.observation_spec().items()}
        self._physics_hides_sensors = 0 in sizes.values()
        specs = {name: ArraySpec((size,), "float32") for name, size in sizes.items() if size}
        if self._image_size is not None:
            specs["image"] = ArraySpec((*self._image_size, 3), "uint8", 0, 255)
        return specs


def _load(name: str, domain: str, task: str, seed: int) -> Any:
    """Loads a task of the suite as a dm_control environment."""
    try:
        with rendering.imported_without_gl():
            from dm_control import suite
    except ImportError as error:
        raise MissingPackageError(
            f"Environment {name!r} needs dm_control, which cannot be imported ({error}); "
            "install it with: pip install -e '.[dmc]'"
        ) from error
    environment = suite.load(domain, task, task_kwargs={"random": seed})
    if domain == "quadruped":
        environment.physics.__class__ = _quadruped_physics()
    return environment


def _quadruped_physics() -> type:
    """The quadruped's physics without its assumptions: a renderer for the terrain, a NumPy before 2.4."""
    from dm_control.suite import quadruped

    class QuadrupedPhysics(quadruped.Physics):
        contexts = None  # the terrain is uploaded by our own renderer

        def _get_sensor_names(self, *sensor_types: Any) -> list[str]:
            if sensor_types not in self._sensor_types_to_names:
                ids = np.flatnonzero(np.isin(self.model.sensor_type, sensor_types))
                self._sensor_types_to_names[sensor_types] = [self.model.id2name(i, "sensor") for i in ids]
            return self._sensor_types_to_names[sensor_types]

    return QuadrupedPhysics


def _physics_error() -> type[Exception]:
    """dm_control's error for a diverged simulation."""
    from dm_control.rl.control import PhysicsError

    return PhysicsError


def _state_arrays(physics: Any, name: str, domain: str) -> dict[str, np.ndarray]:
    """Views of all that makes up a physics state but for the time."""
    import mujoco

    data, model = physics.data.ptr, physics.model.ptr
    arrays = {key: getattr(data, key) for key in ("qpos", "qvel", "act", "ctrl", "qacc_warmstart")}
    for array, kind, element in _RANDOM_MODEL.get(name, _RANDOM_MODEL.get(domain, ())):
        index = mujoco.mj_name2id(model, getattr(mujoco.mjtObj, f"mjOBJ_{kind}").value, element)
        if index >= 0:  # not every task's model has it
            arrays[f"{array}/{element}"] = getattr(model, array)[index]
    return {key: array for key, array in arrays.items() if array.size}
