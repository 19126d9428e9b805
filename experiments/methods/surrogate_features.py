"""Features of a model-free agent's observations, between which costs are measured: poses and motions, also embedded."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from agents.observer import Observer
from experiments.models import architectures, files
from worldmodels.data.episodes import Episode

# Observations [T, F * O] -> the frames in them, each [T, F, d], oldest first.
Frames = Callable[[np.ndarray], list[np.ndarray]]


def sensor_frames(observer: Observer, demonstrations: list[Episode]) -> Frames:
    """Returns the sensors of observations that `observer` makes; `demonstrations`, at least one, have their sizes."""
    sizes = sizes_of(observer, demonstrations)
    return lambda observations: list(observer.sensors_of(observations, sizes).values())


def embedded_frames(path: str, observer: Observer, demonstrations: list[Episode]) -> Frames:
    """Returns embeddings of the frames of observations that `observer` makes.

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
    sizes = sizes_of(observer, demonstrations)
    encode = jax.jit(lambda encoder, sensors: encoder.encode(sensors))

    def frames(observations: np.ndarray) -> list[np.ndarray]:
        sensors = observer.sensors_of(observations, sizes)
        return [np.asarray(encode(encoder, {name: sensors[name] for name in encoder.names}))]

    return frames


def sizes_of(observer: Observer, episodes: list[Episode]) -> dict[str, int]:
    """Returns {sensor of the observer: its size}."""
    return {name: episodes[0].records[name].shape[-1] for name in observer.sensors}


def motion_features(frames: Frames, shown: list[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Returns observations [T, F * O] -> the newest of their frames and how they differ, [T, D].

    Both have mean 0 and standard deviation 1 in the demonstrations. In a stack of frames a motion is a small difference
    between large poses, so that who takes the poses slowly, or backwards, would earn nearly what the expert earns.

    Args:
      frames: of observations: sensors or embeddings.
      shown: observations [T, F * O] of each demonstration.
    """

    def split(observations: np.ndarray) -> np.ndarray:
        parts = frames(observations)
        moved = (np.diff(values, axis=1).reshape(len(values), -1) for values in parts)
        return np.concatenate([*(values[:, -1] for values in parts), *moved], axis=-1)

    mean, std = moments(np.concatenate([split(observations) for observations in shown]))
    return lambda observations: ((split(observations) - mean) / std).astype(np.float32)


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation [D] of [N, D], the latter 1 where nothing varies."""
    std = values.std(axis=0)
    return values.mean(axis=0), np.where(std > 1e-4, std, 1.0)
