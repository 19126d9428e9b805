"""What the encoder of a pretrained world model makes of a model-free agent's observations."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from agents.observer import Observer
from experiments.models import architectures, files
from worldmodels.data.episodes import Episode


def encoder_features(
    path: str, observer: Observer, demonstrations: list[Episode]
) -> Callable[[np.ndarray], np.ndarray]:
    """Features of observations that `observer` makes: [T, F * O] -> [T, F * E], an embedding of every frame.

    Args:
      path: wherever a world model can be opened from, see `files.load`; of several, the first is used.
      demonstrations: at least one, to check the model by and to know the sizes of the sensors.

    Raises:
      ValueError: the model reads sensors that the observer does not, or is of another body.
    """
    pretrained = files.load(path, "world_model").seed(0)
    model = pretrained.world_model
    unseen = [name for name in model.inputs if name not in observer.sensors]
    if unseen:
        raise ValueError(
            f"The world model in {path} reads {', '.join(unseen)}, the agent {', '.join(observer.sensors)}. "
            "Choose a set-up that has what the model reads, or pretrain a model with this one."
        )
    architectures.check_body(pretrained.arguments["world_model"], demonstrations, "demonstrations")
    sizes = {name: demonstrations[0].records[name].shape[-1] for name in observer.sensors}
    encode = jax.jit(lambda model, sensors: model.encode(sensors))

    def features(observations: np.ndarray) -> np.ndarray:
        sensors = observer.sensors_of(observations, sizes)
        embedding = encode(model, {name: sensors[name] for name in model.inputs})  # [T, F, E]
        return np.asarray(embedding).reshape(len(observations), -1)

    return features
