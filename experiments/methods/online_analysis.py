"""What an evaluation of an online run measures besides scores; every name begins with `analysis/`.

None of it is part of the method. `ActionErrors`: actions that policy and model infer, against those that were taken.
`Balance`: which part of the policy's gradient steers it, and whether the surrogate reward, as imagined and as earned,
means what it should.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from agents.imagination import Critic, head_reward
from aime.analysis import gradient_balance, imagined_and_realised
from aime.inference import infer_actions
from aime.online import rewards_sought
from aime.rewards import SurrogateReward
from experiments.methods.online_learner import OnlineLearner
from experiments.methods.online_parts import OnlineData, shared_sensors, whole_episode
from experiments.methods.online_programs import Programs
from experiments.models import architectures
from experiments.runs.paths import folders_of
from worldmodels.data import dataset, replay
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import Episode, load_episodes
from worldmodels.structures import SequenceBatch

_BATCHES = 4  # whose gradients are averaged over
_SHOWN = 10  # demonstrations that the reward is followed along, at most
THIRDS = ("start", "middle", "end")


@dataclasses.dataclass(frozen=True)
class ActionErrors:
    """Mean squared error of the actions that policy and model infer, against those that were taken.

    Attributes:
      batch_size: windows per kind of data, always the same ones of the data that do not change.
      demonstrations: with their true actions, for this report only; None if they are not known.
      error: (model, policy, batch, key) -> [].
    """

    batch_size: int
    demonstrations: SequenceDataset | None
    error: Callable

    @classmethod
    def create(cls, config: Mapping, learner: OnlineLearner) -> ActionErrors:
        """Reads the episodes of `config.analysis.demonstrations`, if it names a folder."""
        folder, shown = config["analysis"]["demonstrations"], None
        if folder:
            episodes = load_episodes(folders_of(folder), config["num_demonstrations"])
            what = "demonstrations for the analysis"
            architectures.check_body(learner.architecture, episodes, what)
            architectures.check_actions(episodes, what)
            sensors = shared_sensors(learner.architecture, episodes)
            options = dict(length=config["length"], sensors=sensors, with_reward=False)
            shown = SequenceDataset.create(episodes, **options)
        return cls(config["batch_size"], shown, make_action_error(config["loss"]["first_action"]))

    def __call__(self, learner: OnlineLearner) -> dict[str, float]:
        """{"analysis/action_mse_pretraining" | "_demonstration" | "_policy"}, of the data that there are."""
        keys = jax.random.split(jax.random.key(0), 4)
        sources: dict[str, tuple[Callable, object]] = {
            "pretraining": (dataset.sample, learner.data.body),
            "demonstration": (dataset.sample, self.demonstrations),
            "policy": (replay.sample, learner.data.online),
        }
        errors = {}
        for key, (name, (sample, data)) in zip(keys, sources.items(), strict=False):
            if data is not None:
                batch = learner.placement.fetch(sample(data, key, self.batch_size))
                error = self.error(learner.model, learner.evaluated_policy, batch, keys[3])
                errors[f"analysis/action_mse_{name}"] = float(error)
        return errors


@functools.cache
def make_action_error(first_action: str) -> Callable:
    """Returns a jitted function (model, policy, batch [B, T] with actions, key) -> mean squared error []."""

    @jax.jit
    def error(model, policy, batch: SequenceBatch, key) -> jax.Array:
        assert batch.prev_action is not None, "the batch has no actions"
        inferred = infer_actions(model, policy, batch.without_actions(), key, first_action=first_action)
        return jnp.mean((inferred.actions - batch.prev_action) ** 2)

    return error


@functools.lru_cache(maxsize=1)
def measures_of(programs: Programs) -> tuple[Callable, Callable]:
    """Returns jitted functions, made once for all learners that share their programs.

    The first is (model, policy, Critic or None, OnlineData, key) -> metrics of `gradient_balance`, the second
    (model, policy, {reward: value network}, episode, its rewards, key) -> those of `imagined_and_realised`.
    """
    reward, settings = programs.reward, programs.settings
    _, draw = programs.stages["online"]
    sought, options = rewards_sought(reward, settings), settings.imagination

    @jax.jit
    def gradients(model, policy, critic: Critic | None, data: OnlineData, key):
        batch_key, filter_key, key = jax.random.split(key, 3)
        batch = draw(data, batch_key)
        states = model.filter(batch.model, filter_key).states
        judges, ranges = None, None
        if critic is not None:
            judges, ranges = critic.judges(options), critic.ranges
        inputs = (policy, model, judges, batch.demonstration, states, key)
        return gradient_balance(*inputs, rewards=sought, settings=settings, ranges=ranges)

    @jax.jit
    def returns(model, policy, critic, batch, rewards, key):
        assert reward is not None, "nothing is imagined without a reward"
        return imagined_and_realised(
            model,
            policy,
            critic[reward.head],
            batch,
            rewards,
            key,
            reward=head_reward(reward.head),
            horizon=options.horizon,
            discount=options.discount,
        )

    return gradients, returns


class Balance:
    """Measures an online learner between two rounds.

    Args:
      learner: as it is now and later.
      demonstrations: episodes.
    """

    def __init__(self, learner: OnlineLearner, demonstrations: Sequence[Episode]):
        self._learner, self._shown = learner, list(demonstrations[:_SHOWN])

    def __call__(self, own: Sequence[Episode]) -> dict[str, float]:
        """Returns the metrics; `own` are the newest episodes, with their actions, none before there are any."""
        learner = self._learner
        found = {} if learner.data.online is None else self._of_gradients()
        reward = learner.reward
        if reward is None or type(reward).score is SurrogateReward.score:
            return found
        for name, episodes in (("demonstration", self._shown), ("own", own)):
            scored = (self._score(reward, episode) for episode in episodes)
            thirds = np.array([[part.mean() for part in np.array_split(r, 3)] for r in scored])
            if len(thirds):
                means = zip(THIRDS, thirds.mean(axis=0), strict=True)
                found |= {f"analysis/reward_{name}_{third}": float(mean) for third, mean in means}
        return found | self._of_returns(reward, own)

    def _score(self, reward: SurrogateReward, episode: Episode) -> np.ndarray:
        """Returns the present reward of every record, [T]."""
        learner = self._learner
        batch = whole_episode(episode, learner.sensors)
        return np.asarray(reward.score(learner.reward_state, learner.model, batch)[0])

    def _of_gradients(self) -> dict[str, float]:
        learner = self._learner
        critic = None if learner.state.critic is None else learner.placement.fetch(learner.state.critic)
        data = learner.placement.fetch(learner.data)
        gradients, _ = measures_of(learner.programs)
        parts = [
            jax.device_get(gradients(learner.model, learner.policy, critic, data, jax.random.key(number)))
            for number in range(_BATCHES)
        ]
        return {f"analysis/{name}": float(np.mean([part[name] for part in parts])) for name in parts[0]}

    def _of_returns(self, reward: SurrogateReward, own: Sequence[Episode]) -> dict[str, float]:
        learner = self._learner
        assert learner.state.critic is not None, "a reward has a critic"
        critic = learner.placement.fetch(learner.state.critic.train.model)
        rows, (_, returns) = [], measures_of(learner.programs)
        for number, episode in enumerate(own):
            batch = whole_episode(episode, learner.sensors, actions=True)
            inputs = (learner.model, learner.policy, critic, batch, self._score(reward, episode))
            rows.append(jax.device_get(returns(*inputs, jax.random.key(number))))
        names = rows[0] if rows else ()
        return {f"analysis/{name}": float(np.mean([row[name] for row in rows])) for name in names}
