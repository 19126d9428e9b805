"""What differs between the baselines that are fitted to fixed data: networks, data, losses, and how they act.

A recipe lists its fits in order. `experiments.methods.baseline_fitted` trains them, logs, saves and evaluates.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from agents.actors import FilterActor
from agents.bc import bc_loss
from agents.bco import bco_loss, inverse_dynamics_loss
from agents.fitting import make_mean_loss
from agents.frame_stack import with_encoder_of
from agents.frame_stack_actor import FrameStackActor
from agents.iidm import ForwardNet, forward_loss, iidm_loss
from agents.loop import Actor
from agents.mbbc import mbbc_loss
from experiments.data.evaluation import check_environment, environment_of, expert_return
from experiments.methods.baseline_data import Data, load_data, load_demonstrations
from experiments.models import frame_stacks, world_models
from experiments.models.world_models import sensors_for
from experiments.runs.directory import RunDirectory
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import load_episodes


@dataclasses.dataclass(frozen=True)
class Fit:
    """One network and what it learns.

    Attributes:
      network: its name, in metrics and checkpoints.
      dataset: windows.
      loss_fn: (network, batch, *frozen, key) -> (loss, metrics).
      teacher: the network, fitted before, that is frozen in the loss; None for none.
      frozen: a model of all seeds that is frozen in the loss; None for none.
    """

    network: str
    dataset: SequenceDataset
    loss_fn: Callable
    teacher: str | None = None
    frozen: object = None


class FrameStackRecipe:
    """BC, BCO(0) and IIDM: networks that read a few frames."""

    TEACHERS = {
        "bco": ("idm", inverse_dynamics_loss, bco_loss),
        "iidm": ("forward", forward_loss, iidm_loss),
    }

    def __init__(self, config: dict):
        method = config["method"]
        self.data: Data = load_data(config, needs_body=method in self.TEACHERS)
        self.env_name, self.env_options, self.expert = (
            self.data.env_name,
            self.data.env_options,
            self.data.expert,
        )
        self._num_seeds = config["num_seeds"]
        self._share_encoder = config["init_with_idm_encoder"]
        demonstrations = self.data.shown(with_actions=method == "bc")
        if method not in self.TEACHERS:
            self.fits = (Fit("policy", demonstrations, bc_loss),)
        else:
            teacher, teacher_loss, loss = self.TEACHERS[method]
            body = self.data.windows(self.data.body, with_actions=True)
            self.fits = (Fit(teacher, body, teacher_loss), Fit("policy", demonstrations, loss, teacher))
        self._errors = {"policy": vmapped_mean(bc_loss), "idm": vmapped_mean(inverse_dynamics_loss)}

    def create(self, network: str, key: jax.Array):
        """The network of one seed, before training."""
        options = {"idm": dict(more_frames=1), "forward": dict(network=ForwardNet), "policy": {}}[network]
        return frame_stacks.build(self.data.arch, key, self.data.episodes, **options)

    def begin(self, policy, teacher):
        """The policy of all seeds, with the encoder of its teacher if the config says so."""
        return with_encoder_of(policy, teacher) if self._share_encoder else policy

    def make_actor(self, policy, num_envs: int, seed: int) -> Actor:
        """Policies of all seeds in the environment."""
        return FrameStackActor(policy, num_seeds=self._num_seeds)

    def errors(self, models: dict, *, final: bool) -> dict:
        """{"action_mse", "idm_action_mse"}: [num_seeds] errors to the true actions of the demonstrations, if known."""
        data = self.data.true_actions
        if data is None:
            return {}
        indices = np.arange(data.num_windows, dtype=np.int32)
        names = {"policy": "action_mse", "idm": "idm_action_mse"}
        known = [name for name in names if name in models]
        return {names[name]: self._errors[name](models[name], data, indices) for name in known}

    def save(self, run: RunDirectory) -> None:
        """What loading the policies needs beside their weights."""
        frame_stacks.save_architecture(run.path, self.data.arch)


class MBBCRecipe:
    """MBBC: a policy over the latent state of a pretrained world model."""

    def __init__(self, config: dict):
        if not config["model"]:
            raise ValueError("MBBC needs a pretrained world model; pass --config.model=DIR of `pretrain`.")
        episodes = load_demonstrations(config)
        self.expert = expert_return(load_episodes(config["demonstrations"], keys=()))
        pretrained = world_models.resolve(config["model"])
        world_models.check_body(pretrained.architecture, episodes, "demonstrations")
        self._num_seeds = config["num_seeds"]
        self._models = pretrained.for_seeds(self._num_seeds)
        sensors = sensors_for(self._models, episodes)
        self.env_name, self.env_options = environment_of(config["env"], episodes, self._models.inputs)
        self._check_environment(pretrained.architecture, config["evaluation"]["workers"])
        self._arch = dict(
            config["policy"], in_size=self._models.feature_size, action_size=self._models.action_size
        )
        dataset = SequenceDataset.create(
            episodes, length=config["length"], sensors=sensors, with_actions=True, with_reward=False
        )
        loss_fn = functools.partial(mbbc_loss, use_log_prob=config["use_log_prob"])
        self.fits = (Fit("policy", dataset, loss_fn, frozen=self._models),)
        self._error = vmapped_mean(mbbc_loss, frozen=True)

    def _check_environment(self, arch: dict, workers: int) -> None:
        """Refuses an environment of another body than the world model's."""
        sizes = {name: arch["sizes"][name] for name in self._models.inputs}
        options = dict(action_size=self._models.action_size, workers=workers)
        check_environment(self.env_name, self.env_options, sizes, **options)

    def create(self, network: str, key: jax.Array):
        """The policy of one seed, before training."""
        return world_models.build_policy(self._arch, key)

    def make_actor(self, policy, num_envs: int, seed: int) -> Actor:
        """Policies of all seeds in the environment."""
        return FilterActor(self._models, policy, num_envs, jax.random.key(seed), num_seeds=self._num_seeds)

    def errors(self, models: dict, *, final: bool) -> dict:
        """{"action_mse": [num_seeds]}: mean over all windows of the demonstrations; at the end only, as it is slow."""
        if not final:
            return {}
        data = self.fits[0].dataset
        indices = np.arange(data.num_windows, dtype=np.int32)
        return {"action_mse": self._error(models["policy"], data, indices, self._models)}

    def save(self, run: RunDirectory) -> None:
        """What loading the policies needs beside their weights."""
        arch = self._arch | {"num_seeds": self._num_seeds}
        world_models.save_architecture(run.path, world_models.POLICY, arch)


def vmapped_mean(loss_fn: Callable, *, frozen: bool = False) -> Callable:
    """Mean loss over windows for every seed: (networks, dataset, indices[, frozen]) -> [num_seeds]."""
    return jax.jit(
        jax.vmap(make_mean_loss(loss_fn), in_axes=(0, None, None, 0) if frozen else (0, None, None))
    )


RECIPES = {"bc": FrameStackRecipe, "bco": FrameStackRecipe, "iidm": FrameStackRecipe, "mbbc": MBBCRecipe}
