"""What a run of AIME-v2 learns: model, policy, critic and reward from a config and data, and the batches they see."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from agents import plan2explore
from agents.dreamer import Optimizers, freeze
from agents.imagination import ImaginationOptions, value_networks
from aime.losses import AIMEOptions
from aime.online import (
    OnlineSettings,
    OnlineState,
    create_online,
    make_model_pretraining,
    make_online_update,
    make_policy_pretraining,
    rewards_sought,
)
from aime.regularizer import draw_model_batch, with_reward_mask
from aime.rewards import REWARDS, RewardInputs, SurrogateReward
from experiments.methods.online_checks import needs_online_data
from experiments.models import architectures, files
from experiments.runs.paths import folders_of
from worldmodels import export
from worldmodels.data import dataset
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import Episode, load_episodes
from worldmodels.data.replay import Replay, append_episode
from worldmodels.devices.sharding import place
from worldmodels.export import Models
from worldmodels.losses import LossOptions
from worldmodels.structures import SequenceBatch
from worldmodels.training import Metrics, make_optimizer, make_train_loop


@struct.dataclass
class OnlineData:
    """Data that batches are drawn from.

    Attributes:
      body: pretraining data, or None. online: collected episodes. demonstrations: without actions.
    """

    body: SequenceDataset | None
    online: Replay | None
    demonstrations: SequenceDataset


class OnlineLearner:
    """Learns from demonstrations, pretraining data and the episodes that it is given to remember.

    Args:
      config: of the run. demonstrations: episodes; their actions are not used.

    Attributes:
      state: OnlineState, what has been learnt, on all devices of the run; may be replaced by one from anywhere.
      placement: those devices.
      reward: the surrogate reward, or None.
      sensors: what is read and predicted.
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
        self.settings = settings_of(config, pretrained.loss)
        rewards = list(rewards_sought(self.reward, self.settings))
        self._arguments = {
            "world_model": self._arch,
            "policy": dict(config["policy"], in_size=model.feature_size, action_size=model.action_size),
            "critic": dict(config["critic"], rewards=rewards, in_size=model.feature_size, out_size=1),
        }
        self.fresh_policy = functools.partial(export.build_policy, self._arguments["policy"])
        policy, networks, targets = self._policy_and_critic(rewards, keys)
        self.optimizers = optimizers_of(config, adopted)
        state = create_online(model, policy, networks, self.reward, self.optimizers, keys[3])
        if targets is not None:
            state = state.replace(critic=state.critic.replace(target=targets))
        body, reward_state = pretraining_data(config, self._arch, self.reward, state, sensors)
        self.placement = place(config["devices"], batch_sizes=[config["batch_size"]])
        self.state = state.replace(reward=reward_state)
        options = dict(length=config["length"], with_actions=False, with_reward=False)
        shown_sensors = shared_sensors(self._arch, demonstrations)
        shown = SequenceDataset.create(demonstrations, sensors=shown_sensors, **options)
        self.data = self.placement.put_data(OnlineData(body=body, online=None, demonstrations=shown))
        self.position: dict = {}
        self._loops = {
            stage: functools.cache(functools.partial(make_train_loop, update, draw, placement=self.placement))
            for stage, (update, draw) in self._stages().items()
        }

    @property
    def state(self) -> OnlineState:
        """The learnt state."""
        return self._state

    @state.setter
    def state(self, state: OnlineState) -> None:
        self._state = self.placement.put_state(state)

    @property
    def num_updates(self) -> int:
        """Updates made, pretraining included."""
        return int(self.state.step)

    @property
    def architecture(self) -> dict:
        """Arguments of the world model; `sizes` are those of all sensors that it reads or predicts."""
        return self._arch

    @property
    def model(self):
        """The present world model, on one device, as all that is not for `make_loop`."""
        return self.placement.fetch(self.state.model.model)

    @property
    def policy(self):
        """The present policy."""
        return self.placement.fetch(self.state.policy.model)

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

    def _stages(self) -> dict[str, tuple[Callable, Callable]]:
        """{stage: (update, what draws its batches)}."""
        config, regularizer = self.config, self.config["regularizer"]
        head = self.reward.head if self.reward is not None and self.reward.stored else None
        size = config["batch_size"]
        shown = functools.partial(dataset.sample, batch_size=size, first_fraction=config["first_fraction"])
        mixing = dict(batch_size=size, mode=regularizer["mode"], fraction=regularizer["fraction"], head=head)

        def draw_body(data: OnlineData, key) -> SequenceBatch:
            batch = dataset.sample(data.body, key, size)
            return with_reward_mask(batch, head, head in data.body.observation)

        def draw_demonstration(data: OnlineData, key) -> SequenceBatch:
            return shown(data.demonstrations, key)

        def draw_both(data: OnlineData, key) -> tuple[SequenceBatch, SequenceBatch]:
            model_key, shown_key = jax.random.split(key)
            return draw_model_batch(data.body, data.online, model_key, **mixing), shown(
                data.demonstrations, shown_key
            )

        return {
            "model": (make_model_pretraining(self.optimizers, self.settings), draw_body),
            "policy": (make_policy_pretraining(self.optimizers, self.settings), draw_demonstration),
            "online": (make_online_update(self.optimizers, self.settings, self.reward), draw_both),
        }

    def make_loop(self, stage: str, num_updates: int) -> Callable:
        """Jitted `loop(state, data) -> (state, metrics)` of "model" or "policy" pretraining, or "online"."""
        if stage == "model" and self.data.body is None:
            raise ValueError("Model pretraining needs pretraining data; pass --config.embodiment=DIR.")
        return self._loops[stage](num_updates)

    def learn(self) -> Metrics:
        """Makes the online updates of a round; returns their mean metrics, on the host."""
        if self.data.online is None and needs_online_data(self.config):
            raise ValueError(
                "The online buffer is empty, and batches take windows from it; offline, fill it with --config.prefill, "
                "or let all windows be labelled pretraining data with --config.regularizer.mode=append and "
                "--config.regularizer.label=True."
            )
        rows, size = [], self.config["updates_per_dispatch"]
        num_updates = self.config["updates_per_episode"] * self.config["num_envs"]
        for count in [size] * (num_updates // size) + [num_updates % size] * (num_updates % size > 0):
            self.state, metrics = self.make_loop("online", count)(self.state, self.data)
            rows.append((count, jax.device_get(metrics)))
        total = sum(count for count, _ in rows)
        return {name: sum(n * row[name] for n, row in rows) / total for name in rows[0][1]} if rows else {}

    def score(self, episode: Episode) -> Episode:
        """Stores its surrogate reward with the episode, if that is one that is stored; advances the reward's state."""
        if self.stored_head is None:
            return episode
        batch = whole_episode(episode, self.sensors)
        values, reward = self.reward.score(self.reward_state, self.model, batch)
        self.state = self.state.replace(reward=reward)
        values = np.asarray(values, np.float32)[: episode.num_records]
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
        self.state = self.state.replace(policy=train)

    def save(self, folder: pathlib.Path) -> None:
        """Writes model, policy and critic where `experiments.models.loading.load_run` finds them."""
        pairs = None
        if self.state.critic is not None:
            critic = self.placement.fetch(self.state.critic)
            pairs = {name: (critic.train.model[name], critic.target[name]) for name in critic.target}
        parts = dict(world_model=self.model, policy=self.policy, critic=pairs)
        models = Models(self._arguments, **parts, loss=self._model_loss)
        files.save(folder, self.config, models)


# What it is made of -------------------------------------------------------------------------------------------------


def model_architecture(config: dict, pretrained: dict) -> tuple[dict, tuple[str, ...]]:
    """Arguments of the pretrained world model with a head for the reward, and the sensors that it reads or predicts."""
    arch, sensors = dict(pretrained), tuple(pretrained["sizes"])
    name, heads = config["reward"]["name"], dict(arch.get("heads") or {})
    options = config["reward"]["head"] or arch["decoder"]
    # A model that was pretrained on the environment's reward does not continue to learn it: imitation must not know it.
    arch |= dict(predict_reward=name == "true", detach_reward=False)
    if name == "true":
        heads["reward"] = options
    elif name != "none":
        head = REWARDS.get(name).head
        arch["targets"] = [*(target for target in arch["targets"] if target != head), head]
        heads[head] = options
    if config["intrinsic_reward"] == "disagreement":
        if not (arch.get("ensemble") or {}).get("num_members"):
            arch["ensemble"] = config["ensemble"]
        # Whatever a probe was trained to foresee takes the place of the ensemble's disagreement.
        if (arch.get("reward_probe") or {}).get("target", "disagreement") != "disagreement":
            arch["reward_probe"] = None
    if config["intrinsic_reward"] == "lbs":
        arch["reward_probe"] = dict(arch.get("reward_probe") or {}, target="surprise")
    return arch | {"heads": heads}, sensors


def pretrained_model(config: dict, pretrained: Models, arch: dict, key):
    """Returns the world model of the config's seed with fresh new heads, and which leaves are pretrained."""
    number = config["seed"] % pretrained.num_seeds
    model = architectures.build_world_model(arch, key)
    return files.adopt(model, pretrained.seed(number).world_model)


def surrogate_reward(
    config: dict, model, demonstrations: list[Episode], arch: Mapping
) -> SurrogateReward | None:
    """Returns the reward that the config names, or None; `arch` has the sensors of the run."""
    options = dict(config["reward"])
    name = options["name"]
    if name == "none":
        return None
    likelihood = {}
    if options["model"]:
        found = files.load(options["model"], "world_model").seed(0)
        likelihood["likelihood_model"] = found.world_model
        likelihood["likelihood_sizes"] = found.arguments["world_model"]["sizes"]
    shown, weights = whole_episodes(demonstrations, shared_sensors(arch, demonstrations))
    inputs = RewardInputs(shown, weights, model.encoder.out_size, sizes=arch["sizes"], **likelihood)
    own = options.get("options") or {}
    return REWARDS.make(inputs, name=name, **(options.get(name) or {}), **own)


def settings_of(config: dict, model_loss: dict) -> OnlineSettings:
    """Returns the settings of the updates; the model's loss is that of its pretraining."""
    intrinsic = config["intrinsic_reward"]
    known = ("none", *(name for name in plan2explore.REWARDS if name != "true"))
    if intrinsic not in known:
        raise ValueError(f"Unknown intrinsic reward {intrinsic!r}. Known: {', '.join(known)}.")
    entropy = dict(entropy_scale=config["entropy_scale"])
    return OnlineSettings(
        aime_scale=config["aime_scale"],
        value_scale=config["value_scale"],
        target_rate=config["target_rate"],
        num_starts=config["num_starts"],
        model_loss=LossOptions(**model_loss),
        policy_loss=AIMEOptions(**config["loss"], **entropy, nll_reweight=model_loss["nll_reweight"]),
        imagination=ImaginationOptions(**config["imagination"], **entropy),
        intrinsic={} if intrinsic == "none" else plan2explore.rewards_of(intrinsic),
    )


def optimizers_of(config: dict, adopted: Sequence[bool]) -> Optimizers:
    """Adam for each part; with `freeze_pretrained_parameters` only new heads of the model learn."""
    optimizers = {
        name: make_optimizer(**config[f"{name}_optimizer"]) for name in ("model", "policy", "critic")
    }
    if config["freeze_pretrained_parameters"]:
        optimizers["model"] = freeze(optimizers["model"], adopted)
    return Optimizers(**optimizers)


def pretraining_data(
    config: dict, arch: dict, reward: SurrogateReward | None, state: OnlineState, sensors: Sequence[str]
) -> tuple[SequenceDataset | None, object]:
    """D_body, rewarded if `regularizer.label` asks for it, or None; and the state of the reward after that."""
    regularizer, reward_state, names = config["regularizer"], state.reward, list(sensors)
    if not config["embodiment"]:
        return None, reward_state
    choice = dict(limit=regularizer["num_episodes"], mode=regularizer["sampling"], seed=config["seed"])
    episodes = load_episodes(folders_of(config["embodiment"]), keys=(*sensors, "pre_action"), **choice)
    architectures.check_body(arch, episodes, "pretraining data")
    architectures.check_actions(episodes, "pretraining data")
    if regularizer["label"]:
        if reward is None or not reward.stored or reward.head == "reward":
            raise ValueError(
                "regularizer.label rewards the pretraining data once, with a reward that is stored with episodes "
                f"(viper or ot), not with {config['reward']['name']!r}."
            )
        names.append(reward.head)
        for episode in episodes:  # each from the start of its own, every frame once
            batch = whole_episode(episode, sensors)
            values, reward_state = reward.score(reward_state, state.model.model, batch)
            episode.records[reward.head] = np.asarray(values, np.float32)[:, None]
    return SequenceDataset.create(episodes, length=config["length"], sensors=names), reward_state


def shared_sensors(arch: Mapping, episodes: Sequence[Episode]) -> list[str]:
    """Sensors that the world model reads, and those that it predicts and all episodes have."""
    return [
        name
        for name in arch["sizes"]
        if name in arch["inputs"] or all(name in episode.records for episode in episodes)
    ]


def whole_episode(episode: Episode, sensors: Sequence[str]) -> SequenceBatch:
    """Returns an episode as a batch [1, T]."""
    batch, _ = whole_episodes([episode], [name for name in sensors if name in episode.records], rewards=True)
    return batch


def whole_episodes(
    episodes: Sequence[Episode], sensors: Sequence[str], *, rewards: bool = False
) -> tuple[SequenceBatch, jax.Array]:
    """Episodes as a batch [K, M] without actions, short ones padded; and weights [K, M], 1 / length in each."""
    lengths = np.array([episode.num_records for episode in episodes])
    options = dict(length=int(lengths.max()), sensors=list(sensors), with_actions=False, with_reward=rewards)
    data = SequenceDataset.create(episodes, **options)
    batch = dataset.windows(data, np.arange(len(episodes)))
    weights = (np.arange(lengths.max()) < lengths[:, None]) / lengths[:, None]
    return batch, jnp.asarray(weights, jnp.float32)


def total_episodes(config: dict) -> int:
    """Episodes that a run collects, prefill included; offline nothing else."""
    num_envs = config["num_envs"]
    collected = ("prefill",) if config["offline"] else ("prefill", "num_episodes")
    return sum(-(-config[name] // num_envs) * num_envs for name in collected)
