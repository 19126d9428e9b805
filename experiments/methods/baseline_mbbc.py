"""MBBC, the oracle of AIME: a policy over the latent state of a world model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax

from agents.chunks import filter_actor
from agents.flow import mbbc_flow_error, mbbc_flow_loss
from agents.mbbc import mbbc_loss
from experiments.methods.baseline_data import load_demonstrations
from experiments.methods.baseline_decisions import check_lengths
from experiments.methods.baseline_recipes import Baseline, Fit, vmapped_mean
from experiments.models import architectures, files
from worldmodels import export
from worldmodels.data.dataset import SequenceDataset
from worldmodels.world_model import WorldModel


class MBBC(Baseline):
    """MBBC, the oracle of AIME: a policy over the latent state of a world model regresses the true actions."""

    label = "MBBC oracle"
    paper = "Zhang et al. 2024"
    needs = ("actions", "world model")
    instead = "AIME"
    preset = "mbbc"
    decides = True

    def __init__(self, config: Mapping):
        super().__init__(config)
        if not config["model"]:
            raise ValueError("MBBC needs a pretrained world model; pass --config.model=DIR of `pretrain`.")
        loss_fn, error = mbbc_losses(config)
        pretrained = files.load(config["model"], "world_model")
        arch = pretrained.arguments["world_model"]
        self.world_model = models = files.for_seeds(pretrained, self.num_seeds)
        if models.codec is not None:
            raise ValueError(
                f"MBBC regresses actions, and a policy over the states of {config['model']} decides on latent actions; "
                "pass a model that was trained with latent_actions.reads=action."
            )
        read = functools.partial(architectures.demonstrations, config, models, arch)
        self.shown = load_demonstrations(config, type(self), read)
        episodes = self.shown.episodes
        check_lengths(config, episodes)
        self.arguments = mbbc_arguments(config, models)
        self._dataset = SequenceDataset.create(
            episodes,
            length=config["length"],
            sensors=architectures.sensors_for(models, episodes),
            with_actions=True,
            with_reward=False,
            overhang=config["chunk"] - 1,
        )
        self.fits = (Fit("policy", self._dataset, loss_fn, frozen=models),)
        self._error = vmapped_mean(error, frozen=True)

    def create(self, network, key):
        """Creates a network; see `Baseline`."""
        build = architectures.build_over_features if "kind" in self.arguments else export.build_policy
        return build(self.arguments, key)

    @staticmethod
    def make_actor(models, num_envs, seed):
        """Makes an actor; see `Baseline`."""
        chunk, key = models.arguments["policy"].get("chunk", 1), jax.random.key(seed)
        options = dict(num_seeds=models.num_seeds)
        return filter_actor(models.world_model, models.policy, num_envs, key, chunk, **options)

    def errors(self, models, *, final):
        """Returns "action_mse" over all windows; at the end only, as it is slow."""
        if not final:
            return {}
        error = self._error(models["policy"], self._dataset, self.world_model)
        return {"action_mse": error}


def mbbc_arguments(config: Mapping, models: WorldModel) -> dict:
    """Returns the arguments of a policy over the state of these world models."""
    arguments = dict(config["policy"], in_size=models.feature_size, action_size=models.action_size)
    decisions = architectures.decisions(config)
    if "euler_steps" in decisions:
        del arguments["min_std"]
    return arguments | decisions | ({"kind": "over_features"} if decisions else {})


def mbbc_losses(config: Mapping) -> tuple[Callable, Callable]:
    """Returns what the policy learns by, and its error.

    Raises:
      ValueError: the windows are no longer than a chunk, or a flow is to learn by its likelihood.
    """
    length, chunk = config["length"], config["chunk"]
    if length <= chunk:
        raise ValueError(
            f"A window of {length} records has no state with {chunk} actions behind it; raise config.length."
        )
    if config["head"] == "gaussian":
        error = functools.partial(mbbc_loss, chunk=chunk)
        return functools.partial(error, use_log_prob=config["use_log_prob"]), error
    if config["use_log_prob"]:
        raise ValueError("A flow says no likelihood to learn by; set use_log_prob=False, or head=gaussian.")
    return mbbc_flow_loss, mbbc_flow_error
