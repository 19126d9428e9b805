"""Vectors of environments: the same results for any number of workers, also when workers die."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from experiments.envs import registry, vector
from experiments.envs.groups import episode_seed
from experiments.envs.interface import EnvironmentFailure

LENGTH = 4


def actions_for(num_envs: int, steps: int, size: int = 2) -> np.ndarray:
    """[steps, N, A] uniform actions."""
    return np.random.default_rng(0).uniform(-1, 1, (steps, num_envs, size)).astype(np.float32)


def rollout(env: vector.VectorEnvironment, actions: np.ndarray) -> list[dict[str, np.ndarray]]:
    """All records of a reset and of the steps."""
    return [env.reset()] + [env.step(action) for action in actions]


def assert_same(left: list[dict[str, np.ndarray]], right: list[dict[str, np.ndarray]]) -> None:
    """Two lists of records are equal to the bit."""
    assert len(left) == len(right)
    for ours, theirs in zip(left, right, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module `troubled` for workers to import; returns a folder it may leave marks in."""

    def write(source: str):
        (tmp_path / "troubled.py").write_text(textwrap.dedent(source).replace("FOLDER", repr(str(tmp_path))))
        monkeypatch.syspath_prepend(tmp_path)
        return tmp_path

    yield write
    sys.modules.pop("troubled", None)


def test_a_vector_is_its_environments_one_by_one():
    actions = actions_for(2, 2 * LENGTH)
    with vector.VectorEnvironment("fake-pointmass", 2, seed=3, episode_length=LENGTH) as env:
        records = rollout(env, actions)
    single = registry.make("fake-pointmass", episode_length=LENGTH)
    expected = [single.reset(seed=episode_seed(3, 1, 0))]
    for action in actions[:, 1]:
        last = expected[-1]["is_last"]
        expected.append(single.reset(seed=episode_seed(3, 1, 1)) if last else single.step(action))
    for batch, record in zip(records, expected, strict=True):
        for name, value in record.items():
            np.testing.assert_array_equal(batch[name][1], np.float32(value) if name == "reward" else value)


@pytest.mark.parametrize("name", ["fake-pointmass", "cheetah-runbackward"])
def test_workers_change_nothing(name):
    with vector.VectorEnvironment(name, 3, seed=1, episode_length=LENGTH) as here:
        actions = actions_for(3, LENGTH + 2, here.action_spec.shape[0])
        expected = rollout(here, actions)
        with vector.VectorEnvironment(name, 3, seed=1, workers=2, episode_length=LENGTH) as there:
            assert_same(rollout(there, actions), expected)
            np.testing.assert_array_equal(there.physics_states(), here.physics_states())
            assert there.metadata(2) == here.metadata(2)
            assert there.observation_spec == here.observation_spec


def test_records_are_batched_arrays_with_fixed_dtypes():
    with vector.VectorEnvironment("fake-pointmass", 2, seed=0, render_size=8) as env:
        records = env.reset()
    dtypes = {name: (value.shape, str(value.dtype)) for name, value in records.items()}
    assert dtypes["image"] == ((2, 8, 8, 3), "uint8")
    assert dtypes["position"] == dtypes["pre_action"] == ((2, 2), "float32")
    assert dtypes["reward"] == ((2,), "float32")
    assert (
        dtypes["is_first"]
        == dtypes["is_last"]
        == dtypes["is_terminal"]
        == dtypes["success"]
        == ((2,), "bool")
    )


def test_after_a_last_record_the_next_step_begins_an_episode():
    with vector.VectorEnvironment("fake-pointmass", 1, seed=0, episode_length=2) as env:
        records = rollout(env, actions_for(1, 5))
    assert [bool(record["is_first"][0]) for record in records] == [True, False, False, True, False, False]
    assert [bool(record["is_last"][0]) for record in records] == [False, False, True, False, False, True]
    assert not records[3]["pre_action"].any() and records[3]["reward"][0] == 0


