"""What an online learner shows to whom: the windows of its batches, and in which shares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from imitation_data import config_of

from aime.rewards import Adversarial, RewardInputs, SurrogateReward
from experiments.configs import online as online_config
from experiments.methods.online_learner import OnlineLearner
from experiments.methods.online_parts import make_draws
from experiments.methods.online_programs import known_reward
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


@pytest.fixture(scope="module")
def matching(paths):
    """A learner whose reward is stored with episodes; it is given no update."""
    return learner_with(paths, "ot")


def draws_of(learner, **changes):
    """What draws the batches of the online updates of a learner, with another config."""
    return make_draws(learner.config | changes, learner.reward)["online"]


def uniform_share(episodes) -> float:
    """Of windows that start at the first record, among all."""
    return len(episodes) / sum(episode.num_records - LENGTH + 1 for episode in episodes)


def test_a_reward_compares_windows_that_are_drawn_alike(paths, own_code):
    """Whatever share of the windows whose evidence is sought starts at a first record."""
    own_code("my.module", RECORDING)
    learner = learner_with(paths, "my.module:Recording", first_fraction=1.0, batch_size=16)
    _, draw = learner.programs.stages["online"]

    @jax.jit
    def metrics_of(data, keys):
        def metrics(key):
            batch = draw(data, key)
            return learner.reward.relabel((), None, batch.model, batch.shown)[2]

        return jax.tree.map(jnp.mean, jax.vmap(metrics)(keys))

    metrics = metrics_of(learner.data, jax.random.split(jax.random.key(0), 100))
    shown = load_episodes(paths["demonstrations"])
    assert abs(metrics["shown_first"] - uniform_share(shown)) < 0.03
    assert abs(metrics["own_first"] - uniform_share(shown)) < 0.03
    assert metrics["own_share"] == 0.5


@pytest.mark.parametrize(("fraction", "own"), [(0.0, 16), (0.25, 12), (0.75, 4)])
def test_the_regularizers_share_is_that_of_pretraining_windows(matching, fraction, own):
    regularizer = matching.config["regularizer"] | {"fraction": fraction}
    draw = draws_of(matching, batch_size=16, regularizer=regularizer)
    batch = draw(matching.data, jax.random.key(0)).model
    is_own = np.asarray(batch.observation["position"])[:, 0, 0] > 50
    assert is_own.sum() == own
    np.testing.assert_array_equal(batch.masks["ot_reward"][:, 0], is_own)  # the others are not told it


def test_only_a_reward_that_relabels_is_shown_demonstrations_again(matching, paths):
    for learner, shown in ((matching, False), (learner_with(paths, "ail"), True)):
        batch = draws_of(learner)(learner.data, jax.random.key(0))
        assert (batch.shown is not None) == shown
        assert batch.demonstration.prev_action is None and batch.demonstration.reward is None


def test_learners_of_the_same_settings_share_their_programs(matching, paths, own_code):
    """Whatever their seeds; a reward of one's own may relabel by what it remembers, and shares nothing."""
    assert learner_with(paths, "ot", seed=1, num_episodes=1).programs is matching.programs
    assert learner_with(paths, "ot", batch_size=8).programs is not matching.programs
    adversarial, like_it = (learner_with(paths, "ail", seed=seed) for seed in (0, 1))
    assert adversarial.programs is like_it.programs
    changed = online_config.get_config("tiny").reward.ail.to_dict() | {"penalty_scale": 1.0}
    assert learner_with(paths, "ail", reward__ail=changed).programs is not adversarial.programs
    own_code("my.module", RECORDING)
    recording, another = (learner_with(paths, "my.module:Recording") for _ in range(2))
    assert recording.programs is not another.programs


def test_rewards_are_the_same_to_programs_where_they_relabel_by_one_function(matching):
    """So is one derived from the project's that leaves its way to relabel as it is; one that has its own is not."""

    class Derived(Adversarial):
        def score(self, state, model, episode):
            raise NotImplementedError

    class Halved(Derived):
        def relabel(self, state, model, batch, demonstration):
            raise NotImplementedError

    inputs = RewardInputs(None, None, embed_size=3)
    known = [known_reward(kind(inputs)) for kind in (Adversarial, Derived, Derived, Halved, Halved)]
    assert known[0] == known[1] == known[2]
    assert len(set(known)) == 3
    assert known_reward(Derived(inputs, penalty_scale=1.0)) not in known
    assert known_reward(matching.reward).relabel is SurrogateReward.relabel


def test_a_diffusion_reward_is_sought_with_dreamer_v3s_critic(paths):
    """Both parts of each loss are logged; the range of the returns is part of the state."""
    learner = learner_with(paths, "difo", "tiny-v3")
    metrics = learner.learn()
    assert metrics["finite"] == 1.0 and metrics["policy/difo_reward_return_scale"] >= 1.0
    assert metrics["value/slow_grad_norm"] > 0 and metrics["reward/denoising_grad_norm"] > 0
    assert float(learner.state.critic.ranges["difo_reward"].high) != 0.0
    assert learner.architecture["heads"]["difo_reward"]["name"] == "two_hot"
