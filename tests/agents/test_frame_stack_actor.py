"""Acting with frame stacks: the start of an episode, the windows of the data set, several seeds."""

import jax
import numpy as np
import pytest
from flax import nnx

from agents.frame_stack import FrameStackNet
from agents.frame_stack_actor import FrameStackActor, act, initial_frames, push
from worldmodels.data.dataset import SequenceDataset, windows
from worldmodels.data.episodes import Episode

FRAMES, LENGTH = 3, 7


def make_policy(key):
    return FrameStackNet({"position": 2}, 2, num_frames=FRAMES, hidden_size=8, rngs=nnx.Rngs(key))


def make_records(num_envs, seed=0):
    """[LENGTH] records {name: [num_envs, ...]} of one episode each."""
    positions = np.random.default_rng(seed).normal(size=(LENGTH, num_envs, 2)).astype(np.float32)
    return [{"position": x, "is_first": np.full(num_envs, t == 0)} for t, x in enumerate(positions)]


def play(records):
    """Stacks [LENGTH, N, F, 2] after each record."""
    frames, stacks = initial_frames({"position": np.zeros_like(records[0]["position"])}, FRAMES), []
    for record in records:
        frames = push(frames, {"position": record["position"]}, record["is_first"])
        stacks.append(np.asarray(frames["position"]))
    return np.stack(stacks)


def test_the_first_record_fills_the_stack():
    records = make_records(2)
    first, second = play(records)[:2]
    np.testing.assert_array_equal(first, np.repeat(records[0]["position"][:, None], FRAMES, axis=1))
    np.testing.assert_array_equal(second[:, :2], first[:, :2])
    np.testing.assert_array_equal(second[:, 2], records[1]["position"])


def test_later_stacks_are_the_windows_of_the_dataset():
    records = make_records(1)
    flags = np.zeros(LENGTH, bool)
    episode = Episode(
        {
            "position": np.concatenate([record["position"] for record in records]),
            **{name: flags for name in ("is_first", "is_last", "is_terminal")},
        }
    )
    dataset = SequenceDataset.create([episode], length=FRAMES, sensors=["position"], with_actions=False)
    expected = windows(dataset, np.arange(dataset.num_windows)).observation["position"]
    np.testing.assert_array_equal(play(records)[FRAMES - 1 :, 0], expected)


def test_an_episode_that_begins_leaves_the_other_environments_alone():
    records = make_records(2)
    undisturbed = play(records)
    records[4]["is_first"] = np.array([True, False])
    restarted = play(records)
    np.testing.assert_array_equal(restarted[:, 1], undisturbed[:, 1])
    np.testing.assert_array_equal(restarted[4, 0], np.repeat(records[4]["position"][:1], FRAMES, axis=0))


def test_the_actor_is_the_pure_function_step_by_step():
    policy, records = make_policy(0), make_records(4)
    actor = FrameStackActor(policy)
    frames = initial_frames({"position": records[0]["position"]}, FRAMES)
    for record in records:
        expected, frames = act(policy, frames, {"position": record["position"]}, record["is_first"])
        np.testing.assert_allclose(actor(record), expected, atol=1e-6)


def test_seeds_act_in_blocks_of_environments_with_one_call():
    policies, records = [make_policy(seed) for seed in range(2)], make_records(6)
    actor = FrameStackActor(jax.tree.map(lambda *x: np.stack(x), *policies), num_seeds=2)
    singles = [FrameStackActor(policy) for policy in policies]
    for record in records:
        halves = [{name: x[rows] for name, x in record.items()} for rows in (slice(0, 3), slice(3, 6))]
        expected = [single(half) for single, half in zip(singles, halves, strict=True)]
        np.testing.assert_allclose(actor(record), np.concatenate(expected), atol=1e-6)


def test_actions_are_float32_of_the_shape_that_environments_take():
    actions = FrameStackActor(make_policy(0))(make_records(5)[0])
    assert actions.shape == (5, 2) and actions.dtype == np.float32


def test_an_environment_without_a_sensor_is_refused():
    with pytest.raises(ValueError, match="does not give position; it gives is_first, velocity"):
        FrameStackActor(make_policy(0))({"velocity": np.zeros((1, 2)), "is_first": np.ones(1, bool)})
