"""LAWM: its two bounds, against hand-made numbers and against the loss of AIME, which it contains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import ACTION_SIZE, NET, compiled, make_batch, make_model

from aime.inference import infer_actions
from aime.latent_actions import latent_action_loss, unlabelled_bound
from aime.losses import AIMEOptions, action_inference_loss
from worldmodels.latent_actions import READS
from worldmodels.losses import LossOptions, action_bound, elbo_loss

PLAIN = LossOptions(kl_balance=None, free_nats=0.0)  # as AIME weighs the evidence


def model_with(**latent):
    return make_model(latent_actions=NET | latent)


@pytest.mark.parametrize(
    "latent",
    [dict(decoder="identity"), dict(decoder="identity", reads="u"), dict(size=3, reads="u")],
    ids=["u=a", "u=a is read", "u is read"],
)
def test_the_unlabelled_bound_is_the_loss_of_aime_with_the_inverse_model_as_posterior(latent):
    model, batch, key = model_with(kl_scale=1.0, **latent), make_batch(), jax.random.key(1)
    batch = batch.replace(is_first=jnp.zeros_like(batch.is_first))
    if model.codec is None:
        model.idm = jax.tree.map(jnp.copy, model.latent_actions.inverse)
    options = AIMEOptions(idm_mode="posterior", first_action="zero")

    def ours(model):
        return unlabelled_bound(model, batch, key, PLAIN)[0]

    def published(policy, model):
        return action_inference_loss(policy, batch, model, key, options)[0]

    one, slope = compiled(jax.value_and_grad(ours))(model)
    gradients = compiled(jax.value_and_grad(published, argnums=(0, 1)))
    other, (of_policy, of_model) = gradients(model.latent_actions.prior, model)
    np.testing.assert_allclose(one, other, rtol=1e-6)
    for mine, theirs in (
        (slope.latent_actions.prior, of_policy),
        (
            slope.latent_actions.inverse,
            of_model.idm if model.codec is None else of_model.latent_actions.inverse,
        ),
        (slope.rssm, of_model.rssm),
    ):
        assert norm_of(mine) > 0
        for leaf, expected in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-4)


def test_with_u_equal_to_a_it_is_the_same_whether_dynamics_read_u_or_a():
    labelled, unlabelled, key = make_batch(), make_batch(seed=1, actions=False), jax.random.key(3)
    labelled = labelled.replace(prev_action=labelled.prev_action.at[:, 0].set(0.0))  # nothing led there
    loss = compiled(jax.value_and_grad(lambda model: latent_action_loss(model, labelled, unlabelled, key)[0]))
    (one, slope), (other, same) = (loss(model_with(decoder="identity", reads=reads)) for reads in READS)
    np.testing.assert_allclose(one, other, rtol=1e-6)
    for leaf, expected in zip(jax.tree.leaves(slope), jax.tree.leaves(same), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-5)


def by_hand(model, batch, choose):
    """-log p(o | s) + KL(q(s) || p(s)), the features that each u left, and each u; `choose(features, t)` says u."""
    state, embed = model.dynamics.initial(batch.batch_shape[0]), model.encode(batch.observation)
    total, left, codes = 0.0, [], []
    for t in range(batch.batch_shape[1]):
        left.append(state.features)
        codes.append(choose(state.features, t) if t else jnp.zeros((batch.batch_shape[0], model.read_size)))
        state, posterior = model.dynamics.posterior_step(state, codes[-1], embed[:, t])
        decoded = model.decode(state.features)
        total -= sum(
            decoded[name].log_prob(model.target(batch, name)[:, t]).sum(-1) for name in model.targets
        )
        total += gaussian_kl(posterior, model.dynamics.prior(state))
    return total.mean(), left[1:], codes[1:]


def gaussian_kl(one, other):
    """[B] nats."""
    ratio = (one.std / other.std) ** 2
    return 0.5 * (ratio + ((one.mean - other.mean) / other.std) ** 2 - 1.0 - jnp.log(ratio)).sum(axis=-1)


def test_dynamics_that_read_u_have_the_bounds_that_are_made_by_hand():
    batch, other = (make_batch(length=3, seed=seed) for seed in range(2))
    model = model_with(size=3, reads="u", kl_scale=0.5, inverse_scale=0.0)
    latent, action = model.latent_actions, batch.prev_action

    @compiled
    def bounds():
        embed = model.encode(other.observation)
        loss, left, codes = by_hand(model, batch, lambda f, t: jnp.tanh(latent.encode(f, action[:, t]).mean))
        for t, (features, code) in enumerate(zip(left, codes, strict=True), 1):
            kl = gaussian_kl(latent.encode(features, action[:, t]), latent.prior(features))
            loss -= (latent.decode(features, code).log_prob(action[:, t]).sum(-1) - 0.5 * kl).mean()

        def inverse(features, t):
            return latent.inverse(jnp.concatenate([features, embed[:, t]], axis=-1))

        free, left, _ = by_hand(model, other, lambda f, t: jnp.tanh(inverse(f, t).mean))
        for t, features in enumerate(left, 1):
            free += 0.5 * gaussian_kl(inverse(features, t), latent.prior(features)).mean()
        return (
            loss,
            free,
            elbo_loss(model, batch, None, PLAIN)[0],
            unlabelled_bound(model, other, None, PLAIN)[0],
        )

    loss, free, ours, ours_free = bounds()
    # The loss of side heads is in the labelled one: here, of the inverse dynamics model of actions.
    side = compiled(lambda: elbo_loss(model, batch, None, PLAIN)[1][0]["idm_loss"])()
    np.testing.assert_allclose(ours - side, loss, rtol=1e-5)
    np.testing.assert_allclose(ours_free, free, rtol=1e-5)


def test_with_u_equal_to_a_the_labelled_bound_clones_the_behaviour_by_the_prior():
    model, batch = model_with(decoder="identity", inverse_scale=0.0), make_batch()
    features = jax.random.normal(jax.random.key(2), (*batch.batch_shape, model.feature_size))
    embed = model.encode(batch.observation)

    @compiled
    def bound(latent):
        log_prob = latent.prior(features[:, :-1]).log_prob(batch.prev_action[:, 1:])
        return action_bound(latent, features, embed, batch, None), log_prob

    (loss, metrics), log_prob = bound(model.latent_actions)
    np.testing.assert_allclose(loss, -log_prob.sum(axis=(1, 2)).mean(), rtol=1e-6)
    assert metrics["latent_action_kl"] == 0.0


def test_whatever_dynamics_read_the_decoded_actions_of_a_policy_are_inferred():
    model, batch, key = model_with(size=3, reads="u"), make_batch(actions=False), jax.random.key(1)
    latent = model.latent_actions
    inferred = compiled(lambda: infer_actions(model, latent.prior, batch, key, first_action="zero"))()
    assert inferred.actions.shape == (3, 5, ACTION_SIZE) and inferred.policy.mean.shape == (3, 5, 3)
    np.testing.assert_array_equal(inferred.actions[:, 0], 0.0)


def test_the_labelled_bound_is_the_elbo_and_what_the_actions_cost():
    model = model_with(size=3, kl_scale=0.5, inverse_scale=0.0)
    batch, other = make_batch(), make_batch(seed=1)

    @compiled
    def losses():
        both = latent_action_loss(model, batch, other, None, PLAIN)
        return both, elbo_loss(model, batch, None, PLAIN)[0], unlabelled_bound(model, other, None, PLAIN)

    (loss, (metrics, output)), elbo, (free, free_metrics) = losses()
    cost = metrics["action_nll"] + 0.5 * metrics["latent_action_kl"]
    np.testing.assert_allclose(loss, elbo + cost + free, rtol=1e-5)
    latent, features = model.latent_actions, output.states.features[:, :-1]
    posterior = latent.encode(features, batch.prev_action[:, 1:])
    kl = posterior.kl(latent.prior(features)).sum(axis=(1, 2)).mean()
    np.testing.assert_allclose(metrics["latent_action_kl"], kl, rtol=1e-5)
    parts = ("reconstruction_loss", "kl_loss", "latent_action_kl")
    reconstruction, state_kl, latent_kl = (free_metrics[name] for name in parts)
    np.testing.assert_allclose(free, reconstruction + state_kl + 0.5 * latent_kl, rtol=1e-5)


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("decoder", ["gaussian", "identity"])
def test_labels_teach_the_inverse_model_what_was_done(decoder, reads):
    batch, other = make_batch(), make_batch(seed=1)
    options = dict(decoder=decoder, kl_scale=0.5, reads=reads)
    without, taught = model_with(**options, inverse_scale=0.0), model_with(**options, inverse_scale=2.0)

    @compiled
    def losses(model):
        loss, (metrics, output) = latent_action_loss(model, batch, other, None, PLAIN)
        latent, features = model.latent_actions, output.states.features[:, :-1]
        seen = model.encode(batch.observation)[:, 1:]
        posterior, action = (
            latent.inverse(jnp.concatenate([features, seen], axis=-1)),
            batch.prev_action[:, 1:],
        )
        if decoder == "identity":  # the likelihood of an inverse dynamics model
            return loss, -posterior.log_prob(action).sum(axis=(1, 2)).mean(), metrics
        decoded = latent.decode(features, jnp.tanh(posterior.mean))
        kl = gaussian_kl(posterior, latent.prior(features)).sum(axis=1)
        return loss, (0.5 * kl - decoded.log_prob(action).sum(axis=(1, 2))).mean(), metrics

    (loss, cost, metrics), (before, *_) = losses(taught), losses(without)
    np.testing.assert_allclose(loss, before + 2.0 * cost, rtol=1e-5)
    of_it = metrics["inverse/action_nll"] + 0.5 * metrics["inverse/latent_action_kl"]
    np.testing.assert_allclose(of_it, cost, rtol=1e-5)


def test_the_unlabelled_batch_is_not_asked_for_its_actions():
    model, batch, key = model_with(size=3), make_batch(), jax.random.key(1)
    loss = compiled(lambda batch: unlabelled_bound(model, batch, key, PLAIN)[0])
    np.testing.assert_array_equal(loss(batch), loss(batch.without_actions()))


@pytest.mark.parametrize("reads", READS)
def test_both_batches_teach_every_network_that_they_share(reads):
    model, key = model_with(reads=reads), jax.random.key(0)
    labelled, unlabelled = make_batch(), make_batch(seed=1, actions=False)

    def labelled_bound(model):
        loss, (_, output) = elbo_loss(model, labelled, key, PLAIN)
        if reads == "u":
            return loss
        features, embed = output.states.features, model.encode(labelled.observation)
        return loss + action_bound(model.latent_actions, features, embed, labelled, key)[0]

    def free_bound(model):
        return unlabelled_bound(model, unlabelled, key, PLAIN)[0]

    bounds = {"labelled": labelled_bound, "unlabelled": free_bound}
    slopes = compiled(lambda model: {name: jax.grad(bound)(model) for name, bound in bounds.items()})(model)
    taught = {
        name: {part for part in ("prior", "inverse", "encoder", "decoder") if norm(slope, part) > 0}
        for name, slope in slopes.items()
    }
    assert taught == {
        "labelled": {"prior", "inverse", "encoder", "decoder"},
        "unlabelled": {"prior", "inverse"} | ({"decoder"} if reads == "action" else set()),
    }
    assert all(norm_of(slope.rssm) > 0 and norm_of(slope.decoders) > 0 for slope in slopes.values())


def norm(slope, part) -> float:
    return norm_of(getattr(slope.latent_actions, part))


def norm_of(tree) -> float:
    return sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(decoder="vq"), "Unknown decoder of latent actions 'vq'. Known: gaussian, identity"),
        (dict(reads="a"), "Dynamics read action or u, not latent_actions.reads='a'"),
        (dict(decoder="identity", size=5), f"has the size of an action, {ACTION_SIZE}, not 5"),
    ],
)
def test_options_that_make_no_latent_actions_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        model_with(**options)
