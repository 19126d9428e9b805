"""Windows of episodes: sampling, padding, statistics."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodels.data import dataset as dataset_module
from worldmodels.data.dataset import SequenceDataset, sample, statistics, windows
from worldmodels.data.episodes import Episode
from worldmodels.sequences import recorded

draw = jax.jit(sample, static_argnames=("batch_size", "first_fraction"))


def make_episode(number, num_records, *, terminal=False):
    """Sensor `time` is (episode number, record number), so that a window tells where it is from."""
    steps = np.arange(num_records)
    records = {
        "time": np.stack([np.full(num_records, number), steps], axis=1).astype(np.float32),
        "image": np.full((num_records, 2, 2, 3), number, np.uint8),
        "pre_action": np.stack([steps, -steps], axis=1).astype(np.float32),
        "reward": 10.0 * steps,
        "is_first": steps == 0,
        "is_last": steps == num_records - 1,
        "is_terminal": (steps == num_records - 1) & terminal,
    }
    return Episode(records)


def make_dataset(num_records=(6, 2, 5), length=3, sensors=("time",), **kwargs):
    episodes = [make_episode(number, n) for number, n in enumerate(num_records)]
    return SequenceDataset.create(episodes, length=length, sensors=sensors, **kwargs)


def identities(batch):
    """[B] of (episode, first record) of each window."""
    return [(int(number), int(start)) for number, start in np.asarray(batch.observation["time"])[:, 0]]


def all_windows(dataset):
    return jax.jit(windows)(dataset, np.arange(dataset.num_windows))


def test_windows_begin_at_every_record_that_leaves_room():
    dataset = make_dataset(num_records=(6, 2, 5), length=3)
    assert identities(all_windows(dataset)) == [(0, s) for s in range(4)] + [(1, 0)] + [
        (2, s) for s in range(3)
    ]
    assert (dataset.num_windows, dataset.num_episodes) == (8, 3)


def test_an_episode_as_long_as_a_window_gives_one_window():
    dataset = make_dataset(num_records=(4,), length=4)
    assert dataset.num_windows == 1
    np.testing.assert_array_equal(all_windows(dataset).is_last, [[0, 0, 0, 1]])


def test_shapes_and_dtypes_of_a_batch():
    batch = draw(make_dataset(sensors=("time", "image")), jax.random.key(0), 7)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype.name), batch)
    assert shapes.observation == {"time": ((7, 3, 2), "float32"), "image": ((7, 3, 2, 2, 3), "uint8")}
    assert shapes.prev_action == ((7, 3, 2), "float32")
    for scalar in (shapes.reward, shapes.is_first, shapes.is_last, shapes.is_terminal):
        assert scalar == ((7, 3), "float32")
    assert batch.masks == {}


def test_windows_never_cross_episodes_and_stay_aligned():
    batch = draw(make_dataset(num_records=(6, 9, 5), sensors=("time", "image")), jax.random.key(0), 500)
    number, step = np.moveaxis(np.asarray(batch.observation["time"]), -1, 0)
    assert (number == number[:, :1]).all()
    np.testing.assert_array_equal(step, step[:, :1] + np.arange(3))
    np.testing.assert_array_equal(batch.prev_action[..., 0], step)
    np.testing.assert_array_equal(batch.reward, 10 * step)
    np.testing.assert_array_equal(batch.is_first, step == 0)
    np.testing.assert_array_equal(batch.is_last, step == np.array([6, 9, 5])[number.astype(int)] - 1)
    np.testing.assert_array_equal(batch.observation["image"][..., 0, 0, 0], number)


def test_a_short_episode_is_filled_with_its_last_record():
    episodes = [make_episode(0, 2, terminal=True), make_episode(1, 5)]
    dataset = SequenceDataset.create(episodes, length=4, sensors=("time",))
    batch = windows(dataset, [0])
    np.testing.assert_array_equal(batch.observation["time"][0, :, 1], [0, 1, 1, 1])
    np.testing.assert_array_equal(batch.prev_action[0, :, 0], [0, 1, 1, 1])
    np.testing.assert_array_equal(batch.reward[0], [0, 10, 10, 10])
    np.testing.assert_array_equal(batch.is_first[0], [1, 0, 0, 0])
    np.testing.assert_array_equal(batch.is_last[0], [0, 1, 1, 1])
    np.testing.assert_array_equal(batch.is_terminal[0], [0, 1, 1, 1])
    assert identities(all_windows(dataset)) == [(0, 0), (1, 0), (1, 1)]


def test_windows_may_reach_behind_the_end_of_an_episode():
    """By so many records, which repeat the last one; a mask tells them."""
    dataset = make_dataset(num_records=(6, 2, 1), length=3, overhang=1)
    assert identities(all_windows(dataset)) == [(0, s) for s in range(5)] + [(1, 0), (2, 0)]
    batch = windows(dataset, [4, 5, 6])
    np.testing.assert_array_equal(batch.observation["time"][:, :, 1], [[4, 5, 5], [0, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(recorded(batch.is_last), [[1, 1, 0], [1, 1, 0], [1, 0, 0]])


def chi_square(counts):
    """Sum of squared deviations from equal counts over the expected count, per degree of freedom."""
    expected = counts.sum() / len(counts)
    return ((counts - expected) ** 2 / expected).sum() / (len(counts) - 1)


def test_windows_are_drawn_uniformly():
    dataset = make_dataset(num_records=(6, 2, 20), length=3)
    drawn = identities(draw(dataset, jax.random.key(0), 20_000))
    counts = np.array([drawn.count(window) for window in identities(all_windows(dataset))])
    assert counts.sum() == 20_000
    assert chi_square(counts) < 2, counts


def test_first_fraction_is_the_share_of_windows_at_record_zero_of_a_uniform_episode():
    dataset = make_dataset(num_records=(3, 30, 300), length=3)
    drawn = identities(draw(dataset, jax.random.key(0), 10_000, first_fraction=0.6))
    firsts = np.array([drawn.count((number, 0)) for number in range(3)])
    expected = 0.6 / 3 + 0.4 / dataset.num_windows
    np.testing.assert_allclose(firsts / 10_000, expected, atol=0.015)


def test_first_fraction_one_always_starts_at_record_zero():
    batch = draw(make_dataset(), jax.random.key(0), 64, first_fraction=1.0)
    assert (batch.is_first[:, 0] == 1).all()


def test_sampling_inside_jit_compiles_once_and_equals_sampling_outside():
    dataset, drawn = make_dataset(), []
    jitted = jax.jit(lambda dataset, key: sample(dataset, key, 8))
    for seed in range(3):
        key = jax.random.key(seed)
        drawn.append(jitted(dataset, key))
        chex.assert_trees_all_equal(drawn[-1], sample(dataset, key, 8))
    assert jitted._cache_size() == 1
    assert identities(drawn[0]) != identities(drawn[1])


def test_sampling_under_vmap_equals_one_call_per_key():
    dataset, keys = make_dataset(), jax.random.split(jax.random.key(0), 3)
    sample_half = functools.partial(draw, dataset, batch_size=4, first_fraction=0.5)
    together = jax.vmap(sample_half)(keys)
    for index, key in enumerate(keys):
        chex.assert_trees_all_equal(jax.tree.map(lambda x, i=index: x[i], together), sample_half(key))


def test_demonstrations_have_neither_actions_nor_rewards():
    dataset = make_dataset(with_actions=False)
    assert dataset.prev_action is None and dataset.reward is None
    batch = draw(dataset, jax.random.key(0), 2)
    assert batch.prev_action is None and batch.reward is None
    assert make_dataset(with_actions=False, with_reward=True).reward is not None
    assert make_dataset(with_reward=False).reward is None


def test_demonstrations_need_no_actions_on_the_host_either():
    episode = make_episode(0, 5)
    del episode.records["pre_action"]
    dataset = SequenceDataset.create([episode], length=3, sensors=("time",), with_actions=False)
    assert dataset.num_windows == 3


def test_more_than_the_free_memory_is_refused_before_loading(monkeypatch):
    monkeypatch.setattr(dataset_module, "free_memory", lambda: 9 * 44 - 1)
    with pytest.raises(ValueError, match="2 episodes need .* GiB on .* are free; load fewer episodes"):
        make_dataset(num_records=(6, 2), length=3, sensors=("time", "image"))


def test_free_memory_of_this_machine_is_plausible():
    assert 2**20 < dataset_module.free_memory() < 2**50


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: SequenceDataset.create([], length=3, sensors=("time",)), "at least one episode"),
        (lambda e: SequenceDataset.create([e], length=0, sensors=("time",)), "length 0"),
        (
            lambda e: SequenceDataset.create([e], length=3, sensors=("depth",)),
            "Episode 0 has no 'depth'. It has",
        ),
        (lambda e: statistics([e], ("image",)), "'image' is not a vector"),
    ],
)
def test_wrong_arguments_are_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call(make_episode(0, 5))


def test_episodes_of_different_shapes_are_refused():
    other = make_episode(1, 5)
    other.records["pre_action"] = np.zeros((5, 3), np.float32)
    with pytest.raises(ValueError, match="'pre_action' of episode 1 has shape \\[3\\]"):
        SequenceDataset.create([make_episode(0, 5), other], length=3, sensors=("time",))


def vector_episode(values):
    return Episode({"x": np.asarray(values, np.float32)})


def test_statistics_are_mean_and_std_over_all_records():
    values = np.random.default_rng(0).normal([3.0, -1.0], [2.0, 0.5], (100, 2)).astype(np.float32)
    mean, std = statistics([vector_episode(values[:30]), vector_episode(values[30:])], ("x",))["x"]
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(std, values.std(0), rtol=1e-5)


def test_a_dimension_that_hardly_moves_gets_the_std_of_its_sensor():
    moving = np.tile([1.0, -1.0], 50)
    still = np.full(100, 5.0) + 1e-5 * moving
    _, std = statistics([vector_episode(np.stack([2 * moving, still], axis=1))], ("x",))["x"]
    np.testing.assert_allclose(std, [2.0, np.sqrt(2.0)], rtol=1e-4)


def test_a_sensor_that_does_not_move_is_not_scaled():
    mean, std = statistics([vector_episode(np.full((10, 2), 0.1))], ("x",))["x"]
    np.testing.assert_allclose(mean, 0.1)
    np.testing.assert_array_equal(std, 1.0)


def test_a_small_but_moving_sensor_is_scaled():
    values = 1e-3 * np.tile([1.0, -1.0], 50)[:, None]
    np.testing.assert_allclose(statistics([vector_episode(values)], ("x",))["x"][1], 1e-3, rtol=1e-5)


def test_scalar_records_can_be_sensors():
    episode = make_episode(0, 5)
    episode.records["task_id"] = np.full(5, 3)
    dataset = SequenceDataset.create([episode], length=3, sensors=("task_id",))
    batch = draw(dataset, jax.random.key(0), 2)
    assert batch.observation["task_id"].shape == (2, 3, 1)
    assert batch.observation["task_id"].dtype == jnp.float32
