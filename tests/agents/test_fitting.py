"""Fitting with early stopping: splits, epochs, the stopping rule, seeds, continuing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.bco import later_rounds
from agents.fitting import (
    FitSettings,
    FitState,
    continued,
    end_epoch,
    epoch_batches,
    fit,
    make_epoch,
    make_mean_loss,
    split_of,
)
from agents.splits import Split, draw_training, shuffled, split_episodes, split_windows
from worldmodels.data.dataset import SequenceDataset, windows
from worldmodels.data.episodes import Episode


def make_dataset(num_records=61, seed=0, room=0):
    """Windows of one record: x [num_records, 2], noisy y = x @ (1, -2), kept as an action."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_records, 2)).astype(np.float32)
    y = (x @ [[1.0], [-2.0]] + 0.1 * rng.normal(size=(num_records, 1))).astype(np.float32)
    flags = {name: np.zeros(num_records, bool) for name in ("is_first", "is_last", "is_terminal")}
    episode = Episode({"x": x, "pre_action": y, **flags})
    return SequenceDataset.create([episode], length=1, sensors=["x"], with_reward=False, room=room)


DATASET = make_dataset()


def squared_error(weights, batch, key):
    """Of a line through the origin."""
    loss = ((batch.observation["x"][:, 0] @ weights[:, None] - batch.prev_action[:, 0]) ** 2).mean()
    return loss, {"loss": loss}


def create(key, settings):
    return FitState.create(jax.random.normal(key, (2,)), settings, key)


def apply_rule(losses, *, patience, min_epochs, min_updates, max_updates, updates_per_epoch):
    """The stopping rule in plain Python: (epochs made, index of the best one)."""
    best, stale = None, 0
    for epoch, loss in enumerate(losses, start=1):
        if best is None or loss < losses[best]:
            best, stale = epoch - 1, 0
        else:
            stale += 1
        updates = epoch * updates_per_epoch
        if patience is not None and stale >= patience and epoch >= min_epochs and updates >= min_updates:
            return epoch, best
        if max_updates is not None and updates >= max_updates:
            return epoch, best
    raise AssertionError("the losses ended before the rule stopped")


@pytest.mark.parametrize(
    "rule",
    [
        dict(patience=3, min_epochs=0, min_updates=0, max_updates=None),
        dict(patience=3, min_epochs=50, min_updates=0, max_updates=None),
        dict(patience=2, min_epochs=5, min_updates=300, max_updates=None),
        dict(patience=None, min_epochs=50, min_updates=0, max_updates=120),
        dict(patience=1, min_epochs=3, min_updates=0, max_updates=55),
    ],
)
def test_the_stopping_rule_is_the_plain_one(rule):
    settings = FitSettings(**rule)
    step = jax.jit(lambda state, loss: end_epoch(state, loss, settings.rule))
    for seed in range(8):
        losses = np.random.default_rng(seed).normal(size=400).astype(np.float32)
        epochs, best = apply_rule(losses, updates_per_epoch=10, **rule)
        state = FitState.create(jnp.zeros(()), settings, jax.random.key(0))
        for number, loss in enumerate(losses):
            state = state.replace(
                train=state.train.replace(model=jnp.float32(number), step=jnp.int32(10 * (number + 1)))
            )
            state = step(state, loss)
            if state.stopped:
                break
        assert (int(state.epoch), float(state.best_model), float(state.best_loss)) == (
            epochs,
            best,
            losses[best],
        )


def test_the_published_settings_are_the_default():
    assert FitSettings() == FitSettings(
        learning_rate=1e-3, batch_size=50, training_fraction=0.7, patience=3, min_epochs=50, min_updates=0
    )


def test_a_fit_that_never_stops_is_refused():
    with pytest.raises(ValueError, match="set patience or max_updates"):
        FitSettings(patience=None)


def test_a_split_is_disjoint_and_complete():
    split = split_windows(101, 0.7, jax.random.key(0))
    assert (split.training.size, split.validation.size) == (71, 30)
    np.testing.assert_array_equal(np.sort(np.concatenate([split.training, split.validation])), np.arange(101))


def test_seeds_split_differently_and_a_seed_always_alike():
    splits = [split_windows(101, 0.7, jax.random.key(seed)).validation for seed in (0, 1, 0)]
    np.testing.assert_array_equal(splits[0], splits[2])
    assert set(np.asarray(splits[0])) != set(np.asarray(splits[1]))


def test_a_split_that_leaves_nothing_to_validate_is_refused():
    with pytest.raises(ValueError, match="use more data"):
        split_windows(1, 0.7, jax.random.key(0))


def test_an_epoch_is_a_pass_over_the_training_windows():
    training = np.arange(100, 143)
    batches, num_updates = epoch_batches(
        Split.of(training, np.arange(3)), FitSettings(batch_size=10), jax.random.key(0)
    )
    assert batches.shape == (5, 10) and num_updates == 5
    batches = np.asarray(batches)
    np.testing.assert_array_equal(np.sort(batches.reshape(-1)[:43]), training)
    np.testing.assert_array_equal(batches.reshape(-1)[43:], batches[0, :7])


