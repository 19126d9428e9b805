"""Meta-World (v3, fifty tasks) behind the one interface, with the wrapper that AIME-v2 published.

Sensor `state` [39]: hand, gripper and objects now (18), the same one simulator step ago (18), goal (3). Two simulator
steps per agent step, 200 per episode. metaworld is imported inside functions and without OpenGL.

What Meta-World leaves open is fixed here: the seed given to `reset` decides everything, whatever happened before
(Meta-World itself ignores it and draws from NumPy's global generator); the goal is visible; every episode draws a
new start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.envs import metaworld_starts, rendering, variation
from experiments.envs.base import MujocoEnvironment, Outcome
from experiments.envs.interface import ArraySpec, MissingPackageError, Record, checked_seed
from experiments.envs.metaworld_tasks import PREFIX, TASKS

EPISODE_STEPS = 200  # simulator steps, published
ACTION_REPEAT = 2  # published
CAMERA = "corner2"
CAMERA_POSITION = (0.75, 0.075, 0.7)  # published: closer than Meta-World puts it
STATE_SIZE = 39
_KEPT = "_target_to_obj_init"  # what bin-picking remembers of the first step of an episode, for its reward


class MetaWorldEnvironment(MujocoEnvironment):
    """One task of Meta-World; see `interface.Environment`. No task terminates.

    Args:
      name: "metaworld-<task>".
      reward_version: not used; Meta-World's own rewards ("v2" in its counting) are the only ones.
      camera: None means the published `corner2`, moved, and turned the right way up (Meta-World mounts it upside
        down). The images of the published data are probably mirrored besides: `mirrored=True`.
      goal_visible: False hides the goal: the last three numbers of `state` are 0 then.
      goal_seed: None draws a new start and goal for every episode, as published; a number gives every episode those
        of that seed.
      **options: of every environment; see `base.BaseEnvironment`.
    """

    suite, packages = "metaworld", ("metaworld", "mujoco")
    factors = tuple(factor for factor in variation.FACTORS if factor != "length")  # an arm of meshes

    def __init__(
        self,
        name: str,
        *,
        camera: int | str | None = None,
        reward_version: str = "v1",
        goal_visible: bool = True,
        goal_seed: int | None = None,
        mirrored: bool = False,
        **options: Any,
    ):
        del reward_version
        super().__init__(
            name,
            camera=CAMERA if camera is None else camera,
            default_repeat=ACTION_REPEAT,
            max_steps=EPISODE_STEPS,
            **options,
        )
        self._task = variation.base_name(name).removeprefix(PREFIX)
        self._task_id = TASKS.index(self._task)
        self._goal_seed = None if goal_seed is None else checked_seed(goal_seed)
        self._goal_visible, self._mirrored = goal_visible, mirrored
        self._env = _load(name, self._task, goal_visible)
        self._model, self._data = self._env.model, self._env.data
        self._model.camera(CAMERA).pos = CAMERA_POSITION
        self._built = {key: getattr(self._model, key).copy() for key in ("body_pos", "body_quat", "site_pos")}
        self.control_seconds = float(self._env.dt) * self.action_repeat
        self.action_spec = ArraySpec((4,), "float32", -1.0, 1.0)
        self.observation_spec = self._completed({"state": ArraySpec((STATE_SIZE,), "float32")})
        self._arrays = _state_arrays(self._data)
        self._start = np.zeros(self._env._random_reset_space.low.size)
        self._chosen: np.ndarray | None = None  # the start of the next episode, if it is not drawn
        self._state = np.zeros(STATE_SIZE)

    def reset_to(self, start: np.ndarray) -> Record:
        """Starts an episode from a start vector, as `metaworld_starts.start_of` finds it."""
        start = np.asarray(start, np.float64)
        if start.shape != self._start.shape:
            raise ValueError(
                f"A start of {self.name!r} has {self._start.size} numbers, got shape {list(start.shape)}."
            )
        self._chosen, self._begun = start, True
        try:
            return self.reset()
        finally:
            self._chosen = None

    def reset_from_observation(self, state: np.ndarray) -> Record:
        """Starts an episode whose first `state` is the given one, [39], for data that hold no physics states.

        Raises:
          ValueError: the first observation of this task does not determine how it starts.
        """
        return self.reset_to(metaworld_starts.start_of(self._task, np.asarray(state, np.float64)))

    def render(self, height: int = 64, width: int = 64, camera: int | str | None = None) -> np.ndarray:
        """Returns the present state as uint8 [height, width, 3], by default from the published camera."""
        image = super().render(height, width, camera)
        if (self._camera if camera is None else camera) == CAMERA:  # mounted upside down
            image = image[::-1] if self._mirrored else image[::-1, ::-1]
        return np.ascontiguousarray(image)

    def physics_state(self) -> np.ndarray:
        """Returns what `set_physics_state` needs to render and to continue exactly, float64 [P]."""
        parts = [array.ravel() for array in self._arrays.values()]
        kept = getattr(self._env, _KEPT, None)
        rest = [-1.0 if kept is None else kept, self._steps]
        return np.concatenate([self._start, self._env._prev_obs, *parts, rest])

    def set_physics_state(self, state: np.ndarray) -> None:
        """Returns to a state that `physics_state` gave, perhaps in another process."""
        state = self._checked_state(state, self.physics_state().size)
        start, previous, values = np.split(state, np.cumsum([self._start.size, 18]))
        if not self._running or not np.array_equal(start, self._start):
            self.reset_to(start)
        self._restore(values)
        self._env._prev_obs = previous.copy()
        setattr(self._env, _KEPT, None if state[-2] < 0 else float(state[-2]))
        self._steps = self._env.curr_path_length = int(state[-1])
        self._running = self._steps < self._max_steps

    def metadata(self) -> dict[str, Any]:
        """Returns json-able facts about the environment and the present episode."""
        return super().metadata() | {
            "task_id": self._task_id,
            "goal_visible": self._goal_visible,
            "mirrored": self._mirrored,
            "goal_seed": self._goal_seed,
        }

    def _draw_factors(self) -> None:
        """Draws what varies; who chooses the start of an episode stays in the body of the last one."""
        if self._chosen is None:
            super()._draw_factors()

    def _begin(self, seed: int | None) -> bool:
        """Starts from the chosen start vector, or from one drawn by the seeded generator of the simulator.

        The scene is set up twice, as Meta-World does: only the second time does everything that is derived from the
        start agree with it.
        """
        env = self._env
        seed = seed if self._goal_seed is None else self._goal_seed
        if seed is not None:
            env.seed(seed)
        for key, values in self._built.items():
            getattr(self._model, key)[...] = values
        self._vary()
        _mujoco().mj_resetData(self._model, self._data)
        _mujoco().mj_forward(self._model, self._data)
        env.curr_path_length, env._freeze_rand_vec = 0, False
        if self._chosen is None:
            env.reset_model()  # draws it
            self._start = np.array(env._last_rand_vec, np.float64)
        else:
            self._start = self._chosen
            _with_start(env, self._start, self.name, env.reset_model)
        self._state, _ = _with_start(env, self._start, self.name, env.reset)
        return False

    def _advance(self, action: np.ndarray) -> Outcome:
        self._state, reward, _, _, info = self._env.step(action)
        return Outcome(float(reward), bool(info["success"]))

    def _sensors(self) -> Record:
        return {"state": np.asarray(self._state, np.float32)}

    def _record(self, *args: Any, **flags: Any) -> Record:
        return super()._record(*args, **flags) | {"task_id": self._task_id}


def scripted_policy(name: str) -> Any:
    """Meta-World's scripted expert for a task: an object with `get_action(state [39]) -> [4]`."""
    with rendering.imported_without_gl():
        from metaworld.policies import ENV_POLICY_MAP
    policy: Any = ENV_POLICY_MAP[f"{variation.base_name(name).removeprefix(PREFIX)}-v3"]
    return policy()


