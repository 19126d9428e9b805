"""DynaMo: its loss in numbers, what each prediction may see, where gradients stop, and that both terms are felt."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from linear_world import dataset

from agents.causal_transformer import CausalTransformer
from agents.dynamo import DynaMo, cosine_distance, dynamo_loss, off_diagonal_covariance
from worldmodels.data.loops import fit
from worldmodels.structures import SequenceBatch

SMALL = dict(num_frames=4, latent_size=2, layers=1, heads=2, width=8)
ENCODER = dict(encoder=dict(name="mlp", hidden_size=6, hidden_layers=1))


def make_batch(x):
    """Windows of x [B, T, d] without actions."""
    flags = jnp.zeros(x.shape[:2])
    return SequenceBatch({"x": x}, None, None, flags, flags, flags)


class Copies(DynaMo):
    """Embeds x as it is, and predicts that nothing changes."""

    def predict(self, embed):
        return embed[:, :-1]


def test_the_loss_in_numbers():
    """x turns by a right angle once in four records: cosines are 1, 0 and 1."""
    x = jnp.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 3.0]]])
    loss, metrics = jax.jit(dynamo_loss)(Copies({"x": 2}, rngs=nnx.Rngs(0), **SMALL), make_batch(x))
    covariance = np.cov(np.asarray(x[0]).T)[0, 1]
    assert float(metrics["dynamics_loss"]) == pytest.approx(1 / 3) == float(metrics["copy_loss"])
    assert float(metrics["covariance_loss"]) == pytest.approx(covariance**2)
    assert float(loss) == pytest.approx(1 / 3 + 0.04 * covariance**2)
    assert float(metrics["embed_std"]) == pytest.approx(np.std(x[0], axis=0).mean())


def test_shorter_embeddings_cost_less_covariance_and_point_where_they_did():
    """So that `embed_std` falls in training without any collapse, of which `copy_loss` would tell."""
    x = jax.random.normal(jax.random.key(0), (3, 4, 2))
    net = Copies({"x": 2}, rngs=nnx.Rngs(0), **SMALL)
    (_, long), (_, short) = (jax.jit(dynamo_loss)(net, make_batch(length * x)) for length in (1.0, 0.5))
    for name, factor in dict(dynamics_loss=1, copy_loss=1, embed_std=1 / 2, covariance_loss=1 / 16).items():
        assert float(short[name]) == pytest.approx(factor * float(long[name]), rel=1e-5), name
    _, one = jax.jit(dynamo_loss)(net, make_batch(jnp.ones((3, 4, 2))))
    assert float(one["copy_loss"]) == pytest.approx(0, abs=1e-6) == float(one["embed_std"])


def test_covariance_is_averaged_over_pairs_of_different_dimensions():
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    covariance = np.cov(rows.T)
    expected = np.mean([covariance[i, j] ** 2 for i in range(3) for j in range(3) if i != j])
    assert float(off_diagonal_covariance(jnp.asarray(rows))) == pytest.approx(expected, rel=1e-4)
    assert float(off_diagonal_covariance(jnp.asarray(rows[:, :1]))) == 0


def test_an_embedding_of_zeros_has_a_finite_gradient():
    gradient = jax.grad(lambda x: cosine_distance(x, jnp.ones((2, 3))))(jnp.zeros((2, 3)))
    assert np.isfinite(gradient).all()


@functools.partial(jax.jit, static_argnums=0)
def jacobian_of(function, net, x):
    return jax.jacobian(lambda x: function(net, x)[0])(x)  # [outputs, E, 1, T, 2]


def influence(function, net, length):
    """[i, t]: whether output i changes with input t of a window."""
    jacobian = jacobian_of(function, net, jax.random.normal(jax.random.key(1), (1, length, 2)))
    return np.abs(jacobian).sum(axis=(1, 2, 4)) > 1e-9


def test_a_token_sees_itself_and_those_before_it():
    net = CausalTransformer(2, 3, length=4, layers=2, heads=2, width=8, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(influence(CausalTransformer.__call__, net, 4), np.tri(4, dtype=bool))


def test_a_prediction_sees_the_past_and_the_latent_action_that_leads_to_it():
    net = DynaMo({"x": 2}, rngs=nnx.Rngs(0), **SMALL)
    np.testing.assert_array_equal(influence(DynaMo.predict, net, 4), np.tri(3, 4, 1, dtype=bool))
    # Without latent actions it sees the past alone.
    net.inverse.head.kernel[...] = jnp.zeros_like(net.inverse.head.kernel[...])
    np.testing.assert_array_equal(influence(DynaMo.predict, net, 4), np.tri(3, 4, dtype=bool))


def test_the_target_has_no_gradient_and_the_encoder_learns_through_the_dynamics():
    """If predictions do not depend on the embedding, only the covariance reaches the encoder."""

    class Constant(DynaMo):
        def predict(self, embed):
            return jnp.ones_like(embed[:, 1:])

    batch = make_batch(jax.random.normal(jax.random.key(0), (3, 4, 2)))

    @jax.jit
    @jax.grad
    def slope(net, scale):
        return dynamo_loss(net, batch, covariance_scale=scale)[0]

    def gradient(kind, scale):
        found = slope(kind({"x": 2}, rngs=nnx.Rngs(0), **SMALL, **ENCODER), scale)
        return [np.abs(leaf).max() for leaf in jax.tree.leaves(found.encoder)]

    assert max(gradient(Constant, 0.0)) == 0
    assert min(gradient(Constant, 0.04)) > 0 and min(gradient(DynaMo, 0.0)) > 0


def test_actions_are_not_looked_at():
    batch = make_batch(jax.random.normal(jax.random.key(0), (3, 4, 2)))
    net, unknown = DynaMo({"x": 2}, rngs=nnx.Rngs(0), **SMALL), jnp.full((3, 4, 1), jnp.nan)
    loss = jax.jit(dynamo_loss)
    np.testing.assert_array_equal(loss(net, batch)[0], loss(net, batch.replace(prev_action=unknown))[0])


def test_both_terms_are_felt_in_training():
    """It foresees better than a copy, and dimensions have less and less in common."""
    data = dataset(0, demonstrated=False, with_actions=False)
    net = DynaMo({"x": 2}, rngs=nnx.Rngs(0), **SMALL | dict(num_frames=2), **ENCODER)
    loss = functools.partial(dynamo_loss, covariance_scale=1.0)
    _, metrics = fit(loss, net, data, num_updates=200, learning_rate=3e-3, batch_size=64)
    assert metrics["dynamics_loss"][-1] < 0.5 * metrics["copy_loss"][-1]
    assert metrics["covariance_loss"][-1] < 0.5 * metrics["covariance_loss"][0]
    assert metrics["embed_std"][-1] > 0.1


def test_windows_of_one_record_and_odd_heads_are_refused():
    with pytest.raises(ValueError, match="successive records, not from 1; give at least 2"):
        DynaMo({"x": 2}, rngs=nnx.Rngs(0), **SMALL | dict(num_frames=1))
    with pytest.raises(ValueError, match="3 heads do not divide a width of 8"):
        DynaMo({"x": 2}, rngs=nnx.Rngs(0), **SMALL | dict(heads=3))
