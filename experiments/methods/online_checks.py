"""Validates an AIME-v2 config before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aime.regularizer import check_mixing
from aime.rewards import SurrogateReward
from experiments.data.rounds import check_planner
from experiments.runs import inputs
from experiments.runs.settings import read_config


def read_settings(path: Path) -> dict:
    """Reads the config of a run of `online`; raises a ValueError if it is none."""
    settings = read_config(path) if (path / "config.json").is_file() else {}
    if not {"demonstrations", "regularizer", "reward"} <= settings.keys():
        raise ValueError(f"{path} is not the directory of a run of `online`; pass its --workdir.")
    return settings


def check_settings(config: Mapping) -> None:
    """Raises a ValueError for settings of `online` that do not go together, before anything is loaded."""
    regularizer = config["regularizer"]
    check_mixing(regularizer["mode"], regularizer["fraction"])
    if not config["demonstrations"] or config["num_demonstrations"] == 0:
        raise ValueError(
            "AIME-v2 needs a folder of episodes to imitate; pass --config.demonstrations=DIR, "
            "and at least one --config.num_demonstrations."
        )
    if config["model_pretraining"] and not config["embodiment"]:
        raise ValueError("Model pretraining needs pretraining data; pass --config.embodiment=DIR.")
    if regularizer["label"]:
        check_label(config)
    check_steadiness(config)
    inputs.check_policy(config)
    check_planner(config)
    if config["offline"] and config["epsilon"]:
        raise ValueError(
            f"epsilon is {config['epsilon']}, noise on played actions, and an offline run plays none; leave out "
            "--config.epsilon or --config.offline."
        )
    if not has_online_data(config) and needs_online_data(config):
        raise ValueError(
            "An offline run without prefill has an empty online buffer, and its batches take windows from it; set "
            "--config.prefill, or, with pretraining data, --config.regularizer.mode=append and "
            "--config.regularizer.label=True."
        )


def check_steadiness(config: Mapping) -> None:
    """Raises a ValueError for a running average or a clipping that there cannot be."""
    average, clip = config["average"], config["part_clip"]
    if average is not None and not 0 <= average < 1:
        raise ValueError(
            f"An update keeps a share of the policy's running average from 0 to below 1, got {average}; set "
            "--config.average, e.g. to 0.99."
        )
    if config["average_plays"] and average is None:
        raise ValueError("There is no running average to play with; set --config.average, e.g. to 0.99.")
    if clip is not None and clip <= 0:
        raise ValueError(f"Gradients are clipped to a norm above 0, got {clip}; set --config.part_clip.")


def check_label(config: Mapping) -> None:
    """Raises a ValueError if `regularizer.label` would reward pretraining data that are not there or never drawn."""
    if not config["embodiment"]:
        raise ValueError(
            "regularizer.label=True rewards the pretraining data, and there are none; pass --config.embodiment=DIR, or "
            "leave out --config.regularizer.label."
        )
    if not (takes_body(config) or config["model_pretraining"]):
        raise ValueError(
            "regularizer.label=True rewards the pretraining data, and no batch takes windows of them; raise "
            f"--config.regularizer.fraction, which is {config['regularizer']['fraction']}, or leave out "
            "--config.regularizer.label."
        )


def check_reward(config: Mapping, reward: SurrogateReward | None) -> None:
    """Raises a ValueError if the policy would follow a reward that no batch shows the model.

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
    """Returns True if episodes are collected at all."""
    return bool(config["prefill"]) or not config["offline"]


def takes_online_data(config: Mapping) -> bool:
    """Returns True if batches of the model take windows of the online buffer, if it has some."""
    return config["regularizer"]["mode"] == "append" or needs_online_data(config)


def takes_body(config: Mapping) -> bool:
    """Returns True if batches of the model take windows of the pretraining data."""
    regularizer = config["regularizer"]
    some = regularizer["mode"] == "append" or int(config["batch_size"] * regularizer["fraction"]) > 0
    return bool(config["embodiment"]) and some


def needs_online_data(config: Mapping) -> bool:
    """Returns True if batches of the model cannot be drawn without windows of the online buffer."""
    regularizer, size = config["regularizer"], config["batch_size"]
    all_body = regularizer["mode"] == "append" or int(size * regularizer["fraction"]) == size
    return not (config["embodiment"] and all_body)
