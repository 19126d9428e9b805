"""AIME with categorical latents: the policy learns through their straight-through samples."""

import jax
import numpy as np
import pytest
from flax import nnx
from models import ACTION_SIZE, make_batch, make_model
from parity import COMPILER_OPTIONS

from aime.losses import action_inference_loss
from worldmodels.action_head import TanhGaussianHead
from worldmodels.losses import LossOptions, elbo_loss


def with_estimator(estimator):
    rssm = dict(deter_size=6, stoch_size=4, num_classes=3, hidden_size=8, estimator=estimator)
    return make_model(rssm=rssm, idm_mode="none")


@pytest.mark.parametrize("estimator", ["straight_through", "reinmax"])
def test_the_policy_gets_a_gradient_through_discrete_states(estimator):
    model = with_estimator(estimator)
    policy = TanhGaussianHead(model.feature_size, ACTION_SIZE, rngs=nnx.Rngs(0), hidden_size=8)
    batch = make_batch(actions=False)
    gradient = jax.jit(jax.grad(action_inference_loss, has_aux=True), compiler_options=COMPILER_OPTIONS)
    grads, (metrics, _) = gradient(policy, batch, model, jax.random.key(0))
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads))
    assert np.isfinite(metrics["loss"])


def test_free_nats_and_balance_leave_the_value_of_a_discrete_kl():
    model, batch = with_estimator("straight_through"), make_batch()
    plain, balanced = (
        jax.jit(lambda m, o=options: elbo_loss(m, batch, None, o)[1][0]["kl_loss"])(model)
        for options in (
            LossOptions(kl_balance=None, free_nats=0.0),
            LossOptions(kl_balance=0.8, free_nats=1e3),
        )
    )
    np.testing.assert_allclose(plain, balanced, rtol=1e-5)
