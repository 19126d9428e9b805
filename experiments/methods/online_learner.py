"""What a run of AIME-v2 learns: model, policy, critic and reward from a config and data, and the batches they see."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from agents.dreamer import Optimizers
from agents.imagination import value_networks
from aime.online import (
    OnlineSettings,
    OnlineState,
    create_online,
    rewards_sought,
)
from experiments.data.members import ModelLearner
from experiments.data.rounds import mean_metrics
from experiments.methods.online_checks import needs_online_data
from experiments.methods.online_parts import (
    OnlineData,
    model_architecture,
    pretrained_model,
    pretraining_data,
    shared_sensors,
    surrogate_reward,
    total_episodes,
    whole_episode,
    with_learning_rate,
)
from experiments.methods.online_programs import programs_of
from experiments.models import architectures, files
from worldmodels import export
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import Episode
from worldmodels.data.replay import Replay, append_episode
from worldmodels.devices.sharding import place
from worldmodels.export import Models
from worldmodels.training import Metrics


class OnlineLearner(ModelLearner[OnlineState]):
    """Learns from demonstrations, pretraining data and the episodes that it is given to remember.

    Args:
      config: of the run. demonstrations: episodes; their actions are not used.

    Attributes:
      state, placement: see `ModelLearner`.
      reward: the surrogate reward, or None.
      sensors: what is read and predicted.
      programs: its updates, and what runs them; shared by learners of the same settings.
      position, learns: see `experiments.data.rounds.Learner`.
    """

    learns = "after"

    def __init__(self, config: dict, demonstrations: list[Episode]):
        self.config = config
        if not config["model"]:
            raise ValueError("AIME-v2 needs a --workdir of `pretrain`; pass --config.model=DIR.")
        pretrained = files.load(config["model"], "world_model")
        self._arch, sensors = model_architecture(config, pretrained.arguments["world_model"])
        self.sensors = sensors
        architectures.check_body(self._arch, demonstrations, "demonstrations")
        keys = jax.random.split(jax.random.key(config["seed"]), 5)
        model, adopted = pretrained_model(config, pretrained, self._arch, keys[0])
        self.reward = surrogate_reward(config, model, demonstrations, self._arch)
        self._model_loss = pretrained.loss
        self.placement = place(config["devices"], batch_sizes=[config["batch_size"]])
        self.programs = programs_of(
            with_learning_rate(config), pretrained.loss, adopted, self.reward, self.placement
        )
        rewards = list(rewards_sought(self.reward, self.settings))
        self._arguments = {
            "world_model": self._arch,
            "policy": dict(config["policy"], in_size=model.feature_size, action_size=model.read_size),
            "critic": dict(config["critic"], rewards=rewards, in_size=model.feature_size, out_size=1),
        }
        self.fresh_policy = functools.partial(export.build_policy, self._arguments["policy"])
        policy, networks, targets = self._policy_and_critic(rewards, keys)
        state = create_online(
            model,
            policy,
            networks,
            self.reward,
            self.optimizers,
            keys[3],
            average=self.settings.average is not None,
            options=self.settings.imagination,
        )
        if targets is not None and state.critic is not None:
            state = state.replace(critic=state.critic.replace(target=targets))
        body, reward_state = pretraining_data(config, self._arch, self.reward, state, sensors)
        self.state = state.replace(reward=reward_state)
        windows = dict(length=config["length"], with_actions=False, with_reward=False)
        shown_sensors = shared_sensors(self._arch, demonstrations)
        shown = SequenceDataset.create(demonstrations, sensors=shown_sensors, **windows)
        self.data = self.placement.put_data(OnlineData(body=body, online=None, demonstrations=shown))
        self.position: dict = {}

    @property
    def settings(self) -> OnlineSettings:
        """Settings of its updates."""
        return self.programs.settings

    @property
    def optimizers(self) -> Optimizers:
        """Optimizers of model, policy and critic."""
        return self.programs.optimizers

    @property
    def architecture(self) -> dict:
        """Arguments of the world model; `sizes` are those of all sensors that it reads or predicts."""
        return self._arch

    @property
    def evaluated_policy(self):
        """The policy that evaluations use and that is kept: its running average if there is one."""
        state = self.state
        return self.placement.fetch(state.policy.model if state.average is None else state.average)

    @property
    def reward_state(self):
        """State of the surrogate reward."""
        return self.placement.fetch(self.state.reward)

    @property
    def stored_head(self) -> str | None:
        """Name of the record that keeps the surrogate reward with an episode; None if there is none."""
        reward = self.reward
        return reward.head if reward is not None and reward.stored and reward.head != "reward" else None

    def _policy_and_critic(self, rewards: Sequence[str], keys):
        """Creates both, or loads those of earlier runs, of the world model's seed; and the critic's targets.

        The targets are None where they begin as copies of the critic.
        """
        config, policy, targets = self.config, self.fresh_policy(keys[1]), None
        size = self._arguments["policy"]["in_size"]
        networks = value_networks(rewards, size, keys[2], **config["critic"]) if rewards else {}
        if config["policy_from"]:
            policy = files.policy_in_place_of(policy, config["policy_from"], config["seed"], "policy_from")
        if config["critic_from"]:
            networks, targets = files.critic_in_place_of(
                networks, config["critic_from"], config["seed"], "critic_from"
            )
        return policy, networks, targets

    def share_programs(self, other: OnlineLearner) -> None:
        """Learns with the programs of a learner that differs in its seed alone, whatever its reward is."""
        self.programs = other.programs

    def make_loop(self, stage: str, num_updates: int) -> Callable:
        """Jitted `loop(state, data) -> (state, metrics)` of "model" or "policy" pretraining, or "online"."""
        if stage == "model" and self.data.body is None:
            raise ValueError("Model pretraining needs pretraining data; pass --config.embodiment=DIR.")
        return self.programs.loop(stage, num_updates)

    def learn(self) -> Metrics:
        """Makes the online updates of a round; returns their mean metrics, on the host."""
        self.check_buffer()
        rows = []
        for count in self.dispatches():
            self.state, metrics = self.make_loop("online", count)(self.state, self.data)
            rows.append((count, jax.device_get(metrics)))
        return mean_metrics(rows)

    def dispatches(self) -> list[int]:
        """Returns how many online updates each program of a round makes."""
        size = self.config["updates_per_dispatch"]
        whole, rest = divmod(self.config["updates_per_episode"] * self.config["num_envs"], size)
        return [size] * whole + [rest] * (rest > 0)

    def check_buffer(self) -> None:
        """Raises a ValueError if batches take windows of the online buffer, and it is empty."""
        if self.data.online is None and needs_online_data(self.config):
            raise ValueError(
                "The online buffer is empty, and batches take windows from it; offline, fill it with --config.prefill, "
                "or let all windows be labelled pretraining data with --config.regularizer.mode=append and "
                "--config.regularizer.label=True."
            )

    def score(self, episode: Episode) -> Episode:
        """Stores its surrogate reward with the episode, if that is one that is stored; advances the reward's state."""
        if self.reward is None or self.stored_head is None:
            return episode
        batch = whole_episode(episode, self.sensors)
        rewards, state = self.reward.score(self.reward_state, self.model, batch)
        self.state = self.state.replace(reward=state)
        values = np.asarray(rewards, np.float32)[: episode.num_records]
        return Episode(episode.records | {self.reward.head: values[:, None]}, episode.metadata)

    def remember(self, episodes: Sequence[Episode]) -> None:
        """Appends episodes, scored, to the online buffer."""
        for episode in episodes:
            online = self.data.online
            if online is None:
                sensors = [*self.sensors, *([self.stored_head] if self.stored_head else [])]
                length, records = self.config["length"], max(self.config["length"], episode.num_records)
                capacity = self.config["replay_capacity"] or records * total_episodes(self.config)
                online = Replay.create(episode, capacity=capacity, length=length, sensors=sensors)
            self.data = self.data.replace(online=self.placement.put_data(append_episode(online, episode)))

    def reset_policy(self, number: int) -> None:
        """Replaces the policy and the state of its optimizer by fresh ones, from a key of their own."""
        key = jax.random.fold_in(jax.random.key(self.config["seed"]), 10_000 + number)
        policy = self.fresh_policy(key)
        train = self.state.policy
        train = train.replace(model=policy, opt_state=self.optimizers.policy.init(policy))
        average = None if self.state.average is None else jax.tree.map(jnp.copy, policy)
        self.state = self.state.replace(policy=train, average=average)

    def save(self, folder: pathlib.Path) -> None:
        """Writes model, policy and critic where `experiments.models.loading.load_run` finds them."""
        parts = dict(world_model=self.model, policy=self.evaluated_policy, critic=self.critics)
        models = Models(self._arguments, **parts, loss=self._model_loss)
        files.save(folder, self.config, models)