def test_first_episode_continues_an_earlier_collection():
    actions = actions_for(2, 2 * LENGTH + 1)
    with vector.VectorEnvironment("fake-pointmass", 2, seed=5, episode_length=LENGTH) as env:
        second_episode = rollout(env, actions)[LENGTH + 1 :]
    with vector.VectorEnvironment("fake-pointmass", 2, seed=5, episode_length=LENGTH, first_episode=1) as env:
        assert_same(rollout(env, actions[LENGTH + 1 :]), second_episode)


def test_a_reset_goes_on_to_the_next_episode():
    with vector.VectorEnvironment("fake-pointmass", 1, seed=0) as env:
        env.reset()
        env.step(np.zeros((1, 2)))
        env.reset()
        assert env.metadata(0)["episode"] == 1
        assert env.metadata(0)["seed"] == episode_seed(0, 0, 1)


def test_inactive_environments_wait():
    with vector.VectorEnvironment("fake-pointmass", 3, seed=0, workers=2) as env:
        first = env.reset()
        before = env.physics_states()
        second = env.step(np.ones((3, 2)), active=np.array([True, False, True]))
        after = env.physics_states()
        third = env.step(np.ones((3, 2)))
    np.testing.assert_array_equal(second["position"][1], first["position"][1])
    np.testing.assert_array_equal(after[1], before[1])
    assert (second["position"][[0, 2]] != first["position"][[0, 2]]).any()
    assert (third["position"][1] != second["position"][1]).any()


def test_a_killed_worker_is_replaced_and_its_episodes_begin_again():
    actions = actions_for(3, 2 * LENGTH + 2)
    with vector.VectorEnvironment("fake-pointmass", 3, seed=1, episode_length=LENGTH) as here:
        expected = rollout(here, actions)
    with vector.VectorEnvironment("fake-pointmass", 3, seed=1, workers=2, episode_length=LENGTH) as there:
        there.reset()
        there.step(actions[0])
        os.kill(there.worker_pids[0], signal.SIGKILL)  # environments 0 and 1
        with pytest.warns(
            UserWarning, match="exit code -9.* is replaced; the episodes that it was in begin again"
        ):
            records = [there.step(actions[1])] + [there.step(action) for action in actions]
    assert records[0]["is_first"].tolist() == [True, True, False]
    for ours, theirs in zip(records, expected, strict=True):
        for name in ours:
            np.testing.assert_array_equal(ours[name][:2], theirs[name][:2], err_msg=name)


def test_a_worker_that_hangs_is_replaced(module):
    folder = module("""
        import pathlib, time
        from experiments.envs.fake import FakePointMass
        class Troubled(FakePointMass):
            def step(self, action):
                mark = pathlib.Path(FOLDER) / "hung"
                if not mark.exists():
                    mark.touch()
                    time.sleep(60)
                return super().step(action)
        def make_env():
            return Troubled()
    """)
    with vector.VectorEnvironment("troubled:make_env", 1, seed=0, workers=1, timeout=1.0) as env:
        start = env.reset()
        with pytest.warns(UserWarning, match="no answer within 1 s"):
            again = env.step(np.zeros((1, 2)))
        assert (folder / "hung").exists() and again["is_first"][0]
        np.testing.assert_array_equal(again["position"], start["position"])
        assert not env.step(np.zeros((1, 2)))["is_first"][0]


def test_a_worker_that_always_dies_is_given_up(module):
    module("""
        import os
        from experiments.envs.fake import FakePointMass
        class Troubled(FakePointMass):
            def reset(self, seed=None):
                os._exit(7)
        def make_env():
            return Troubled()
    """)
    with (
        vector.VectorEnvironment("troubled:make_env", 1, seed=0, workers=1) as env,
        pytest.raises(
            EnvironmentFailure, match=r"failed 4 times in a row \(last: the process died, exit code 7\)"
        ),
    ):
        env.reset()


def test_an_error_in_a_worker_is_raised_here_with_its_traceback(module):
    module("""
        from experiments.envs.fake import FakePointMass
        class Troubled(FakePointMass):
            def step(self, action):
                raise ValueError("the gripper is stuck")
        def make_env():
            return Troubled()
    """)
    with vector.VectorEnvironment("troubled:make_env", 2, seed=0, workers=2) as env:
        env.reset()
        with pytest.raises(ValueError, match="the gripper is stuck") as caught:
            env.step(np.zeros((2, 2)))
        assert "troubled.py" in caught.value.__notes__[0]
        assert env.reset()["is_first"].all()  # and it can go on


