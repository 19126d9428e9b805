"""Latents and outputs against closed forms."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from worldmodels.distributions import (
    HALF_LOG_2PI,
    Bernoulli,
    Categorical,
    Gaussian,
    Normal,
    TanhNormal,
    balanced_kl,
    with_free_nats,
)
from worldmodels.latent_heads import CategoricalHead


def gaussian(mean, std=None):
    mean = jnp.asarray(mean, jnp.float32)
    return Gaussian(mean, jnp.ones_like(mean) if std is None else jnp.asarray(std, jnp.float32))


def test_kl_of_unit_gaussians_is_half_the_squared_distance():
    np.testing.assert_allclose(gaussian([3.0, 4.0]).kl(gaussian([0.0, 0.0])), [4.5, 8.0], rtol=1e-6)


def test_kl_of_categoricals_matches_the_sum_over_classes():
    q, p = (jax.random.normal(jax.random.key(i), (5, 2, 3)) for i in range(2))
    probs = jax.nn.softmax(q)
    expected = (probs * (jax.nn.log_softmax(q) - jax.nn.log_softmax(p))).sum(-1)
    np.testing.assert_allclose(Categorical(q).kl(Categorical(p)), expected, rtol=1e-5)


def test_a_class_that_is_surely_out_costs_a_bounded_kl_and_gives_no_gradient():
    q, p = jnp.array([[0.0, 60.0]]), jnp.array([[60.0, 0.0]])
    kl = lambda p: Categorical(q).kl(Categorical(p)).sum()  # noqa: E731
    np.testing.assert_allclose(kl(p), -np.log(np.finfo(np.float32).eps), rtol=1e-5)
    np.testing.assert_array_equal(jax.grad(kl)(p), 0.0)


def test_balance_changes_gradients_and_not_the_value():
    def kl(q_mean, p_mean, balance):
        return balanced_kl(gaussian(q_mean), gaussian(p_mean), balance).sum()

    q, p = jnp.array([1.0, 2.0]), jnp.array([0.5, -1.0])
    np.testing.assert_allclose(kl(q, p, 0.8), kl(q, p, None), rtol=1e-6)
    plain, balanced = (jax.grad(kl, argnums=(0, 1))(q, p, balance) for balance in (None, 0.8))
    np.testing.assert_allclose(balanced[0], 0.2 * plain[0], rtol=1e-6)  # the posterior learns slower
    np.testing.assert_allclose(balanced[1], 0.8 * plain[1], rtol=1e-6)  # than the prior


@pytest.mark.parametrize("total, learns", [(0.5, False), (2.0, True)])
def test_free_nats_stop_the_gradient_below_and_never_change_the_value(total, learns):
    kl = jnp.full((4,), total / 4)
    np.testing.assert_allclose(with_free_nats(kl, 1.0), kl, rtol=1e-6)
    gradient = jax.grad(lambda x: with_free_nats(x, 1.0).sum())(kl)
    np.testing.assert_allclose(gradient, np.full(4, 1.0 if learns else 0.0), atol=1e-6)


def test_normal_leaves_out_the_constant():
    dist = Normal(jnp.zeros(3), jnp.ones(3))
    np.testing.assert_allclose(dist.log_prob(jnp.array([0.0, 1.0, 2.0])), [0.0, -0.5, -2.0], atol=1e-6)
    assert pytest.approx(0.5 * np.log(2 * np.pi)) == HALF_LOG_2PI


def test_bernoulli_log_probability_has_the_floor_of_the_published_clamp():
    dist = Bernoulli(logits=jnp.array([100.0, 0.0]))
    np.testing.assert_allclose(dist.log_prob(jnp.array([0.0, 1.0])), [-15.942385, np.log(0.5)], rtol=1e-5)
    np.testing.assert_allclose(dist.mode(), [1.0, 0.5])


def test_tanh_normal_density_matches_distrax():
    mean, std = jnp.array([0.3, -0.5]), jnp.array([0.7, 1.2])
    action = jnp.array([0.2, -0.9])
    reference = distrax.Transformed(distrax.Normal(mean, std), distrax.Tanh())
    np.testing.assert_allclose(TanhNormal(mean, std).log_prob(action), reference.log_prob(action), rtol=1e-4)


def test_tanh_normal_density_is_finite_at_the_borders():
    dist = TanhNormal(jnp.zeros(2), jnp.ones(2))
    assert np.isfinite(dist.log_prob(jnp.array([-1.0, 1.0]))).all()


def test_entropy_surrogate_is_highest_at_the_reference():
    reference = TanhNormal(jnp.zeros(1), jnp.full((1,), 0.8742))
    np.testing.assert_allclose(reference.entropy(), [0.0], atol=1e-6)
    np.testing.assert_allclose(TanhNormal(jnp.zeros(1), jnp.ones(1)).entropy(), [-0.0198], atol=1e-4)


def test_no_noise_gives_the_mode_with_the_gradient_of_a_sample():
    gradient = jax.grad(lambda m: gaussian(m).sample(None).sum())(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(gradient, [1.0, 1.0])
    logits = jnp.array([[0.1, 2.0, -1.0]])
    np.testing.assert_allclose(Categorical(logits).sample(None), [0.0, 1.0, 0.0], atol=1e-6)
    gradient = jax.grad(lambda x: (Categorical(x).sample(None) * jnp.arange(3.0)).sum())(logits)
    expected = jax.grad(lambda x: (jax.nn.softmax(x) * jnp.arange(3.0)[None]).sum())(logits)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("estimator", ["straight_through", "reinmax"])
def test_a_categorical_sample_is_exactly_one_hot(estimator):
    latent = Categorical(jax.random.normal(jax.random.key(0), (50, 4, 3)), estimator=estimator)
    for noise in (None, jax.random.gumbel(jax.random.key(1), (50, 4, 3))):
        sample = np.asarray(latent.sample(noise)).reshape(50, 4, 3)
        np.testing.assert_array_equal(
            np.sort(sample, axis=-1), np.broadcast_to([0.0, 0.0, 1.0], sample.shape)
        )


def softmax_jacobian(probs):
    return np.diag(probs) - np.outer(probs, probs)


def test_gradients_of_a_categorical_sample_are_those_of_the_estimators():
    logits, weight = np.array([0.3, -1.0, 0.5]), np.array([1.0, 2.0, -3.0])
    probs = np.exp(logits) / np.exp(logits).sum()
    halfway = (np.eye(3)[2] + probs) / 2  # the most likely class is the last
    expected = {
        "straight_through": softmax_jacobian(probs) @ weight,
        "reinmax": (2 * softmax_jacobian(halfway) - 0.5 * softmax_jacobian(probs)) @ weight,
    }
    for estimator, gradient in expected.items():

        def value(logits, estimator=estimator):
            return Categorical(logits[None], estimator=estimator).sample(None) @ jnp.asarray(weight)

        np.testing.assert_allclose(jax.grad(value)(jnp.asarray(logits)), gradient, rtol=1e-4, atol=1e-6)


def test_unimix_gives_every_class_a_share_of_even_odds():
    """DreamerV3: 1 % of each categorical."""
    options = dict(num_classes=4, estimator="straight_through", hidden_size=8, norm=None, rngs=nnx.Rngs(0))
    head = CategoricalHead(3, 8, unimix=0.01, **options)
    hidden = 100.0 * jnp.arange(8.0).reshape(1, 8)
    logits = head.net.finish(hidden).reshape(1, 2, 4)
    mixed = jax.nn.softmax(head.finish(hidden).logits)
    np.testing.assert_allclose(mixed, 0.99 * jax.nn.softmax(logits) + 0.01 / 4, rtol=1e-4)
    assert mixed.min() >= 0.0025 * 0.999
