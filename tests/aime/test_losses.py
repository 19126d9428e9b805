"""The loss of AIME: what is in it, what it trains, and that it recovers actions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import make_batch, make_model, make_policy

from aime.losses import AIMEOptions, action_inference_loss
from aime.offline import JointState, make_imitation_update, make_joint_update
from worldmodels.losses import LossOptions
from worldmodels.training import TrainState, make_optimizer


@pytest.fixture(scope="module")
def model():
    return make_model()


@functools.cache
def loss_of(**options):
    return jax.jit(functools.partial(action_inference_loss, options=AIMEOptions(**options)))


def losses(model, key=None, **options) -> tuple[float, dict]:
    value, (metrics, _) = loss_of(**options)(make_policy(model), make_batch(actions=False), model, key)
    return float(value), metrics


def test_loss_is_reconstruction_plus_kl(model):
    loss, metrics = losses(model)
    assert loss == pytest.approx(float(metrics["reconstruction_loss"] + metrics["kl_loss"]), rel=1e-5)
    assert loss == pytest.approx(-float(metrics["elbo"]), rel=1e-5)


def test_kl_only_and_reconstruction_only_are_the_two_parts(model):
    _, metrics = losses(model)
    assert losses(model, kl_only=True)[0] == pytest.approx(float(metrics["kl_loss"]), rel=1e-5)
    assert losses(model, kl_scale=0.0)[0] == pytest.approx(float(metrics["reconstruction_loss"]), rel=1e-5)


@pytest.mark.parametrize("mode", ["posterior", "prior"])
def test_an_idm_adds_the_divergence_of_the_actions(model, mode):
    loss, metrics = losses(model, idm_mode=mode)
    assert float(metrics["action_kl_loss"]) > 0
    assert loss == pytest.approx(-float(metrics["elbo"]) + float(metrics["action_kl_loss"]), rel=1e-5)


def test_the_regularizer_adds_the_posterior_and_the_plain_loss(model):
    expected = losses(model, idm_mode="posterior")[0] + losses(model)[0]
    assert losses(model, idm_mode="regularizer")[0] == pytest.approx(expected, rel=1e-5)


def test_entropy_is_a_bonus(model):
    plain, metrics = losses(model)
    assert losses(model, entropy_scale=2.0)[0] == pytest.approx(
        plain - 2.0 * float(metrics["action_entropy"]), rel=1e-5
    )


def test_true_actions_reach_a_metric_and_not_the_loss(model):
    policy, batch = make_policy(model), make_batch()
    (with_actions, (metrics, _)), (without, (fewer, _)) = (
        loss_of()(policy, b, model, None) for b in (batch, batch.without_actions())
    )
    assert float(with_actions) == float(without)
    assert "analysis/action_mse" in metrics and "analysis/action_mse" not in fewer


def test_every_policy_weight_gets_a_gradient_and_the_model_does_not_change(model):
    before = jax.tree.map(np.array, model)
    optimizer = make_optimizer(1e-2, 100.0)
    state = TrainState.create(make_policy(model), optimizer, jax.random.key(0))
    grads = jax.jit(jax.grad(action_inference_loss, has_aux=True))(
        state.model, make_batch(), model, jax.random.key(0)
    )[0]
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads))
    update = jax.jit(make_imitation_update(optimizer))
    for _ in range(3):
        state, _ = update(state, make_batch(actions=False), model)
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, model))


def test_a_joint_update_trains_policy_and_model(model):
    optimizer = make_optimizer(1e-2)
    policy_state = TrainState.create(make_policy(model), optimizer, jax.random.key(0))
    state = JointState(policy_state, TrainState.create(model, optimizer, jax.random.key(1)))
    update = jax.jit(
        make_joint_update(optimizer, optimizer, policy_loss=AIMEOptions(), model_loss=LossOptions())
    )
    after, metrics = update(state, make_batch(actions=False), make_batch(seed=1))
    assert int(after.step) == 1 and "model/loss" in metrics
    for trained, old in ((after.policy, state.policy), (after.model, state.model)):
        deltas = [
            np.abs(x - y).max()
            for x, y in zip(*map(jax.tree.leaves, (trained.model, old.model)), strict=True)
        ]
        assert max(deltas) > 0


def test_unknown_idm_mode_names_the_known_ones():
    with pytest.raises(
        ValueError, match="Unknown idm_mode 'both'. Known: none, posterior, prior, regularizer."
    ):
        AIMEOptions(idm_mode="both")


def test_training_increases_the_evidence_of_a_demonstration(model):
    optimizer = make_optimizer(3e-3)
    state = TrainState.create(make_policy(model), optimizer, jax.random.key(0))
    update, batch = jax.jit(make_imitation_update(optimizer)), make_batch(actions=False)
    values = []
    for _ in range(40):
        state, metrics = update(state, batch, model)
        values.append(float(metrics["elbo"]))
    assert np.mean(values[-5:]) > np.mean(values[:5])
    assert np.isfinite(jnp.asarray(values)).all()
