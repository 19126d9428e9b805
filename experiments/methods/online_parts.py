"""What a run of AIME-v2 begins with, from its config and data: architecture, world model, reward, settings, data."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from agents import plan2explore
from agents.dreamer import Optimizers, freeze
from agents.imagination import ImaginationOptions
from aime.losses import AIMEOptions
from aime.online import OnlineBatch, OnlineSettings, OnlineState
from aime.regularizer import draw_model_batch, with_reward_mask
from aime.rewards import REWARDS, RewardInputs, SurrogateReward
from experiments.models import architectures, files
from experiments.runs.paths import folders_of
from experiments.runs.settings import read_config
from worldmodels.data import dataset
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import Episode, load_episodes
from worldmodels.data.replay import Replay
from worldmodels.export import Models
from worldmodels.losses import LossOptions
from worldmodels.structures import SequenceBatch
from worldmodels.training import make_optimizer


class OnlineData(struct.PyTreeNode):
    """Data that batches are drawn from.

    Attributes:
      body: pretraining data, or None. online: collected episodes. demonstrations: without actions.
    """

    body: SequenceDataset | None
    online: Replay | None
    demonstrations: SequenceDataset


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
    judge = files.load(options["model"], "world_model").seed(0) if options["model"] else Models({})
    # Runs of earlier releases lack the key.
    seer = files.load_encoder(options["encoder"]).seed(0) if options.get("encoder") else Models({})
    shown, weights = whole_episodes(demonstrations, shared_sensors(arch, demonstrations))
    inputs = RewardInputs(
        shown,
        weights,
        model.encoder.out_size,
        likelihood_model=judge.world_model,
        sizes=arch["sizes"],
        likelihood_sizes=judge.arguments.get("world_model", {}).get("sizes", {}),
        encoder=seer.encoder,
        encoder_sizes=seer.arguments.get("encoder", {}).get("sizes", {}),
    )
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
        # Runs of earlier releases lack these keys.
        average=config.get("average"),
        part_clip=config.get("part_clip"),
        grad_clip=config["policy_optimizer"]["grad_clip"],
    )


def optimizers_of(config: dict, adopted: Sequence[bool]) -> Optimizers:
    """Adam for each part; with `freeze_pretrained_parameters` only new heads of the model learn."""
    options = {name: dict(config[f"{name}_optimizer"]) for name in ("model", "policy", "critic")}
    optimizers = {name: make_optimizer(**option) for name, option in options.items()}
    if config["freeze_pretrained_parameters"]:
        optimizers["model"] = freeze(optimizers["model"], adopted)
    return Optimizers(**optimizers)


def with_learning_rate(config: dict) -> dict:
    """Returns the config with the model's learning rate of `model_lr_from_pretraining`, if that asks for one."""
    if not config.get("model_lr_from_pretraining"):
        return config
    options = config["model_optimizer"] | {"learning_rate": pretraining_end(config["model"])}
    return config | {"model_optimizer": options}


def pretraining_end(path: str) -> float:
    """Returns the learning rate with which a run of `pretrain` has ended; raises a ValueError if it is no such run."""
    file = pathlib.Path(path).expanduser() / "config.json"
    optimizer = read_config(file.parent).get("optimizer", {}) if file.is_file() else {}
    if not {"learning_rate", "final_fraction"} <= optimizer.keys():
        raise ValueError(
            f"{path} does not say with which learning rate its pretraining has ended; set "
            "--config.model_optimizer.learning_rate, and leave out --config.model_lr_from_pretraining."
        )
    return optimizer["learning_rate"] * optimizer["final_fraction"]


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
                f"(viper, ot, temporal_ot or orca), not with {config['reward']['name']!r}."
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


def whole_episode(episode: Episode, sensors: Sequence[str], *, actions: bool = False) -> SequenceBatch:
    """Returns an episode as a batch [1, T], with its actions if they are asked for."""
    known = [name for name in sensors if name in episode.records]
    batch, _ = whole_episodes([episode], known, rewards=True, actions=actions)
    return batch


def whole_episodes(
    episodes: Sequence[Episode], sensors: Sequence[str], *, rewards: bool = False, actions: bool = False
) -> tuple[SequenceBatch, jax.Array]:
    """Returns episodes as a batch [K, M], short ones padded; and weights [K, M], 1 / length in each."""
    lengths = np.array([episode.num_records for episode in episodes])
    data = SequenceDataset.create(
        episodes,
        length=int(lengths.max()),
        sensors=list(sensors),
        with_actions=actions,
        with_reward=rewards,
    )
    batch = dataset.windows(data, np.arange(len(episodes)))
    weights = (np.arange(lengths.max()) < lengths[:, None]) / lengths[:, None]
    return batch, jnp.asarray(weights, jnp.float32)


def total_episodes(config: dict) -> int:
    """Episodes that a run collects, prefill included; offline nothing else."""
    num_envs = config["num_envs"]
    collected = ("prefill",) if config["offline"] else ("prefill", "num_episodes")
    return sum(-(-config[name] // num_envs) * num_envs for name in collected)


def make_draws(config: dict, reward: SurrogateReward | None) -> dict[str, Callable]:
    """Returns {stage: (OnlineData, key) -> what its update reads}, for "model", "policy" and "online".

    `first_fraction` is that of the windows whose evidence the policy seeks alone; all others are drawn uniformly, so
    that a reward compares demonstrations and own episodes at the same times.
    """
    regularizer, size = config["regularizer"], config["batch_size"]
    head = reward.head if reward is not None and reward.stored else None
    relabels = reward is not None and not reward.stored
    mixing = dict(batch_size=size, mode=regularizer["mode"], fraction=regularizer["fraction"], head=head)

    def draw_body(data: OnlineData, key) -> SequenceBatch:
        assert data.body is not None, "the model is pretrained on data of the body"
        batch = dataset.sample(data.body, key, size)
        return with_reward_mask(batch, head, head in data.body.observation)

    def draw_demonstration(data: OnlineData, key) -> SequenceBatch:
        return dataset.sample(data.demonstrations, key, size, first_fraction=config["first_fraction"])

    def draw_online(data: OnlineData, key) -> OnlineBatch:
        model_key, policy_key, reward_key = jax.random.split(key, 3)
        return OnlineBatch(
            model=draw_model_batch(data.body, data.online, model_key, **mixing),
            demonstration=draw_demonstration(data, policy_key),
            shown=dataset.sample(data.demonstrations, reward_key, size) if relabels else None,
        )

    return {"model": draw_body, "policy": draw_demonstration, "online": draw_online}
