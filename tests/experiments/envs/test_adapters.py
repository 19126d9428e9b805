"""Gymnasium environments and users' own functions as environments."""

import sys
import textwrap

import numpy as np
import pytest

from experiments.envs import registry

pytest.importorskip("gymnasium")


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


def test_discrete_actions_are_refused():
    with pytest.raises(ValueError, match="only a vector of continuous actions"):
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
