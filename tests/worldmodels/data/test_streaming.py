"""The same windows from the device, from main memory and from files; storage chosen by size; training on a stream."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from worldmodels.data import dataset as dataset_module
from worldmodels.data import loops, streaming
from worldmodels.data.dataset import SequenceDataset, sample, windows
from worldmodels.data.episodes import Episode, load_episodes, write_episode
from worldmodels.data.loops import make_loops
from worldmodels.data.storage import open_dataset
from worldmodels.data.streaming import StreamedDataset
from worldmodels.training import TrainState, make_update

SENSORS = ("time", "image")
LENGTHS = (6, 2, 9)  # the second is shorter than a window


def make_episode(number, num_records):
    rng, steps = np.random.default_rng(number), np.arange(num_records)
    return Episode(
        {
            "time": np.stack([np.full(num_records, number), steps], axis=1).astype(np.float32),
            "image": rng.integers(0, 256, (num_records, 4, 4, 3), dtype=np.uint8),
            "pre_action": rng.normal(size=(num_records, 2)).astype(np.float32),
            "reward": steps.astype(np.float32),
            "is_first": steps == 0,
            "is_last": steps == num_records - 1,
            "is_terminal": np.zeros(num_records, bool),
        }
    )


def stored_as(suffix, folder):
    for number, num_records in enumerate(LENGTHS):
        write_episode(folder / f"{number}{suffix}", make_episode(number, num_records))
    return load_episodes(folder, images_on_disk=True)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Episodes whose images are on disk."""
    return stored_as(".hdf5", tmp_path_factory.mktemp("episodes"))


def dataset_in(storage, episodes, sensors=SENSORS, **options):
    return open_dataset(episodes, storage=storage, length=4, sensors=sensors, **options)


@pytest.mark.parametrize(("storage", "suffix"), [("memory", ".hdf5"), ("disk", ".hdf5"), ("disk", ".npz")])
def test_the_same_key_gives_the_same_windows_wherever_the_data_lie(storage, suffix, tmp_path):
    stored = stored_as(suffix, tmp_path)
    here, there = dataset_in("device", stored), dataset_in(storage, stored)
    assert isinstance(here, SequenceDataset) and isinstance(there, StreamedDataset)
    for seed in range(3):
        drawn = [sample(d, jax.random.key(seed), 8, first_fraction=0.5) for d in (here, there)]
        chex.assert_trees_all_equal(*drawn)
        chex.assert_trees_all_equal_shapes_and_dtypes(*drawn)


def test_all_functions_of_datasets_take_both(stored):
    here, there = dataset_in("device", stored), dataset_in("disk", stored)
    chex.assert_trees_all_equal(windows(here, np.array([0, 3])), windows(there, np.array([0, 3])))


def test_demonstrations_stream_without_actions(stored):
    batch = sample(dataset_in("disk", stored, with_actions=False), jax.random.key(0), 2)
    assert batch.prev_action is None and batch.reward is None


def test_images_on_disk_take_no_memory(stored):
    images = [dataset_in(place, stored).observation["image"] for place in ("memory", "disk")]
    assert [type(each) for each in images] == [np.ndarray, streaming.StoredRows]
    assert images[0].shape == images[1].shape


# Training -----------------------------------------------------------------------------------------------------


def loss(model, batch, key):
    """Depends on images, actions and noise, so that a wrong batch or key shows."""
    picture = batch.observation["image"].astype(jnp.float32).mean(axis=(2, 3, 4)) / 255
    value = (
        jnp.square(model["w"] - picture - batch.prev_action[..., 0]).mean()
        + jax.random.normal(key) * model["w"]
    )
    return value, {"loss": value}


def loss_of_two(model, first, second, key):
    return loss(model, first, key)[0] + 3 * loss(model, second, key)[0], {}


def train(data, num_updates, state=None, *, per_call=2, num_seeds=None, loss_fn=loss):
    optimizer = optax.adam(0.1)
    if state is None:
        state = TrainState.create({"w": jnp.zeros(())}, optimizer, jax.random.key(0))
        if num_seeds:
            keys = jax.random.split(jax.random.key(0), num_seeds)
            create = jax.vmap(lambda key: TrainState.create({"w": jnp.zeros(())}, optimizer, key))
            state = create(keys)
    data = data if isinstance(data, tuple) else (data,)
    learn = make_loops(make_update(loss_fn, optimizer), data, batch_size=3, num_seeds=num_seeds)
    for _ in range(0, num_updates, per_call):
        state, metrics = learn(state, per_call)
    return state, metrics


