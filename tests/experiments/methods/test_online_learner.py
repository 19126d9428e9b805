"""What an online learner shows to whom: the windows of its batches, and in which shares."""

import jax
import numpy as np
import pytest
from imitation_data import config_of

from experiments.configs import online as online_config
from experiments.methods.online_learner import OnlineLearner
from experiments.methods.online_parts import make_draws
from experiments.runs.settings import plain_config
from worldmodels import registry
from worldmodels.data.episodes import Episode, load_episodes

# Reports on the windows that it is given: share that starts at a first record, share of own episodes.
RECORDING = """
import jax.numpy as jnp
from aime.rewards import SurrogateReward


class Recording(SurrogateReward):
    head = "recorded_reward"
    stored = False

    def relabel(self, state, model, batch, demonstration):
        metrics = {
            "shown_first": demonstration.is_first[:, 0].mean(),
            "own_first": batch.is_first[:, 0].mean(),
            "own_share": (batch.observation["position"][:, 0, 0] > 50).mean(),
        }
        nothing = jnp.zeros((*batch.batch_shape, 1))
        return state, batch.replace(observation=batch.observation | {self.head: nothing}), metrics
"""
LENGTH = 8


def far_away(episode: Episode) -> Episode:
    """An episode that is told from all others by its position."""
    return Episode(episode.records | {"position": episode.records["position"] + 100}, episode.metadata)


def learner_with(paths, reward: str, preset: str = "tiny", **changes) -> OnlineLearner:
    """A learner that remembers one episode, far away."""
    config = plain_config(config_of(online_config, preset, **{**paths, "reward__name": reward, **changes}))
    registry.load_named(config)
    shown = load_episodes(config["demonstrations"])
    learner = OnlineLearner(config, shown)
    learner.remember([learner.score(far_away(load_episodes(config["embodiment"])[0]))])
    return learner


def uniform_share(episodes) -> float:
    """Of windows that start at the first record, among all."""
    return len(episodes) / sum(episode.num_records - LENGTH + 1 for episode in episodes)


def test_a_reward_compares_windows_that_are_drawn_alike(paths, own_code):
    """Whatever share of the windows whose evidence is sought starts at a first record."""
    own_code("my.module", RECORDING)
    changes = dict(first_fraction=1.0, batch_size=16, updates_per_episode=100, updates_per_dispatch=50)
    metrics = learner_with(paths, "my.module:Recording", **changes).learn()
    shown = load_episodes(paths["demonstrations"])
    assert abs(metrics["reward/shown_first"] - uniform_share(shown)) < 0.03
    assert abs(metrics["reward/own_first"] - uniform_share(shown)) < 0.03
    assert metrics["reward/own_share"] == 0.5


@pytest.mark.parametrize(("fraction", "own"), [(0.0, 16), (0.25, 12), (0.75, 4)])
def test_the_regularizers_share_is_that_of_pretraining_windows(paths, fraction, own):
    learner = learner_with(paths, "ot", batch_size=16, regularizer__fraction=fraction)
    batch = make_draws(learner.config, learner.reward)["online"](learner.data, jax.random.key(0)).model
    is_own = np.asarray(batch.observation["position"])[:, 0, 0] > 50
    assert is_own.sum() == own
    np.testing.assert_array_equal(batch.masks["ot_reward"][:, 0], is_own)  # the others are not told it


def test_only_a_reward_that_relabels_is_shown_demonstrations_again(paths):
    for name, shown in (("ot", False), ("ail", True)):
        learner = learner_with(paths, name)
        batch = make_draws(learner.config, learner.reward)["online"](learner.data, jax.random.key(0))
        assert (batch.shown is not None) == shown
        assert batch.demonstration.prev_action is None and batch.demonstration.reward is None


def test_a_diffusion_reward_is_sought_with_dreamer_v3s_critic(paths):
    """Both parts of each loss are logged; the range of the returns is part of the state."""
    learner = learner_with(paths, "difo", "tiny-v3")
    metrics = learner.learn()
    assert metrics["finite"] == 1.0 and metrics["policy/difo_reward_return_scale"] >= 1.0
    assert metrics["value/slow_grad_norm"] > 0 and metrics["reward/denoising_grad_norm"] > 0
    assert float(learner.state.critic.ranges["difo_reward"].high) != 0.0
    assert learner.architecture["heads"]["difo_reward"]["name"] == "two_hot"
