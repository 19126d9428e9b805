"""Mistakes in a config of AIME-v2 that can be told before anything is learnt, each in one sentence."""

from __future__ import annotations

from collections.abc import Mapping

from aime.regularizer import check_mixing
from aime.rewards import SurrogateReward


def check_settings(config: Mapping) -> None:
    """Raises a ValueError for settings of `experiments.online` that do not go together, before anything is loaded."""
    regularizer = config["regularizer"]
    check_mixing(regularizer["mode"], regularizer["fraction"])
    if not config["demonstrations"] or config["num_demonstrations"] == 0:
        raise ValueError(
            "AIME-v2 needs a folder of episodes to imitate; pass --config.demonstrations=DIR, "
            "and at least one --config.num_demonstrations."
        )
    if config["model_pretraining"] and not config["embodiment"]:
        raise ValueError("Model pretraining needs pretraining data; pass --config.embodiment=DIR.")
    if not has_online_data(config) and needs_online_data(config):
        raise ValueError(
            "An offline run without prefill has an empty online buffer, and its batches take windows from it; set "
            "--config.prefill, or, with pretraining data, --config.regularizer.mode=append and "
            "--config.regularizer.label=True."
        )


def check_reward(config: Mapping, reward: SurrogateReward | None) -> None:
    """Raises a ValueError if the policy would follow a reward that no batch tells the model.

    Rewards that are stored with the collected episodes are masked in pretraining data, unless these are labelled.
    """
    if reward is None or not reward.stored or config["regularizer"]["label"]:
        return
    if not (has_online_data(config) and takes_online_data(config)):
        raise ValueError(
            f"No batch would tell the model the reward {config['reward']['name']!r}, and the policy would follow an "
            "untrained head; reward the pretraining data with --config.regularizer.label=True, let batches take "
            "windows of collected episodes (--config.prefill, regularizer.fraction below 1), or choose "
            "--config.reward.name=ail or none."
        )


def has_online_data(config: Mapping) -> bool:
    """Whether episodes are collected at all."""
    return bool(config["prefill"]) or not config["offline"]


def takes_online_data(config: Mapping) -> bool:
    """Whether batches of the model take windows of the online buffer if it has some."""
    return config["regularizer"]["mode"] == "append" or needs_online_data(config)


def needs_online_data(config: Mapping) -> bool:
    """Whether batches of the model cannot be drawn without windows of the online buffer."""
    regularizer, size = config["regularizer"], config["batch_size"]
    all_body = regularizer["mode"] == "append" or int(size * regularizer["fraction"]) == size
    return not (config["embodiment"] and all_body)
