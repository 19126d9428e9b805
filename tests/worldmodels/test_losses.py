"""Evidence terms, masks, side heads, and that a world model learns."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from models import make_batch, make_model

from worldmodels.distributions import balanced_kl
from worldmodels.losses import LossOptions, elbo_loss, evidence_terms, per_step_evidence
from worldmodels.sequences import termination_mask
from worldmodels.training import TrainState, make_update


@functools.partial(jax.jit, static_argnames=("options",))
def jitted_terms(model, batch, options):
    output = model.filter(batch)
    kl = balanced_kl(output.posterior, output.prior)
    return evidence_terms(model, batch, output.states.features, kl, **dict(options)), output


def terms_of(model, batch, **options):
    return jitted_terms(model, batch, tuple(options.items()))


PLAIN = LossOptions(kl_balance=None, free_nats=0.0)


@functools.cache
def loss_function(options=PLAIN):
    return jax.jit(functools.partial(elbo_loss, options=options))


def test_loss_is_the_sum_over_time_and_the_mean_over_the_batch():
    model, batch = make_model(idm_mode="none"), make_batch()
    loss, _ = loss_function()(model, batch, None)
    terms, output = terms_of(model, batch)
    expected = 0.0
    for name, dist in model.decode(output.states.features).items():
        target = batch.target(name)
        expected += -np.asarray(dist.log_prob(target)).sum(axis=(1, 2)).mean()
    expected += np.asarray(terms.raw_kl).sum(axis=1).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_batch_of_equal_sequences_has_the_loss_of_one():
    model, batch = make_model(idm_mode="none"), make_batch(1)
    twice = jax.tree.map(lambda x: jnp.concatenate([x, x]), batch)
    one, two = (loss_function()(model, b, None)[0] for b in (batch, twice))
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_records_after_the_first_terminal_one_do_not_count():
    is_terminal = jnp.array([[0.0, 0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(termination_mask(is_terminal), [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(termination_mask(jnp.array([[1.0, 0.0, 0.0]])), [[1, 1, 1]])
    model = make_model(idm_mode="none")
    batch = make_batch(1).replace(is_terminal=is_terminal[:1])
    changed = batch.replace(observation={n: x.at[:, 3:].add(5.0) for n, x in batch.observation.items()})
    losses = [loss_function()(model, b, None)[0] for b in (batch, changed)]
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_a_mask_takes_a_target_out_of_the_loss_where_it_is_zero():
    model, batch = make_model(), make_batch()
    masked = batch.replace(masks={"velocity": jnp.zeros(batch.batch_shape)})
    terms, _ = terms_of(model, masked)
    np.testing.assert_array_equal(terms.nll["velocity"], 0.0)
    assert np.abs(terms.nll["position"]).min() > 0


def test_targets_that_the_batch_lacks_are_skipped():
    model, batch = make_model(predict_reward=True), make_batch()
    terms, _ = terms_of(model, batch.replace(reward=None))
    assert "reward" not in terms.nll and "position" in terms.nll


def test_dimension_wise_reweighting_weights_by_the_std_and_the_kl_by_its_mean():
    model, batch = (
        make_model(decoder=dict(name="smlp", hidden_size=8, hidden_layers=1), predict_terminal=False),
        make_batch(),
    )
    plain, output = terms_of(model, batch)
    weighted, _ = terms_of(model, batch, nll_reweight="dim_wise")
    stds, nll = [], 0.0
    for name, dist in model.decode(output.states.features).items():
        stds.append(np.asarray(dist.stddev()))
        nll = nll - (np.asarray(dist.log_prob(batch.target(name))) * stds[-1]).sum(-1)
    np.testing.assert_allclose(weighted.reconstruction, nll, rtol=1e-4)
    np.testing.assert_allclose(weighted.kl, plain.raw_kl * np.concatenate(stds, -1).mean(-1), rtol=1e-4)


def test_modality_wise_reweighting_weights_the_kl_by_the_mean_over_modalities_of_their_mean_std():
    model = make_model(decoder=dict(name="smlp", hidden_size=8, hidden_layers=1), predict_terminal=False)
    plain, output = terms_of(model, make_batch())
    weighted, _ = terms_of(model, make_batch(), nll_reweight="modality_wise")
    stds = [np.asarray(d.stddev()).mean(-1) for d in model.decode(output.states.features).values()]
    np.testing.assert_allclose(weighted.kl, plain.raw_kl * np.mean(stds, axis=0), rtol=1e-4)


def test_a_detached_reward_is_a_probe():
    model, batch = make_model(predict_reward=True, detach_reward=True), make_batch()
    assert "reward" not in model.targets and "reward" in model.probes
    grads = jax.jit(
        jax.grad(lambda m: elbo_loss(m, batch, None, PLAIN)[1][0]["reward_probe_reconstruction_loss"])
    )(model)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(grads.dynamics))
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads.probes))


def test_vectors_may_each_have_an_encoder_in_the_order_of_the_sensors():
    net = dict(hidden_size=8, hidden_layers=1)
    model, batch = make_model(encoder=dict(name="mlp", joint=False, **net)), make_batch()
    embed = model.encode(batch.observation)
    for i, name in enumerate(("position", "velocity")):
        alone = model.encoder.vectors[name](batch.observation[name])
        np.testing.assert_array_equal(embed[..., 8 * i : 8 * (i + 1)], alone)


def test_side_heads_do_not_shape_the_model():
    model, batch = make_model(inputs=("position",), targets=("position",), probes=("velocity",)), make_batch()

    def side_loss(model):
        _, (metrics, _) = elbo_loss(model, batch, None, PLAIN)
        return metrics["idm_loss"] + metrics["velocity_probe_reconstruction_loss"]

    grads = jax.jit(jax.grad(side_loss))(model)
    for part in (grads.dynamics, grads.encoder, grads.decoders):
        assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(part))
    for part in (grads.idm, grads.probes):
        assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(part))


def test_an_end_to_end_idm_shapes_the_model():
    model, batch = make_model(idm_mode="end2end"), make_batch()
    grads = jax.jit(jax.grad(lambda m: elbo_loss(m, batch, None, PLAIN)[1][0]["idm_loss"]))(model)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads.encoder))


def test_demonstrations_without_actions_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="aime.losses.action_inference_loss"):
        elbo_loss(make_model(), make_batch(actions=False), None)


def test_actions_of_another_body_are_refused():
    batch = make_batch()
    with pytest.raises(ValueError, match="actions have size 5, the model was built for 2"):
        elbo_loss(make_model(), batch.replace(prev_action=jnp.zeros((*batch.batch_shape, 5))), None)


def test_an_action_free_model_needs_no_actions():
    loss, _ = loss_function()(make_model(action_size=0, idm_mode="none"), make_batch(actions=False), None)
    assert np.isfinite(loss)


def test_evidence_per_step_ignores_reweighting_and_masks():
    model, batch = make_model(), make_batch()
    masked = batch.replace(masks={"velocity": jnp.zeros(batch.batch_shape)})
    evidence = jax.jit(per_step_evidence)
    np.testing.assert_allclose(evidence(model, masked), evidence(model, batch), rtol=1e-6)


def test_standardised_models_give_predictions_in_raw_units_and_do_not_train_the_statistics():
    mean, std = np.array([10.0, -5.0, 0.0]), np.array([2.0, 1.0, 4.0])
    model = make_model(statistics={"position": (mean, std)})
    features = jnp.zeros((1, model.feature_size))
    raw = model.decoders["position"](features).mean()
    np.testing.assert_allclose(model.predict(features)["position"], raw * std[None] + mean[None], rtol=1e-5)
    grads = jax.jit(jax.grad(lambda m: elbo_loss(m, make_batch(), None)[0]))(model)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(grads.standardizer))


def test_clipped_models_read_and_score_what_is_beyond_the_data_as_its_extreme():
    statistics = {"velocity": (np.array([1.0, 0.0]), np.array([2.0, 1.0]))}
    model, batch = make_model(statistics=statistics, clip=3.0), make_batch()
    extreme, beyond = (
        batch.replace(observation=batch.observation | {"velocity": jnp.broadcast_to(value, (3, 5, 2))})
        for value in (np.array([7.0, -3.0]), np.array([1000.0, -50.0]))
    )
    np.testing.assert_allclose(model.target(beyond, "velocity")[0, 0], [3.0, -3.0])
    losses = [loss_function()(model, shown, None)[0] for shown in (extreme, beyond)]
    assert losses[0] == losses[1]
    assert loss_function()(make_model(statistics=statistics), beyond, None)[0] > 100 * losses[1]
    with pytest.raises(ValueError, match="clip is a positive number of standard deviations or None, not 0"):
        make_model(clip=0.0)


def test_update_overfits_one_batch_without_recompiling():
    model, batch = make_model(), make_batch()
    optimizer = optax.adam(1e-2)
    state = TrainState.create(model, optimizer, jax.random.key(0))
    chex.clear_trace_counter()
    update = jax.jit(make_update(chex.assert_max_traces(elbo_loss, n=1), optimizer))
    losses = []
    for _ in range(60):
        state, metrics = update(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.7 * losses[0], (losses[0], losses[-1])
