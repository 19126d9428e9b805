"""How wrong inferred actions are: the two knowledge barriers of AIME-v2, as numbers. Privileged, never for learning.

A model that has not seen what the demonstrations show infers wrong actions there (embodiment knowledge barrier); a
policy that has seen few demonstrations is wrong where it goes itself (demonstration knowledge barrier).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from aime.inference import infer_actions
from experiments.methods.online_learner import OnlineLearner, shared_sensors
from experiments.models import architectures
from experiments.runs.paths import folders_of
from worldmodels.data import dataset, replay
from worldmodels.data.dataset import SequenceDataset
from worldmodels.data.episodes import load_episodes
from worldmodels.structures import SequenceBatch


@dataclasses.dataclass(frozen=True)
class ActionErrors:
    """Mean squared error of the actions that policy and model infer, against those that were taken.

    Attributes:
      batch_size: windows per kind of data, always the same ones of the data that do not change.
      demonstrations: with their true actions, for this report only; None if they are not known.
      error: (model, policy, batch, key) -> [].
    """

    batch_size: int
    demonstrations: SequenceDataset | None
    error: Callable

    @classmethod
    def create(cls, config: Mapping, learner: OnlineLearner) -> ActionErrors:
        """With the episodes of `config.analysis.demonstrations`, if it names a folder."""
        folder, shown = config["analysis"]["demonstrations"], None
        if folder:
            episodes, what = (
                load_episodes(folders_of(folder), config["num_demonstrations"]),
                "demonstrations for the analysis",
            )
            architectures.check_body(learner.architecture, episodes, what)
            architectures.check_actions(episodes, what)
            sensors = shared_sensors(learner.architecture, episodes)
            options = dict(length=config["length"], sensors=sensors, with_reward=False)
            shown = SequenceDataset.create(episodes, **options)
        return cls(config["batch_size"], shown, make_action_error(config["loss"]["first_action"]))

    def __call__(self, learner: OnlineLearner) -> dict[str, float]:
        """{"analysis/action_mse_pretraining" | "_demonstration" | "_policy"}, of the data that there are."""
        keys = jax.random.split(jax.random.key(0), 4)
        sources = {
            "pretraining": (dataset.sample, learner.data.body),
            "demonstration": (dataset.sample, self.demonstrations),
            "policy": (replay.sample, learner.data.online),
        }
        errors = {}
        for key, (name, (sample, data)) in zip(keys, sources.items(), strict=False):
            if data is not None:
                batch = learner.placement.fetch(sample(data, key, self.batch_size))
                error = self.error(learner.model, learner.policy, batch, keys[3])
                errors[f"analysis/action_mse_{name}"] = float(error)
        return errors


def make_action_error(first_action: str) -> Callable:
    """Returns a jitted function (model, policy, batch [B, T] with actions, key) -> mean squared error []."""

    @jax.jit
    def error(model, policy, batch: SequenceBatch, key) -> jax.Array:
        inferred = infer_actions(model, policy, batch.without_actions(), key, first_action=first_action)
        return jnp.mean((inferred.actions - batch.prev_action) ** 2)

    return error
