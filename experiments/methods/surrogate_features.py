"""Features of a model-free agent's observations, between which costs are measured: embeddings, or poses and motions."""

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
      path: wherever an encoder can be opened from, see `files.load_encoder`; of several, the first is used.
      demonstrations: at least one, to check the encoder by and to know the sizes of the sensors.

    Raises:
      ValueError: the encoder reads sensors that the observer does not, or is of another body.
    """
    pretrained = files.load_encoder(path).seed(0)
    arch, encoder = pretrained.arguments["encoder"], pretrained.parts["encoder"]
    unseen = [name for name in encoder.names if name not in observer.sensors]
    if unseen:
        raise ValueError(
            f"The encoder in {path} reads {', '.join(unseen)}, the agent {', '.join(observer.sensors)}; choose a "
            "set-up that has what the encoder reads, or pretrain one with this set-up."
        )
    architectures.check_body(arch, demonstrations, "demonstrations", reader="encoder")
    sizes = {name: demonstrations[0].records[name].shape[-1] for name in observer.sensors}
    encode = jax.jit(lambda encoder, sensors: encoder.encode(sensors))

    def features(observations: np.ndarray) -> np.ndarray:
        sensors = observer.sensors_of(observations, sizes)
        embedding = encode(encoder, {name: sensors[name] for name in encoder.names})  # [T, F, E]
        return np.asarray(embedding).reshape(len(observations), -1)

    return features


def motion_features(
    observer: Observer, episodes: list[Episode], shown: list[np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    """Features of observations: the newest frame and how the frames differ, [T, F * O] -> [T, F * O].

    Both have mean 0 and standard deviation 1 in the demonstrations. In a stack of frames a motion is a small difference
    between large poses, so that who takes the poses slowly, or backwards, would earn nearly what the expert earns.

    Args:
      episodes: the demonstrations, at least one, for the sizes of the sensors.
      shown: observations [T, F * O] of each.
    """
    sizes = {name: episodes[0].records[name].shape[-1] for name in observer.sensors}

    def split(observations: np.ndarray) -> np.ndarray:
        frames = observer.sensors_of(observations, sizes).values()  # each [T, F, d]
        moved = (np.diff(values, axis=1).reshape(len(values), -1) for values in frames)
        return np.concatenate([*(values[:, -1] for values in frames), *moved], axis=-1)

    mean, std = moments(np.concatenate([split(observations) for observations in shown]))
    return lambda observations: ((split(observations) - mean) / std).astype(np.float32)


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation [D] of [N, D], the latter 1 where nothing varies."""
    std = values.std(axis=0)
    return values.mean(axis=0), np.where(std > 1e-4, std, 1.0)
