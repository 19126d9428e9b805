"""Imitation of whole episodes: rewards, their scale, the schedule's discount, and that the agent learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from imitation_data import SAC, SENSORS, home, mean_return

from agents.discount_schedule import ScheduleSettings
from agents.loop import collect_episodes
from agents.observer import Observer
from agents.ot import OTLearner, OTSettings, discounted
from agents.progress import Transport
from agents.sac_rounds import RoundSettings, SACRun
from agents.transitions import Replay, Transitions, insert
from experiments.envs.vector import VectorEnvironment

LINE = np.arange(10, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
SETTINGS = OTSettings(Transport(epsilon=0.05), cost="euclidean")


def make_learner(demonstrations, schedule=ScheduleSettings()):  # noqa: B008
    return OTLearner(SAC, SETTINGS, demonstrations, updates_per_dispatch=20, schedule=schedule)


def test_the_first_round_fixes_the_scale():
    learner = make_learner([LINE])
    state = learner.create(2, 1, jax.random.key(0))
    episode = LINE + 3.0
    state = learner.end_round(state, [episode])
    np.testing.assert_allclose(learner.rewards(state, episode).sum(), -10.0, rtol=1e-5)
    later = learner.end_round(state, [LINE + 100.0])
    assert float(later.reward_scale) == float(state.reward_scale)


def test_a_copy_of_a_demonstration_earns_most():
    learner = make_learner([LINE, LINE + 50.0])
    state = learner.create(2, 1, jax.random.key(0))
    state = learner.end_round(state, [LINE + 3.0])
    copy, near = (learner.rewards(state, episode).sum() for episode in (LINE + 50.0, LINE + 51.0))
    assert near < copy <= 0


def test_costs_are_measured_between_features():
    plain = make_learner([LINE[:, :1]])
    first_only = OTLearner(
        SAC, SETTINGS, [LINE], updates_per_dispatch=20, schedule=None, features=lambda x: x[:, :1]
    )
    state = plain.create(2, 1, jax.random.key(0)).replace(reward_scale=jnp.ones(()))
    episode = LINE + np.array([1.0, 100.0], np.float32)
    np.testing.assert_allclose(first_only.rewards(state, episode), plain.rewards(state, episode[:, :1]))


def test_demonstrations_of_other_lengths_are_padded_without_mass():
    short, long = LINE[:6], LINE
    padded = make_learner([short, long])
    alone = make_learner([short])
    state = padded.create(2, 1, jax.random.key(0)).replace(reward_scale=jnp.ones(()))
    np.testing.assert_allclose(
        padded.rewards(state, short + 0.1), alone.rewards(state, short + 0.1), rtol=1e-3, atol=1e-5
    )


def test_the_schedule_moves_on_with_the_agent():
    learner = make_learner([LINE, LINE])
    state = learner.create(2, 1, jax.random.key(0))
    assert int(state.progress) == 2 and learner.discount(state) == pytest.approx(0.2**0.5)
    follows = learner.end_round(state, [LINE])
    stands = learner.end_round(state, [np.zeros_like(LINE)])
    assert int(follows.progress) == 7 and learner.discount(follows) == pytest.approx(0.2 ** (1 / 7))
    assert int(stands.progress) < 7


def test_without_a_schedule_the_discount_is_constant():
    learner = make_learner([LINE], schedule=None)
    state = learner.end_round(learner.create(2, 1, jax.random.key(0)), [LINE])
    assert learner.discount(state) == 0.99


def test_the_discount_multiplies_what_does_not_end():
    new = Transitions.zeros(3, 1, 1).replace(discount=np.array([1, 0, 1], np.float32))
    replay = discounted(insert(Replay.create(3, 1, 1), new, 3), jnp.float32(0.9))
    np.testing.assert_allclose(replay.transitions.discount, [0.9, 0.0, 0.9])


def play(demonstrations, num_rounds, poison=False):
    rounds = RoundSettings(random_steps=200, updates_per_dispatch=20, discount=1.0, replay_capacity=5000)
    learner = make_learner(demonstrations)
    with VectorEnvironment("fake-pointmass", 4, seed=0) as envs:
        run = SACRun(envs, SENSORS, sac=SAC, rounds=rounds, seed=0, learner=learner)
        if poison:
            step = envs.step
            envs.step = lambda *args: step(*args) | {"reward": np.full(4, 1e6, np.float32)}
        episodes = [episode for _ in range(num_rounds) for episode in run.play_round()]
    return learner, run, episodes


@pytest.fixture(scope="module")
def demonstrations():
    with VectorEnvironment("fake-pointmass", 4, seed=5) as envs:
        episodes = collect_episodes(envs, home, 4)
    return [Observer(SENSORS).of_episode(episode.records) for episode in episodes]


def test_the_agent_comes_to_do_what_was_demonstrated(demonstrations):
    learner, run, _ = play(demonstrations, 12)
    assert mean_return(learner.actor(run.state)) > 20
    assert int(run.state.progress) > 5  # where the schedule began


def test_the_environments_reward_is_never_used(demonstrations):
    honest, poisoned = (play(demonstrations, 4, poison)[2] for poison in (False, True))
    for one, other in zip(honest, poisoned, strict=True):
        np.testing.assert_array_equal(one.records["pre_action"], other.records["pre_action"])