def test_an_epoch_of_few_windows_fills_its_batch():
    split = Split.of(np.arange(3), np.arange(3, 4))
    batches, _ = epoch_batches(split, FitSettings(batch_size=8), jax.random.key(0))
    assert batches.shape == (1, 8) and set(np.asarray(batches[0])) == {0, 1, 2}


def test_an_epoch_of_given_length_draws_training_windows():
    settings = FitSettings(batch_size=10, updates_per_epoch=4)
    split = Split.of(np.arange(100, 143), np.arange(3), room=60)
    batches, num_updates = epoch_batches(split, settings, jax.random.key(0))
    assert num_updates == 4
    assert batches.shape == (4, 10) and batches.min() >= 100 and batches.max() < 143


@pytest.mark.parametrize("number", [1, 2, 600, 1000])
def test_the_first_of_many_are_shuffled_as_they_would_be_alone(number):
    """Those behind them stay there."""
    values, keys = jnp.arange(100, 1100), jax.random.split(jax.random.key(3), 2)
    found = jax.jit(shuffled)(keys[0], values, number)
    np.testing.assert_array_equal(found[:number], shuffled(keys[0], values[:number], number))
    np.testing.assert_array_equal(np.sort(found[:number]), values[:number])
    np.testing.assert_array_equal(found[number:], values[number:])
    assert number < 600 or np.any(shuffled(keys[1], values, number) != found)


def test_all_orders_are_as_likely():
    keys = jax.random.split(jax.random.key(0), 6000)
    orders = jax.vmap(lambda key: shuffled(key, jnp.arange(4), 3))(keys)
    assert set(np.asarray(orders[:, 3])) == {3}
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6 and abs(counts - 1000).max() < 100


def test_the_mean_loss_is_that_of_one_batch(monkeypatch):
    monkeypatch.setattr("agents.fitting.VALIDATION_CHUNK", 8)  # 20 windows are two chunks and a rest
    weights, indices = jnp.array([0.3, 0.5]), jnp.arange(3, 23)
    expected, _ = squared_error(weights, windows(DATASET, indices), None)
    mean_loss = make_mean_loss(squared_error)
    np.testing.assert_allclose(mean_loss(weights, DATASET, indices, 20), expected, rtol=1e-6)
    more = jnp.concatenate([indices, jnp.arange(13)])
    np.testing.assert_allclose(mean_loss(weights, DATASET, more, 20), expected, rtol=1e-6)


def test_a_fit_learns_and_returns_the_weights_with_the_lowest_validation_loss():
    settings = FitSettings(learning_rate=0.05, batch_size=8, min_epochs=20)
    history = []

    def on_epoch(state, metrics):
        history.append((float(metrics["validation_loss"]), np.asarray(state.train.model)))

    state = fit(create(jax.random.key(0), settings), DATASET, squared_error, settings, on_epoch=on_epoch)
    loss, weights = min(history, key=lambda entry: entry[0])
    np.testing.assert_array_equal(state.best_model, weights)
    np.testing.assert_allclose(weights, [1.0, -2.0], atol=0.1)
    validation = split_of(state, DATASET, settings).validation
    mean_loss = make_mean_loss(squared_error)(state.best_model, DATASET, validation, len(validation))
    np.testing.assert_allclose(mean_loss, loss, rtol=1e-5)


def test_validation_windows_are_not_trained_on():
    settings = FitSettings(batch_size=8, max_updates=30)
    split = Split.of(np.arange(40), np.arange(40, 61))
    poisoned = DATASET.replace(prev_action=DATASET.prev_action.at[40:].set(1e6))
    epoch = make_epoch(squared_error, settings)
    start = create(jax.random.key(0), settings)
    states = [epoch(start, split, data, settings.rule)[0] for data in (DATASET, poisoned)]
    np.testing.assert_array_equal(states[0].train.model, states[1].train.model)


def test_seeds_in_one_program_are_the_single_runs():
    settings = FitSettings(learning_rate=0.05, batch_size=8, min_epochs=5)
    keys = jax.random.split(jax.random.key(3), 2)
    together = fit(jax.vmap(lambda key: create(key, settings))(keys), DATASET, squared_error, settings)
    singles = [fit(create(key, settings), DATASET, squared_error, settings) for key in keys]
    epochs = [int(single.epoch) for single in singles]
    assert len(set(epochs)) > 1, "the seeds should stop at different epochs for this test to mean something"
    assert together.epoch.tolist() == epochs
    for i, single in enumerate(singles):
        np.testing.assert_allclose(together.best_model[i], single.best_model, rtol=1e-5)


