"""GAIfO: whose reward is learnt from, what the discriminator reads, and that the agent comes to do as demonstrated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from imitation_data import SAC, SENSORS, home, mean_return

from agents.discriminator import Discriminator
from agents.gaifo import (
    GAIfOLearner,
    GAIfOSettings,
    demonstrated_transitions,
    transition_inputs,
    with_adversarial_reward,
)
from agents.loop import collect_episodes
from agents.observer import Observer
from agents.sac import SACSettings
from agents.sac_rounds import RoundSettings, SACRun
from agents.transitions import Replay, Transitions, insert
from experiments.envs.vector import VectorEnvironment

SETTINGS = GAIfOSettings(hidden_size=64, hidden_layers=2, learning_rate=3e-4)


@pytest.fixture(scope="module")
def demonstrations():
    with VectorEnvironment("fake-pointmass", 4, seed=5) as envs:
        episodes = collect_episodes(envs, home, 8)
    return [Observer(SENSORS).of_episode(episode.records) for episode in episodes]


def make_learner(demonstrations, updates_per_dispatch=20):
    return GAIfOLearner(SAC, SETTINGS, demonstrations, updates_per_dispatch=updates_per_dispatch)


def test_transitions_do_not_cross_episodes():
    episodes = [np.array([[1.0], [2.0], [3.0]]), np.array([[7.0], [8.0]])]
    np.testing.assert_array_equal(demonstrated_transitions(episodes), [[1, 2], [2, 3], [7, 8]])


def test_the_reward_of_a_batch_is_the_log_odds_of_its_transitions():
    discriminator = Discriminator(4, hidden_size=4, hidden_layers=1, rngs=nnx.Rngs(0))
    x, y = jax.random.normal(jax.random.key(0), (2, 5, 2))
    batch = Transitions(x, jnp.zeros((5, 1)), jnp.full(5, jnp.nan), jnp.ones(5), y)
    reward = with_adversarial_reward(batch, discriminator).reward
    np.testing.assert_allclose(reward, discriminator(transition_inputs(x, y)), rtol=1e-5, atol=1e-6)


def test_the_environments_reward_is_never_used(demonstrations):
    rng = np.random.default_rng(0)
    new = Transitions.zeros(40, 4, 2)
    new = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), new)
    actors = []
    for reward in (new.reward, np.full(40, np.nan, np.float32)):
        learner = make_learner(demonstrations)
        state = learner.create(4, 2, jax.random.key(0))
        replay = insert(Replay.create(100, 4, 2), new.replace(reward=reward), 40)
        ((state, metrics),) = learner.learn([state], [replay])
        actors.append(jax.tree.leaves(learner.actor(state)))
    for one, other in zip(*actors, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.isfinite(metrics["surrogate_reward"])


def test_the_agent_comes_to_do_what_was_demonstrated(demonstrations):
    """The return, which the agent does not know, is high near the origin, where the demonstrations lead."""
    rounds = RoundSettings(random_steps=200, updates_per_dispatch=20, discount=0.9, replay_capacity=5000)
    with VectorEnvironment("fake-pointmass", 4, seed=0) as envs:
        learner = make_learner(demonstrations)
        run = SACRun(envs, SENSORS, sac=SAC, rounds=rounds, seed=0, learner=learner)
        for _ in range(24):
            run.play_round()
    assert mean_return(learner.actor(run.state)) > 18


def test_a_restored_run_continues_bit_identically(demonstrations):
    rounds = RoundSettings(random_steps=100, updates_per_dispatch=20, discount=0.9, replay_capacity=5000)

    def make(first_episode=0):
        envs = VectorEnvironment("fake-pointmass", 4, seed=0, first_episode=first_episode)
        return SACRun(envs, SENSORS, sac=SAC, rounds=rounds, seed=0, learner=make_learner(demonstrations))

    whole, half, restored = make(), make(), make(first_episode=2)
    played = [whole.play_round() for _ in range(4)]
    first = [half.play_round() for _ in range(2)]
    restored.state = half.state
    for episodes in first:
        restored.remember(episodes)
    restored.position = half.position
    for expected in played[2:]:
        for old, new in zip(expected, restored.play_round(), strict=True):
            np.testing.assert_array_equal(old.records["pre_action"], new.records["pre_action"])


def test_updates_that_do_not_divide_are_refused(demonstrations):
    with pytest.raises(ValueError, match="no multiple of actor_every=2"):
        learner = GAIfOLearner(SACSettings(actor_every=2), SETTINGS, demonstrations, updates_per_dispatch=5)
        learner.create(4, 2, jax.random.key(0))
