"""The RSSM: sequence methods are scans over steps, episodes do not leak into each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, struct

from worldmodels.rssm import RSSM
from worldmodels.structures import RSSMState

B, T, E, A = 2, 4, 5, 3
FAMILIES = [("rssm", None), ("rssmo", None), ("rssmo-v1", None), ("rssmo", 3)]


@struct.dataclass
class ConstantAction:
    """A policy that always does the same."""

    action: jax.Array

    def sample(self, noise):
        return self.action


def make(family="rssmo", num_classes=None) -> RSSM:
    norm = None if family == "rssm" else "ln"
    options = dict(deter_size=6, stoch_size=4, num_classes=num_classes, hidden_size=8, norm=norm)
    return RSSM(E, A, family=family, rngs=nnx.Rngs(0), **options)


run_filter, posterior_step, rollout, prior_step = map(
    jax.jit, (RSSM.filter, RSSM.posterior_step, RSSM.rollout, RSSM.prior_step)
)


def inputs():
    keys = jax.random.split(jax.random.key(1), 2)
    return jax.random.normal(keys[0], (B, T, E)), jax.random.normal(keys[1], (B, T, A)), jnp.zeros((B, T))


@pytest.mark.parametrize("family, num_classes", FAMILIES)
def test_filter_matches_a_python_loop_over_posterior_steps(family, num_classes):
    rssm = make(family, num_classes)
    embed, actions, is_first = inputs()
    output = run_filter(rssm, embed, actions, is_first)
    state = rssm.initial(B)
    for t in range(T):
        state, prior, posterior = posterior_step(rssm, state, actions[:, t], embed[:, t])
        for whole, step in ((output.states, state), (output.prior, prior), (output.posterior, posterior)):
            jax.tree.map(
                lambda w, s, t=t: np.testing.assert_allclose(w[:, t], s, rtol=1e-4, atol=1e-5), whole, step
            )


def test_discrete_states_are_the_same_one_hots_step_by_step_and_filtered():
    rssm = make("rssmo", 3)
    embed, actions, is_first = inputs()
    output = run_filter(rssm, embed, actions, is_first)
    state = rssm.initial(B)
    for t in range(T):
        state, _, _ = posterior_step(rssm, state, actions[:, t], embed[:, t])
        np.testing.assert_array_equal(output.states.stoch[:, t], state.stoch)
    np.testing.assert_array_equal(output.states.stoch.reshape(B, T, 4, 3).sum(-1), 1.0)


@pytest.mark.parametrize("family, num_classes", FAMILIES)
def test_rollout_matches_a_python_loop_over_prior_steps(family, num_classes):
    rssm = make(family, num_classes)
    _, actions, _ = inputs()
    states = rollout(rssm, rssm.initial(B), actions)
    state = rssm.initial(B)
    for t in range(T):
        state, _ = prior_step(rssm, state, actions[:, t])
        np.testing.assert_allclose(states.features[:, t], state.features, rtol=1e-4, atol=1e-5)


def test_two_concatenated_episodes_equal_the_two_apart():
    rssm = make()
    embed, actions, is_first = inputs()
    first = is_first.at[:, 0].set(1.0)
    apart = [run_filter(rssm, embed * scale, actions, first) for scale in (1.0, 0.5)]
    together = run_filter(
        rssm,
        jnp.concatenate([embed, embed * 0.5], 1),
        jnp.concatenate([actions] * 2, 1),
        jnp.concatenate([first] * 2, 1),
    )
    for i, output in enumerate(apart):
        part = jax.tree.map(lambda x, i=i: x[:, i * T : (i + 1) * T], together)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), part, output)


def test_a_key_draws_and_no_key_takes_modes():
    rssm = make()
    embed, actions, is_first = inputs()
    modes = [run_filter(rssm, embed, actions, is_first).states.stoch for _ in range(2)]
    draws = [run_filter(rssm, embed, actions, is_first, jax.random.key(i)).states.stoch for i in range(2)]
    np.testing.assert_array_equal(*modes)
    assert np.abs(draws[0] - draws[1]).max() > 0.01


def test_imagination_includes_its_start_and_follows_the_policys_actions():
    rssm = make()
    start = RSSMState(jnp.ones((B, 6)), jnp.ones((B, 4)))

    imagined = rssm.imagine(start, lambda features: ConstantAction(jnp.full((B, A), 0.5)), 3)
    np.testing.assert_array_equal(imagined.states.deter[:, 0], start.deter)
    expected = rollout(rssm, start, jnp.full((B, 3, A), 0.5))
    np.testing.assert_allclose(imagined.states.features[:, 1:], expected.features, rtol=1e-5)


def test_unknown_family_names_the_known_ones():
    with pytest.raises(ValueError, match="Unknown RSSM family 'lstm'. Known: rssm, rssmo, rssmo-v1."):
        make("lstm")


def test_unknown_gradient_estimator_names_the_known_ones():
    with pytest.raises(ValueError, match="Unknown estimator 'gumbel'. Known: straight_through, reinmax."):
        RSSM(E, A, num_classes=3, estimator="gumbel", rngs=nnx.Rngs(0))
