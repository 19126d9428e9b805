"""Small gymnasium environments as users write them; `user_environments:NAME` makes one, also in worker processes."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple


class Walk(gymnasium.Env):
    """A point on a line. Classes below change one thing each."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space = Box(-1, 1, (1,), np.float32)
    length = 5

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.x = 0, self.np_random.uniform(-1, 1, 2)
        return self.observe(), {}

    def observe(self):
        return self.x

    def reward(self):
        return 1.0

    def info(self):
        return {}

    def step(self, action):
        self.t += 1
        self.x = self.x + 0.1 * float(np.ravel(action)[0])
        return self.observe(), self.reward(), False, self.t >= self.length, self.info()


walk = Walk


class Images(Walk):
    """Gives a stripe, black on its left and white on its right, in whatever its space says is black and white."""

    def __init__(self, low=0.0, high=1.0, shape=(6, 8, 3), dtype=np.float32, values=None):
        self.observation_space = Box(low, high, shape, dtype)
        black, white = (low, high) if values is None else values
        stripe = np.full((6, 8, 3), black, np.float64)
        stripe[:, 4:] = white
        if len(shape) == 2:
            stripe = stripe[..., 0]
        elif shape[-1] == 1:
            stripe = stripe[..., :1]
        elif shape[0] in (1, 3):
            stripe = np.moveaxis(stripe[..., : shape[0]], -1, 0)
        self.image = stripe.astype(dtype)

    def observe(self):
        return self.image


class Strict(Walk):
    """Refuses what its action space does not contain, as many environments do, and remembers what it got."""

    def __init__(self, low=-0.1, high=0.1, shape=(1,), dtype=np.float64):
        self.action_space = Box(low, high, shape, dtype)

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} ({action.dtype}) not in {self.action_space}"
        self.action = action
        return super().step(action)


class LateSuccess(Walk):
    """Says only at the end whether there was success, as gymnasium-robotics does; there is in odd episodes."""

    episode = -1

    def reset(self, **options):
        self.episode += 1
        return super().reset(**options)

    def info(self):
        return {"is_success": np.array([self.episode % 2 == 1])} if self.t >= self.length else {}


class OnlySuccess(LateSuccess):
    """Says nothing where there is none."""

    def info(self):
        return {"success": True} if self.t == 2 and self.episode % 2 else {}


class Everything(Walk):
    """Has every supported space, nested, and sensors that are named like parts of the records."""

    observation_space = Dict(
        {
            "arm": Dict({"pos": Box(-9, 9, (2,)), "grip": Discrete(3, start=1)}),
            "pair": Tuple([MultiBinary(2), MultiDiscrete([2, 3])]),
            "reward": Box(-9, 9, (2, 2)),
            "camera": Box(0, 255, (4, 5, 3), np.uint8),
        }
    )

    def observe(self):
        return {
            "arm": {"pos": self.x.astype(np.float32), "grip": 3},
            "pair": (np.array([1, 0], np.int8), np.array([1, 2])),
            "reward": np.arange(4, dtype=np.float32).reshape(2, 2),
            "camera": np.full((4, 5, 3), 7, np.uint8),
        }


class RewardArray(Walk):
    def reward(self):
        return np.array([2.5])


class Draws(Walk):
    """Draws itself; has no physics state."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode=None, picture=None):
        self.render_mode, self.picture = render_mode, picture

    def render(self):
        if self.picture is not None:
            return self.picture
        image = np.zeros((8, 8, 3), np.uint8)
        image[:, self.t] = 255
        return image


def draws():
    return Draws("rgb_array")


def draws_with_options(**options):
    return Draws("rgb_array")


class Repeats(Walk):
    """Repeats its action itself."""

    def __init__(self, action_repeat=1):
        self.action_repeat = action_repeat

    def reward(self):
        return float(self.action_repeat)


def repeats(action_repeat=1):
    return Repeats(action_repeat)


class Never(Walk):
    length = 10**9


class Robot(Walk):
    """A goal environment as users have them: a nested Dict with a camera, early termination, success in `info`."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
    observation_space = Dict(
        {
            "arm": Dict({"pos": Box(-9, 9, (2,)), "mode": Discrete(3)}),
            "camera": Box(0, 255, (8, 8, 3), np.uint8),
            "desired_goal": Box(-9, 9, (2,)),
        }
    )
    action_space = Box(-2, 2, (2,), np.float32)
    render_mode = "rgb_array"
    length = 10

    def observe(self):
        camera = np.zeros((8, 8, 3), np.uint8)
        camera[tuple(np.clip(np.rint(self.x + 4), 0, 7).astype(int))] = 255
        arm = {"pos": self.x.astype(np.float32), "mode": self.t % 3}
        return {"arm": arm, "camera": camera, "desired_goal": np.zeros(2, np.float32)}

    def step(self, action):
        self.t, self.x = self.t + 1, self.x + 0.3 * action
        distance = float(np.linalg.norm(self.x))
        return (
            self.observe(),
            -distance,
            distance > 2.0,
            self.t >= self.length,
            {"is_success": distance < 0.5},
        )

    def render(self):
        return np.repeat(np.repeat(self.observe()["camera"], 8, axis=0), 8, axis=1)


class Buttons(Robot):
    action_space = Discrete(4)
