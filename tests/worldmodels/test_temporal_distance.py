"""A temporal distance counts the steps of the shortest way that the data show, whatever the usual one is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from models import NET, make_batch, make_model

from worldmodels.losses import elbo_loss
from worldmodels.structures import SequenceBatch
from worldmodels.temporal_distance import TemporalDistance, between, draw_goals, temporal_distance_loss
from worldmodels.training import TrainState, make_optimizer, make_train_loop, make_update

TOLD = dict(size=3, max_steps=20, **NET)
PLACES = 8


def windows(rows, **fields):
    """A batch whose records are nothing but what these rows [B, T, d] say."""
    flags = dict.fromkeys(("is_first", "is_last", "is_terminal"), jnp.zeros(rows.shape[:2]))
    return SequenceBatch(**{"observation": {"x": rows}, "prev_action": None, "reward": None} | flags | fields)


def test_goals_are_next_later_or_anywhere():
    """Every record is known by the number of its row and column."""
    rows, columns = 400, 12
    embed = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij"), axis=-1)
    goal, reached = draw_goals(embed, 0.7, jax.random.key(0))
    row, column = np.asarray(goal[..., 0]), np.asarray(goal[..., 1])
    own, following = np.arange(rows)[:, None], np.arange(1, columns)[None]
    np.testing.assert_array_equal(reached, (row == own) & (column == following))
    assert abs(np.mean(row != own) - 0.2) < 0.02, "one of five is of any window"
    early = (row == own)[:, :2]
    # Of those of any window one in 400 is of the own one, and may be earlier.
    assert (column > np.arange(columns - 1))[row == own].mean() > 0.99, "the others are later records"
    # The next ones, and of the later ones those that the geometric distribution puts there.
    share = ((column == following)[:, :2] & early).sum() / early.sum()
    assert abs(share - (0.2 + 0.6 * 0.3) / 0.8) < 0.04
    assert set(np.unique(column[:, 0])) >= set(range(1, columns)), "up to the end of the window"


def test_the_loss_by_hand():
    """A goal that is reached is one step away; others are one step farther than from the next record, at most 1."""
    distance = TemporalDistance(2, 2, expectile=0.8, rngs=nnx.Rngs(0), **TOLD)
    keys = jax.random.split(jax.random.key(1), 2)
    features, embed = (3.0 * jax.random.normal(key, (4, 5, 2)) for key in keys)
    first = jnp.zeros((4, 5)).at[0, 2].set(1.0)
    terminal = jnp.zeros((4, 5)).at[1, 3:].set(1.0)  # and stays so
    batch = windows(embed, is_first=first, is_terminal=terminal)
    goal, reached = draw_goals(embed, distance.ahead, jax.random.key(2))
    loss, metrics = temporal_distance_loss(distance, features, embed, batch, jax.random.key(2))

    expected, number = 0.0, 0
    for row in range(4):
        for step in range(4):
            if first[row, step + 1] or (row == 1 and step == 3):
                continue  # nothing led there, or the episode had ended
            onward = float(between(distance.slow, features[row, step + 1], goal[row, step]))
            onward = 1.0 if terminal[row, step + 1] else onward
            target = min(1 / 20 + (0.0 if reached[row, step] else onward), 1.0)
            error = target - float(distance(features[row, step], goal[row, step]))
            expected += (0.8 if error < 0 else 0.2) * error**2
            number += 1
    at_goal = np.asarray(distance(features, embed) ** 2)
    at_goal = at_goal.sum() - at_goal[1, 4]
    np.testing.assert_allclose(metrics["temporal_distance_loss"], expected / number, rtol=1e-5)
    np.testing.assert_allclose(loss, expected / number + at_goal / 19, rtol=1e-5)


def test_the_shortest_way_is_learnt_from_wandering():
    """Places on a line, one step apart; at random steps there are as many to the left as to the right."""
    rng = np.random.default_rng(0)
    steps = rng.integers(0, 2, (256, 24)) * 2 - 1
    place = np.empty((256, 25), int)
    place[:, 0] = rng.integers(0, PLACES, 256)
    for t in range(24):
        place[:, t + 1] = np.clip(place[:, t] + steps[:, t], 0, PLACES - 1)
    shown = jnp.eye(PLACES)[place]
    distance = TemporalDistance(
        PLACES, PLACES, size=8, max_steps=16, target_rate=0.05, hidden_size=32, rngs=nnx.Rngs(0)
    )

    def loss(model, batch, key):
        return temporal_distance_loss(model, batch.observation["x"], batch.observation["x"], batch, key)

    def draw(data, key):
        return windows(data[jax.random.randint(key, (8,), 0, data.shape[0])])

    optimizer = make_optimizer(3e-3)
    update = make_update(loss, optimizer)
    loop = make_train_loop(update, draw, 1500)
    state, _ = loop(TrainState.create(distance, optimizer, jax.random.key(3)), shown)
    everywhere = jnp.eye(PLACES)
    learnt = 16 * jax.vmap(lambda s: jax.vmap(functools.partial(state.model, s))(everywhere))(everywhere)
    true = np.abs(np.subtract.outer(np.arange(PLACES), np.arange(PLACES)))
    np.testing.assert_allclose(learnt, true, atol=1.5)


def test_it_does_not_shape_the_model_and_its_copy_follows():
    batch, key = make_batch(), jax.random.key(0)
    plain, told = make_model(), make_model(temporal_distance=TOLD)
    gradient = jax.jit(jax.grad(elbo_loss, has_aux=True))
    without = gradient(plain, batch, key)[0]
    grads, (metrics, _) = gradient(told, batch, key)
    for part in ("encoder", "rssm", "decoders", "idm"):
        jax.tree.map(np.testing.assert_array_equal, getattr(grads, part), getattr(without, part))
    assert metrics["temporal_distance_steps"] > 0
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(grads.temporal_distance.slow))
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(grads.temporal_distance.towers))

    optimizer = make_optimizer(1e-2)
    update = make_update(elbo_loss_of_metrics, optimizer)
    first, _ = update(TrainState.create(told, optimizer, key), batch)
    second, _ = update(first, batch)

    def moved(old, new, slow):
        np.testing.assert_allclose(slow, 0.99 * old + 0.01 * new, rtol=1e-5, atol=1e-7)

    distance = first.model.temporal_distance
    jax.tree.map(moved, distance.slow, distance.towers, second.model.temporal_distance.slow)
    assert (
        plain.temporal_distance is None
        and make_model(temporal_distance=dict(size=0)).temporal_distance is None
    )


def elbo_loss_of_metrics(model, batch, key):
    """`elbo_loss` without the states."""
    loss, (metrics, _) = elbo_loss(model, batch, key)
    return loss, metrics


@pytest.mark.parametrize("options", [dict(expectile=0.3), dict(ahead=1.0), dict(max_steps=0)])
def test_settings_that_count_nothing_are_refused(options):
    with pytest.raises(ValueError, match="expectile from 0.5 to below 1"):
        make_model(temporal_distance={**TOLD, **options})


def test_options_without_a_size_are_refused():
    with pytest.raises(TypeError, match="'size'"):
        make_model(temporal_distance=dict(max_steps=20))