@pytest.mark.parametrize("workers", [0, 2])
def test_after_an_interrupt_the_episodes_begin_again(workers, monkeypatch):
    with vector.VectorEnvironment("fake-pointmass", 2, seed=0, workers=workers) as env:
        expected = rollout(env, actions_for(2, 3))
    with vector.VectorEnvironment("fake-pointmass", 2, seed=0, workers=workers) as env:
        rollout(env, actions_for(2, 2))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(env, "_merge", lambda *unused: None)
            patch.setattr(env._groups[-1], "receive", lambda: exec("raise KeyboardInterrupt"))
            env.step(np.ones((2, 2)))
        assert_same([env.step(action) for action in [np.ones((2, 2)), *actions_for(2, 3)]], expected)


def test_workers_do_not_import_jax(module):
    module("""
        import sys
        from experiments.envs import registry
        from experiments.envs.fake import FakePointMass
        class Spy(FakePointMass):
            def metadata(self):
                registry.make("cheetah-run").reset()
                return {"jax": [name for name in sys.modules if name.startswith("jax")]}
        def make_env():
            return Spy()
    """)
    import jax  # noqa: F401, the parent has it

    with vector.VectorEnvironment("troubled:make_env", 1, seed=0, workers=1) as env:
        assert env.metadata()["jax"] == []


def test_an_environment_that_imports_jax_is_refused_in_workers(module):
    module("""
        import sys
        from experiments.envs.fake import FakePointMass
        def make_env():
            sys.modules["jax"] = sys  # as good as the real one, and faster
            return FakePointMass()
    """)
    with pytest.raises(ImportError, match="imports jax, which worker processes must not"):
        vector.VectorEnvironment("troubled:make_env", 1, seed=0, workers=1)


def test_scripts_need_no_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('imported once')\n"
        "from experiments.envs import vector\n"
        "print(vector.VectorEnvironment('fake-pointmass', 1, seed=0, workers=1).reset()['is_first'])\n"
    )
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    result = subprocess.run(
        [sys.executable, script], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (result.stdout, result.stderr) == ("imported once\n[ True]\n", "")


def test_closing_ends_the_workers():
    env = vector.VectorEnvironment("fake-pointmass", 2, seed=0, workers=2)
    pids = env.worker_pids
    env.close()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    with pytest.raises(ValueError, match="are closed"):
        env.reset()


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((3, 2)), r"2 environments 'fake-pointmass' take actions of shape \[2, 2\], got \[3, 2\]"),
        (np.array([[0, 0], [0, np.nan]]), r"actions for environments \[1\] .* not finite"),
    ],
)
def test_bad_actions_are_refused(actions, message):
    with vector.VectorEnvironment("fake-pointmass", 2, seed=0) as env:
        env.reset()
        with pytest.raises(ValueError, match=message):
            env.step(actions)


def test_an_unknown_name_is_refused_at_once():
    with pytest.raises(ValueError, match="Unknown task 'wlak'"):
        vector.VectorEnvironment("walker-wlak", 2, seed=0, workers=2)


def test_a_registered_environment_reaches_the_workers(monkeypatch):
    monkeypatch.setattr(registry.ENVIRONMENTS, "_parts", dict(registry.ENVIRONMENTS.items()))
    registry.register("mine-task", "experiments.envs.fake:FakePointMass")
    with vector.VectorEnvironment("mine-task", 1, seed=0, workers=1) as env:
        assert env.metadata()["environment"] == "mine-task"


def test_episodes_come_back_by_their_number():
    with vector.VectorEnvironment("fake-pointmass", 2, seed=3) as envs:
        starts = [envs.reset()["position"] for _ in range(3)]
        envs.step(np.zeros((2, 2)))
        envs.rewind(1)
        np.testing.assert_array_equal(envs.reset()["position"], starts[1])
        assert envs.metadata(0)["episode"] == 1
        np.testing.assert_array_equal(envs.reset()["position"], starts[2])
        with pytest.raises(ValueError, match="numbered from 0"):
            envs.rewind(-1)
