"""Planning finds known optima, in plain functions and in a linear model made by hand, and acts like any actor."""

import functools
import types

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_world import LinearDynamics
from models import ACTION_SIZE, NET, make_batch, make_model, make_policy

from agents.imagination import value_networks
from agents.plan_search import PlanSettings, noise_matrix, search
from agents.planners import ICEM, PLANNERS
from agents.planning import Modules, Planner, head_reward, planning_actor, score_actions
from worldmodels.distributions import TanhNormal
from worldmodels.dynamics import ImagineOutput
from worldmodels.structures import LatentState

GOAL = 0.8


class LinearRSSM(LinearDynamics):
    """And a policy that always does the same."""

    def imagine(self, state, policy, horizon, key=None):
        actions = jnp.broadcast_to(policy.mode, (state.deter.shape[0], horizon, 1))
        return ImagineOutput(states=None, actions=actions, policy=policy)


def linear_model(**heads):
    """Reward -(x - goal)² on arrival; further heads: features -> distribution."""
    heads["reward"] = lambda f: distrax.Normal(-((f[..., :1] - GOAL) ** 2), 1.0)
    return types.SimpleNamespace(dynamics=LinearRSSM(), decoders=heads, targets=tuple(heads))


START = LatentState(jnp.zeros(1), jnp.zeros(1))
BEST = np.array([[1.0], [0.6], [0.0]])  # as fast as possible to the goal, and stay there


def found(score, mean, **settings):
    settings = PlanSettings(horizon=mean.shape[0], **settings)
    return search(score, mean, jax.random.key(0), settings)


@pytest.mark.parametrize(
    "settings, far, wide",
    [
        (dict(num_candidates=500, num_elites=50), 0.02, 0.05),
        # It draws an elite, and its std has a floor.
        (
            dict(
                num_candidates=500,
                num_elites=50,
                init_std=2.0,
                min_std=0.05,
                temperature=50.0,
                returned="drawn",
            ),
            0.15,
            0.06,
        ),
        ({**ICEM, "horizon": 2, "num_candidates": 200, "num_iterations": 8}, 0.05, 0.15),
    ],
    ids=["cem", "mppi", "icem"],
)
def test_every_search_finds_the_maximum_of_a_concave_function(settings, far, wide):
    target = jnp.array([[0.3, -0.7], [0.9, 0.1]])
    settings = {name: value for name, value in settings.items() if name != "horizon"}
    result = found(
        lambda actions, key: -jnp.sum((actions - target[None]) ** 2, axis=(1, 2)),
        jnp.zeros((2, 2)),
        **settings,
    )
    np.testing.assert_allclose(result.actions, target, atol=far)
    assert jnp.all(result.std < wide)


def test_actions_stay_within_their_bounds_where_the_optimum_lies_outside():
    best = found(
        lambda actions, key: actions.sum(axis=(1, 2)),
        jnp.zeros((2, 1)),
        num_iterations=8,
        num_candidates=200,
        num_elites=20,
    )
    np.testing.assert_allclose(best.mean, 1.0, atol=1e-3)


def needle(actions, key):
    """Nothing but 0.95 everywhere is worth anything; samples hardly find it."""
    return -1e3 * jnp.sum(jnp.abs(actions - 0.95) > 0.01, axis=(1, 2))


FEW = dict(horizon=4, num_iterations=2, num_candidates=50, num_elites=5)


def test_a_good_proposal_wins_where_samples_hardly_find_it():
    settings = PlanSettings(**FEW, temperature=1.0)
    best = search(needle, jnp.zeros((4, 2)), jax.random.key(0), settings, proposals=jnp.full((1, 4, 2), 0.95))
    np.testing.assert_allclose(best.mean, 0.95, atol=0.011)


def test_elites_of_the_step_before_compete_and_the_best_of_all_is_kept():
    """Their last action is drawn, so that the score here does not look at it."""
    settings = PlanSettings(**FEW, keep_elites=0.2, returned="best")
    kept = jnp.full((1, 4, 2), 0.95)
    best = search(
        lambda actions, key: needle(actions[:, :-1], key),
        jnp.zeros((4, 2)),
        jax.random.key(0),
        settings,
        kept=kept,
    )
    np.testing.assert_allclose(best.actions[:-1], 0.95, atol=1e-6)
    np.testing.assert_array_equal(best.kept[0], best.actions)


