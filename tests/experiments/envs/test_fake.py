"""The fake environment: deterministic, learnable, with every feature of a real one."""

import sys

import numpy as np

from experiments.envs import registry


def episode_return(policy) -> float:
    environment = registry.make("fake-pointmass")
    total, record = 0.0, environment.reset(seed=0)
    while not record["is_last"]:
        record = environment.step(policy(record))
        total += record["reward"]
    return total


def test_going_home_beats_staying_and_pushing_at_random():
    generator = np.random.default_rng(0)
    home = episode_return(lambda record: np.clip(-3 * record["position"] - 2 * record["velocity"], -1, 1))
    stay = episode_return(lambda record: np.zeros(2))
    noise = episode_return(lambda record: generator.uniform(-1, 1, 2))
    assert home > 1.3 * max(stay, noise)


def test_the_same_seed_gives_the_same_episode():
    first, second = (registry.make("fake-pointmass").reset(seed=3)["position"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_velocity_is_the_change_of_position():
    environment = registry.make("fake-pointmass")
    before = environment.reset(seed=1)
    after = environment.step(np.array([0.3, -0.2]))
    np.testing.assert_allclose(after["position"] - before["position"], after["velocity"], atol=1e-6)


def test_the_image_shows_where_the_point_is():
    environment = registry.make("fake-pointmass", render_size=(16, 24))
    environment.set_physics_state(np.array([1.0, 1.0, 0.0, 0.0, 0.0]))
    record = environment.step(np.zeros(2))
    assert record["image"].shape == (16, 24, 3)
    assert (record["image"][0, 23] == 255).all() and not record["image"][15, 0].any()


def test_a_physics_state_restores_position_velocity_and_time():
    original, copy = (
        registry.make("fake-pointmass", episode_length=3),
        registry.make("fake-pointmass", episode_length=3),
    )
    original.reset(seed=0)
    original.step(np.ones(2))
    copy.set_physics_state(original.physics_state())
    for _ in range(2):
        left, right = original.step(np.ones(2)), copy.step(np.ones(2))
    np.testing.assert_array_equal(left["position"], right["position"])
    assert left["is_last"] and right["is_last"]


def test_an_episode_that_is_cut_says_so():
    assert registry.make("fake-pointmass", episode_length=3).metadata()["episode_length"] == 3
    assert "episode_length" not in registry.make("fake-pointmass").metadata()


def test_action_repeat_sums_rewards():
    single, double = (registry.make("fake-pointmass", action_repeat=repeat) for repeat in (1, 2))
    single.reset(seed=0), double.reset(seed=0)
    expected = single.step(np.ones(2))["reward"] + single.step(np.ones(2))["reward"]
    assert double.step(np.ones(2))["reward"] == expected


def test_environments_import_without_simulator():
    import subprocess

    code = (
        "import sys; from experiments.envs import registry, vector, sensors; import agents.loop;"
        "registry.make('fake-pointmass').reset(); sensors.observation_setup('walker-walk', 'mdp');"
        "print([m for m in ('jax', 'mujoco', 'dm_control', 'gymnasium', 'OpenGL') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
