"""IIDM: its losses in numbers, what they may see, the gradient through the model, actions recovered exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from linear_world import STEP, WEIGHTS, dataset

from agents.fitting import FitSettings, FitState, fit
from agents.frame_stack import FrameStackNet
from agents.iidm import ForwardNet, forward_loss, iidm_loss
from worldmodels.data.dataset import windows

SETTINGS = FitSettings(
    learning_rate=0.02, batch_size=32, patience=None, max_updates=800, updates_per_epoch=100
)


def exact_model():
    """The forward model whose weights are the world's."""
    model = ForwardNet({"x": 2}, 2, num_frames=1, hidden_layers=0, rngs=nnx.Rngs(0))
    head = model.decoders["x"].net.head
    head.kernel[...] = jnp.concatenate([jnp.eye(2), STEP * jnp.eye(2)])
    head.bias[...] = jnp.zeros(2)
    return model


def make_policy():
    return FrameStackNet({"x": 2}, 2, num_frames=1, hidden_layers=0, rngs=nnx.Rngs(1))


def test_the_exact_model_predicts_without_error():
    batch = windows(dataset(0, demonstrated=False), jnp.arange(20))
    loss, _ = forward_loss(exact_model(), batch)
    np.testing.assert_allclose(loss, 0.0, atol=1e-10)


def test_the_forward_model_learns_the_dynamics():
    model = ForwardNet({"x": 2}, 2, num_frames=1, hidden_layers=0, rngs=nnx.Rngs(0))
    data = dataset(0, demonstrated=False)
    state = fit(FitState.create(model, SETTINGS, jax.random.key(0)), data, forward_loss, SETTINGS)
    kernel = state.best_model.decoders["x"].net.head.kernel[...]
    np.testing.assert_allclose(kernel, np.concatenate([np.eye(2), STEP * np.eye(2)]), atol=1e-3)


def test_the_policy_recovers_the_demonstrators_weights_through_the_model_without_its_actions():
    data = dataset(1, demonstrated=True, with_actions=False)
    state = FitState.create(make_policy(), SETTINGS, jax.random.key(0))
    state = fit(state, data, iidm_loss, SETTINGS, exact_model())
    np.testing.assert_allclose(state.best_model.head.head.kernel[...], WEIGHTS, atol=0.01)


def test_the_gradient_reaches_the_policy_and_not_the_model():
    batch = windows(dataset(1, demonstrated=True, with_actions=False), jnp.arange(20))
    gradient = jax.grad(lambda policy: iidm_loss(policy, batch, exact_model())[0])(make_policy())
    assert np.abs(gradient.head.head.kernel[...]).min() > 0


def test_the_loss_sums_over_sensors():
    sizes = {"x": 2, "y": 3}
    model = ForwardNet(sizes, 1, num_frames=1, rngs=nnx.Rngs(0))
    observation = {"x": jnp.zeros((4, 2, 2)), "y": jnp.ones((4, 2, 3))}
    flags = jnp.zeros((4, 2))
    from worldmodels.structures import SequenceBatch

    batch = SequenceBatch(observation, jnp.zeros((4, 2, 1)), None, flags, flags, flags)
    predicted = model({name: value[:, :1] for name, value in observation.items()}, jnp.zeros((4, 1)))
    expected = sum(((predicted[name] - observation[name][:, 1]) ** 2).mean() for name in sizes)
    np.testing.assert_allclose(forward_loss(model, batch)[0], expected, rtol=1e-6)


def test_images_are_predicted_in_zero_to_one():
    model = ForwardNet(
        {"image": (64, 64)}, 1, num_frames=2, image_encoder=dict(name="cnn_ha", width=2), rngs=nnx.Rngs(0)
    )
    image = jnp.full((1, 3, 64, 64, 3), 255, jnp.uint8)
    model.decoders["image"].layers[-1].bias[...] = jnp.array([-9.0, 0.0, 9.0])  # before the sigmoid
    predicted = model({"image": image[:, :2]}, jnp.zeros((1, 1)))["image"]
    assert predicted.shape == (1, 64, 64, 3)
    np.testing.assert_allclose(predicted.mean(axis=(0, 1, 2)), [0.0, 0.5, 1.0], atol=0.1)
    target = model.target({"image": image[:, 2]})["image"]
    np.testing.assert_allclose(target, 1.0, rtol=1e-7)  # GPUs divide by 255 by multiplying


def test_embodiment_data_without_actions_are_refused():
    batch = windows(dataset(0, demonstrated=False, with_actions=False), jnp.arange(2))
    with pytest.raises(ValueError, match="A forward model needs the true actions"):
        forward_loss(exact_model(), batch)
