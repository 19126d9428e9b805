"""MBBC, the oracle of AIME: a policy over the latent state of a world model."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jax

from agents.actors import FilterActor
from agents.mbbc import mbbc_loss
from experiments.methods.baseline_recipes import (
    Baseline,
    Fit,
    all_windows,
    load_demonstrations,
    vmapped_mean,
)
from experiments.models import architectures, files
from worldmodels import export
from worldmodels.data.dataset import SequenceDataset


class MBBC(Baseline):
    """MBBC, the oracle of AIME: a policy over the latent state of a world model regresses the true actions."""

    label = "MBBC oracle"
    paper = "Zhang et al. 2024"
    needs = ("actions", "world model")
    instead = "AIME"
    preset = "mbbc"

    def __init__(self, config: Mapping):
        super().__init__(config)
        if not config["model"]:
            raise ValueError("MBBC needs a pretrained world model; pass --config.model=DIR of `pretrain`.")
        pretrained = files.load(config["model"], "world_model")
        arch = pretrained.arguments["world_model"]
        self.world_model = models = files.for_seeds(pretrained, self.num_seeds)
        read = functools.partial(architectures.demonstrations, config, models, arch)
        self.shown = load_demonstrations(config, type(self), read)
        episodes = self.shown.episodes
        self.arguments = dict(config["policy"], in_size=models.feature_size, action_size=models.action_size)
        self._dataset = SequenceDataset.create(
            episodes,
            length=config["length"],
            sensors=architectures.sensors_for(models, episodes),
            with_actions=True,
            with_reward=False,
        )
        loss_fn = functools.partial(mbbc_loss, use_log_prob=config["use_log_prob"])
        self.fits = (Fit("policy", self._dataset, loss_fn, frozen=models),)
        self._error = vmapped_mean(mbbc_loss, frozen=True)

    def create(self, network, key):
        """Creates a network; see `Baseline`."""
        return export.build_policy(self.arguments, key)

    @staticmethod
    def make_actor(models, num_envs, seed):
        """Makes an actor; see `Baseline`."""
        options = dict(num_seeds=models.num_seeds)
        return FilterActor(models.world_model, models.policy, num_envs, jax.random.key(seed), **options)

    def errors(self, models, *, final):
        """Returns "action_mse" over all windows; at the end only, as it is slow."""
        if not final:
            return {}
        error = self._error(models["policy"], self._dataset, all_windows(self._dataset), self.world_model)
        return {"action_mse": error}
