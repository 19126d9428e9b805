"""The embedding as target: stopped, and by an encoder that follows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from models import make_batch, make_model
from parity import COMPILER_OPTIONS

from worldmodels.checkpoints import named_leaves
from worldmodels.losses import elbo_loss
from worldmodels.training import TrainState, make_update


@functools.cache
def model(momentum=0.25):
    return make_model(targets=("emb",), probes=("position", "velocity"), momentum=momentum)


def moved(module):
    """The model after its encoder has gone somewhere else."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 1.0 if path[0].name == "encoder" else leaf, module
    )


def test_the_momentum_encoder_starts_equal_and_moves_by_its_rate():
    before = moved(model())
    after = before.before_update()
    for start, online, new in zip(
        *map(jax.tree.leaves, (before.momentum_encoder, before.encoder, after.momentum_encoder)), strict=True
    ):
        np.testing.assert_allclose(online, start + 1.0, rtol=1e-6)
        np.testing.assert_allclose(new, 0.25 * online + 0.75 * start, rtol=1e-6)
    np.testing.assert_array_equal(*(jax.tree.leaves(m.encoder)[0] for m in (before, after)))


def test_the_target_is_the_embedding_of_the_encoder_that_follows():
    batch = make_batch()
    target = moved(model()).with_embedding(batch).observation["emb"]
    np.testing.assert_array_equal(target, model().encode(batch.observation))
    alone = make_model(targets=("emb",), momentum=None)
    assert alone.momentum_encoder is None
    np.testing.assert_array_equal(
        alone.with_embedding(batch).observation["emb"], alone.encode(batch.observation)
    )


def test_an_update_trains_the_model_and_lets_the_momentum_encoder_only_follow():
    optimizer = optax.adam(1e-2)
    state = TrainState.create(model(), optimizer, jax.random.key(0))
    update = jax.jit(make_update(elbo_loss, optimizer), compiler_options=COMPILER_OPTIONS)
    first, metrics = update(state, make_batch())
    for before, after in zip(
        *map(jax.tree.leaves, (state.model.momentum_encoder, first.model.momentum_encoder)), strict=True
    ):
        np.testing.assert_array_equal(before, after)  # equal encoders: nothing to follow, and no gradient
    assert np.isfinite(metrics["emb_mse"]) and np.isfinite(metrics["position_probe_mse"])
    assert "position_mse" not in metrics
    second, _ = update(first, make_batch())
    for target, online, new in zip(
        *map(
            jax.tree.leaves,
            (first.model.momentum_encoder, first.model.encoder, second.model.momentum_encoder),
        ),
        strict=True,
    ):
        np.testing.assert_allclose(new, 0.25 * online + 0.75 * target, rtol=1e-4, atol=1e-6)


def test_the_momentum_encoder_travels_in_a_checkpoint():
    names = named_leaves(model())
    assert any(name.startswith("momentum_encoder/") for name in names)


def test_an_image_probe_sums_over_one_axis_as_published():
    from worldmodels.losses import sum_probe_dims

    log_prob = jax.random.normal(jax.random.key(0), (2, 3, 4, 5, 3))
    expected = np.asarray(log_prob).sum(3).mean((2, 3))
    np.testing.assert_allclose(sum_probe_dims(log_prob), expected, rtol=1e-5)
    np.testing.assert_allclose(
        sum_probe_dims(log_prob[..., 0, 0]), jnp.sum(log_prob[..., 0, 0], -1), rtol=1e-6
    )
