"""The ring of episodes against a brute-force list."""

import jax
import numpy as np
import pytest

from worldmodels.data.episodes import Episode
from worldmodels.data.replay import Replay, append_episode, sample

draw = jax.jit(sample, static_argnames=("batch_size", "first_fraction"))


def make_episode(number, num_records):
    """Sensor `time` is (episode number, record number), so that a window tells where it is from."""
    steps = np.arange(num_records)
    records = {
        "time": np.stack([np.full(num_records, number), steps], axis=1).astype(np.float32),
        "image": np.full((num_records, 2, 2, 3), number, np.uint8),
        "pre_action": np.stack([steps, -steps], axis=1).astype(np.float32),
        "reward": 10.0 * steps,
        "is_first": steps == 0,
        "is_last": steps == num_records - 1,
        "is_terminal": np.zeros(num_records, bool),
    }
    return Episode(records)


def make_replay(capacity, length=3, sensors=("time",)):
    return Replay.create(make_episode(0, 1), capacity=capacity, length=length, sensors=sensors)


def identities(batch):
    return [(int(number), int(start)) for number, start in np.asarray(batch.observation["time"])[:, 0]]


def complete_episodes(sizes, capacity, length):
    """Numbers of the episodes that a ring still holds completely: the newest ones that fit together."""
    kept, used = [], 0
    for number in reversed(range(len(sizes))):
        used += max(sizes[number], length)
        if used > capacity:
            break
        kept.insert(0, number)
    return kept


@pytest.mark.parametrize("capacity", [7, 20])
def test_the_ring_holds_the_newest_episodes_whatever_their_lengths(capacity):
    rng = np.random.default_rng(capacity)
    replay, length, sizes = make_replay(capacity), 3, []
    for number in range(30):
        sizes.append(int(rng.integers(1, capacity + 1)) if number % 3 else capacity // 3)
        replay = append_episode(replay, make_episode(number, sizes[-1]))
        kept = complete_episodes(sizes, capacity, length)
        expected = {(n, start) for n in kept for start in range(max(sizes[n] - length + 1, 1))}
        batch = draw(replay, jax.random.key(number), 200)
        assert int(replay.num_windows) == len(expected)
        assert int(replay.num_episodes) == len(kept)
        assert set(identities(batch)) == expected
        assert_windows_of_their_episodes(batch, sizes)
        assert set(identities(draw(replay, jax.random.key(number), 50, first_fraction=1.0))) == {
            (n, 0) for n in kept
        }


def assert_windows_of_their_episodes(batch, sizes):
    """Every window is the records from its first one on, the last record repeated."""
    number, start = np.array(identities(batch)).T
    last = np.array(sizes)[number] - 1
    step = np.minimum(start[:, None] + np.arange(3), last[:, None])
    np.testing.assert_array_equal(batch.observation["time"][..., 0], np.repeat(number[:, None], 3, axis=1))
    np.testing.assert_array_equal(batch.observation["time"][..., 1], step)
    np.testing.assert_array_equal(batch.prev_action[..., 1], -step)
    np.testing.assert_array_equal(batch.reward, 10 * step)
    np.testing.assert_array_equal(batch.is_first, step == 0)
    np.testing.assert_array_equal(batch.is_last, step == last[:, None])


def test_windows_are_drawn_uniformly():
    replay = make_replay(30)
    for number, size in enumerate((9, 9, 14, 2, 5)):
        replay = append_episode(replay, make_episode(number, size))
    drawn = identities(draw(replay, jax.random.key(0), 20_000))
    counts = np.array([drawn.count(window) for window in sorted(set(drawn))])
    assert len(counts) == int(replay.num_windows) == 12 + 1 + 3
    expected = counts.sum() / len(counts)
    assert ((counts - expected) ** 2 / expected).sum() / (len(counts) - 1) < 2, counts


def test_first_fraction_is_a_share_of_uniform_episodes():
    replay = make_replay(120)
    for number, size in enumerate((3, 10, 100)):
        replay = append_episode(replay, make_episode(number, size))
    drawn = identities(draw(replay, jax.random.key(0), 10_000, first_fraction=0.6))
    share = np.array([drawn.count((number, 0)) for number in range(3)]) / 10_000
    np.testing.assert_allclose(share, 0.2 + 0.4 / int(replay.num_windows), atol=0.015)


def test_images_stay_bytes():
    replay = append_episode(make_replay(10, sensors=("time", "image")), make_episode(7, 4))
    image = draw(replay, jax.random.key(0), 2).observation["image"]
    assert image.dtype == np.uint8 and image.shape == (2, 3, 2, 2, 3)
    assert (np.asarray(image) == 7).all()


def test_appending_writes_in_place():
    replay = make_replay(1000)
    before = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(replay.observation)]
    replay = append_episode(replay, make_episode(0, 10))
    assert [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(replay.observation)] == before


def test_sampling_does_not_recompile_as_the_replay_grows():
    jitted = jax.jit(lambda replay, key: sample(replay, key, 2))
    replay = make_replay(20)
    for number in range(4):
        replay = append_episode(replay, make_episode(number, 5 + number))
        jitted(replay, jax.random.key(0))
    assert jitted._cache_size() == 1


def test_an_empty_replay_gives_zeros():
    batch = draw(make_replay(10), jax.random.key(0), 2, first_fraction=0.5)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(batch))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="do not fit a replay of 2 records"):
        make_replay(2)
    with pytest.raises(ValueError, match="11 records does not fit a replay of 10"):
        append_episode(make_replay(10), make_episode(0, 11))
    with pytest.raises(ValueError, match="has no 'depth'"):
        make_replay(10, sensors=("depth",))
    wide = make_episode(0, 5)
    wide.records["pre_action"] = np.zeros((5, 3), np.float32)
    with pytest.raises(ValueError, match="'pre_action' of the episode has shape \\[3\\]"):
        append_episode(make_replay(10), wide)
