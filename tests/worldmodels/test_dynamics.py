"""Dynamics, all that are registered: sequences are their steps, episodes do not leak into each other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, struct
from models import compiled, make_model

from worldmodels.min_gru import MinGRU, linear_recurrence
from worldmodels.rssm import RSSM
from worldmodels.structures import LatentState
from worldmodels.world_model import DYNAMICS

B, T, E, A = 2, 5, 5, 3
SIZES = dict(deter_size=6, stoch_size=4, hidden_size=8)
CASES = {name: dict(name=name) for name in DYNAMICS.names()}
CASES |= {
    "rssm, v1": dict(name="rssm", family="rssm", norm=None),
    "rssm, rssmo-v1": dict(name="rssm", family="rssmo-v1"),
    "rssm, discrete": dict(name="rssm", num_classes=3),
    "min_gru, discrete": dict(name="min_gru", num_classes=3),
}


@struct.dataclass
class ConstantAction:
    """A policy that always does the same."""

    action: jax.Array

    def sample(self, noise):
        return self.action


@functools.cache
def make(case: str):
    return DYNAMICS.make(E, A, rngs=nnx.Rngs(0), **SIZES, **CASES[case])


@pytest.fixture(params=CASES)
def dynamics(request):
    return make(request.param)


def inputs():
    keys = jax.random.split(jax.random.key(1), 2)
    return jax.random.normal(keys[0], (B, T, E)), jax.random.normal(keys[1], (B, T, A)), jnp.zeros((B, T))


def run_filter(dynamics, *arguments):
    return compiled(type(dynamics).filter)(dynamics, *arguments)


def assert_close(actual, expected):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), actual, expected)


@pytest.mark.parametrize("key", [None, jax.random.key(2)], ids=["modes", "samples"])
def test_a_filtered_sequence_is_its_steps(dynamics, key):
    embed, actions, is_first = inputs()
    is_first = is_first.at[0, 3].set(1.0)  # an episode that begins inside a window
    start = jax.tree.map(lambda x: x + 0.3, dynamics.initial(B))
    output = run_filter(dynamics, embed, actions, is_first, key, start)
    state, noise = start, dynamics.noise(key, B, T)
    step = compiled(type(dynamics).observe)
    for t in range(T):
        state = dynamics.forget(state, is_first[:, t])
        projected = dynamics.project_embed(embed[:, t])
        state, posterior = step(
            dynamics, state, actions[:, t], projected, None if noise is None else noise[:, t]
        )
        whole = jax.tree.map(lambda x, t=t: x[:, t], (output.states, output.prior, output.posterior))
        assert_close(whole, (state, dynamics.prior(state), posterior))


def test_actors_take_the_steps_of_the_filter(dynamics):
    embed, actions, is_first = inputs()
    output, state = run_filter(dynamics, embed, actions, is_first), dynamics.initial(B)
    step = compiled(type(dynamics).posterior_step)
    for t in range(T):
        state, posterior = step(dynamics, state, actions[:, t], embed[:, t])
    assert_close((state, posterior), jax.tree.map(lambda x: x[:, -1], (output.states, output.posterior)))
    assert state.features.shape == (B, dynamics.feature_size)


def test_a_rollout_is_its_steps(dynamics):
    _, actions, _ = inputs()
    states = compiled(type(dynamics).rollout)(dynamics, dynamics.initial(B), actions)
    state, step = dynamics.initial(B), compiled(type(dynamics).predict)
    for t in range(T):
        state = step(dynamics, state, actions[:, t], None)
        np.testing.assert_allclose(states.features[:, t], state.features, rtol=1e-4, atol=1e-5)


def test_two_concatenated_episodes_equal_the_two_apart(dynamics):
    embed, actions, is_first = inputs()
    first = is_first.at[:, 0].set(1.0)
    apart = [run_filter(dynamics, embed * scale, actions, first) for scale in (1.0, 0.5)]
    together = run_filter(
        dynamics,
        jnp.concatenate([embed, embed * 0.5], 1),
        jnp.concatenate([actions] * 2, 1),
        jnp.concatenate([first] * 2, 1),
    )
    for i, output in enumerate(apart):
        assert_close(jax.tree.map(lambda x, i=i: x[:, i * T : (i + 1) * T], together), output)


def test_imagination_includes_its_start_and_follows_the_policys_actions(dynamics):
    start = jax.tree.map(lambda x: x + 1.0, dynamics.initial(B))
    imagined = dynamics.imagine(start, lambda features: ConstantAction(jnp.full((B, A), 0.5)), 3)
    np.testing.assert_array_equal(imagined.states.features[:, 0], start.features)
    expected = compiled(type(dynamics).rollout)(dynamics, start, jnp.full((B, 3, A), 0.5))
    np.testing.assert_allclose(imagined.states.features[:, 1:], expected.features, rtol=1e-4, atol=1e-5)


def test_a_key_draws_and_no_key_takes_modes():
    embed, actions, is_first = inputs()
    keys = (None, None, jax.random.key(0), jax.random.key(1))
    modes, again, *draws = (
        run_filter(make("rssm"), embed, actions, is_first, key).states.stoch for key in keys
    )
    np.testing.assert_array_equal(modes, again)
    assert np.abs(draws[0] - draws[1]).max() > 0.01


def test_discrete_states_are_one_hots():
    states = run_filter(make("rssm, discrete"), *inputs()).states
    np.testing.assert_array_equal(states.stoch.reshape(B, T, 4, 3).sum(-1), 1.0)


def test_unknown_options_name_the_known_ones():
    with pytest.raises(ValueError, match="Unknown RSSM family 'lstm'. Known: rssm, rssmo, rssmo-v1."):
        RSSM(E, A, family="lstm", rngs=nnx.Rngs(0))
    for kind in (RSSM, MinGRU):
        with pytest.raises(ValueError, match="Unknown estimator 'gumbel'. Known: straight_through, reinmax."):
            kind(E, A, num_classes=3, estimator="gumbel", rngs=nnx.Rngs(0))


# Linear recurrence --------------------------------------------------------------------------------------------


def test_a_linear_recurrence_is_solved_for_all_steps_at_once():
    keep = jnp.array([[[0.5], [0.0], [0.9]]])
    new = jnp.array([[[1.0], [2.0], [3.0]]])
    solved = linear_recurrence(keep, new, jnp.array([[4.0]]))
    np.testing.assert_allclose(solved[0, :, 0], [0.5 * 4 + 1, 2.0, 0.9 * 2 + 3], rtol=1e-6)


def test_the_memory_of_a_linear_recurrence_has_no_loop_over_time():
    program = jax.make_jaxpr(functools.partial(MinGRU.filter, make("min_gru")))(*inputs())
    assert "scan[" not in str(program) and "while[" not in str(program)


def test_units_forget_at_different_rates():
    model = DYNAMICS.make(E, A, name="min_gru", rngs=nnx.Rngs(0), **SIZES)
    keep = jax.nn.sigmoid(model.gate_layer.bias[...])
    np.testing.assert_allclose(keep[jnp.array([0, -1])], np.exp([-1.0, -1 / 50]), rtol=1e-5)


# In a world model ---------------------------------------------------------------------------------------------


def test_dynamics_of_the_project_take_the_sizes_of_the_rssm_where_they_have_none():
    options = dict(family="rssmo", **SIZES)
    model = make_model(rssm=options, dynamics=dict(name="min_gru", stoch_size=3), idm_mode="none")
    assert isinstance(model.dynamics, MinGRU)
    assert (model.dynamics.deter_size, model.dynamics.stoch_size) == (6, 3)


class Counter(RSSM):
    """Someone else's dynamics: an RSSM with an option of its own."""

    def __init__(self, embed_size, action_size, *, width, rngs):
        super().__init__(embed_size, action_size, deter_size=width, stoch_size=2, hidden_size=4, rngs=rngs)


def test_dynamics_of_ones_own_are_named_with_their_options():
    name = f"{__name__}:Counter"
    DYNAMICS.choose(name)
    model = make_model(dynamics=dict(name=name, width=5), idm_mode="none")
    assert model.feature_size == 7
    assert isinstance(model.dynamics.initial(1), LatentState)


def test_unknown_dynamics_name_the_known_ones():
    with pytest.raises(ValueError, match="Unknown dynamics 'lstm'. Known: rssm, min_gru"):
        make_model(dynamics=dict(name="lstm"))