@pytest.mark.parametrize("num_seeds", [None, 1, 2])
def test_training_on_a_stream_is_training_on_the_device(stored, num_seeds):
    device, stream = (
        train(dataset_in(place, stored), 6, num_seeds=num_seeds) for place in ("device", "disk")
    )
    chex.assert_trees_all_close(device[0].model, stream[0].model, rtol=1e-6)
    chex.assert_trees_all_close(device[1], stream[1], rtol=1e-6)


def test_small_blocks_change_nothing(stored, monkeypatch):
    data = dataset_in("memory", stored)
    whole, metrics = train(data, 8, per_call=4)
    monkeypatch.setattr(loops, "BLOCK_BYTES", 1)
    pieces, piece_metrics = train(data, 8, per_call=4)
    chex.assert_trees_all_close((whole.model, metrics), (pieces.model, piece_metrics), rtol=1e-6)


def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(stored):
    data = dataset_in("disk", stored)
    whole, metrics = train(data, 8)
    half, _ = train(data, 4)
    resumed, resumed_metrics = train(data, 4, half)
    chex.assert_trees_all_equal((whole.model, metrics), (resumed.model, resumed_metrics))


@pytest.mark.parametrize("places", [("device", "disk"), ("disk", "memory")])
def test_two_datasets_may_lie_in_different_places(stored, places):
    expected, _ = train(tuple(dataset_in("device", stored) for _ in places), 4, loss_fn=loss_of_two)
    actual, _ = train(tuple(dataset_in(place, stored) for place in places), 4, loss_fn=loss_of_two)
    chex.assert_trees_all_close(expected.model, actual.model, rtol=1e-6)


def test_a_stream_inside_jit_says_what_to_do(stored):
    data = dataset_in("memory", stored)
    with pytest.raises(ValueError, match="cannot sample them; train with .*make_loops"):
        jax.jit(lambda data, key: sample(data, key, 2))(data, jax.random.key(0))


def test_nothing_moves_a_stream_to_the_device(stored):
    data = dataset_in("memory", stored)
    assert jax.tree.leaves(data) == [] and jax.device_put(data) is data


def test_a_file_that_vanishes_while_training_is_named(tmp_path):
    write_episode(tmp_path / "0.hdf5", make_episode(0, 9))
    data = dataset_in("disk", load_episodes(tmp_path, images_on_disk=True))
    (tmp_path / "0.hdf5").unlink()
    with pytest.raises(ValueError, match="There is no episode file .*0.hdf5"):
        sample(data, jax.random.key(0), 2)


# Storage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "memory", "place"),
    [
        (10_000, 10_000, "device"),
        (2_000, 10_000, "memory"),  # half of the device is less than the data
        (2_000, 2_100, "disk"),
    ],
)
def test_auto_takes_the_first_place_with_room(stored, monkeypatch, device, memory, place):
    monkeypatch.setattr(dataset_module, "free_memory", lambda: device)
    monkeypatch.setattr(dataset_module, "free_main_memory", lambda: memory)
    chosen = []
    dataset_in("auto", stored, on_storage=chosen.append)
    assert chosen[0].place == place
    assert sum(chosen[0].num_bytes.values()) == (6 + 4 + 9) * (48 + 4 * (2 + 2 + 1 + 3))


def test_the_decision_is_a_sentence_with_the_bytes(stored):
    said = []
    dataset_in("disk", stored, on_storage=said.append)
    assert str(said[0]).startswith("0.0 MiB (image 0.0 MiB, ")
    assert "images on disk: takes" in str(said[0])


@pytest.mark.parametrize("storage", ["device", "memory", "disk", "auto"])
def test_what_fits_nowhere_is_refused(stored, monkeypatch, storage):
    for name in ("free_memory", "free_main_memory"):
        monkeypatch.setattr(dataset_module, name, lambda: 100)
    with pytest.raises(ValueError, match="3 episodes need .* MiB with storage=.* are free; load fewer"):
        dataset_in(storage, stored)


def test_wrong_choices_are_explained(stored):
    with pytest.raises(ValueError, match="Unknown storage 'tape'. Known: auto, device, memory, disk"):
        dataset_in("tape", stored)
    with pytest.raises(ValueError, match="load them with images_on_disk=True"):
        dataset_in("disk", [make_episode(0, 6)])