def test_a_seed_that_has_stopped_keeps_its_state_to_the_bit():
    settings = FitSettings(batch_size=8)
    state = jax.vmap(lambda key: create(key, settings))(jax.random.split(jax.random.key(0), 2))
    state = state.replace(stopped=jnp.array([True, False]))
    after, _ = make_epoch(squared_error, settings, num_seeds=2)(
        state, split_of(state, DATASET, settings), DATASET, settings.rule
    )
    raw = jax.tree.map(
        lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x,
        (state, after),
    )
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[0], y[0]), *raw)
    assert np.all(after.train.model[1] != state.train.model[1])
    assert after.epoch.tolist() == [0, 1]


def test_a_fit_that_is_continued_is_the_uninterrupted_one():
    settings = FitSettings(batch_size=8, patience=None, max_updates=36)
    states = []
    whole = fit(
        create(jax.random.key(0), settings),
        DATASET,
        squared_error,
        settings,
        on_epoch=lambda state, _: states.append(state),
    )
    continued = fit(states[2], DATASET, squared_error, settings)
    np.testing.assert_array_equal(continued.best_model, whole.best_model)
    np.testing.assert_array_equal(continued.train.model, whole.train.model)


def test_a_fit_compiles_once():
    settings = FitSettings(batch_size=8, min_epochs=5)
    traces = []

    def counted(weights, batch, key):
        traces.append(0)
        return squared_error(weights, batch, key)

    fit(create(jax.random.key(0), settings), DATASET, counted, settings, on_epoch=lambda *_: traces.append(1))
    assert 1 not in traces[: traces.index(1)] and 0 not in traces[traces.index(1) :]


def test_fits_of_data_that_grow_within_their_room_compile_once():
    """And are those of the same data without room, whatever their rules of stopping are."""
    traces = []

    def counted(weights, batch, key):
        traces.append(0)
        return squared_error(weights, batch, key)

    first = FitSettings(batch_size=8, min_epochs=5)
    for settings, number in ((first, 30), (later_rounds(first), 61)):
        split = (np.arange(number - 10), np.arange(number - 10, number))
        roomy, tight = (make_dataset(number, room=room) for room in (100, 0))
        assert len(roomy.starts) == 100 and roomy.num_windows == number
        state = create(jax.random.key(0), settings)
        found = fit(state, roomy, counted, settings, split=Split.of(*split, room=100))
        if number == 30:
            compiled = len(traces)
        alone = fit(state, tight, squared_error, settings, split=Split.of(*split))
        assert found.epoch == alone.epoch
        np.testing.assert_allclose(found.best_model, alone.best_model, rtol=1e-5)
    assert len(traces) == compiled


def test_a_split_by_episodes_keeps_their_windows_together():
    split = split_episodes([5, 3, 2, 1], 3, [True, False, True, False])  # 3, 1, 1 (padded), 1 windows
    np.testing.assert_array_equal(split.training, [0, 1, 2, 4])
    np.testing.assert_array_equal(split.validation, [3, 5])


def test_a_split_by_episodes_needs_two():
    with pytest.raises(ValueError, match="use at least two episodes"):
        split_episodes([5], 3, [True])


@pytest.mark.parametrize(("num", "expected"), [(1, 1), (2, 1), (3, 2), (10, 7), (20, 14)])
def test_seven_tenths_of_the_episodes_are_trained_on_and_one_is_left(num, expected):
    drawn = draw_training(num, 0.7, jax.random.key(0))
    assert drawn.sum() == expected
    np.testing.assert_array_equal(drawn, draw_training(num, 0.7, jax.random.key(0)))


def test_a_fit_goes_on_from_the_best_weights_with_the_optimizers_state():
    settings = FitSettings(batch_size=8, min_epochs=5)
    state = fit(create(jax.random.key(0), settings), DATASET, squared_error, settings)
    again = continued(state)
    np.testing.assert_array_equal(again.train.model, state.best_model)
    jax.tree.map(np.testing.assert_array_equal, again.train.opt_state, state.train.opt_state)
    assert np.isinf(again.best_loss) and not again.stopped and again.epoch == state.epoch


def test_a_fit_that_goes_on_may_make_as_many_updates_as_the_one_before():
    settings = FitSettings(batch_size=8, patience=None, max_updates=12, updates_per_epoch=6)
    state = fit(create(jax.random.key(0), settings), DATASET, squared_error, settings)
    again = fit(continued(state), DATASET, squared_error, settings)
    assert (state.train.step, again.train.step) == (12, 24)


def test_later_rounds_stop_at_the_first_epoch_without_improvement():
    settings = later_rounds(FitSettings(min_epochs=10, min_updates=5000))
    state = continued(FitState.create(jnp.zeros(()), settings, jax.random.key(0)))
    stopped = []
    for loss in (3.0, 2.0, 2.5):
        state = end_epoch(state, jnp.float32(loss), settings.rule)
        stopped.append(bool(state.stopped))
    assert stopped == [False, False, True]
    assert state.best_loss == 2.0
