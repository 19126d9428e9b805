"""Tracking finds the hidden actions of a demonstration in a linear world that it knows, and needs nothing else."""

import types

import jax
import jax.numpy as jnp
import linear_world
import numpy as np
import pytest
from models import ACTION_SIZE, NET, make_batch, make_model

from agents.plan_search import PlanSettings
from agents.planners import PLANNERS
from agents.planning import Modules, planning_actor
from agents.tracking import Tracking
from worldmodels.structures import LatentState

SEARCH = PlanSettings(horizon=3, num_iterations=8, num_candidates=200, num_elites=20)
MODEL = types.SimpleNamespace(
    dynamics=linear_world.LinearDynamics(),
    inputs=("x",),
    targets=("x",),
    encoder=types.SimpleNamespace(image_names=()),
    encode=lambda observation: observation["x"],
    predict=lambda features, names: {"x": features},
    # Of this world as it is, in tens of units.
    temporal_distance=types.SimpleNamespace(
        towers=types.SimpleNamespace(phi=lambda features: features / 10, psi=lambda embed: embed / 10)
    ),
)
DEMONSTRATIONS = [linear_world.episode(np.random.default_rng(seed), 12, True).records for seed in range(3)]
GOAL = jnp.stack([records["x"] for records in DEMONSTRATIONS])
SHOWN, HIDDEN = GOAL[1], DEMONSTRATIONS[1]["pre_action"]


def plan(planner, x, clock, goal=GOAL):
    start = LatentState(jnp.asarray(x), jnp.zeros(0))
    zeros = jnp.zeros((3, 2))
    return planner.plan(Modules(MODEL), start, zeros, jax.random.key(0), clock=clock, goal=goal).actions


@pytest.mark.parametrize(
    ("options", "clock", "tolerance"),
    [
        (dict(), 4, 0.05),
        (dict(replay="nearest"), 0, 0.05),
        (dict(replay="nearest", distance="transport"), 9, 0.1),
        (dict(distance="orca"), 4, 0.2),
        (dict(cost="temporal"), 4, 0.05),
        (dict(cost="temporal", replay="nearest"), 0, 0.05),
    ],
)
def test_the_plan_is_what_the_demonstrator_did_next(options, clock, tolerance):
    """By time, or from its frame 4 wherever that is in the agent's episode; of three demonstrations the right one."""
    goal = GOAL / 10 if options.get("cost") == "temporal" else GOAL
    actions = plan(Tracking(SEARCH, **options), SHOWN[4], clock, goal)
    np.testing.assert_allclose(actions, HIDDEN[5:8], atol=tolerance)


def test_the_agent_gets_back_to_the_demonstration_and_waits_at_its_end():
    acting = jax.jit(lambda x, clock: plan(Tracking(SEARCH), x, clock, SHOWN[None])[0])
    shown = np.asarray(SHOWN)
    start = x = shown[0] + 0.3
    path = []
    for clock in range(len(shown) + 1):
        x = x + linear_world.STEP * np.asarray(acting(x, clock))
        path.append(x)
    ahead = shown[np.minimum(np.arange(len(path)) + 1, len(shown) - 1)]
    assert np.abs(path - ahead)[2:].max() < 0.15
    assert np.abs(path - ahead).mean() < 0.1 * np.abs(start - ahead).mean()


def test_a_model_of_its_own_embedding_is_tracked_in_it():
    """Nothing is decoded: the model predicts what the encoder would say, as it does with `predict_emb`."""
    model = make_model(targets=("emb",))
    planner = PLANNERS.make("reward", name="tracking", horizon=3, num_candidates=8, num_elites=2)
    actor = planning_actor(
        planner, model, None, None, 2, jax.random.key(0), demonstrations=make_batch(actions=False)
    )
    records = {"position": np.ones((2, 3)), "velocity": np.ones((2, 2)), "is_first": np.ones(2)}
    assert actor(records).shape == (2, ACTION_SIZE)
    assert actor.state.goal.shape == (3, 5, model.encoder.out_size)


def test_a_model_that_counts_steps_is_tracked_by_them():
    """It need not predict what it reads: states and frames are compared as what leads there."""
    model = make_model(targets=("position",), temporal_distance=NET | dict(size=3))
    planner = PLANNERS.make("reward", name="tracking", cost="temporal", num_candidates=8, num_elites=2)
    shown = make_batch(actions=False)
    goal = planner.prepare(Modules(model, demonstrations=shown))
    assert goal.shape == (3, 5, 3)
    features = jnp.ones((1, model.feature_size))
    costs = planner.costs(model, features, goal[1])
    told = model.temporal_distance(features, model.encode(shown.observation)[1])
    np.testing.assert_allclose(costs[0], jnp.minimum(told, 1.0), atol=1e-4)


def test_what_tracking_lacks_is_named():
    planner, key = PLANNERS.make("reward", name="tracking"), jax.random.key(0)
    with pytest.raises(ValueError, match="--config.demonstrations=DIR"):
        planning_actor(planner, make_model(), None, None, 1, key)
    counting = PLANNERS.make("reward", name="tracking", cost="temporal")
    with pytest.raises(ValueError, match="world_model.temporal_distance.size=32"):
        planning_actor(counting, make_model(), None, None, 1, key, demonstrations=make_batch())
    blind = make_model(targets=("position",))
    with pytest.raises(ValueError, match="does not predict velocity"):
        planning_actor(planner, blind, None, None, 1, key, demonstrations=make_batch())
    with pytest.raises(ValueError, match="Unknown replay 'newest'. Known: time, nearest"):
        PLANNERS.make("reward", name="tracking", replay="newest")
