"""The wrapper of DeepMind Control: seeds, repeats, limits, state, errors."""

import numpy as np
import pytest

from experiments.envs import registry
from experiments.envs.dmc import DMCEnvironment
from experiments.envs.interface import EnvironmentFailure

# One per domain, and those whose task draws the model at random.
STATEFUL = [
    "acrobot-swingup",
    "ball_in_cup-catch",
    "cartpole-swingup",
    "cheetah-run",
    "finger-turn_hard",
    "fish-swim",
    "hopper-hop",
    "humanoid-walk",
    "manipulator-insert_peg",
    "pendulum-swingup",
    "quadruped-run",
    "reacher-easy",
    "walker-color_move_continuous",
]


def random_actions(environment: DMCEnvironment, count: int, seed: int = 0) -> np.ndarray:
    """[count, A] uniform actions."""
    shape = (count, *environment.action_spec.shape)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def assert_same(left: dict, right: dict) -> None:
    """Both records are equal to the bit."""
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def test_the_same_seed_gives_the_same_episode_whatever_came_before():
    used, fresh = registry.make("walker-walk", seed=1), registry.make("walker-walk", seed=2)
    actions = random_actions(fresh, 4)
    used.reset()
    for action in actions:
        used.step(action)
    assert_same(used.reset(seed=7), fresh.reset(seed=7))
    for action in actions:
        assert_same(used.step(action), fresh.step(action))


def test_different_seeds_and_consecutive_episodes_differ():
    environment = registry.make("walker-walk", seed=0)
    starts = [environment.reset()["orientations"], environment.reset()["orientations"]]
    starts.append(environment.reset(seed=5)["orientations"])
    assert len({tuple(start) for start in starts}) == 3


def test_the_seed_of_make_is_that_of_the_first_episode():
    made, told = registry.make("walker-walk", seed=4), registry.make("walker-walk", seed=9)
    assert_same(made.reset(), told.reset(seed=4))


def test_records_agree_with_dm_control_itself():
    environment = registry.make("hopper-hop", action_repeat=1)
    from dm_control import suite

    reference = suite.load("hopper", "hop", task_kwargs={"random": 11})
    record, expected = environment.reset(seed=11), reference.reset()
    for action in random_actions(environment, 5):
        for name, value in expected.observation.items():
            np.testing.assert_array_equal(record[name], np.float32(value))
        record, expected = environment.step(action), reference.step(action)
        assert record["reward"] == expected.reward


def test_action_repeat_sums_the_rewards_of_its_steps():
    single, double = (
        registry.make("walker-stand", action_repeat=1),
        registry.make("walker-stand", action_repeat=2),
    )
    single.reset(seed=0), double.reset(seed=0)
    for action in random_actions(double, 5):
        halves = [single.step(action), single.step(action)]
        record = double.step(action)
        assert record["reward"] == sum(half["reward"] for half in halves)
        np.testing.assert_array_equal(record["velocity"], halves[1]["velocity"])


@pytest.mark.parametrize(("name", "v1", "v2"), [("cartpole-balance", 8, 2), ("reacher-easy", 4, 2)])
def test_default_action_repeats_are_the_published_ones(name, v1, v2):
    assert registry.make(name).action_repeat == v1
    assert registry.make(name, reward_version="v2").action_repeat == v2


def test_an_episode_has_500_agent_steps_and_501_records():
    environment = registry.make("pendulum-swingup")
    action = np.zeros(1, np.float32)
    records = [environment.reset(seed=0)]
    while not records[-1]["is_last"]:
        records.append(environment.step(action))
    assert len(records) == 501
    assert [record["is_first"] for record in records[:2]] == [True, False]
    assert not any(record["is_last"] for record in records[:-1])
    assert not any(record["is_terminal"] for record in records)


def test_the_last_agent_step_stops_at_the_limit():
    environment = registry.make("pendulum-swingup", action_repeat=300)
    environment.reset(seed=0)
    steps = [environment.step(np.zeros(1, np.float32)) for _ in range(4)]
    assert [step["is_last"] for step in steps] == [False, False, False, True]
    assert environment.physics_state()[-1] == pytest.approx(20.0)  # 1000 simulator steps of 0.02 s


def test_episode_length_cuts_episodes_in_agent_steps():
    environment = registry.make("cartpole-swingup", episode_length=3)
    environment.reset()
    assert [environment.step(np.zeros(1, np.float32))["is_last"] for _ in range(3)] == [False, False, True]
    assert environment.metadata()["episode_length"] == 3  # for evaluations, which cut theirs too
    assert "episode_length" not in registry.make("cartpole-swingup").metadata()


