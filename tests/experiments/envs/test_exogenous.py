"""Exogenous noise: what moves by itself predicts the next observation and no action, as a sensor and in images."""

import numpy as np
import pytest

from agents.loop import collect_episodes
from agents.noise import UniformActor
from experiments.envs import registry
from experiments.envs.exogenous import PERIODS, RHO, ExogenousNoise, periods
from experiments.envs.sensors import observation_setup
from experiments.envs.vector import VectorEnvironment

PUSH = np.array([0.5, -0.5], np.float32)


# The noise ------------------------------------------------------------------------------------------------------------


def test_points_turn_and_have_unit_variance():
    number = 50
    paths = np.stack(
        [
            [noise.places(step) for step in range(2)]
            for noise in (ExogenousNoise(number, s) for s in range(400))
        ]
    )
    assert paths.shape == (400, 2, 2 * number) and paths.dtype == np.float32
    assert np.abs(paths.mean(axis=0)).max() < 0.25 and np.abs(paths.std(axis=0) - 1).max() < 0.2
    now, later = (paths[:, step, 0::2] + 1j * paths[:, step, 1::2] for step in range(2))
    correlation = (later * now.conj()).mean(axis=0) / (np.abs(now) ** 2).mean(axis=0)
    np.testing.assert_allclose(correlation, RHO * np.exp(2j * np.pi / periods(number)), atol=0.06)


def test_periods_divide_their_range_evenly():
    assert periods(1)[0] == pytest.approx(np.sqrt(np.prod(PERIODS)))
    assert (np.diff(periods(8)) > 0).all() and PERIODS[0] < periods(8)[0] and periods(8)[-1] < PERIODS[1]


def test_where_points_are_depends_on_seed_and_step_alone():
    forwards, at_once = ExogenousNoise(3, 7), ExogenousNoise(3, 7)
    walked = [forwards.places(step) for step in range(9)]
    np.testing.assert_array_equal(at_once.places(8), walked[8])
    np.testing.assert_array_equal(forwards.places(2), walked[2])
    assert (ExogenousNoise(3, 8).places(0) != walked[0]).all()


# In environments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fake-pointmass", "cartpole-balance", "metaworld-reach"])
def test_an_environment_has_it_as_a_sensor_and_is_otherwise_the_same(name):
    noisy, plain = registry.make(f"{name}?exogenous=3", action_repeat=2), registry.make(name, action_repeat=2)
    assert noisy.observation_spec["exogenous"].shape == (6,)
    action = np.full(noisy.action_spec.shape, 0.5, np.float32)
    expected = ExogenousNoise(3, 0)
    for step in range(3):
        records = [each.step(action) if step else each.reset(seed=1) for each in (noisy, plain)]
        if not step:
            expected = ExogenousNoise(3, noisy.metadata()["factors"]["exogenous"])
        np.testing.assert_array_equal(records[0].pop("exogenous"), expected.places(step))
        for sensor in records[1]:
            np.testing.assert_array_equal(records[0][sensor], records[1][sensor])


def test_it_is_read_where_positions_are():
    setup = observation_setup("cheetah-run?exogenous=2", "lpomdp")
    assert setup.inputs == setup.targets == ("position", "exogenous") and setup.probes == ("velocity",)
    assert "exogenous" in observation_setup("cheetah-run?exogenous=2", "visual").probes
    assert observation_setup("cheetah-run", "lpomdp").inputs == ("position",)


def test_a_restored_state_has_the_noise_of_its_time():
    environment = registry.make("fake-pointmass?exogenous=2")
    environment.reset(seed=5)
    state = environment.step(PUSH) and environment.physics_state()
    later = environment.step(PUSH)["exogenous"]
    environment.set_physics_state(state)
    np.testing.assert_array_equal(environment.step(PUSH)["exogenous"], later)


def test_discs_move_in_its_images():
    environment, plain = (
        registry.make(f"fake-pointmass{variation}", render_size=32) for variation in ("?exogenous=2", "")
    )
    before, start = (each.reset(seed=4)["image"] for each in (environment, plain))
    after, later = (each.step(PUSH)["image"] for each in (environment, plain))
    discs = [(a != b).any(axis=-1) for a, b in ((before, start), (after, later))]
    x, y = environment.metadata()["factors"] and environment.step(PUSH)["exogenous"][:2]
    assert 0 < discs[0].sum() <= 2 * 21 and (discs[0] != discs[1]).any()
    row, column = int(32 * (0.5 - 0.25 * y)), int(32 * (0.5 + 0.25 * x))
    assert environment.render(32, 32)[row, column].tolist() in environment._exogenous._colours.tolist()


# What it is for -------------------------------------------------------------------------------------------------------


def transitions(name):
    """Returns observations, next observations, and the actions between them, of flailing."""
    with VectorEnvironment(name, 8, seed=3) as envs:
        episodes = collect_episodes(envs, UniformActor(8, 2, seed=0), 60)
    sensors = [each for each in ("position", "velocity", "exogenous") if each in envs.observation_spec]
    rows = [np.concatenate([e.records[each] for each in sensors], axis=-1) for e in episodes]
    actions = np.concatenate([e.records["pre_action"][1:] for e in episodes])
    return np.concatenate([r[:-1] for r in rows]), np.concatenate([r[1:] for r in rows]), actions


def explained(inputs, targets):
    """Returns the share of the variance that a linear map explains."""
    inputs, targets = inputs - inputs.mean(axis=0), targets - targets.mean(axis=0)
    left = targets - inputs @ np.linalg.lstsq(inputs, targets, rcond=None)[0]
    return 1 - left.var() / targets.var()


def most_predictive(now, later, size):
    """Returns the `size` features of an observation that are most correlated with the next one, without actions."""
    whiten = [np.linalg.svd(each - each.mean(axis=0), full_matrices=False)[0] for each in (now, later)]
    return whiten[0] @ np.linalg.svd(whiten[0].T @ whiten[1])[0][:, :size]


def test_without_actions_features_are_of_the_noise_and_with_actions_they_need_not_be():
    plain, noisy = (transitions(f"fake-pointmass{variation}") for variation in ("", "?exogenous=4"))
    for (now, later, actions), moved in ((plain, 1.0), (noisy, 0.1)):
        velocity = now[:, 2:4]  # what actions change
        found = explained(most_predictive(now, later, 4), velocity)  # a body has four numbers
        assert found == pytest.approx(moved, abs=0.1)
        assert explained(np.concatenate([now, later], axis=1), actions) > 0.95
    now, later, actions = noisy
    assert explained(np.concatenate([now[:, 4:], later[:, 4:]], axis=1), actions) < 0.05
