"""The data of a baseline: demonstrations and embodiment data, as the method needs them, and their windows."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from experiments.data.arena import Arena
from experiments.data.demonstrations import Demonstrations
from experiments.methods.baseline_decisions import check_lengths
from experiments.models import architectures
from experiments.runs.method import Method
from experiments.runs.paths import folders_of
from worldmodels.data.dataset import SequenceDataset, estimate_bytes, free_memory
from worldmodels.data.episodes import Episode, load_episodes
from worldmodels.data.records import large_actions


@dataclasses.dataclass(frozen=True)
class Data:
    """The data of a frame-stack baseline.

    Attributes:
      arch: what shapes the networks.
      body: episodes of the embodiment, with actions; [] for a baseline that needs none.
      shown: the demonstrations; only oracles look at their actions.
      true_actions: windows of the demonstrations with their actions, for analysis; None where they have none.
      unlabelled: further episodes of the body, without actions.
    """

    arch: dict
    body: list[Episode]
    shown: Demonstrations
    true_actions: SequenceDataset | None = None
    unlabelled: list[Episode] = dataclasses.field(default_factory=list)

    @property
    def episodes(self) -> list[Episode]:
        """Episodes that the networks standardise by."""
        return [*self.body, *self.unlabelled] or self.shown.episodes

    @property
    def window_length(self) -> int:
        """Records per window: the policy's stack, and one for each action that it decides on."""
        return self.arch["num_frames"] + self.arch.get("chunk", 1)

    def windows(
        self, episodes: list[Episode], with_actions: bool, length: int | None = None, room: int = 0
    ) -> SequenceDataset:
        """Returns the windows of episodes, of `window_length` records if `length` names no other.

        Those of a chunk may reach behind the end of an episode, so that the policy learns from every state before it.

        Raises:
          ValueError: they do not all fit into memory at once.
        """
        overhang = 0 if length else self.arch.get("chunk", 1) - 1
        sensors, length = list(self.arch["sizes"]), length or self.window_length
        need, free = estimate_bytes(episodes, sensors, length, room), free_memory()
        if need > free:
            raise ValueError(
                f"Baselines hold all their data at once, and these {len(episodes)} episodes need "
                f"{need / 2**30:.2f} GiB where {free / 2**30:.2f} GiB are free; use fewer "
                "(config.num_embodiment, config.num_demonstrations) or smaller images."
            )
        options: dict[str, Any] = dict(with_actions=with_actions, overhang=overhang, room=room)
        return SequenceDataset.create(episodes, length=length, sensors=sensors, with_reward=False, **options)

    def shown_windows(self, *, with_actions: bool) -> SequenceDataset:
        """Returns the windows of the demonstrations, which share their arrays with `true_actions`."""
        if self.true_actions is None:
            return self.windows(self.shown.episodes, with_actions)
        return self.true_actions if with_actions else self.true_actions.replace(prev_action=None)


def load_data(config: Mapping, baseline: type[Method]) -> Data:
    """Reads the folders that a config of experiments/configs/baseline.py names.

    Raises:
      ValueError: no folder, embodiment data or demonstrations without the actions that the baseline needs, or too
        short for a chunk, or an environment of another body.
    """
    source = config["demonstrations"], config["num_demonstrations"]
    read = functools.partial(Demonstrations.read, *source, env=config["env"], inputs=())
    shown = load_demonstrations(config, baseline, read)
    body = load_body(config, baseline) if "embodiment" in baseline.needs else []
    setup = architectures.chosen_setup(config, shown.arena.name, shown.episodes[0])
    arch = architectures.frame_stack(config, shown.arena.name, setup, body or shown.episodes)
    shown = shown.common_by_vectors(arch["sizes"], **config["common_parts"])
    check_lengths(config, shown.episodes, arch["num_frames"])
    arena = Arena.of_episodes(shown.episodes, config["env"], tuple(arch["sizes"]))
    arena.check(arch["sizes"], arch["action_size"], config["evaluation"]["workers"])
    data = Data(arch, body, dataclasses.replace(shown, arena=arena))
    if not has_actions(shown.episodes):
        return data
    return dataclasses.replace(data, true_actions=data.windows(shown.episodes, with_actions=True))


def load_demonstrations(
    config: Mapping, baseline: type[Method], read: Callable[[], Demonstrations]
) -> Demonstrations:
    """Reads the demonstrations; raises a ValueError if they lack the actions that an oracle needs."""
    with checked(config, "demonstrations", baseline) as episodes:
        shown = read()
        episodes += shown.episodes
    if "actions" in baseline.needs and not has_actions(shown.episodes):
        raise ValueError(
            f"{baseline.label} needs the true actions, and the demonstrations in {config['demonstrations']} have "
            f"none; use {baseline.instead}, or demonstrations with actions."
        )
    return shown


def load_body(config: Mapping, baseline: type[Method]) -> list[Episode]:
    """Reads the embodiment data; raises a ValueError if they have no actions."""
    with checked(config, "embodiment", baseline) as episodes:
        # Images are read when the windows are made: once, and to where they stay.
        folders, limit = folders_of(config["embodiment"]), config["num_embodiment"]
        episodes += load_episodes(folders, limit=limit, images_on_disk=True)
    if not has_actions(episodes):
        raise ValueError(
            f"The embodiment data in {config['embodiment']} have no actions; {baseline.label} learns from them what "
            "actions do, so use episodes with actions."
        )
    return episodes


@contextlib.contextmanager
def checked(config: Mapping, name: str, baseline: type[Method]) -> Iterator[list[Episode]]:
    """Yields a list for the episodes of `config[name]`; raises a ValueError without a name, or if no policy acts so."""
    if not config[name]:
        raise ValueError(f"{baseline.label} needs a folder of episodes; pass --config.{name}=DIR.")
    episodes: list[Episode] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of what is refused below
        yield episodes
    if sentence := large_actions([episode.records for episode in episodes]):
        raise ValueError(f"{config[name]}: {sentence}")


def has_actions(episodes: Sequence[Episode]) -> bool:
    """Returns whether every episode has its actions."""
    return all(episode.records["pre_action"].shape[-1] for episode in episodes)
