"""Several seeds in one program: one that diverges stands still at its last finite state, and the others continue."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents.fitting import FitSettings, FitState, end_epoch
from experiments.methods.collect_sac import check_others
from experiments.runs.directory import RunDirectory
from experiments.runs.metrics import (
    Diverged,
    DivergenceWatch,
    MetricsError,
    diverged_among,
    diverged_result,
    read_rows,
)
from experiments.runs.training import Schedule, train
from worldmodels.training import TrainState, make_train_loop, make_update, only_finite

OPTIMIZER = optax.sgd(1.0)


def loss(weight, batch, key):
    """Its root is not a number once the weight is below zero; a step takes at most half of 1 / sqrt(weight)."""
    value = jnp.sqrt(weight)
    return value, {"loss": value}


def states(*weights) -> TrainState:
    return jax.vmap(lambda weight: TrainState.create(weight, OPTIMIZER, jax.random.key(0)))(
        jnp.array(weights, jnp.float32)
    )


def learner(num_seeds):
    update = make_update(loss, OPTIMIZER)

    @functools.cache
    def make_loop(num_updates):
        return make_train_loop(update, lambda data, key: data, num_updates, num_seeds=num_seeds)

    return lambda state, num_updates: make_loop(num_updates)(state, jnp.zeros(1))


def trained(folder, *weights, num_updates=12, num_seeds=None):
    with RunDirectory(folder) as run:
        return train(
            run,
            states(*weights),
            learner(len(weights)),
            Schedule(num_updates, updates_per_dispatch=2, save_every=4),
            prefix="train/",
            description="toy",
        )


def test_an_update_that_is_not_finite_is_not_made():
    state = TrainState.create(jnp.float32(-1.0), OPTIMIZER, jax.random.key(0))
    after, metrics = only_finite(make_update(loss, OPTIMIZER))(state, None)
    assert (after.model, after.step, metrics["finite"]) == (-1.0, 0, 0.0)


def test_a_finite_update_is_the_unguarded_one():
    state = TrainState.create(jnp.float32(2.0), OPTIMIZER, jax.random.key(0))
    update = make_update(loss, OPTIMIZER)
    (after, metrics), (expected, _) = only_finite(update)(state, None), update(state, None)
    assert (after.model, after.step, metrics["finite"]) == (expected.model, expected.step, 1.0)


def test_one_diverging_seed_does_not_stop_the_others(tmp_path, capsys):
    state = trained(tmp_path, 100.0, 0.3, 50.0)
    alone = trained(tmp_path / "alone", 100.0, 50.0)
    np.testing.assert_array_equal(state.model[jnp.array([0, 2])], alone.model)
    assert state.step[1] < 12 and jnp.isfinite(state.model).all()
    assert diverged_result(state.step < 12, state.step) == {
        "diverged": [{"seed": 1, "updates": int(state.step[1])}]
    }
    told = [line for line in capsys.readouterr().err.splitlines() if "has diverged" in line]
    assert len(told) == 1 and told[0].startswith("Seed 1 of 3 has diverged: at update 2 its train/grad_norm")


def test_a_diverged_seed_stays_where_it_was_when_the_run_continues(tmp_path):
    first = trained(tmp_path, 100.0, 0.3, num_updates=8)
    state = trained(tmp_path, 100.0, 0.3, num_updates=12)
    assert state.model[1] == first.model[1] and state.step.tolist() == [12, int(first.step[1])]
    assert [row["train/finite"][0] for row in read_rows(tmp_path / "metrics.jsonl")] == [1.0] * 6


def test_the_run_ends_when_no_seed_is_left(tmp_path):
    with pytest.raises(MetricsError, match="Training has diverged: at update .* train/loss"):
        trained(tmp_path, 0.2, 0.3)


def test_a_single_seed_that_diverges_ends_the_run(tmp_path):
    with pytest.raises(MetricsError, match="Training has diverged"):
        trained(tmp_path, 0.3)


def test_a_metric_of_the_whole_program_must_be_finite():
    with pytest.raises(MetricsError, match="fps/updates"):
        DivergenceWatch(2).check({"loss": [1.0, 2.0], "fps/updates": float("nan")}, 1)


def test_no_divergence_leaves_results_as_they_are():
    assert diverged_result([False, False], [3, 3]) == {}


@pytest.mark.parametrize(("validation_loss", "finite"), [(float("nan"), True), (1.0, False)])
def test_a_fit_that_diverges_stops_with_its_best_weights(validation_loss, finite):
    state = FitState.create(jnp.float32(1.0), FitSettings(), jax.random.key(0))
    state = end_epoch(state, jnp.float32(2.0), FitSettings().rule, finite=jnp.array(True))
    state = state.replace(train=state.train.replace(model=jnp.float32(9.0)), best_loss=jnp.float32(0.5))
    ended = end_epoch(state, jnp.float32(validation_loss), FitSettings().rule, finite=jnp.array(finite))
    assert ended.stopped and ended.diverged and ended.best_model == 1.0


def test_seeds_that_ran_one_after_the_other_are_named_where_they_diverged():
    results = [{"num_updates": 40}, {"num_updates": 20, "diverged": True}]
    assert diverged_among(results) == {"diverged": [{"seed": 1, "updates": 20}]}
    with pytest.raises(Diverged, match="all 1 seeds"):
        diverged_among(results[1:])


def test_an_agent_that_diverges_leaves_its_place_to_the_next():
    check_others([], 2, Diverged("nan"))
    check_others([{"returns": [1.0]}], 2, Diverged("nan"))
    with pytest.raises(Diverged, match="nan"):
        check_others([{"returns": []}], 2, Diverged("nan"))
