import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodels.data.arrays import from_arrays
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.loops import fit, make_loops
from worldmodels.data.storage import open_dataset
from worldmodels.training import TrainState, cosine_schedule, make_optimizer, make_update


@pytest.fixture
def data():
    return SequenceDataset.create(from_arrays({"position": np.ones((2, 6, 3))}), length=4, with_actions=False)


def loss(model, batch, target, key):
    value = jnp.mean((model["guess"][None, None] - target * batch.observation["position"]) ** 2)
    return value, {"loss": value}


def test_a_model_is_fitted_to_windows_and_stays_as_it_was(data):
    model = {"guess": jnp.zeros(3)}
    fitted, metrics = fit(
        loss, model, data, 0.5, num_updates=110, learning_rate=0.02, updates_per_dispatch=50
    )
    np.testing.assert_allclose(fitted["guess"], 0.5, atol=0.02)
    np.testing.assert_array_equal(model["guess"], 0)
    assert metrics["loss"].shape == (3,) and metrics["loss"][0] > metrics["loss"][-1]


def test_an_update_that_is_not_finite_ends_it(data):
    with pytest.raises(FloatingPointError, match="Update 1 is not finite"):
        fit(loss, {"guess": jnp.zeros(3)}, data, jnp.inf, num_updates=10)


def test_equal_settings_share_a_program_and_other_ones_do_not(data):
    def loop(update, num_updates=3, batch_size=2):
        return make_loops(update, (data,), batch_size=batch_size).make(num_updates)

    def optimizer(rate):
        return make_optimizer(cosine_schedule(rate, 10, 0.5), 100.0)

    update = make_update(loss, optimizer(1e-3))
    assert optimizer(1e-3) is optimizer(1e-3) and optimizer(1e-3) is not optimizer(2e-3)
    assert loop(update) is loop(update)
    others = [
        loop(update, num_updates=2),
        loop(update, batch_size=1),
        loop(make_update(loss, optimizer(2e-3))),
    ]
    assert len({loop(update), *others}) == 4


@pytest.mark.parametrize("first_fraction", [0.0, 0.5])
def test_data_with_equal_room_are_learnt_from_by_one_program_and_as_without_room(first_fraction):
    """Whatever number of episodes they have, of whatever lengths."""
    traces, optimizer = [], make_optimizer(0.1)

    def counted(model, batch, key):
        traces.append(0)
        value = jnp.mean((model[None, None] - batch.observation["position"]) ** 2)
        return value, {"loss": value}

    def learnt(update, lengths, room_bytes):
        values = [np.random.default_rng(n).normal(size=(length, 3)) for n, length in enumerate(lengths)]
        episodes = from_arrays({"position": values})
        data = open_dataset(
            episodes, length=4, sensors=["position"], with_actions=False, room_bytes=room_bytes
        )
        loops = make_loops(update, (data,), batch_size=8, first_fraction=first_fraction)
        return loops(TrainState.create(jnp.zeros(3), optimizer, jax.random.key(0)), 20)[0].model

    update, few, many = make_update(counted, optimizer), [6], [5, 9, 3]
    found = [learnt(update, few, 1000)]
    compiled = len(traces)
    found.append(learnt(update, many, 1000))
    assert len(traces) == compiled
    exact = [learnt(make_update(counted, optimizer), lengths, 0) for lengths in (few, many)]
    np.testing.assert_array_equal(found, exact)
