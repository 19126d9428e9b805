"""Data that are dealt out to devices give the batches of data that lie on one."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from worldmodels.data.dataset import SequenceDataset, flat_records, sample
from worldmodels.data.episodes import Episode
from worldmodels.data.shared_dataset import SharedDataset


def episode(length: int, seed: int) -> Episode:
    rng = np.random.default_rng(seed)
    flags = {name: np.zeros(length, np.float32) for name in ("is_first", "is_last", "is_terminal")}
    records = {
        "position": rng.normal(size=(length, 2)).astype(np.float32),
        "image": rng.integers(0, 256, (length, 4, 4, 3), np.uint8),
    }
    records |= {"pre_action": rng.normal(size=(length, 1)).astype(np.float32), "reward": np.zeros(length)}
    return Episode(records | flags, {})


EPISODES = [episode(length, seed) for seed, length in enumerate((7, 3, 9))]
OPTIONS = dict(length=4, sensors=["position", "image"])


def test_a_batch_is_that_of_the_same_data_on_one_device():
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    whole, shared = (
        SequenceDataset.create(EPISODES, **OPTIONS),
        SharedDataset.create(EPISODES, mesh=mesh, **OPTIONS),
    )
    draw = jax.jit(lambda data: sample(data, jax.random.key(0), 6, first_fraction=0.5))
    jax.tree.map(np.testing.assert_array_equal, draw(shared), draw(whole))


@pytest.mark.parametrize("name", ["position", "image"])
def test_parts_of_the_records_are_those_of_the_whole(name):
    whole = flat_records(EPISODES, name, 4)
    parts = [flat_records(EPISODES, name, 4, begin, begin + 7) for begin in (0, 7, 14)]
    joined = np.concatenate(parts)
    np.testing.assert_array_equal(joined[: len(whole)], whole)
    assert not joined[len(whole) :].any()


def test_episodes_outside_a_part_are_not_read():
    class Unread:
        def __getitem__(self, index):
            raise AssertionError("an episode of another process was read")

    first, second, third = EPISODES
    unread = Episode(third.records | {"image": Unread()}, {})
    assert len(flat_records([first, second, unread], "image", 4, 0, 11)) == 11
