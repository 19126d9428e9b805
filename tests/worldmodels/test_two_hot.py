"""Numbers as distributions over DreamerV3's bins."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from worldmodels.two_hot import BINS, NUM_BINS, VALUE_NETWORKS, TwoHot, two_hot


def test_bins_are_symmetric_to_the_bit_and_dense_around_zero():
    assert BINS.shape == (255,) and BINS[127] == 0.0
    np.testing.assert_array_equal(BINS, -BINS[::-1])
    np.testing.assert_allclose(BINS[-1], np.e**20 - 1, rtol=1e-6)
    np.testing.assert_allclose(BINS[128], np.exp(20 / 127) - 1, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1234.5, float(BINS[130])])
def test_a_two_hot_number_has_its_value_as_mean_and_two_neighbours_at_most(value):
    weights = np.asarray(two_hot(jnp.float32(value)), np.float64)
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(weights @ BINS.astype(np.float64), value, rtol=1e-5, atol=1e-6)
    (places,) = np.nonzero(weights)
    assert len(places) <= 2 and np.ptp(places) <= 1


def test_numbers_beyond_the_bins_are_the_last_ones():
    np.testing.assert_array_equal(two_hot(jnp.array([-1e12, 1e12])).argmax(axis=-1), [0, NUM_BINS - 1])


def test_even_odds_are_exactly_zero_and_cost_ln_255():
    even = TwoHot(jnp.full((4, NUM_BINS), 0.3))
    np.testing.assert_array_equal(even.mean(), 0.0)
    np.testing.assert_allclose(-even.log_prob(jnp.array([0.0, 1.0, -50.0, 1e6])), np.log(255.0), rtol=1e-5)


def test_a_fresh_value_network_says_exactly_zero_and_learns_large_and_small_numbers():
    network = VALUE_NETWORKS.make(3, 1, name="two_hot", hidden_size=32, hidden_layers=1, rngs=nnx.Rngs(0))
    x, targets = jnp.eye(3), jnp.array([[0.02], [-7.0], [3000.0]])
    assert network(x).shape == (3, 1) and network.out_size == 1
    np.testing.assert_array_equal(network(x), 0.0)

    def step(carry, _):
        network, state = carry
        grads = jax.grad(lambda n: -n.distribution(x).log_prob(targets).mean())(network)
        updates, state = adam.update(grads, state)
        return (optax.apply_updates(network, updates), state), None

    adam = optax.adam(0.03)
    (network, _), _ = jax.lax.scan(step, (network, adam.init(network)), None, 500)
    np.testing.assert_allclose(network(x), targets, rtol=0.05, atol=0.3)


def test_a_value_network_of_another_name_is_refused():
    with pytest.raises(ValueError, match="Unknown value network 'bins'. Known: mlp, two_hot"):
        VALUE_NETWORKS.make(3, 1, name="bins", rngs=nnx.Rngs(0))
