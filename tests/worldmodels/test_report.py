"""Looking at a model: the arrays behind videos, figures and numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from models import NET, make_batch, make_model

from worldmodels import report
from worldmodels.losses import per_step_evidence
from worldmodels.world_model import WorldModel

IMAGE_NET = dict(name="dreamer_resnet", width=2)


def image_model(**changes):
    return WorldModel(
        {"image": (8, 8), "velocity": 2},
        inputs=("image",),
        targets=("image",),
        probes=("velocity",),
        action_size=2,
        rssm=dict(family="rssmo", deter_size=6, stoch_size=4, hidden_size=8, min_std=0.1),
        encoder=dict(name="mlp", **NET),
        decoder=dict(name="dmlp", **NET),
        image_encoder=IMAGE_NET,
        image_decoder=IMAGE_NET,
        predict_terminal=False,
        idm_mode="none",
        rngs=nnx.Rngs(0),
        **changes,
    )


def image_batch(batch=2, length=6):
    images = np.random.default_rng(0).integers(0, 256, (batch, length, 8, 8, 3), np.uint8)
    states = make_batch(batch, length)
    observation = {"image": jnp.asarray(images), "velocity": states.observation["velocity"]}
    return states.replace(observation=observation)


def test_images_are_compared_in_units_of_one():
    batch = image_batch()
    truth, prediction = report.open_loop(image_model(), batch, 3)
    np.testing.assert_allclose(truth["image"], batch.observation["image"] / 255.0, rtol=1e-6)
    assert prediction["image"].shape == (2, 6, 8, 8, 3) and prediction["velocity"].shape == (2, 6, 2)


def test_open_loop_prediction_begins_with_the_reconstruction_of_what_was_seen():
    model, batch = image_model(), image_batch()
    for name, values in report.reconstruct(model, batch)[1].items():
        np.testing.assert_allclose(
            report.open_loop(model, batch, 3)[1][name][:, :3], values[:, :3], rtol=1e-5, atol=1e-6
        )


def test_what_is_foreseen_does_not_depend_on_what_is_seen_later():
    model, batch = image_model(), image_batch()
    image = batch.observation["image"]
    other = batch.replace(observation=batch.observation | {"image": image.at[:, 3:].set(0)})
    same, changed = (report.open_loop(model, b, 3)[1]["image"] for b in (batch, other))
    np.testing.assert_array_equal(same, changed)


def test_dynamics_that_read_latent_actions_foresee_by_those_of_the_given_actions():
    model, batch = make_model(latent_actions=NET | dict(size=3, reads="u")), make_batch()
    state = jax.tree.map(lambda x: x[:, 2], model.filter(batch).states)
    expected = []
    for t in (3, 4):
        code = jnp.tanh(model.latent_actions.encode(state.features, batch.prev_action[:, t]).mean)
        state = model.dynamics.predict(state, code, None)
        expected.append(model.predict(state.features, ["position"])["position"])
    foreseen = report.open_loop(model, batch, 3)[1]["position"][:, 3:]
    np.testing.assert_allclose(foreseen, jnp.stack(expected, axis=1), rtol=1e-4, atol=1e-5)


def test_the_error_of_images_is_per_pixel():
    model, batch = image_model(), image_batch()
    truth, prediction = report.open_loop(model, batch, 3)
    expected = np.mean((truth["image"] - prediction["image"])[:, 3:] ** 2)
    np.testing.assert_allclose(report.open_loop_error(model, batch, context=3)["image"], expected, rtol=1e-5)


def embedding_model():
    """It predicts its own embedding, and has nothing else to be compared with."""
    return make_model(targets=("emb",), momentum=0.01, predict_terminal=False)


@pytest.mark.parametrize("model, batch", [(image_model, image_batch), (embedding_model, make_batch)])
def test_the_elbo_of_a_record_is_the_likelihood_that_viper_uses(model, batch):
    evidence = report.evidence(model(), batch())
    np.testing.assert_allclose(evidence.elbo, per_step_evidence(model(), batch()), rtol=1e-5)


def test_probes_are_scored_by_the_share_of_variance_that_they_explain():
    truth = jax.random.normal(jax.random.key(0), (3, 5, 2))
    mean = jnp.broadcast_to(truth.mean((0, 1), keepdims=True), truth.shape)
    np.testing.assert_array_equal(report.explained(truth, truth), [1.0, 1.0])
    np.testing.assert_allclose(report.explained(truth, mean), [0.0, 0.0], atol=1e-5)
    assert np.isnan(report.explained(jnp.zeros((3, 5, 2)), truth)).all()


def test_probes_are_read_off_state_and_embedding():
    accuracy = report.probe_accuracy(image_model(), image_batch())
    assert {kind: x.shape for kind, x in accuracy["velocity"].items()} == {"state": (2,), "embedding": (2,)}


def test_probes_of_a_model_without_baseline_probes_are_read_off_its_state():
    accuracy = report.probe_accuracy(image_model(baseline_probes=False), image_batch())
    assert {kind: x.shape for kind, x in accuracy["velocity"].items()} == {"state": (2,)}


def test_of_nothing_to_compare_there_are_no_vectors():
    assert report.vectors(["position"], ({}, {}))[2] == []


# Videos --------------------------------------------------------------------------------------------------------------


def test_a_comparison_has_rows_truth_prediction_and_half_the_difference_around_grey():
    truth, prediction = np.full((2, 3, 4, 4, 3), 1.0), np.full((2, 3, 4, 4, 3), 0.6)
    frames = report.comparison_video(truth, prediction, border=0)
    assert frames.shape == (3, 12, 8, 3) and frames.dtype == np.uint8
    assert [frames[0, row, 0, 0] for row in (0, 4, 8)] == [255, 153, round(255 * 0.7)]


def test_windows_stand_side_by_side():
    truth = np.stack([np.full((3, 4, 4, 3), level) for level in (0.2, 0.4, 0.6)])
    frames = report.comparison_video(truth, truth, border=0)
    assert [frames[0, 0, x, 0] for x in (0, 4)] == [51, 102] and frames.shape[2] == 12


def test_the_border_tells_what_was_seen_from_what_was_foreseen():
    truth = np.zeros((1, 4, 4, 4, 3))
    frames = report.comparison_video(truth, truth, context=3, border=1)
    middle = 6  # the first row of pixels of the prediction's tile
    assert [tuple(frame[middle, 0]) for frame in frames] == [report.SEEN] * 3 + [report.FORESEEN]
    assert (frames[:, 0, 0] == 255).all()


def test_values_outside_of_colours_are_clipped():
    frames = report.comparison_video(np.full((1, 1, 2, 2, 3), 3.0), np.full((1, 1, 2, 2, 3), -3.0), border=0)
    assert frames[0, 0, 0, 0] == 255 and frames[0, 2, 0, 0] == 0


def test_videos_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"\[1, 2, 4, 4, 3\] and \[1, 3, 4, 4, 3\]"):
        report.comparison_video(np.zeros((1, 2, 4, 4, 3)), np.zeros((1, 3, 4, 4, 3)))
