"""Extraneous segments: how much of an episode they take, and that the demonstrator is away then and only then."""

import numpy as np
import pytest

from agents.digression import Digression, Segments, extraneous_records


def constant(value):
    return lambda records: np.full((len(records["is_first"]), 1), value, np.float32)


def played(segments, steps, *, num_envs=2, first_episode=0, episodes=1):
    """Returns the actions of an actor of zeros with digressions of ones, [episodes, steps, N]."""
    actor = Digression(constant(0), constant(1), segments, num_envs, seed=4, first_episode=first_episode)
    starts = [{"is_first": np.full(num_envs, step == 0)} for step in range(steps)]
    return np.array([[actor(records)[:, 0] for records in starts] for _ in range(episodes)])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_segments_take_their_share_and_are_of_their_length(share):
    found = Segments(share=share, length=20).of(np.random.default_rng(0))
    assert {stop - start for start, stop in found} == {20}
    assert all(before[1] < after[0] for before, after in zip(found, found[1:], strict=False))
    assert 20 * len(found) / found[-1][1] == pytest.approx(share, abs=0.04)


def test_no_share_is_no_segment_and_draws_nothing():
    assert Segments().of(np.random.default_rng(0)) == []
    assert not played(Segments(), 50).any()


def test_the_records_say_where_the_other_actor_played():
    segments = Segments(share=0.4, length=5)
    actions = played(segments, 60, episodes=2)
    for episode in range(2):
        for env in range(2):
            facts = {"env_index": env, "episode": episode}
            extraneous = np.zeros(61)
            for start, stop in extraneous_records(facts, segments, 4, 61):
                extraneous[start:stop] = 1
            np.testing.assert_array_equal(extraneous[1:], actions[episode, :, env])
    assert (actions[0] != actions[1]).any() and (actions[0, :, 0] != actions[0, :, 1]).any()


def test_a_collection_that_continues_digresses_as_it_would_have():
    segments = Segments(share=0.4, length=5)
    whole = played(segments, 30, episodes=2)
    np.testing.assert_array_equal(played(segments, 30, first_episode=1)[0], whole[1])


@pytest.mark.parametrize("options", [{"share": 1.0}, {"share": -0.1}, {"share": 0.1, "length": 0}])
def test_what_is_no_segment_is_refused(options):
    with pytest.raises(ValueError, match="take a share of the steps in"):
        Segments(**options)
