"""Meta-World as AIME-v2 uses it: what a seed decides, where episodes start and end, what counts as success."""

import numpy as np
import pytest

from experiments.data.arena import Arena
from experiments.data.evaluation import Evaluation
from experiments.envs import metaworld, metaworld_starts, registry, rendering
from experiments.envs.metaworld_tasks import DIFFICULTIES, SETS, TASKS, tasks_of
from experiments.envs.vector import VectorEnvironment
from worldmodels.data.episodes import Episode

ACTIONS = np.random.default_rng(0).uniform(-1, 1, (8, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def push():
    return registry.make("metaworld-push")


@pytest.fixture(scope="module")
def button():
    return registry.make("metaworld-button-press-topdown")


def play(environment, seed, actions=ACTIONS):
    return [environment.reset(seed)] + [environment.step(action) for action in actions]


def assert_same(records, expected):
    for ours, theirs in zip(records, expected, strict=True):
        np.testing.assert_array_equal(ours["state"], theirs["state"])
        assert (ours["reward"], ours["success"]) == (theirs["reward"], theirs["success"])


# Seeds and starts ---------------------------------------------------------------------------------------------------


def test_the_seed_decides_the_episode_whatever_happened_before(push):
    first = play(push, 7)
    play(push, 8)
    np.random.seed(0)  # Meta-World alone would draw from here
    assert_same(play(push, 7), first)
    assert_same(play(registry.make("metaworld-push"), 7), first)


def test_other_seeds_start_elsewhere_with_another_goal(push):
    a, b = push.reset(1)["state"], push.reset(2)["state"]
    assert np.abs(a[4:6] - b[4:6]).max() > 1e-3 and np.abs(a[-3:-1] - b[-3:-1]).max() > 1e-3


def test_episodes_of_a_vector_differ_and_come_back_by_their_number():
    with VectorEnvironment("metaworld-push", 1, seed=3) as envs:
        starts = [envs.reset()["state"] for _ in range(3)]
        envs.rewind(1)
        np.testing.assert_array_equal(envs.reset()["state"], starts[1])
    assert np.abs(starts[0] - starts[1]).max() > 1e-3 and np.abs(starts[1] - starts[2]).max() > 1e-3


def test_a_goal_seed_gives_all_episodes_one_start():
    environment = registry.make("metaworld-push", goal_seed=5)
    np.testing.assert_array_equal(environment.reset(1)["state"], environment.reset(2)["state"])
    assert environment.metadata()["goal_seed"] == 5


def test_the_goal_is_visible_unless_hidden(push):
    assert push.reset(1)["state"][-3:].all() and push.metadata()["goal_visible"] is True
    hidden = registry.make("metaworld-push", goal_visible=False)
    assert not hidden.reset(1)["state"][-3:].any() and hidden.metadata()["goal_visible"] is False
    assert not hidden.step(ACTIONS[0])["state"][-3:].any()


def test_a_policy_is_played_with_the_goal_and_the_images_of_its_data():
    environment = registry.make("metaworld-push", goal_visible=False, mirrored=True)
    environment.reset(1)
    arena = Arena.of_episodes([Episode({}, environment.metadata())])
    assert arena.options["mirrored"] is True and arena.options["goal_visible"] is False
    assert registry.make(arena.name, **arena.options).metadata()["mirrored"] is True


def test_results_say_whether_the_goal_was_visible_and_starts_random():
    arena = Arena("metaworld-push", dict(goal_visible=False, goal_seed=7, episode_length=2))
    said = (
        Evaluation(arena)
        .play(lambda num_envs: lambda records: np.zeros((num_envs, 4), np.float32), 1, 0)
        .environment
    )
    assert (said["environment"], said["action_repeat"]) == ("metaworld-push", 2)
    assert said["goal_visible"] is False and said["goal_seed"] == 7 and "metaworld" in said["versions"]


@pytest.mark.parametrize("task", ["push", "button-press-topdown", "door-lock", "disassemble"])
def test_an_episode_can_start_from_its_first_observation(task):
    environment = registry.make(f"metaworld-{task}")
    for seed in range(3):
        first = environment.reset(seed)["state"]
        environment.reset(seed + 10)
        np.testing.assert_allclose(environment.reset_from_observation(first)["state"], first, atol=1e-5)


def test_every_task_has_a_rule_for_its_start():
    state = np.linspace(0.1, 0.5, 39)
    assert {metaworld_starts.start_of(task, state).size for task in TASKS} == {3, 6}


def test_a_hidden_goal_does_not_determine_the_start(push):
    state = push.reset(0)["state"].copy()
    state[-3:] = 0
    with pytest.raises(ValueError, match="hides the goal"):
        push.reset_from_observation(state)


def test_a_start_that_meta_world_would_not_draw_is_refused(push):
    with pytest.raises(ValueError, match="too close"):
        push.reset_to(np.array([0.0, 0.8, 0.02, 0.0, 0.8, 0.02]))


# Records ------------------------------------------------------------------------------------------------------------


def test_an_episode_has_a_hundred_steps_of_two_and_never_terminates(button):
    records = play(button, 0, np.zeros((100, 4), np.float32))
    assert [record["is_last"] for record in records] == [False] * 100 + [True]
    assert not any(record["is_terminal"] for record in records)
    assert records[0]["task_id"] == TASKS.index("button-press-topdown")
    with pytest.raises(ValueError, match="is over"):
        button.step(np.zeros(4))


def test_rewards_of_the_simulator_steps_are_summed_and_any_success_counts(button, monkeypatch):
    button.reset(0)
    answers = iter([(1.0, 1.0), (2.0, 0.0)])
    real = button._env.step

    def step(action):
        state, _, *flags, info = real(action)
        reward, success = next(answers)
        return state, reward, *flags, info | {"success": success}

    monkeypatch.setattr(button._env, "step", step)
    record = button.step(np.zeros(4))
    assert record["reward"] == 3.0 and record["success"] is True


def test_the_frame_before_is_part_of_the_state(button):
    records = play(button, 0, ACTIONS[:2])
    np.testing.assert_array_equal(records[0]["state"][:18], records[0]["state"][18:36])
    assert (records[1]["state"][:3] != records[1]["state"][18:21]).any()


@pytest.mark.parametrize("task", ["push", "bin-picking"])
def test_a_physics_state_continues_exactly_in_another_process(task):
    environment, other = registry.make(f"metaworld-{task}"), registry.make(f"metaworld-{task}")
    play(environment, 3)
    state = environment.physics_state()
    expected = [environment.step(action) for action in ACTIONS]
    other.set_physics_state(state)
    assert_same([other.step(action) for action in ACTIONS], expected)
    np.testing.assert_array_equal(other.physics_state(), environment.physics_state())


def test_a_physics_state_of_another_task_is_refused(push, button):
    with pytest.raises(ValueError, match="recorded in another environment"):
        push.set_physics_state(button.physics_state())


def test_images_are_the_right_way_up(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    if rendering.find_backend() is None:
        pytest.skip("nothing can be rendered here")
    environment = registry.make("metaworld-push", render_size=64)
    image = environment.reset(0)["image"].astype(float)
    assert image.shape == (64, 64, 3)
    middle = image[:, 24:40, 0] - image[:, 24:40, 2]  # red less blue: wood below, the grey of nowhere above
    assert middle[52:].mean() > middle[:8].mean() + 20
    mirrored = registry.make("metaworld-push", render_size=64, mirrored=True).reset(0)["image"]
    np.testing.assert_allclose(mirrored[:, ::-1], image, atol=3)


# Tasks --------------------------------------------------------------------------------------------------------------


def test_difficulties_are_those_of_the_paper():
    assert [len(DIFFICULTIES[name]) for name in ("easy", "medium", "hard", "very-hard")] == [28, 11, 6, 5]
    assert sorted(task for tasks in DIFFICULTIES.values() for task in tasks) == sorted(TASKS)
    assert (len(TASKS), len(SETS["mt39"]), len(SETS["mt50"]), len(SETS["metaworld6"])) == (50, 39, 50, 6)
    assert set(SETS["mt39"]) & set(SETS["metaworld6"]) == {"sweep", "hammer"}


def test_tasks_are_chosen_by_set_and_name():
    assert tasks_of(["push", "hard"]) == ["push", *(t for t in DIFFICULTIES["hard"] if t != "push")]
    with pytest.raises(ValueError, match="Unknown Meta-World task or set 'pull'"):
        tasks_of("pull")


def test_names_are_those_of_meta_world():
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    assert [name.removesuffix("-v3") for name in ALL_V3_ENVIRONMENTS] == list(TASKS)


def test_a_scripted_expert_solves_its_task(button):
    from experiments.envs.scripted import expert

    act, record = expert(button.name), button.reset(2)
    successes = [record["success"]]
    while not record["is_last"]:
        record = button.step(act(record))
        successes.append(record["success"])
    assert sum(successes) > 10 and successes[-1]


def test_a_missing_simulator_says_which_extra_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "metaworld.env_dict", None)
    with pytest.raises(metaworld.MissingPackageError, match=r"pip install -e '\.\[metaworld\]'"):
        registry.make("metaworld-push")
