"""Decoder-free losses against hand-made numbers, what they teach, and the evidences that stand for log p(o | s)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from models import compiled, make_batch, make_model

from worldmodels.distributions import balanced_kl
from worldmodels.losses import LossOptions, elbo_loss, evidence_terms, per_step_evidence
from worldmodels.representation import barlow_terms, contrast, cross_correlation, sigreg
from worldmodels.training import TrainState, make_update

KINDS = ("barlow", "infonce", "sigreg")
PLAIN = LossOptions(kl_balance=None, free_nats=0.0)


@functools.cache
def model_with(name, **options):
    return make_model(
        targets=(), idm_mode="none", predict_terminal=False, representation=dict(name=name, **options)
    )


def loss_of(model, batch, key=None):
    return compiled(lambda model: elbo_loss(model, batch, key, PLAIN))(model)


# Terms --------------------------------------------------------------------------------------------------------------


def test_barlow_is_zero_for_equal_decorrelated_sides_and_counts_dimensions_of_independent_ones():
    number = 4096
    x = jax.random.normal(jax.random.key(0), (number, 6))
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
    decorrelated = jnp.asarray((x - x.mean(axis=0, keepdims=True)) @ vectors)
    every = jnp.ones(number)
    correlation = compiled(cross_correlation)
    one = correlation(decorrelated, 7.0 * decorrelated + 3.0, every)
    np.testing.assert_allclose(one, np.eye(6), atol=1e-4)
    assert all(float(term) < 1e-6 for term in barlow_terms(one))
    other = jax.random.normal(jax.random.key(1), (number, 6))
    invariance, redundancy = barlow_terms(correlation(x, other, every))
    assert invariance == pytest.approx(6.0, abs=0.4) and redundancy < 0.1
    np.testing.assert_allclose(barlow_terms(jnp.array([[0.5, 2.0], [1.0, 1.0]])), [0.25, 5.0])


def test_records_of_no_weight_are_no_part_of_a_batch():
    x, y = jax.random.normal(jax.random.key(0), (2, 8, 3))
    weight = jnp.array([1.0] * 5 + [0.0] * 3)

    @compiled
    def terms(x, y, weight):
        return (
            cross_correlation(x, y, weight),
            contrast(x, y, weight)[:5],
            sigreg(x, jnp.eye(3), weight),
        )

    for whole, part in zip(terms(x, y, weight), terms(x[:5], y[:5], weight[:5]), strict=True):
        np.testing.assert_allclose(whole, part, rtol=1e-5)


def test_contrast_is_the_log_likelihood_ratio_and_at_most_log_n():
    x, y = jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.array([[1.0, 1.0], [0.0, 3.0]])
    scores = np.array([[1.0, 0.0], [2.0, 6.0]])
    expected = [scores[n, n] - np.log(np.mean(np.exp(scores[n]))) for n in range(2)]
    np.testing.assert_allclose(contrast(x, y, jnp.ones(2)), expected, rtol=1e-6)
    np.testing.assert_allclose(contrast(100 * x, y, jnp.ones(2)), np.log(2.0), rtol=1e-5)


def test_sigreg_of_standard_normal_samples_and_of_a_collapse():
    directions = jax.random.normal(jax.random.key(0), (5, 256))
    directions = directions / jnp.linalg.norm(directions, axis=0, keepdims=True)
    z = jax.random.normal(jax.random.key(1), (20, 64, 5))
    distance = compiled(jax.vmap(sigreg, in_axes=(0, None, None)))
    assert distance(z, directions, jnp.ones(64)).mean() == pytest.approx(1.05, abs=0.25)
    assert distance(0.0 * z, directions, jnp.ones(64)).mean() == pytest.approx(0.402 * 64, rel=2e-3)


# Phase 1 ------------------------------------------------------------------------------------------------------------


def test_the_loss_of_infonce_is_minus_its_bound_and_the_kl():
    model, batch = model_with("infonce", scale=2.0), make_batch()
    loss, (metrics, output) = loss_of(model, batch)
    features, embed = output.states.features, model.encode(batch.observation)
    rows = [values.reshape(15, -1) for values in (model.representation.projection(features), embed)]
    bound = contrast(*rows, jnp.ones(15)).reshape(3, 5)
    np.testing.assert_allclose(loss, -2.0 * bound.sum(axis=1).mean() + metrics["kl_loss"], rtol=1e-5)
    np.testing.assert_allclose(metrics["infonce"], -bound.mean(), rtol=1e-5)


def test_the_loss_of_barlow_counts_once_a_record_and_its_likelihood_shapes_nothing():
    model, batch = model_with("barlow", scale=0.5, redundancy=0.1), make_batch()
    loss, (metrics, _) = loss_of(model, batch)
    barlow = metrics["barlow_invariance"] + 0.1 * metrics["barlow_redundancy"]
    parts = 0.5 * 5 * barlow - metrics["emb_rec_term"] + metrics["kl_loss"]
    np.testing.assert_allclose(loss, parts, rtol=1e-5)
    without = model_with("barlow", scale=0.0)
    slope = compiled(jax.grad(lambda model: elbo_loss(model, batch, None, LossOptions(kl_scale=0.0))[0]))(
        without
    )
    assert norm_of(slope.encoder) == norm_of(slope.rssm) == norm_of(slope.representation.projection) == 0
    assert min(map(norm_of, (slope.representation.gain, slope.representation.log_std))) > 0


def test_sigreg_weighs_as_in_the_source_where_the_error_is_a_mean():
    model, batch = model_with("sigreg", size=4, std=0.5, weight=0.3, num_projections=8), make_batch()
    loss, (metrics, output) = loss_of(model, batch)
    part = model.representation
    z = part.projection(model.encode(batch.observation))
    mse = jnp.mean((z - part.prediction(output.states.features)) ** 2)
    # -log N leaves out 0.5 log 2 pi, but not the log of the std.
    expected = 4 / (2 * 0.5**2) * 5 * (mse + 0.3 * metrics["sigreg"]) + 5 * 4 * np.log(0.5)
    np.testing.assert_allclose(loss, expected + metrics["kl_loss"], rtol=1e-4)


@pytest.mark.parametrize(("name", "directly"), [("barlow", False), ("infonce", False), ("sigreg", True)])
def test_where_the_source_stops_the_embedding_the_encoder_learns_through_the_posterior_alone(name, directly):
    batch = make_batch()

    @compiled
    def slopes(model):
        features = model.filter(batch).states.features

        def of_embeddings(encoder):
            embed, mask = encoder(batch.observation), jnp.ones(batch.batch_shape)
            return model.representation.loss(features, embed, mask, None)[0]

        whole = jax.grad(lambda model: elbo_loss(model, batch, None, PLAIN)[0])(model)
        return jax.grad(of_embeddings)(model.encoder), whole

    of_encoder, slope = slopes(model_with(name))
    assert (norm_of(of_encoder) > 0) == directly
    assert norm_of(slope.encoder) > 0 and norm_of(slope.rssm) > 0


# What takes the place of log p(o | s) -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_the_evidence_is_higher_of_the_own_observation_once_the_model_is_trained(name):
    batch = make_batch(6, 8)

    @compiled
    def evidences(model):
        def log_prob(features, embed):
            return model.representation.log_prob(features, embed, jnp.ones(batch.batch_shape)).mean()

        features, embed = model.filter(batch).states.features, model.encode(batch.observation)
        own, slope = jax.value_and_grad(log_prob)(features, embed)
        return own, log_prob(features, jnp.roll(embed, 1, axis=0)), slope

    own, other, slope = evidences(trained(name))
    assert own > other + 0.5
    assert (jnp.abs(slope).sum(axis=-1) > 0).all()  # it draws every state


@functools.cache
def trained(name):
    model = model_with(name, **(dict(scale=1.0) if name != "sigreg" else dict(std=0.3, num_projections=8)))
    optimizer, batch = optax.adam(1e-2), make_batch(6, 8)
    state = TrainState.create(model, optimizer, jax.random.key(0))
    update = compiled(
        make_update(functools.partial(elbo_loss, options=LossOptions(kl_scale=0.05)), optimizer)
    )
    for _ in range(100):
        state, _ = update(state, batch)
    return state.model


def test_the_gaussian_of_barlow_has_the_moments_of_embeddings():
    model = model_with.__wrapped__("barlow")
    part, (x, embed) = model.representation, jax.random.normal(jax.random.key(0), (2, 1, 4, 8))
    part.gain[...], part.offset[...] = jnp.full(8, 0.5), jnp.full(8, 0.25)
    part.log_std[...] = jnp.log(jnp.array([0.01] + [2.0] * 7))  # the first is below the least std
    std = np.array([0.1] + [2.0] * 7)[None, None]
    features = jnp.zeros((1, 4, model.feature_size))
    part.projection = lambda features: x
    expected = (-np.log(std) - 0.5 * ((embed - 0.5 * x - 0.25) / std) ** 2).sum(axis=-1)
    np.testing.assert_allclose(part.log_prob(features, embed, None), expected, rtol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_evidence_has_a_term_of_the_embedding_in_its_place(name):
    model, batch = model_with(name), make_batch()

    def terms(nll_reweight="none"):
        output = model.filter(batch)
        kl = balanced_kl(output.posterior, output.prior)
        return evidence_terms(model, batch, output.states.features, kl, nll_reweight=nll_reweight)

    found, per_step = compiled(lambda: (terms(), per_step_evidence(model, batch)))()
    assert set(found.nll) == {"emb"} and found.squared_error == {}
    np.testing.assert_allclose(per_step, found.log_prob["emb"] - found.raw_kl, rtol=1e-4)
    with pytest.raises(ValueError, match="with a representation set loss.nll_reweight=none"):
        terms("dim_wise")


def test_what_makes_no_representation_is_refused():
    with pytest.raises(ValueError, match="Unknown representation 'vae'. Known: barlow, infonce, sigreg"):
        model_with("vae")
    with pytest.raises(ValueError, match="leave predict_emb and the target 'emb' out"):
        make_model(targets=("emb",), representation=dict(name="barlow"))


def norm_of(tree) -> float:
    return sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(tree))
