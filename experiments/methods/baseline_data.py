"""What the imitation baselines learn from: folders of episodes, read as a config asks, and refused with a reason."""

from __future__ import annotations

import dataclasses

from experiments.data.evaluation import check_environment, environment_of, expert_return
from experiments.models import frame_stacks
from worldmodels.data.dataset import SequenceDataset, estimate_bytes, free_memory
from worldmodels.data.episodes import Episode, load_episodes

# Methods that see the true actions, and what to use without them.
ORACLES = {"bc": "the method bco", "mbbc": "AIME"}


@dataclasses.dataclass(frozen=True)
class Data:
    """What a frame-stack baseline learns from.

    Attributes:
      env_name, env_options: where to evaluate.
      arch: what shapes the networks.
      body: episodes of the embodiment, with actions; [] for BC.
      demonstrations: episodes; their actions are looked at by BC only.
      true_actions: windows of the demonstrations with their actions, for analysis; None where they have none.
      expert: mean return of the demonstrations, if they carry rewards.
    """

    env_name: str
    env_options: dict
    arch: dict
    body: list[Episode]
    demonstrations: list[Episode]
    true_actions: SequenceDataset | None
    expert: float | None

    @property
    def episodes(self) -> list[Episode]:
        """Those that the networks standardise by."""
        return self.body or self.demonstrations

    def windows(self, episodes: list[Episode], with_actions: bool) -> SequenceDataset:
        """Windows of one record more than the policy's stack; they do not stream, so that all must fit.

        Raises:
          ValueError: they do not.
        """
        sensors = list(self.arch["sizes"])
        need, free = estimate_bytes(episodes, sensors, self.window_length), free_memory()
        if need > free:
            raise ValueError(
                f"Baselines hold all their data at once, and these {len(episodes)} episodes need "
                f"{need / 2**30:.2f} GiB where {free / 2**30:.2f} GiB are free; use fewer "
                "(config.num_embodiment, config.num_demonstrations) or smaller images."
            )
        options = dict(length=self.window_length, sensors=sensors, with_reward=False)
        return SequenceDataset.create(episodes, with_actions=with_actions, **options)

    def shown(self, *, with_actions: bool) -> SequenceDataset:
        """Windows of the demonstrations; they share their arrays with `true_actions`."""
        if self.true_actions is None:
            return self.windows(self.demonstrations, with_actions)
        return self.true_actions if with_actions else self.true_actions.replace(prev_action=None)

    @property
    def window_length(self) -> int:
        """Records per window."""
        return self.arch["num_frames"] + 1


def load_data(config: dict, *, needs_body: bool) -> Data:
    """Reads the folders that a config of experiments/configs/baseline.py names.

    Raises:
      ValueError: no folder, embodiment data without actions, demonstrations without them for an oracle, or an
        environment of another body.
    """
    demonstrations = load_demonstrations(config)
    env_name, _ = environment_of(config["env"], demonstrations)
    body = load_body(config) if needs_body else []
    arch = frame_stacks.architecture(config, env_name, config["setup"], body or demonstrations)
    env_options = environment_of(env_name, demonstrations, tuple(arch["sizes"]))[1]
    check_environment(
        env_name,
        env_options,
        arch["sizes"],
        action_size=arch["action_size"],
        workers=config["evaluation"]["workers"],
    )
    data = Data(
        env_name=env_name,
        env_options=env_options,
        arch=arch,
        body=body,
        demonstrations=demonstrations,
        true_actions=None,
        expert=expert_return(load_episodes(config["demonstrations"], keys=())),
    )
    if not has_actions(demonstrations):
        return data
    return dataclasses.replace(data, true_actions=data.windows(demonstrations, with_actions=True))


def load_demonstrations(config: dict) -> list[Episode]:
    """The demonstrations, refused if they lack the actions that an oracle needs."""
    method = config["method"]
    episodes = load_folder(config, "demonstrations")
    if method in ORACLES and not has_actions(episodes):
        raise ValueError(
            f"{method.upper()} needs the true actions, and the demonstrations in {config['demonstrations']} have "
            f"none; use {ORACLES[method]}, or demonstrations with actions."
        )
    return episodes


def load_body(config: dict) -> list[Episode]:
    """The embodiment data, refused if they lack the actions that are learnt from them."""
    episodes = load_folder(config, "embodiment")
    if not has_actions(episodes):
        raise ValueError(
            f"The embodiment data in {config['embodiment']} have no actions; {config['method'].upper()} learns from "
            "them what actions do, so use episodes with actions."
        )
    return episodes


def load_folder(config: dict, name: str) -> list[Episode]:
    """Episodes of the folder `config[name]`, as many as `config["num_" + name]`."""
    if not config[name]:
        raise ValueError(f"{config['method'].upper()} needs a folder of episodes; pass --config.{name}=DIR.")
    # Images are read when the windows are made: once, and to where they shall lie.
    return load_episodes(config[name], limit=config[f"num_{name}"], images_on_disk=True)


def has_actions(episodes: list[Episode]) -> bool:
    """Whether every episode tells its actions."""
    return all(episode.records["pre_action"].shape[-1] for episode in episodes)
