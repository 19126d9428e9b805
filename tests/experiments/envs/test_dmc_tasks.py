"""The papers' own tasks against rewards computed by hand from the physics of the suite's tasks."""

import numpy as np
import pytest

from experiments.envs import dmc_tasks, registry


def unit(value: float) -> float:
    return float(np.clip(value, 0, 1))


# After the last simulator step: qvel, torso height, stand reward summed over the repeat.
V1 = {
    "cheetah-runbackward": lambda qvel, height, stand: unit(-qvel[0] / 10),
    "cheetah-flip": lambda qvel, height, stand: unit(qvel[2] / 5),
    "cheetah-flipbackward": lambda qvel, height, stand: unit(-qvel[2] / 5),
    "walker-walkbackward": lambda qvel, height, stand: stand * (5 * unit(-qvel[0]) + 1) / 6,
    "walker-runbackward": lambda qvel, height, stand: stand * (5 * unit(-qvel[0] / 8) + 1) / 6,
    "walker-flip": lambda qvel, height, stand: unit(qvel[2] / 5),
    "walker-flipbackward": lambda qvel, height, stand: unit(-qvel[2] / 5),
    "walker-jump": lambda qvel, height, stand: unit(height / 5),
}
# After each simulator step: linear velocity and angular momentum [3] of the torso's subtree, stand reward.
V2 = {
    "cheetah-runbackward": lambda velocity, momentum, stand: unit(-velocity[0] / 10),
    "cheetah-flip": lambda velocity, momentum, stand: unit(momentum[1] / 5),
    "cheetah-flipbackward": lambda velocity, momentum, stand: unit(-momentum[1] / 5),
    "walker-walkbackward": lambda velocity, momentum, stand: stand * (5 * unit(-velocity[0]) + 1) / 6,
    "walker-runbackward": lambda velocity, momentum, stand: stand * (5 * unit(-velocity[0] / 8) + 1) / 6,
    "walker-flip": lambda velocity, momentum, stand: unit(momentum[1] / 5),
    "walker-flipbackward": lambda velocity, momentum, stand: unit(-momentum[1] / 5),
    "walker-jump": lambda velocity, momentum, stand: stand * unit(velocity[2] / 2),
}


def rollout(name: str, version: str, steps: int = 12):
    """Yields, per agent step, the reward of the task and the base task's dm_control steps before it."""
    domain = name.split("-")[0]
    environment = registry.make(name, reward_version=version, action_repeat=2)
    from dm_control import suite

    base = suite.load(domain, {"cheetah": "run", "walker": "stand"}[domain], task_kwargs={"random": 3})
    environment.reset(seed=3), base.reset()
    for action in np.random.default_rng(1).uniform(-1, 1, (steps, 6)).astype(np.float32):
        yield environment.step(action)["reward"], base, action


@pytest.mark.parametrize("name", V1)
def test_v1_looks_once_after_the_last_simulator_step(name):
    rewards = []
    for reward, base, action in rollout(name, "v1"):
        stand = base.step(action).reward + base.step(action).reward
        height = base.physics.named.data.xpos["torso", "z"]
        assert reward == pytest.approx(V1[name](base.physics.data.qvel, height, stand), rel=1e-5, abs=1e-7)
        rewards.append(reward)
    assert max(rewards) > 0


@pytest.mark.parametrize("name", V2)
def test_v2_sums_over_the_simulator_steps(name):
    import mujoco

    rewards = []
    for reward, base, action in rollout(name, "v2"):
        expected = 0.0
        for _ in range(2):
            stand = base.step(action).reward
            model, data = base.physics.model.ptr, base.physics.data.ptr
            mujoco.mj_subtreeVel(model, data)
            torso = data.body("torso")
            expected += V2[name](torso.subtree_linvel, torso.subtree_angmom, stand)
        assert reward == pytest.approx(expected, rel=1e-9, abs=1e-12)
        rewards.append(reward)
    assert max(rewards) > 0


@pytest.mark.parametrize("name", ["walker-walk", "cheetah-run", "cartpole-swingup"])
def test_tasks_of_the_suite_have_one_reward(name):
    rewards = []
    for version in ("v1", "v2"):
        environment = registry.make(name, reward_version=version, action_repeat=2)
        environment.reset(seed=0)
        rewards.append(environment.step(np.full(environment.action_spec.shape, 0.5))["reward"])
    assert rewards[0] == rewards[1]


def test_dense_manipulator_reward_is_the_mean_of_two_nearnesses():
    environment = registry.make("manipulator-bring_ball_dense", action_repeat=1)
    environment.reset(seed=0)
    record = environment.step(np.full(5, 0.1))
    hand, ball, target = (record[name][:2].astype(float) for name in ("hand_pos", "object_pos", "target_pos"))
    at_target = 1 / (1 + 25 * np.linalg.norm(ball - target))
    in_hand = 1 / (1 + 25 * max(np.linalg.norm(ball - hand) - 0.1, 0))
    assert record["reward"] == pytest.approx((at_target + in_hand) / 2, rel=1e-5)


def test_the_walkers_colour_sets_its_target_speed():
    environment = registry.make("walker-color_move_discrete", action_repeat=1)
    greys = set()
    for seed in range(6):
        environment.reset(seed=seed)
        greys.add(float(environment._physics.named.model.mat_rgba["self", "r"]))
    assert greys <= {0.0, 0.4375, 0.5, 0.5625, 1.0} and len(greys) > 1
    record = environment.step(np.zeros(6))
    task, physics = environment._task, environment._physics
    target = 16 * physics.named.model.mat_rgba["self", "g"] - 8
    move = max(1 - abs(physics.horizontal_velocity() - target) / 8, 0)
    assert record["reward"] == pytest.approx(task.get_reward(physics) * (5 * move + 1) / 6)


def test_every_custom_task_is_covered_here():
    custom = {f"{domain}-{task}" for domain, tasks in dmc_tasks.CUSTOM_TASKS.items() for task in tasks}
    uncovered = {name for name in custom - set(V1) if "color" not in name and "dense" not in name}
    assert not uncovered and set(V1) == set(V2)


@pytest.mark.parametrize("domain", dmc_tasks.SUITE_TASKS)
def test_every_domain_has_episodes_of_1000_simulator_steps(domain):
    registry.make(f"{domain}-{dmc_tasks.SUITE_TASKS[domain][0]}")  # imports dm_control without OpenGL
    from dm_control import suite

    assert suite.load(domain, dmc_tasks.SUITE_TASKS[domain][0])._step_limit == dmc_tasks.EPISODE_STEPS
