"""BCV-LR: prototypes, alignment and cloning in numbers, and which encoders stay as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from agents.bcv_lr import alignment_loss, clone_loss, video_loss, with_features
from agents.latent_action_model import LatentActionModel, LatentPolicy, decoder_loss, latent_action_loss
from agents.prototypes import Prototypes, prototype_loss, sinkhorn_assignments
from worldmodels.structures import SequenceBatch
from worldmodels.training import TrainState, make_optimizer, make_train_loop, make_update

SIZES = dict(num_frames=1, latent_size=2, decoder=dict(hidden_size=8), hidden_size=8, hidden_layers=1)
ENCODER = dict(encoder=dict(name="mlp", hidden_size=4, hidden_layers=1))
STANDARDIZED = dict(standardize_embedding=True)


def make_model(**options):
    return LatentActionModel({"x": 2}, 2, space="embedding", rngs=nnx.Rngs(0), **SIZES, **options)


def make_batch(action=None, x=None):
    """Two windows of three records, or of as many as `x` has."""
    x = jnp.arange(12.0).reshape(2, 3, 2) if x is None else x
    flags = jnp.zeros(x.shape[:2])
    return SequenceBatch({"x": x}, action, None, flags, flags, flags)


def make_features(**options):
    sizes = dict(size=2, prototypes=2, temperature=1.0, target_temperature=0.5)
    return Prototypes({"x": 2}, rngs=nnx.Rngs(0), **sizes | options)


def test_assignments_are_of_one_frame_each_and_use_all_prototypes_alike():
    scores = jnp.array([[3.0, 0.0], [2.0, 0.0], [2.5, 1.0], [1.0, 0.0]])
    assigned = jax.jit(sinkhorn_assignments, static_argnums=1)(scores, 50)
    np.testing.assert_allclose(assigned.sum(axis=1), np.ones(4), rtol=1e-5)
    np.testing.assert_allclose(assigned.sum(axis=0), [2, 2], rtol=1e-3)


def test_a_frame_is_to_be_assigned_as_its_successor_is_by_the_slow_copy():
    net = make_features(iterations=1)
    identity = jnp.eye(2)
    for projector in (net.projector, net.slow_projector):
        projector.kernel[...], projector.bias[...] = identity, jnp.zeros(2)
    net.prototypes[...] = 3 * identity
    # Standardised over the batch the frames are (1, -1) and (-1, 1), of length 1 (c, -c) and (-c, c): whatever their
    # offsets and lengths were. Each window goes on to where the other began.
    x = jnp.array([[[101.0, 0.0], [0.0, 6.0]], [[100.0, 1.0], [4.0, 0.0]]])
    loss, metrics = jax.jit(prototype_loss)(net, make_batch(x=x))
    c = np.sqrt(0.5)
    own, target = (1 / (1 + np.exp(-2 * c / temperature)) for temperature in (1.0, 0.5))
    assert float(loss) == pytest.approx(-target * np.log(1 - own) - (1 - target) * np.log(own), rel=1e-4)
    assert float(metrics["prototypes"]) == pytest.approx(2, rel=1e-4)
    entropy = -target * np.log(target) - (1 - target) * np.log(1 - target)
    assert float(metrics["undecided"]) == pytest.approx(np.exp(entropy), rel=1e-4)


def test_frames_that_are_much_alike_are_told_apart():
    """Scenes differ by a hundredth of what they have in common; successive frames are of one scene."""
    scene = jax.random.normal(jax.random.key(0), (64, 1, 8))
    net = Prototypes({"x": 8}, size=8, prototypes=16, rngs=nnx.Rngs(0), **ENCODER)
    optimizer = make_optimizer(1e-3)
    loop = make_train_loop(make_update(prototype_loss, optimizer), draw_alike, 300)
    state, first = loop(TrainState.create(net, optimizer, jax.random.key(1)), scene)
    _, last = loop(state, scene)
    assert last["loss"] < first["loss"] < np.log(16), "with all assigned alike it is log 16"
    assert last["undecided"] < 8


def draw_alike(scene, key):
    """Windows of 32 of the scenes, two frames each, with noise."""
    which_key, noise_key = jax.random.split(key)
    shown = scene[jax.random.randint(which_key, (32,), 0, len(scene))]
    return make_batch(x=100 + shown + 0.1 * jax.random.normal(noise_key, (32, 2, 8)))


def test_only_the_fast_networks_have_a_gradient_and_the_slow_ones_follow():
    net = make_features(rate=0.25, **ENCODER)
    gradient = jax.jit(jax.grad(lambda net: prototype_loss(net, make_batch())[0]))(net)
    slow, fast = [gradient.slow_encoder, gradient.slow_projector], [gradient.encoder, gradient.prototypes]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slow))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(fast))
    net.projector.bias[...] = net.slow_projector.bias[...] + 1
    moved = net.before_update().slow_projector.bias[...]
    np.testing.assert_allclose(moved, net.slow_projector.bias[...] + 0.25, rtol=1e-5)


def test_alignment_is_the_error_of_the_decoded_action_and_a_little_of_the_forward_models():
    model, batch, key = make_model(), make_batch(jnp.ones((2, 3, 2))), jax.random.key(0)

    @jax.jit
    def losses(model):
        whole = alignment_loss(model, batch, key, forward_weight=0.1)[0]
        return whole, decoder_loss(model, batch)[0], latent_action_loss(model, batch, None, key)[0]

    whole, error, forward = losses(model)
    assert float(whole) == pytest.approx(float(error + 0.1 * forward)) and forward > 0.1


def test_features_have_the_same_scale_whatever_they_were_learnt_with():
    """So that what a thousandth of a feature says of the next frame weighs as much as what a whole one says."""
    features = make_features(**ENCODER)
    x = 0.001 * jax.random.normal(jax.random.key(1), (64, 3, 2)) + 5
    model = with_features(make_model(**ENCODER, **STANDARDIZED), features, make_batch(x=x))
    for embed in (model.inverse.encode({"x": x}), model.target_encoder({"x": x})):
        np.testing.assert_allclose(embed.mean(axis=(0, 1)), np.zeros(4), atol=0.02)
        np.testing.assert_allclose(embed.std(axis=(0, 1)), np.ones(4), atol=0.02)
    assert float(features.encoder({"x": x}).std(axis=(0, 1)).max()) < 0.01


def test_a_residual_model_that_says_nothing_predicts_that_nothing_changes():
    model = make_model(**ENCODER, residual=True)
    model.forward = jax.tree.map(jnp.zeros_like, model.forward)
    _, metrics = jax.jit(latent_action_loss)(model, make_batch(), None, jax.random.key(0))
    assert float(metrics["forward_loss"]) == pytest.approx(float(metrics["copy_loss"]), rel=1e-5)


def test_encoders_stay_as_they_are():
    features, batch, key = make_features(**ENCODER), make_batch(jnp.ones((2, 3, 2))), jax.random.key(0)
    model = with_features(make_model(**ENCODER, **STANDARDIZED), features, batch)
    policy = LatentPolicy({"x": 2}, 2, rngs=nnx.Rngs(1), **SIZES, **ENCODER, **STANDARDIZED)
    for holder in (model.inverse.encoder.encoder, model.target_encoder.encoder):
        for found, expected in zip(jax.tree.leaves(holder), jax.tree.leaves(features.encoder), strict=True):
            np.testing.assert_array_equal(found, expected)

    @jax.jit
    @jax.grad
    def gradient(both):
        model, policy = both
        seen, aligned = video_loss(model, batch, key)[0], alignment_loss(model, batch, key)[0]
        return seen + aligned + clone_loss(policy, batch, model, key)[0]

    model, policy = gradient((model, policy))
    fixed = [model.inverse.encoder, model.target_encoder, policy.encoder]
    moving = [model.inverse.latent_head, model.decoder, model.forward, policy.latent_head]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(fixed))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(moving))
