"""Windows of embodiment data that look like the demonstrations are drawn more often."""

import jax
import numpy as np

from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import Episode
from worldmodels.data.relevance import weighted_windows, window_weights

LENGTH = 5


def make_dataset(speeds, *, with_actions=True):
    """One episode per speed, in which a point moves back and forth with it."""
    episodes = []
    for speed in speeds:
        steps = np.arange(40)
        position = np.sin(speed * steps)[:, None].astype(np.float32)
        records = {"position": position, "pre_action": np.zeros((40, 1), np.float32), "reward": 0.0 * steps}
        records |= {"is_first": steps == 0, "is_last": steps == 39, "is_terminal": np.zeros(40, bool)}
        episodes.append(Episode(records))
    return SequenceDataset.create(episodes, length=LENGTH, sensors=["position"], with_actions=with_actions)


def weighted(**options):
    body, shown = make_dataset([0.1, 0.1, 0.1, 1.5]), make_dataset([1.5], with_actions=False)
    options = dict(sensors=("position",), num_updates=100) | options
    return body, weighted_windows(body, shown, jax.random.key(0), **options)


def test_windows_that_move_as_the_demonstrations_do_are_drawn_more_often():
    body, redrawn = weighted()
    share = np.mean(np.asarray(redrawn.starts) >= 120)  # windows of the fast episode
    assert np.mean(np.asarray(body.starts) >= 120) == 0.25
    assert share > 0.5


def test_only_the_table_of_starts_changes():
    body, redrawn = weighted()
    assert redrawn.num_windows == body.num_windows
    assert np.isin(redrawn.starts, body.starts).all()
    np.testing.assert_array_equal(redrawn.first_starts, body.first_starts)
    np.testing.assert_array_equal(redrawn.prev_action, body.prev_action)


def test_redrawing_is_reproducible():
    np.testing.assert_array_equal(weighted()[1].starts, weighted()[1].starts)


def test_a_floor_of_one_leaves_all_windows_alike():
    ratio = np.array([1.0, 100.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    weights = window_weights(ratio, np.arange(6, dtype=np.int32), LENGTH, floor=1.0, ceiling=20.0)
    np.testing.assert_allclose(weights, np.full(6, 1 / 6))


def test_the_ceiling_bounds_the_ratio_to_the_mean():
    ratio = np.where(np.arange(100) == 0, 1000.0, 1e-3)
    weights = window_weights(ratio, np.arange(90, dtype=np.int32), LENGTH, floor=0.5, ceiling=4.0)
    np.testing.assert_allclose(weights.max() / weights.min(), (0.5 + 0.5 * 4.0) / 0.5, rtol=1e-2)
