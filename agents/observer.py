"""What a model-free agent reads: the vector sensors of the last few records, standardised, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Records = Mapping[str, np.ndarray]


class Observer:
    """Records to observations, with a memory of the last F records of each environment.

    Args:
      sensors: names of vector sensors, put together in this order.
      num_frames: F; before there are F records of an episode the first is repeated.
      statistics: {sensor: (mean [d], std [d])} to standardise by; None leaves the sensors as they are.
      horizon: records of an episode after which its time, then the last number of an observation, is 1; None: an
        observation has no time.
    """

    def __init__(
        self,
        sensors: Sequence[str],
        num_frames: int = 1,
        statistics: Mapping[str, tuple] | None = None,
        horizon: int | None = None,
    ):
        if num_frames < 1:
            raise ValueError(f"An observation of {num_frames} frames is empty; give at least 1.")
        self.sensors, self.num_frames = tuple(sensors), num_frames
        self.statistics, self.horizon = statistics, horizon
        self._frames: np.ndarray | None = None
        self._time: np.ndarray | int = 0

    def size(self, observation_spec: Mapping) -> int:
        """Length of an observation, given the specs of the environment."""
        frame_size = sum(observation_spec[name].shape[0] for name in self.sensors)
        return self.num_frames * frame_size + (self.horizon is not None)

    def __call__(self, records: Records) -> np.ndarray:
        """Turns the records {name: [N, ...]} just received into observations [N, F * O] float32, oldest frame first."""
        if self.horizon is not None:
            self._time = np.where(np.asarray(records["is_first"], bool), 0, self._time + 1)
        return self._timed(self._stacked(records), self._time)

    def _timed(self, observations: np.ndarray, time: np.ndarray | int) -> np.ndarray:
        if self.horizon is None:
            return observations
        column = np.asarray(time, np.float32)[:, None] / np.float32(self.horizon)
        return np.concatenate([observations, column], axis=1)

    def _stacked(self, records: Records) -> np.ndarray:
        newest = self.frame(records)
        if self.num_frames == 1:
            return newest
        repeated = np.repeat(newest[:, None], self.num_frames, axis=1)  # [N, F, O]
        if self._frames is None:
            self._frames = repeated
        shifted = np.concatenate([self._frames[:, 1:], newest[:, None]], axis=1)
        self._frames = np.where(np.asarray(records["is_first"], bool)[:, None, None], repeated, shifted)
        return self._frames.reshape(len(newest), -1)

    def of_episode(self, records: Records) -> np.ndarray:
        """Turns a whole episode {name: [T, ...]} into [T, F * O], as `__call__` does record by record."""
        frames = self.frame(records)  # [T, O]
        index = np.arange(len(frames))[:, None] + np.arange(1 - self.num_frames, 1)[None, :]
        return self._timed(frames[np.maximum(index, 0)].reshape(len(frames), -1), np.arange(len(frames)))

    def frame(self, records: Records) -> np.ndarray:
        """[..., O] float32 of one record each."""

        def standardized(name):
            if self.statistics is None or name not in self.statistics:
                return records[name]
            mean, std = self.statistics[name]
            return (records[name] - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)

        parts = [standardized(name) for name in self.sensors]
        return np.concatenate(parts, axis=-1).astype(np.float32, copy=False)

    def sensors_of(self, observations: np.ndarray, sizes: Mapping[str, int]) -> Records:
        """Recovers {sensor of size d: [T, F, d]} in raw units, oldest frame first, from observations [T, F * O]."""
        if self.horizon is not None:
            observations = observations[:, :-1]
        frames = observations.reshape(len(observations), self.num_frames, -1)
        ends = np.cumsum([sizes[name] for name in self.sensors])[:-1]
        parts = dict(zip(self.sensors, np.split(frames, ends, axis=-1), strict=True))
        for name, (mean, std) in (self.statistics or {}).items():
            if name in parts:
                parts[name] = parts[name] * np.asarray(std, np.float32) + np.asarray(mean, np.float32)
        return parts
