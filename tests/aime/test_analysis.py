"""The evidence of true and inferred actions."""

import jax.numpy as jnp
import numpy as np
from models import compiled, make_batch, make_model, make_policy

from aime.analysis import action_evidence, mean_evidence


def test_true_actions_are_scored_as_the_filter_scores_them():
    model, batch = make_model(), make_batch()
    result = action_evidence(model, make_policy(model), batch, None)
    expected = mean_evidence(model, batch, model.filter(batch, None))
    np.testing.assert_allclose(result["evidence_true"], expected, rtol=1e-6)


def test_a_policy_that_repeats_the_true_actions_explains_as_much_as_they_do():
    model = make_model()
    constant = make_policy(model)
    action = constant(jnp.zeros((1, model.feature_size))).mode
    batch = make_batch()
    batch = batch.replace(prev_action=jnp.broadcast_to(action, batch.prev_action.shape))
    always = lambda features: constant(jnp.zeros_like(features))  # noqa: E731
    result = compiled(lambda: action_evidence(model, always, batch, None))()
    np.testing.assert_allclose(result["evidence_inferred"], result["evidence_true"], rtol=1e-5)
    assert result["action_mse"] < 1e-12
