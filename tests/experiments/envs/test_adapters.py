"""Gymnasium environments and users' own functions as environments."""

import sys
import textwrap

import numpy as np
import pytest

from agents.loop import collect_episodes, evaluate
from experiments.envs import registry
from experiments.envs.vector import VectorEnvironment

pytest.importorskip("gymnasium")

import gymnasium
import user_environments as users
from gymnasium.spaces import Box, Dict, Discrete, OneOf, Text

from experiments.envs.gymnasium_adapter import GymnasiumEnvironment
from experiments.envs.interface import MissingPackageError


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module `user_envs` with the given source, importable for the length of a test."""

    def write(source: str) -> None:
        (tmp_path / "user_envs.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "user_envs", raising=False)

    yield write
    sys.modules.pop("user_envs", None)


def test_a_gymnasium_environment_matches_its_specs_and_its_seed():
    environments = [
        registry.make("gymnasium:Pendulum-v1", action_repeat=2, episode_length=3) for _ in range(2)
    ]
    records = [environment.reset(seed=3) for environment in environments]
    np.testing.assert_array_equal(records[0]["state"], records[1]["state"])
    for step in range(3):
        record = environments[0].step(np.array([0.5]))
        for name, spec in environments[0].observation_spec.items():
            spec.validate(name, record[name])
        assert record["is_last"] == (step == 2)
    assert environments[0].metadata()["episode_length"] == 3


def test_actions_are_scaled_to_the_action_space():
    environment = registry.make("gymnasium:Pendulum-v1")
    environment.reset(seed=0)
    environment.step(np.array([1.0]))
    assert environment._environment.unwrapped.last_u == pytest.approx(2.0)  # the pendulum takes [-2, 2]
    assert environment.metadata()["action_bounds"] == {"low": [-2.0], "high": [2.0]}


def test_discrete_actions_are_refused():
    with pytest.raises(ValueError, match="only continuous actions are supported, so that nothing is played"):
        registry.make("gymnasium:CartPole-v1")


def test_an_unknown_gymnasium_id_is_refused():
    with pytest.raises(ValueError, match="gymnasium cannot make 'Pendulumm-v1'"):
        registry.make("gymnasium:Pendulumm-v1")


def test_a_function_may_return_our_interface(module):
    module("""
        from experiments.envs.fake import FakePointMass
        def make_env(seed, episode_length=None):
            return FakePointMass("mine", seed=seed, episode_length=episode_length)
    """)
    environment = registry.make("user_envs:make_env", seed=5, episode_length=1)
    start = environment.reset()["position"]
    np.testing.assert_array_equal(start, registry.make("fake-pointmass", seed=5).reset()["position"])
    assert environment.step(np.zeros(2))["is_last"]


def test_a_function_may_return_a_gymnasium_environment(module):
    module("""
        import gymnasium
        def make_env():
            return gymnasium.make("Pendulum-v1")
    """)
    environment = registry.make("user_envs:make_env", seed=2, action_repeat=3, episode_length=4)
    assert environment.action_repeat == 3
    again = registry.make("user_envs:make_env", seed=2)
    np.testing.assert_array_equal(environment.reset()["state"], again.reset()["state"])


def test_an_option_that_a_function_does_not_take_is_refused(module):
    module("""
        from experiments.envs.fake import FakePointMass
        def make_env():
            return FakePointMass("mine")
    """)
    with pytest.raises(ValueError, match="does not take action_repeat"):
        registry.make("user_envs:make_env", action_repeat=2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:make_env", "no module 'no_such_module'"),
        ("experiments.envs.fake:nothing", "has no 'nothing'"),
    ],
)
def test_a_wrong_path_says_what_is_missing(name, message):
    with pytest.raises(ValueError, match=message):
        registry.make(name)


# Observations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},  # float32 in [0, 1]
        {"dtype": np.float64},
        {"dtype": np.float16},
        {"low": -1.0},
        {"low": 0, "high": 255, "dtype": np.uint8},
        {"low": 0.0, "high": 255.0},
        {"low": 0, "high": 255, "dtype": np.int64},
        {"low": 0, "high": 1, "dtype": np.uint8},
        {"low": 0, "high": 1, "dtype": bool},
        {"shape": (3, 6, 8)},
        {"shape": (6, 8, 1)},
        {"shape": (1, 6, 8), "low": 0, "high": 255, "dtype": np.uint8},
        {"shape": (6, 8), "low": 0, "high": 255, "dtype": np.uint8},
        {"low": 0, "high": 65535, "dtype": np.uint16},
        {"low": -128, "high": 127, "dtype": np.int8},
    ],
)
def test_images_are_scaled_by_the_bounds_of_their_space(options):
    environment = GymnasiumEnvironment(users.Images(**options), "mine")
    environment.observation_spec["image"].validate("image", image := environment.reset(seed=0)["image"])
    assert image.shape == (6, 8, 3)
    assert (image[:, :4] == 0).all() and (image[:, 4:] == 255).all()


def test_grey_between_black_and_white_stays_between():
    image = GymnasiumEnvironment(users.Images(-1.0, 1.0, values=(0.0, 0.5)), "mine").reset()["image"]
    assert image[0, 0].tolist() == [128] * 3 and image[0, 7].tolist() == [191] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": -np.inf, "high": np.inf}, "do not say what black and white are"),
        ({"low": 0.0, "high": np.inf}, "do not say what black and white are"),
        ({"shape": (6, 8, 4)}, r"of shape \[6, 8, 4\], neither .* with 1 or 3 channels"),
        ({"shape": (4, 6, 8, 3)}, "with more axes than a picture has; leave stacks of frames out"),
    ],
)
def test_images_that_cannot_be_scaled_are_refused_before_anything_is_played(options, message):
    with pytest.raises(ValueError, match=f"'?mine'? has the observation .*{message}"):
        GymnasiumEnvironment(users.Images(**options), "mine")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": (0.0, 200.0)}, "values from 0 to 200, its space says 0 to 1"),
        ({"high": 255.0, "values": (0.0, 1.0)}, "black where its space says 0 to 255"),
    ],
)
def test_images_of_another_range_than_their_space_are_refused(options, message):
    with pytest.raises(ValueError, match=f"'mine' at the reset of the episode with seed 4 .*{message}"):
        GymnasiumEnvironment(users.Images(**options), "mine").reset(seed=4)


def test_nested_and_discrete_observations_become_sensors_and_reserved_names_are_changed():
    environment = registry.make("user_environments:Everything")
    record = environment.reset(seed=1)
    for name, spec in environment.observation_spec.items():
        spec.validate(name, record[name])
    assert record["arm_grip"].tolist() == [0, 0, 1]  # 3 of 1, 2, 3
    assert record["pair_0"].tolist() == [1, 0]
    assert record["pair_1"].tolist() == [0, 1, 0, 0, 1]
    assert record["observed_reward"].tolist() == [0, 1, 2, 3] and record["reward"] == 0.0
    assert (record["camera"] == 7).all()
    assert environment.step(np.zeros(1))["reward"] == 1.0


def test_a_matrix_of_other_numbers_than_bytes_is_a_vector():
    environment = users.Walk()
    environment.observation_space = Box(0, 1, (2, 3))
    environment.observe = lambda: np.arange(6, dtype=np.float32).reshape(2, 3) / 6
    state = GymnasiumEnvironment(environment, "mine").reset()["state"]
    np.testing.assert_allclose(state, np.arange(6) / 6, rtol=1e-6)


def test_a_discrete_observation_of_many_values_needs_no_square_of_them():
    environment = users.Walk()
    environment.observation_space, environment.observe = Discrete(10**6, start=-3), lambda: 7
    state = GymnasiumEnvironment(environment, "mine").reset()["state"]
    assert state.shape == (10**6,) and np.flatnonzero(state).tolist() == [10]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Dict({"words": Text(5)}), "'words' in Text"),
        (OneOf([Discrete(2), Box(0, 1, (2,))]), "in OneOf"),
        (Dict({}), "nothing to see"),
        (Dict({"a_b": Box(0, 1, (2,)), "a": Dict({"b": Box(0, 1, (2,))})}), "both be the sensor 'a_b'"),
    ],
)
def test_observation_spaces_that_are_no_sensors_are_refused(space, message):
    environment = users.Walk()
    environment.observation_space = space
    with pytest.raises(ValueError, match=message):
        GymnasiumEnvironment(environment, "mine")


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (np.zeros(3), r"shape \[3\] and dtype float64, its space says Box"),
        (np.zeros((1, 2)), r"shape \[1, 2\]"),
        (np.array(["a", "b"]), "dtype <U1"),
        (np.array([0.0, np.nan]), "NaN or infinite values in 'state'"),
        (np.array([0.0, 1e300]), "NaN or infinite values in 'state'"),
    ],
)
def test_an_observation_outside_its_space_is_told_with_step_and_seed(observation, message):
    environment = users.Walk()
    wrapped = GymnasiumEnvironment(environment, "mine")
    wrapped.reset(seed=9)
    environment.observe = lambda: observation
    with pytest.raises(ValueError, match=f"'mine' at step 1 of the episode with seed 9 .*{message}"):
        wrapped.step(np.zeros(1))


def test_a_key_that_an_observation_lacks_is_named():
    environment = users.Everything()
    environment.observe = lambda: {"arm": {}}
    with pytest.raises(ValueError, match="lacks 'grip', which its observation space has"):
        GymnasiumEnvironment(environment, "mine").reset()


# Actions, rewards, success ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_scaled_actions_are_in_their_space_and_reach_its_bounds(dtype):
    generator = np.random.default_rng(0)
    for _ in range(200):
        low = np.round(generator.uniform(-5, 5, (1, 2)), 1)
        high = low + np.round(generator.uniform(0.1, 5, (1, 2)), 1)
        environment = users.Strict(low.astype(dtype), high.astype(dtype), (1, 2), dtype)
        wrapped = GymnasiumEnvironment(environment, "mine")
        wrapped.reset()
        for action, bound in ((-1.0, environment.action_space.low), (1.0, environment.action_space.high)):
            wrapped.step(np.full(2, action))
            np.testing.assert_array_equal(environment.action, bound)
        wrapped.step(generator.uniform(-1, 1, 2))


@pytest.mark.parametrize(
    "space",
    [
        Box(-np.inf, np.inf, (1,)),
        Box(-np.finfo(np.float32).max, np.finfo(np.float32).max, (1,)),
        Box(0, 255, (1,), np.uint8),
        Box(np.array([0.0, 1.0]), np.array([1.0, 1.0])),
    ],
)
def test_actions_that_cannot_be_scaled_are_refused(space):
    environment = users.Walk()
    environment.action_space = space
    with pytest.raises(ValueError, match="'?mine'? has the action space Box.*wrap it with"):
        GymnasiumEnvironment(environment, "mine")


def test_a_reward_in_an_array_is_a_number():
    environment = registry.make("user_environments:RewardArray")
    environment.reset()
    assert environment.step(np.zeros(1))["reward"] == 2.5


@pytest.mark.parametrize("reward", [np.zeros(2), None, np.nan])
def test_a_reward_that_is_no_number_is_told_with_step_and_seed(reward):
    environment = users.Walk()
    environment.reward = lambda: reward
    wrapped = GymnasiumEnvironment(environment, "mine")
    wrapped.reset(seed=2)
    with pytest.raises(ValueError, match="reward of 'mine' at step 1 of the episode with seed 2 is"):
        wrapped.step(np.zeros(1))


@pytest.mark.parametrize(
    ("method", "result"), [("reset", np.zeros(2)), ("step", (np.zeros(2), 0.0, False, {}))]
)
def test_an_older_interface_is_named(method, result):
    environment = users.Walk()
    wrapped = GymnasiumEnvironment(environment, "mine")
    if method == "step":
        wrapped.reset()
    setattr(environment, method, lambda *args, **options: result)
    with pytest.raises(ValueError, match=rf"{method}\(\) of 'mine' returned no \(observation.*shimmy"):
        wrapped.reset() if method == "reset" else wrapped.step(np.zeros(1))


@pytest.mark.parametrize("name", ["LateSuccess", "OnlySuccess"])
@pytest.mark.parametrize("num_envs", [1, 2])
def test_success_that_only_a_later_step_knows_is_kept(name, num_envs):
    with VectorEnvironment(f"user_environments:{name}", num_envs, seed=0) as envs:
        episodes = collect_episodes(envs, lambda records: np.zeros((num_envs, 1), np.float32), 4)
    known = [episode.success for episode in episodes]
    expected = [False, True, False, True] if num_envs == 1 else [False, False, True, True]
    assert [bool(success) for success in known] == expected
    for episode in episodes:
        if episode.success:
            success = episode.records["success"]
            assert not success[0] and success.sum() == 1


@pytest.mark.parametrize("name", ["LateSuccess", "OnlySuccess"])
def test_every_evaluation_has_the_success_that_only_a_later_step_knows(name):
    with VectorEnvironment(f"user_environments:{name}", 1, seed=0) as envs:
        rows = evaluate(envs, lambda records: np.zeros((1, 1), np.float32), 4)
    assert rows["success_any"] == [0.0, 1.0, 0.0, 1.0]
    assert rows["success_final"] == ([0.0, 1.0, 0.0, 1.0] if name == "LateSuccess" else [0.0] * 4)


@pytest.mark.parametrize("said", ["False", np.nan, np.array([np.nan]), -1, 0.3, np.array([0.0, 2.0])])
def test_a_success_that_is_neither_true_nor_false_is_told_with_step_and_seed(said):
    environment = users.Walk()
    environment.info = lambda: {"success": said}
    wrapped = GymnasiumEnvironment(environment, "mine")
    wrapped.reset(seed=3)
    with pytest.raises(
        ValueError, match="success of 'mine' at step 1 of the episode with seed 3 is .*neither"
    ):
        wrapped.step(np.zeros(1))


# Images, options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["draws", "draws_with_options"])
def test_an_environment_that_draws_itself_has_the_image_that_was_asked_for(name):
    environment = registry.make(f"user_environments:{name}", render_size=(4, 6))
    record = environment.reset()
    environment.observation_spec["image"].validate("image", record["image"])
    assert record["image"][0].any(axis=-1).tolist() == [True, False, False, False, False, False]
    assert environment.control_seconds == 0.1


def test_an_image_of_its_own_is_the_image():
    own = GymnasiumEnvironment(users.Images(), "mine", render_size=(6, 8)).reset()["image"]
    assert (own[:, 4:] == 255).all()
    with pytest.raises(
        ValueError, match=r"`image` of its own, \[6, 8, 3\], and images of \[32, 32\] were asked for"
    ):
        GymnasiumEnvironment(users.Images(), "mine", render_size=32)


def test_images_without_a_render_mode_are_refused_before_anything_is_played():
    message = 'made with render_mode=None, .* knows: rgb_array.*make it with render_mode="rgb_array"'
    with pytest.raises(ValueError, match=message):
        registry.make("user_environments:Draws", render_size=16)


@pytest.mark.parametrize(
    "picture", [np.full((8, 8, 3), 0.5), np.zeros((8, 8), np.uint8), np.full((8, 8, 3), 300), [1], None]
)
def test_a_picture_that_is_none_is_refused(picture):
    environment = users.Draws("rgb_array")
    environment.render = lambda: picture
    with pytest.raises(
        ValueError, match=r"render\(\) of 'mine' returned .*expected one picture of whole numbers"
    ):
        GymnasiumEnvironment(environment, "mine", render_size=8).reset()


def test_a_package_that_drawing_lacks_is_one_sentence():
    environment = users.Draws("rgb_array")

    def render():
        raise gymnasium.error.DependencyNotInstalled("pygame is not installed")

    environment.render = render
    with pytest.raises(MissingPackageError, match="'mine' cannot draw: pygame is not installed"):
        GymnasiumEnvironment(environment, "mine", render_size=8).reset()


def test_a_function_that_repeats_actions_itself_is_not_repeated_again():
    environment = registry.make("user_environments:repeats", action_repeat=3, episode_length=2)
    environment.reset()
    assert environment.action_repeat == environment.metadata()["action_repeat"] == 3
    first, second = environment.step(np.zeros(1)), environment.step(np.zeros(1))
    assert first["reward"] == second["reward"] == 3.0
    assert not first["is_last"] and second["is_last"]


def test_a_function_must_return_an_environment(module):
    module("def make_env(): return 3")
    with pytest.raises(
        ValueError, match="returned int, which is neither a gymnasium.Env nor has the interface"
    ):
        registry.make("user_envs:make_env")


def test_what_a_function_takes_and_ignores_is_refused(module):
    module("""
        from experiments.envs.fake import FakePointMass
        def make_env(**options):
            return FakePointMass("mine")
    """)
    assert registry.make("user_envs:make_env", seed=3).name == "mine"
    with pytest.raises(ValueError, match="asked for images and has no sensor `image`"):
        registry.make("user_envs:make_env", render_size=8)
    with pytest.raises(ValueError, match="asked for action_repeat=2 and has 1"):
        registry.make("user_envs:make_env", action_repeat=2)


def test_options_that_a_function_hands_on_to_what_does_not_take_them_are_one_sentence(module):
    module("""
        from experiments.envs.fake import FakePointMass
        class Robot(FakePointMass):
            def __init__(self, name, speed=1.0): super().__init__(name)
        def make_env(**options):
            return Robot("mine", **options)
        def make_faulty():
            return Robot("mine", mass=2)
    """)
    with pytest.raises(
        ValueError, match="given seed, .* handed them on .*'seed'.*; let it name the parameters"
    ):
        registry.make("user_envs:make_env")
    with pytest.raises(TypeError, match="mass"):  # a fault of the user's own code keeps its traceback
        registry.make("user_envs:make_faulty")


def test_several_environments_in_one_are_refused():
    environment = users.Walk()
    environment.num_envs = 2
    with pytest.raises(ValueError, match="several environments in one"):
        GymnasiumEnvironment(environment, "mine")
