"""The discriminator: its loss at hand-made weights, the penalty of a linear net, the reward, learning."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from agents.discriminator import Discriminator, adversarial_reward, discriminator_loss, gradient_penalty
from worldmodels.training import TrainState, make_optimizer, make_update


def linear_discriminator(weights, bias=0.0):
    """logit(x) = <w, x> + b."""
    net = Discriminator(len(weights), hidden_size=4, hidden_layers=0, rngs=nnx.Rngs(0))
    net.net.head.kernel[...] = jnp.asarray(weights)[:, None]
    net.net.head.bias[...] = jnp.array([bias])
    return net


def test_the_penalty_of_a_linear_net_is_that_of_its_weights():
    penalty = gradient_penalty(
        linear_discriminator([3.0, 4.0]), jnp.ones((6, 2)), jnp.zeros((6, 2)), jax.random.key(0)
    )
    np.testing.assert_allclose(penalty, (5.0 - 1.0) ** 2, rtol=1e-5)


def test_the_loss_is_cross_entropy_plus_ten_times_the_penalty():
    net = linear_discriminator([1.0, 0.0], bias=0.5)
    demonstrated, own = jnp.array([[1.0, 9.0]]), jnp.array([[-2.0, 9.0]])
    loss, metrics = discriminator_loss(net, demonstrated, own, jax.random.key(0))
    expected = np.log1p(np.exp(-1.5)) + np.log1p(np.exp(-1.5))
    np.testing.assert_allclose(metrics["cross_entropy"], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["gradient_penalty"], 0.0, atol=1e-6)
    steep, _ = discriminator_loss(linear_discriminator([3.0, 0.0]), demonstrated, own, jax.random.key(0))
    np.testing.assert_allclose(steep, np.log1p(np.exp(-3)) + np.log1p(np.exp(-6)) + 10 * 4, rtol=1e-5)


def test_the_reward_is_log_odds():
    logit = jnp.array([-2.0, 0.0, 3.0])
    probability = jax.nn.sigmoid(logit)
    np.testing.assert_allclose(
        adversarial_reward(logit), jnp.log(probability) - jnp.log(1 - probability), atol=1e-5
    )
    np.testing.assert_allclose(adversarial_reward(jnp.array(50.0)), 50.0)  # where 1 - D rounds to 0


def test_learning_tells_two_clouds_apart():
    optimizer = make_optimizer(1e-3)
    net = Discriminator(2, hidden_size=16, hidden_layers=1, rngs=nnx.Rngs(0))
    update = make_update(discriminator_loss, optimizer)

    def step(state, key):
        demonstrated, own = jax.random.normal(key, (2, 32, 2))
        return update(state, demonstrated + 2.0, own - 2.0)

    keys = jax.random.split(jax.random.key(1), 200)
    state, metrics = jax.jit(lambda s: jax.lax.scan(step, s, keys))(
        TrainState.create(net, optimizer, jax.random.key(0))
    )
    assert metrics["logit_demonstrated"][-1] > 1.0
    assert metrics["logit_own"][-1] < -1.0
    assert metrics["gradient_penalty"][-1] < 0.1  # slopes are about 1