def test_the_mean_is_tried_in_the_last_iteration():
    settings = PlanSettings(**FEW | dict(num_iterations=1, num_elites=1), try_mean=True)
    best = search(needle, jnp.full((4, 2), 0.95), jax.random.key(0), settings)
    np.testing.assert_allclose(best.mean, 0.95, atol=1e-6)


def test_an_elite_is_drawn_by_its_weight():
    """Two actions are worth something, one exp(1) times as much as the other."""
    score = lambda actions, key: jnp.where(actions[:, 0, 0] > 0, 1.0, 0.0)  # noqa: E731
    settings = PlanSettings(
        horizon=1, num_iterations=1, num_candidates=200, num_elites=200, temperature=1.0, returned="drawn"
    )
    draw = jax.jit(jax.vmap(lambda key: search(score, jnp.zeros((1, 1)), key, settings).actions))
    share = float(jnp.mean(draw(jax.random.split(jax.random.key(0), 400)) > 0))
    assert abs(share - np.e / (1 + np.e)) < 0.06


def test_populations_decay_to_twice_the_elites():
    settings = PlanSettings(num_candidates=40, num_elites=10, decay=1.25, num_iterations=5)
    assert settings.populations == [40, 32, 25, 20, 20]


@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
def test_coloured_noise_has_its_spectrum_and_unit_variance(beta):
    horizon, rng = 32, np.random.default_rng(0)
    noise = rng.standard_normal((4000, horizon)) @ noise_matrix(horizon, beta).T
    assert abs(noise.var() - 1) < 0.1
    power = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean(axis=0)[1:-1]
    slope = np.polyfit(np.log(np.fft.rfftfreq(horizon)[1:-1]), np.log(power), 1)[0]
    assert abs(slope + beta) < 0.05


def test_the_score_is_the_discounted_sum_of_rewards_on_arrival():
    score = score_actions(
        linear_model(), START, jnp.array([BEST, 0 * BEST]), None, reward=head_reward("reward"), discount=0.5
    )
    np.testing.assert_allclose(score, [-0.09, -0.64 * (1 + 0.5 + 0.25)], rtol=1e-5)


def test_the_value_takes_the_place_of_the_last_reward():
    score = score_actions(
        linear_model(),
        START,
        jnp.array([BEST]),
        None,
        reward=head_reward("reward"),
        discount=0.5,
        value=lambda f: 7.0 * jnp.ones_like(f[..., :1]),
    )
    np.testing.assert_allclose(score, [-0.09 + 0.25 * 7.0], rtol=1e-5)


def test_nothing_is_scored_after_a_termination():
    model = linear_model(is_terminal=lambda f: types.SimpleNamespace(mode=lambda: jnp.ones_like(f[..., :1])))
    score = score_actions(model, START, jnp.array([0 * BEST]), None, reward=head_reward("reward"))
    np.testing.assert_allclose(score, [-0.64], rtol=1e-5)


def test_planning_finds_the_optimum_of_a_linear_model():
    plan = jax.jit(
        lambda key: Planner(PlanSettings(horizon=3)).plan(Modules(linear_model()), START, 0 * BEST, key)
    )
    np.testing.assert_allclose(plan(jax.random.key(0)).mean, BEST, atol=0.03)


def test_guided_planning_looks_beyond_its_horizon():
    """With one step and no reward within it, only the value tells where to go, here: away from the goal."""
    critics = {"reward": lambda f: -((f[..., :1] + 0.25) ** 2)}
    policy = TanhNormal(jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1)))
    settings = PlanSettings(
        horizon=1, num_iterations=6, num_candidates=300, num_elites=30, use_value=True, policy_share=0.05
    )
    plan = Planner(settings).plan(
        Modules(linear_model(), policy, critics), START, jnp.zeros((1, 1)), jax.random.key(0)
    )
    np.testing.assert_allclose(plan.mean, [[-0.5]], atol=0.03)


# As an actor -----------------------------------------------------------------------------------------------------

