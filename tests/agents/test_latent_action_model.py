"""Latent action models: losses in numbers, what they may see, where gradients go, and actions found with few labels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, struct
from linear_world import dataset

from agents.bcv_lr import alignment_loss
from agents.fitting import FitSettings, FitState, fit
from agents.latent_action_model import (
    LatentActionModel,
    LatentPolicy,
    Quantizer,
    decoder_loss,
    latent_action_loss,
    latent_cloning_loss,
    with_parts_of,
)
from worldmodels.data.dataset import windows
from worldmodels.structures import SequenceBatch

SIZES = dict(latent_size=2, decoder=dict(hidden_size=8, hidden_layers=1), hidden_size=8, hidden_layers=1)


def make_model(num_frames=1, **options):
    return LatentActionModel({"x": 2}, 2, num_frames=num_frames, rngs=nnx.Rngs(0), **SIZES | options)


def make_batch(action=None, length=3):
    """Two windows; x is (10 window + record, 0)."""
    x = 10.0 * jnp.arange(2)[:, None] + jnp.arange(float(length))[None]
    flags = jnp.zeros((2, length))
    observation = {"x": jnp.stack([x, jnp.zeros_like(x)], axis=-1)}
    return SequenceBatch(observation, action, None, flags, flags, flags)


class Known(struct.PyTreeNode):
    """Stands for a model of one frame: z is how far x moves to record k, a forward model that is off by 2."""

    num_frames = 1
    quantizer = None

    def latent(self, observation, offset=1):
        x = observation["x"][..., 0]
        return (x[:, offset] - x[:, 0])[:, None]

    def predict(self, observation, latent):
        return {"x": observation["x"][:, 0] + jnp.concatenate([latent + 2, 0 * latent], axis=-1)}

    def target(self, observation, record):
        return {"x": observation["x"][:, record]}

    def decoder(self, latent):
        return 3 * latent


def test_the_loss_is_the_error_of_the_next_observation_and_that_of_the_labelled_actions():
    action = jnp.full((2, 3, 1), jnp.nan).at[:, 1, 0].set(jnp.array([3.0, 7.0]))
    video, labelled, key = make_batch(), make_batch(action), jax.random.key(0)
    whole = jax.jit(functools.partial(latent_action_loss, decoder_weight=0.5))
    loss, metrics = whole(Known(), video, labelled, key)
    assert float(metrics["forward_loss"]) == pytest.approx(2**2 / 2), (
        "the error of 2 in one of two dimensions"
    )
    assert float(metrics["copy_loss"]) == pytest.approx(1 / 2), "x moves by 1"
    assert float(metrics["decoder_loss"]) == pytest.approx((0 + 4**2) / 2), "3 is decoded, 3 and 7 are true"
    assert float(loss) == pytest.approx(2 + 0.5 * 8)
    # d/dz of mean (z + 2 - 1)^2 over 2 x 2 numbers is 2 * 2 / 4 in both windows; 0.5 * 2 * 3 * (3 - 7) / 2 in one.
    assert float(metrics["forward_grad_norm"]) == pytest.approx(2**0.5)
    assert float(metrics["decoder_grad_norm"]) == pytest.approx(6)
    assert float(whole(Known(), video, None, key)[0]) == pytest.approx(2), "held-out windows"


def test_windows_longer_than_an_episode_teach_nothing_of_its_repeated_last_record():
    """The second window is its first record over and over: nothing led from one to the next."""
    batch = make_batch(jnp.ones((2, 3, 2)))
    alone = jax.tree.map(lambda x: x[:1], batch)
    x = batch.observation["x"]
    batch = batch.replace(is_last=batch.is_last.at[1].set(1.0), observation={"x": x.at[1].set(x[1, :1])})
    model, key = make_model(), jax.random.key(0)
    policy = LatentPolicy({"x": 2}, 2, num_frames=1, rngs=nnx.Rngs(1), **SIZES)

    @jax.jit
    def losses(batch):
        _, metrics = latent_action_loss(model, batch, batch, key, decoder_weight=0.5)
        whole = {name: metrics[name] for name in ("loss", "decoder_loss", "forward_loss", "copy_loss")}
        clone = latent_cloning_loss(policy, batch, model)[0]
        aligned = alignment_loss(model, batch, key)[0]
        return whole | dict(decoder=decoder_loss(model, batch)[0], clone=clone, aligned=aligned)

    expected = losses(alone)
    for name, loss in losses(batch).items():
        assert float(loss) == pytest.approx(float(expected[name]), rel=1e-5), name


def test_actions_of_the_video_are_not_looked_at():
    model, key = make_model(), jax.random.key(0)
    policy = LatentPolicy({"x": 2}, 2, num_frames=1, rngs=nnx.Rngs(1), **SIZES)
    nothing = make_batch(jnp.full((2, 3, 2), jnp.nan))
    losses = jax.jit(
        lambda batch: (
            latent_action_loss(model, batch, None, key)[0],
            latent_cloning_loss(policy, batch, model)[0],
        )
    )
    assert losses(make_batch()) == losses(nothing)


def test_the_inverse_model_looks_as_far_ahead_as_each_window_asks():
    model, batch = make_model(num_frames=2), make_batch(length=5)
    x = batch.observation["x"]
    expected = jnp.stack([x[0, jnp.array([0, 1, 2])], x[1, jnp.array([0, 1, 4])]])
    found = model.latent(batch.observation, jnp.array([1, 3]))
    np.testing.assert_allclose(found, model.inverse.latent({"x": expected}), rtol=1e-6)


def test_the_nearest_codes_are_chosen_and_the_gradient_goes_past_them():
    quantizer = Quantizer(4, codebooks=1, parts=2, codes=2, commitment=0.05, rngs=nnx.Rngs(0))
    quantizer.codes[...] = jnp.array([[[0.0, 0.0], [1.0, 1.0]]])
    latent = jnp.array([[0.2, 0.0, 0.8, 1.2]])
    codes, loss, metrics = quantizer(latent)
    np.testing.assert_allclose(codes, [[0, 0, 1, 1]], atol=1e-6)
    assert float(loss) == pytest.approx(1.05 * (0.2**2 + 0.2**2 + 0.2**2) / 4) and metrics["codes"] == 1
    np.testing.assert_allclose(jax.grad(lambda z: quantizer(z)[0].sum())(latent), jnp.ones((1, 4)))
    moved = jax.grad(lambda q: q(latent)[1])(quantizer).codes[...]
    np.testing.assert_allclose(moved, [[[-0.1, 0.0], [0.1, -0.1]]], atol=1e-6)


def test_latent_actions_that_cannot_be_cut_are_refused():
    with pytest.raises(ValueError, match="size 12 cannot be cut into 2 x 4 parts; choose a multiple of 8"):
        Quantizer(12, rngs=nnx.Rngs(0))


def test_no_codes_leave_latent_actions_continuous():
    assert make_model(quantizer=dict(codes=0)).quantizer is None
    assert make_model(quantizer=dict(codebooks=1, parts=1, codes=8)).quantizer.codes.shape == (1, 8, 2)


def test_an_unknown_space_of_predictions_is_refused():
    with pytest.raises(
        ValueError, match="Unknown space of predictions 'pixels'. Known: observation, embedding."
    ):
        make_model(space="pixels")


def test_the_encoder_of_the_target_follows_and_has_no_gradient():
    encoder = dict(name="mlp", hidden_size=4, hidden_layers=1)
    model = make_model(space="embedding", target_rate=0.25, encoder=encoder)
    online = jax.tree.map(lambda x: x + 1, model.inverse.encoder)
    moved = with_parts_of(model, model, "target_encoder")
    moved.inverse.encoder = online
    before, after = (jax.tree.leaves(m.target_encoder) for m in (moved, moved.before_update()))
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old + 0.25, rtol=1e-5)
    loss = lambda m: latent_action_loss(m, make_batch(), None, jax.random.key(0))[0]  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(model)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient.target_encoder))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient.inverse.encoder))


def test_a_decoder_learnt_afterwards_changes_nothing_else():
    model, batch = make_model(), make_batch(jnp.ones((2, 3, 2)))
    gradient = jax.jit(jax.grad(lambda m: decoder_loss(m, batch)[0]))(model)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient.decoder))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves([gradient.inverse, gradient.forward]))


def test_cloning_moves_latent_actions_and_keeps_model_and_decoder():
    policy, model = LatentPolicy({"x": 2}, 2, num_frames=1, rngs=nnx.Rngs(1), **SIZES), make_model()
    loss = lambda both: latent_cloning_loss(both[0], make_batch(), both[1])[0]  # noqa: E731
    gradient = jax.jit(jax.grad(loss))((policy, model))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient[0].latent_head))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves([gradient[0].decoder, gradient[1]]))


def test_actions_are_found_with_few_labels():
    settings = FitSettings(
        learning_rate=1e-2, batch_size=32, patience=None, max_updates=1000, updates_per_epoch=500
    )
    video = dataset(0, demonstrated=False, with_actions=False)
    labelled = dataset(1, demonstrated=False, num_episodes=20)
    loss = functools.partial(latent_action_loss, decoder_weight=0.5)
    state = FitState.create(make_model(), settings, jax.random.key(0))
    model = fit(state, (video, labelled), loss, settings).best_model
    unseen = dataset(2, demonstrated=True)
    batch = windows(unseen, jnp.arange(unseen.num_windows))
    error, metrics = jax.jit(
        lambda model: (
            decoder_loss(model, batch)[0],
            latent_action_loss(model, batch, None, jax.random.key(0))[1],
        )
    )(model)
    spread = batch.prev_action[:, 1].var()
    assert error < 0.3 * spread, f"the actions have a variance of {spread}, the error is {error}"
    assert metrics["forward_loss"] < 0.1 * metrics["copy_loss"]
