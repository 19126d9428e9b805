"""DeepMind Control: the suite and the papers' own tasks behind the one interface.

dm_control is imported inside functions and without OpenGL; images come from `rendering.Renderer`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.envs import dmc_tasks, rendering, variation
from experiments.envs.base import MujocoEnvironment, Outcome
from experiments.envs.interface import ArraySpec, EnvironmentFailure, MissingPackageError, Record

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


class DMCEnvironment(MujocoEnvironment):
    """One task of DeepMind Control; see `interface.Environment`.

    Actions are clipped to the simulator's own limits (narrower than [-1, 1] only for quadruped), and
    `pre_action` is the clipped action, as published. `physics_state` holds positions, velocities,
    activations, controls, warm start, what the task drew at random in the model, and the time.
    """

    suite, packages, factors = "dmc", ("dm_control", "mujoco"), variation.FACTORS

    def __init__(
        self, name: str, *, camera: int | str | None = None, reward_version: str = "v1", **options: Any
    ):
        base = variation.base_name(name)
        domain, task = base.split("-", 1)
        super().__init__(
            name,
            camera=_CAMERAS.get(domain, 0) if camera is None else camera,
            default_repeat=dmc_tasks.default_action_repeat(domain, reward_version),
            max_steps=dmc_tasks.EPISODE_STEPS,
            **options,
        )
        self._custom = dmc_tasks.CUSTOM_TASKS.get(domain, {}).get(task)
        self._reward_version = reward_version
        self._last_reward = self._custom.last_reward if self._custom and reward_version == "v1" else None
        environment = _load(name, domain, self._custom.base if self._custom else task, self._seed)
        self._physics, self._task = environment.physics, environment.task
        self._model, self._data = self._physics.model.ptr, self._physics.data.ptr
        self._step_seconds = float(environment.control_timestep())
        self.control_seconds = self._step_seconds * self.action_repeat
        self._substeps = round(self._step_seconds / self._physics.timestep())
        bounds = environment.action_spec()
        self._action_bounds = (bounds.minimum.astype(np.float32), bounds.maximum.astype(np.float32))
        self.action_spec = ArraySpec(tuple(bounds.shape), "float32", -1.0, 1.0)
        self._arrays = _state_arrays(self._model, self._data, base, domain)
        self._state_size = sum(array.size for array in self._arrays.values()) + 1
        sizes = {key: int(np.prod(spec.shape)) for key, spec in environment.observation_spec().items()}
        self._vectors = {key: ArraySpec((size,), "float32") for key, size in sizes.items() if size}
        self.observation_spec = self._completed(self._vectors)

    def physics_state(self) -> np.ndarray:
        """Returns float64 [P]; `metadata()["physics_layout"]` names its parts."""
        return np.concatenate([*map(np.ravel, self._arrays.values()), (self._data.time,)])

    def set_physics_state(self, state: np.ndarray) -> None:
        """Returns to a state that `physics_state` gave: it can be rendered, and stepping on is exact."""
        state = self._checked_state(state, self._state_size)
        self._data.time = state[-1]
        self._restore(state)
        self._steps = round(self._data.time / self._step_seconds)
        self._running = self._steps < self._max_steps

    def set_state_from_observation(self, observation: Mapping[str, np.ndarray]) -> None:
        """Sets the state that (predicted) sensors describe, to draw it; published for cheetah only.

        Args:
          observation: `position` [8], and `velocity` [9] if known; the cheetah is put at x = 0.
        """
        if not self.name.startswith("cheetah-"):
            raise ValueError(
                f"The sensors of {self.name!r} do not determine its state; draw stored physics states."
            )
        self._data.qpos[:] = np.concatenate([[0.0], observation["position"]])
        self._data.qvel[:] = observation.get("velocity", 0.0)
        self._forward()

    def metadata(self) -> dict[str, Any]:
        """Returns json-able facts about the environment and the present episode."""
        return super().metadata() | {
            "reward_version": self._reward_version,
            "physics_layout": {name: array.size for name, array in self._arrays.items()} | {"time": 1},
        }

    def _begin(self, seed: int | None) -> None:
        if seed is not None:
            self._task.random.seed(seed)
        self._vary()
        if self._custom is not None and self._custom.start is not None:
            self._custom.start(self._physics, self._task.random)
        with self._physics.reset_context():
            self._task.initialize_episode(self._physics)

    def _advance(self, action: np.ndarray) -> Outcome:
        physics, task, custom = self._physics, self._task, self._custom
        try:
            task.before_step(action, physics)
            physics.step(self._substeps)
            task.after_step(physics)
        except _physics_error() as error:
            raise EnvironmentFailure(f"The simulation of {self.name!r} diverged: {error}") from error
        reward = task.get_reward(physics) if custom is None or custom.uses_base else 0.0
        if custom is not None and self._last_reward is None:
            reward = custom.step_reward(physics, reward)
        discount = task.get_termination(physics)
        return Outcome(reward, is_terminal=discount == 0.0, is_over=discount is not None)

    def _total_reward(self, record: Record, reward: float) -> float:
        return reward if self._last_reward is None else self._last_reward(record, reward)

    def _sensors(self) -> Record:
        observation = self._task.get_observation(self._physics)
        return {name: np.array(observation[name], np.float32).reshape(-1) for name in self._vectors}

    def _forward(self) -> None:
        self._physics.forward()


def _load(name: str, domain: str, task: str, seed: int | None) -> Any:
    """Loads a task of the suite as a dm_control environment."""
    try:
        with rendering.imported_without_gl():
            from dm_control import suite
    except ImportError as error:
        raise MissingPackageError(
            f"Environment {name!r} needs dm_control, which cannot be imported ({error}); "
            "install it with: pip install -e '.[dmc]', in Python 3.11 or 3.12"
        ) from error
    environment = suite.load(domain, task, task_kwargs={"random": seed})
    if domain == "quadruped":
        environment.physics.__class__ = _quadruped_physics()
    return environment


def _quadruped_physics() -> type:
    """Returns the quadruped's physics without its assumptions: a renderer for the terrain, a NumPy before 2.4."""
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


def _state_arrays(model: Any, data: Any, name: str, domain: str) -> dict[str, np.ndarray]:
    """Returns views of all that makes up a physics state but for the time."""
    import mujoco

    arrays = {key: getattr(data, key) for key in ("qpos", "qvel", "act", "ctrl", "qacc_warmstart")}
    for array, kind, element in _RANDOM_MODEL.get(name, _RANDOM_MODEL.get(domain, ())):
        index = mujoco.mj_name2id(model, getattr(mujoco.mjtObj, f"mjOBJ_{kind}").value, element)
        if index >= 0:  # not every task's model has it
            arrays[f"{array}/{element}"] = getattr(model, array)[index]
    return {key: array for key, array in arrays.items() if array.size}
