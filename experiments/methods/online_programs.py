"""Programs of an online learner. Learners of the same settings share them: only the first in a process compiles."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence

from aime.online import make_model_pretraining, make_online_update, make_policy_pretraining
from aime.rewards import SurrogateReward
from experiments.methods.online_parts import make_draws, optimizers_of, settings_of
from worldmodels.devices.sharding import Placement
from worldmodels.training import make_train_loop

_LEARNERS = 4  # of different settings, whose programs are kept
_NO_PART = ("seed", "num_seeds", "num_episodes")  # of the config: they are no part of a program


@dataclasses.dataclass(frozen=True)
class KnownReward(SurrogateReward):
    """A reward as far as updates know it: its head, and how it relabels, unless it is stored with episodes."""

    head: str
    stored: bool
    relabel: Callable


class Programs:
    """Updates of an online learner, and what runs many of them.

    Args:
      config: of a run. model_loss, adopted: of its pretrained world model.
      reward: what updates know of the surrogate reward; None: there is none.
      placement: the devices of the run.

    Attributes:
      settings, optimizers: of the updates. reward: as given.
      stages: {stage: (update, what draws its batches)}, for "model", "policy" and "online".
      loop: (stage, number of updates) -> jitted `loop(state, data) -> (state, metrics)`.
      joint_loop: (number of updates, number of learners, axes of their data) -> that of "online" for all of them.
    """

    def __init__(
        self,
        config: dict,
        model_loss: dict,
        adopted: Sequence[bool],
        reward: SurrogateReward | None,
        placement: Placement,
    ):
        self.settings, self.reward = settings_of(config, model_loss), reward
        self.optimizers = optimizers_of(config, adopted)
        draws = make_draws(config, reward)
        updates = {
            "model": make_model_pretraining(self.optimizers, self.settings),
            "policy": make_policy_pretraining(self.optimizers, self.settings),
            "online": make_online_update(self.optimizers, self.settings, reward),
        }
        self.stages: dict[str, tuple[Callable, Callable]] = {
            stage: (updates[stage], draws[stage]) for stage in updates
        }
        self.loop = functools.cache(
            lambda stage, count: make_train_loop(*self.stages[stage], count, placement=placement)
        )
        self.joint_loop = functools.cache(
            lambda count, number, axes: make_train_loop(
                *self.stages["online"], count, num_seeds=number, data_axes=axes
            )
        )


def programs_of(
    config: Mapping,
    model_loss: dict,
    adopted: Sequence[bool],
    reward: SurrogateReward | None,
    placement: Placement,
) -> Programs:
    """Returns the programs of a learner: those of an earlier one of this process whose settings are the same.

    They depend on values alone, and not on seeds. Rewards are the same where they relabel by the same function; what
    a stored one remembers of demonstrations is no part of an update.
    """
    settings = {name: value for name, value in config.items() if name not in _NO_PART}
    known = None if reward is None else known_reward(reward)
    return _programs(json.dumps([settings, model_loss], sort_keys=True), tuple(adopted), known, placement)


def known_reward(reward: SurrogateReward) -> KnownReward:
    """Returns what updates know of a reward."""
    relabel = SurrogateReward.relabel if reward.stored else reward.relabel
    return KnownReward(reward.head, reward.stored, relabel)


@functools.lru_cache(maxsize=_LEARNERS)
def _programs(
    settings: str, adopted: tuple[bool, ...], reward: SurrogateReward | None, placement: Placement
) -> Programs:
    config, model_loss = json.loads(settings)
    return Programs(config, model_loss, adopted, reward, placement)