def test_pre_action_is_the_action_that_led_to_the_record():
    environment = registry.make("cheetah-run")
    np.testing.assert_array_equal(environment.reset()["pre_action"], np.zeros(6))
    for action in random_actions(environment, 3):
        np.testing.assert_array_equal(environment.step(action)["pre_action"], action)


def test_actions_are_clipped_to_the_simulators_limits():
    environment = registry.make("quadruped-run")
    environment.reset()
    low, high = environment._physics.model.ptr.actuator_ctrlrange.T
    np.testing.assert_allclose(environment.step(np.full(12, 3.0))["pre_action"], high, rtol=1e-6)
    np.testing.assert_allclose(environment.step(np.full(12, -3.0))["pre_action"], low, rtol=1e-6)


@pytest.mark.parametrize("name", STATEFUL)
def test_a_physics_state_continues_exactly_in_another_environment(name):
    original, copy = registry.make(name), registry.make(name)
    original.reset(seed=5), copy.reset(seed=77)
    actions = random_actions(original, 6)
    for action in actions[:3]:
        original.step(action)
    state = original.physics_state()
    assert state.dtype == np.float64
    copy.set_physics_state(state)
    np.testing.assert_array_equal(copy.physics_state(), state)
    for action in actions[3:]:
        assert_same(original.step(action), copy.step(action))


def test_the_terrain_of_quadruped_escape_follows_from_the_seed():
    original, copy = registry.make("quadruped-escape"), registry.make("quadruped-escape")
    original.reset(seed=5), copy.reset(seed=5)
    actions = random_actions(original, 4)
    for action in actions[:2]:
        original.step(action)
    copy.set_physics_state(original.physics_state())
    for action in actions[2:]:
        assert_same(original.step(action), copy.step(action))


def test_a_physics_state_of_the_wrong_size_is_refused():
    with pytest.raises(ValueError, match=r"'cheetah-run' has 34 numbers, got shape \[3\]"):
        registry.make("cheetah-run").set_physics_state(np.zeros(3))


def test_the_physics_layout_adds_up():
    environment = registry.make("manipulator-insert_peg")
    layout = environment.metadata()["physics_layout"]
    assert sum(layout.values()) == environment.physics_state().size
    assert layout["body_pos/slot"] == 3


def test_a_cheetah_can_be_placed_as_its_sensors_say():
    environment = registry.make("cheetah-run")
    record = environment.reset(seed=1)
    other = registry.make("cheetah-run")
    other.reset(seed=2)
    other.set_state_from_observation({"position": record["position"]})
    np.testing.assert_allclose(other._sensors()["position"], record["position"])
    with pytest.raises(ValueError, match="do not determine its state"):
        registry.make("walker-walk").set_state_from_observation(record)


def test_metadata_names_versions_and_seed():
    environment = registry.make("cheetah-flip", reward_version="v2")
    environment.reset(seed=8)
    metadata = environment.metadata()
    assert (metadata["seed"], metadata["action_repeat"], metadata["reward_version"]) == (8, 2, "v2")
    assert set(metadata["versions"]) == {"dm_control", "mujoco"}
    assert metadata["control_seconds"] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("action", "message"),
    [(np.zeros(5), r"actions of shape \[6\], got \[5\]"), (np.full(6, np.nan), "not finite")],
)
def test_a_bad_action_is_refused(action, message):
    environment = registry.make("cheetah-run")
    environment.reset()
    with pytest.raises(ValueError, match=message):
        environment.step(action)


def test_a_diverged_simulation_says_so():
    environment = registry.make("cheetah-run")
    environment.reset()
    environment._physics.data.qvel[:] = np.nan
    with pytest.raises(EnvironmentFailure, match="The simulation of 'cheetah-run' diverged"):
        environment.step(np.zeros(6))


def test_stepping_before_a_reset_is_refused():
    with pytest.raises(ValueError, match="call reset"):
        registry.make("cheetah-run").step(np.zeros(6))


@pytest.mark.parametrize(
    "options", [{"action_repeat": 0}, {"episode_length": 1.5}, {"seed": -1}, {"render_size": (3,)}]
)
def test_a_bad_option_is_refused(options):
    with pytest.raises(ValueError, match=r"positive integer|seed is an integer|render_size is"):
        registry.make("cheetah-run", **options)