SMALL = dict(horizon=3, num_iterations=2, num_candidates=20, num_elites=4)


SHORT = """
from agents.planners import cem

def short(reward, *, horizon):
    return cem(reward, horizon=horizon, num_iterations=1, num_candidates=4, num_elites=2)
"""


@functools.cache
def modules(reads="action"):
    model = make_model(predict_reward=True, latent_actions=NET | dict(size=3, reads=reads))
    return model, make_policy(model), value_networks(["reward"], model.feature_size, jax.random.key(2), **NET)


def records(n, first=True):
    return {"position": np.ones((n, 3)), "velocity": np.ones((n, 2)), "is_first": np.full(n, first)}


def test_a_planning_actor_acts_and_begins_episodes_anew():
    guided = PLANNERS.make("reward", name="guided", **SMALL)
    actor = planning_actor(guided, *modules(), 3, jax.random.key(0))
    actions = actor(records(3))
    assert actions.shape == (3, ACTION_SIZE) and actions.dtype == np.float32 and np.abs(actions).max() <= 1
    assert actor.state.plan.shape == (3, 3, ACTION_SIZE)
    actor(records(3, first=False))
    actor.renew(modules(), jax.random.key(0))
    np.testing.assert_array_equal(actor(records(3)), actions)


def test_plans_are_of_what_the_dynamics_read_and_what_is_done_is_decoded():
    model, *others = modules("u")
    guided = PLANNERS.make("reward", name="guided", **SMALL)
    actor = planning_actor(guided, model, *others, 3, jax.random.key(0))
    for first in (True, False):
        assert actor(records(3, first)).shape == (3, ACTION_SIZE)
    assert actor.state.plan.shape == (3, 3, 3) and actor.state.filtered.prev_action.shape == (3, ACTION_SIZE)


@pytest.mark.parametrize("name", PLANNERS.names())
def test_every_planner_acts_and_names_its_options(name):
    planner, shown = PLANNERS.make("reward", name=name, **SMALL), make_batch(actions=False)
    actor = planning_actor(planner, *modules(), 3, jax.random.key(0), demonstrations=shown)
    for first in (True, False):
        actions = actor(records(3, first))
        assert actions.shape == (3, ACTION_SIZE) and np.abs(actions).max() <= 1
    with pytest.raises(
        ValueError, match="The planner has no option 'horizn'. It has horizon, num_iterations, "
    ):
        PLANNERS.make("reward", name=name, horizn=3)


def test_a_planner_of_ones_own_is_named_by_its_module(own_code):
    own_code("mine", SHORT)
    PLANNERS.choose("mine:short")
    actor = planning_actor(
        PLANNERS.make("reward", name="mine:short", horizon=2), *modules(), 1, jax.random.key(0)
    )
    assert actor(records(1)).shape == (1, ACTION_SIZE) and actor.state.plan.shape == (1, 2, ACTION_SIZE)


def test_seeds_plan_in_blocks():
    stacked = jax.tree.map(lambda x: jnp.stack([x, x]), modules())
    planner = Planner(PlanSettings(**SMALL), sample_state=False)
    actor = planning_actor(planner, *stacked, 4, jax.random.key(0), num_seeds=2)
    assert actor(records(4)).shape == (4, ACTION_SIZE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(model=make_model()), "predicts 'reward'.*predict_reward=True"),
        (
            dict(model=make_model(targets=("position", "velocity", "ail_reward"))),
            "this one predicts .* Plan for ail_reward with --config.planner_reward=ail_reward",
        ),
        (dict(policy=None), "needs a policy"),
        (dict(critics=None), "needs a critic of 'reward'.*use_value=False, or planner=cem"),
    ],
)
def test_what_planning_lacks_is_named(change, message):
    parts = dict(zip(("model", "policy", "critics"), modules(), strict=True)) | change
    with pytest.raises(ValueError, match=message):
        planning_actor(
            Planner(PlanSettings(policy_share=0.1, use_value=True)), *parts.values(), 1, jax.random.key(0)
        )


def test_more_elites_than_candidates_are_refused():
    with pytest.raises(ValueError, match="elites cannot be chosen"):
        PlanSettings(num_candidates=10, num_elites=11)