def _load(name: str, task: str, goal_visible: bool) -> Any:
    """Meta-World's own environment, seeded by `seed()`, its goal visible or not."""
    try:
        with rendering.imported_without_gl():
            from metaworld.env_dict import ALL_V3_ENVIRONMENTS

            env = ALL_V3_ENVIRONMENTS[f"{task}-v3"]()
    except ImportError as error:
        raise MissingPackageError(
            f"Environment {name!r} needs metaworld, which cannot be imported ({error}); "
            "install it with: pip install -e '.[metaworld]'"
        ) from error
    env._partially_observable = not goal_visible
    del env.sawyer_observation_space  # made anew with the bounds of a visible or hidden goal
    env._set_task_called, env.seeded_rand_vec = True, True
    return env


def _with_start(env: Any, start: np.ndarray, name: str, set_up: Callable[[], Any]) -> Any:
    """Calls `set_up` with `start` in place of a random draw; what Meta-World would draw again is refused."""
    # `reset` sets the scene up once of its own and once by gymnasium.
    remaining = 2 if set_up == env.reset else 1

    def draw() -> np.ndarray:
        nonlocal remaining
        remaining -= 1
        if remaining < 0:
            raise ValueError(
                f"{name!r} never starts from {start.round(3).tolist()}: object and goal are too close."
            )
        return start.copy()

    env._get_state_rand_vec = draw
    try:
        return set_up()
    finally:
        del env._get_state_rand_vec


def _mujoco() -> Any:
    import mujoco

    return mujoco


def _state_arrays(data: Any) -> dict[str, np.ndarray]:
    """Views of what changes in the simulator."""
    keys = ("qpos", "qvel", "act", "ctrl", "mocap_pos", "mocap_quat", "qacc_warmstart")
    arrays = {key: getattr(data, key) for key in keys}
    return {key: array for key, array in arrays.items() if array.size}
