"""Collection and evaluation of episodes."""

import os
import signal

import numpy as np
import pytest

from agents import loop
from agents.loop import collect_episodes, evaluate
from experiments.envs import vector

LENGTH = 5


def homeward(records: dict[str, np.ndarray]) -> np.ndarray:
    """A deterministic actor for the fake environment."""
    return np.clip(-2 * records["position"], -1, 1)


def make(num_envs: int, **options) -> vector.VectorEnvironment:
    return vector.VectorEnvironment(
        "fake-pointmass", num_envs, seed=2, **{"episode_length": LENGTH, **options}
    )


def assert_same(left: list, right: list) -> None:
    """Two lists of episodes are equal to the bit."""
    assert len(left) == len(right)
    for ours, theirs in zip(left, right, strict=True):
        assert ours.metadata == theirs.metadata and ours.records.keys() == theirs.records.keys()
        for name in ours.records:
            np.testing.assert_array_equal(ours.records[name], theirs.records[name], err_msg=name)


def test_episodes_are_aligned_and_whole():
    with make(2) as env:
        episode = collect_episodes(env, homeward, 1)[0]
    records = episode.records
    assert episode.length == LENGTH and episode.num_records == LENGTH + 1
    np.testing.assert_array_equal(records["is_first"], [1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(records["is_last"], [0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(records["pre_action"][1:], homeward(records)[:-1])
    assert not records["pre_action"][0].any() and records["reward"][0] == 0
    np.testing.assert_array_equal(records["physics_state"][:, :2].astype(np.float32), records["position"])
    np.testing.assert_array_equal(records["physics_state"][:, 4], np.arange(LENGTH + 1))


def test_each_environment_plays_its_share():
    with make(3) as env:
        episodes = collect_episodes(env, homeward, 7)
    order = [(episode.metadata["episode"], episode.metadata["env_index"]) for episode in episodes]
    assert order == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]


def test_episodes_do_not_depend_on_the_number_of_environments_stepped_in_between():
    with make(3) as env:
        together = collect_episodes(env, homeward, 3)
    with make(3, workers=2) as env:
        apart = collect_episodes(env, homeward, 3)
    assert_same(together, apart)


def test_a_second_collection_continues_with_new_episodes():
    with make(2) as env:
        first, second = collect_episodes(env, homeward, 2), collect_episodes(env, homeward, 2)
    assert [episode.metadata["episode"] for episode in first + second] == [0, 0, 1, 1]
    with make(2, first_episode=1) as env:
        assert_same(collect_episodes(env, homeward, 2), second)


def test_a_killed_worker_leaves_no_trace_in_the_episodes():
    with make(3) as env:
        expected = collect_episodes(env, homeward, 6)
    with make(3, workers=2) as env:
        calls = 0

        def actor(records):
            nonlocal calls
            calls += 1
            if calls == 3:
                os.kill(env.worker_pids[0], signal.SIGKILL)
            return homeward(records)

        assert_same(collect_episodes(env, actor, 6), expected)


def test_episodes_can_be_handed_on_instead_of_kept():
    seen = []
    with make(2) as env:
        assert collect_episodes(env, homeward, 3, record_physics=False, on_episode=seen.append) == []
    assert len(seen) == 3 and "physics_state" not in seen[0].records


def test_evaluate_returns_one_number_per_episode():
    kept = []
    with make(2) as env:
        result = evaluate(env, homeward, 3, on_episode=kept.append)
    by_order = sorted(kept, key=lambda episode: (episode.metadata["episode"], episode.metadata["env_index"]))
    assert set(result) == {"return", "length", "success_any", "success_final", "success_held"}
    assert result["return"] == [episode.return_ for episode in by_order]
    assert result["length"] == [LENGTH] * 3
    for episode, any_success, final in zip(
        by_order, result["success_any"], result["success_final"], strict=True
    ):
        assert any_success == float(episode.records["success"].any())
        assert final == float(episode.records["success"][-1])


def test_environments_without_success_have_no_success_rate():
    with vector.VectorEnvironment("pendulum-swingup", 1, seed=0, episode_length=2) as env:
        result = evaluate(env, lambda records: np.zeros((1, 1)), 1)
    assert set(result) == {"return", "length"}


def test_collecting_no_episodes_is_refused():
    with make(1) as env, pytest.raises(ValueError, match="num_episodes must be at least 1"):
        collect_episodes(env, homeward, 0)


def test_an_episode_that_never_ends_is_told_of_and_can_be_stopped(monkeypatch):
    monkeypatch.setattr(loop, "LONG_EPISODE", 4)
    steps = []

    def on_step() -> None:
        steps.append(len(steps))
        if len(steps) == 6:
            raise KeyboardInterrupt

    with vector.VectorEnvironment("user_environments:Never", 2, seed=0) as env:
        with pytest.warns(
            UserWarning, match="'user_environments:Never' has not ended after 4 .*episode_length"
        ):
            with pytest.raises(KeyboardInterrupt):
                collect_episodes(env, lambda records: np.zeros((2, 1), np.float32), 2, on_step=on_step)
    assert len(steps) == 6
