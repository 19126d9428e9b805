"""Actors that do not learn: uniform and coloured noise, and noise on top of a policy.

The noise of episode k of environment i depends on (seed, i, k) alone, so that a collection that was
interrupted continues with the episodes it would have had. Actors learn of new episodes by `is_first` in the
records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

CORRELATIONS = (0.0, 0.6, 0.8, 0.9, 0.95)
RHYTHM_CORRELATION = 0.6

Records = dict[str, np.ndarray]


class EpisodeRandom:
    """One random generator per environment, a new one for every episode.

    Args:
      num_envs: N.
      seed: of the collection.
      first_episode: number of the episode that each environment plays next.
    """

    def __init__(self, num_envs: int, seed: int, first_episode: int = 0):
        self._seed = seed
        self._next_episode = np.full(num_envs, first_episode)
        self.generators = [np.random.default_rng([seed, env, first_episode]) for env in range(num_envs)]

    def started(self, records: Records) -> np.ndarray:
        """Takes in the records of a step; returns the indices of the environments where an episode starts."""
        starts = np.flatnonzero(records["is_first"])
        for env in starts:
            self.generators[env] = np.random.default_rng([self._seed, env, self._next_episode[env]])
        self._next_episode[starts] += 1
        return starts


def _next_noise(noise: np.ndarray, rho: np.ndarray | float, random: EpisodeRandom) -> np.ndarray:
    """Advances autoregressive noise [N, A] of unit variance by a step."""
    fresh = np.stack([rng.standard_normal(noise.shape[1]) for rng in random.generators])
    return rho * noise + np.sqrt(1 - rho**2) * fresh


class UniformActor:
    """Independent uniform actions in [-1, 1]; arguments as for `EpisodeRandom`."""

    def __init__(self, num_envs: int, action_size: int, *, seed: int, first_episode: int = 0):
        self._action_size = action_size
        self._random = EpisodeRandom(num_envs, seed, first_episode)

    def __call__(self, records: Records) -> np.ndarray:
        """Records {name: [N, ...]} -> actions [N, A] float32."""
        self._random.started(records)
        actions = [rng.uniform(-1, 1, self._action_size) for rng in self._random.generators]
        return np.stack(actions).astype(np.float32)


class GaussianNoise:
    """A policy with independent Gaussian noise on its actions, clipped to [-1, 1].

    Args:
      actor: the policy, records {name: [N, ...]} -> actions [N, A].
      std: of the noise.
      num_envs, seed, first_episode: as for `EpisodeRandom`.
    """

    def __init__(self, actor: Callable, std: float, num_envs: int, *, seed: int, first_episode: int = 0):
        self._actor, self._std = actor, std
        self._random = EpisodeRandom(num_envs, seed, first_episode)

    def __call__(self, records: Records) -> np.ndarray:
        """Records {name: [N, ...]} -> actions [N, A] float32."""
        self._random.started(records)
        actions = self._actor(records)
        noise = [rng.standard_normal(actions.shape[-1]) for rng in self._random.generators]
        return np.clip(actions + self._std * np.stack(noise), -1, 1).astype(np.float32)


class ColouredActor:
    """Smooth flailing: first-order autoregressive noise, different in every joint and episode.

    An episode draws for each joint a correlation rho, for all of them a scale, and, in `wave_share` of the
    episodes, for each joint a sinusoid of random amplitude, period and phase:

        x_t = rho x_{t-1} + sqrt(1 - rho^2) noise_t,   action_t = clip(scale * x_t + wave_t, -1, 1).

    Args:
      num_envs, action_size: N, A.
      seed, first_episode: as for `EpisodeRandom`.
      correlations: what rho is drawn from, per agent step.
      scales: (least, greatest) scale.
      wave_share: share of the episodes with a sinusoid.
      periods: (shortest, longest) period in agent steps, drawn log-uniformly.
    """

    def __init__(
        self,
        num_envs: int,
        action_size: int,
        *,
        seed: int,
        first_episode: int = 0,
        correlations: Sequence[float] = CORRELATIONS,
        scales: tuple[float, float] = (0.3, 1.2),
        wave_share: float = 0.5,
        periods: tuple[float, float] = (5.0, 100.0),
    ):
        if not all(0 <= rho < 1 for rho in correlations):
            raise ValueError(f"Correlations of coloured noise lie in [0, 1), got {list(correlations)}.")
        self._random = EpisodeRandom(num_envs, seed, first_episode)
        self._correlations, self._scales = tuple(correlations), scales
        self._wave_share, self._periods = wave_share, periods
        self._time = np.zeros(num_envs)
        self._scale = np.zeros((num_envs, 1))
        shape = (num_envs, action_size)
        self._rho, self._noise, self._amplitude, self._frequency, self._phase = (
            np.zeros(shape) for _ in range(5)
        )

    def __call__(self, records: Records) -> np.ndarray:
        """Records {name: [N, ...]} -> actions [N, A] float32."""
        for env in self._random.started(records):
            self._begin(env, self._random.generators[env])
        wave = self._amplitude * np.sin(self._frequency * self._time[:, None] + self._phase)
        actions = np.clip(self._scale * self._noise + wave, -1, 1).astype(np.float32)
        self._noise = _next_noise(self._noise, self._rho, self._random)
        self._time += 1
        return actions

    def _begin(self, env: int, rng: np.random.Generator):
        """Draws what characterises an episode, and its first noise from the stationary distribution."""
        size = self._noise.shape[1]
        self._time[env] = 0
        self._rho[env] = rng.choice(self._correlations, size)
        self._scale[env] = rng.uniform(*self._scales)
        self._amplitude[env] = rng.uniform(0, 1, size) * (rng.uniform() < self._wave_share)
        shortest, longest = np.log(self._periods)
        self._frequency[env] = 2 * np.pi / np.exp(rng.uniform(shortest, longest, size))
        self._phase[env] = rng.uniform(0, 2 * np.pi, size)
        self._noise[env] = rng.standard_normal(size)


class RhythmicActor:
    """Gaits by chance: all joints swing with one period, and a new rhythm begins from time to time.

    Animals move by central pattern generators; noise that gives every joint a period of its own hardly ever makes
    a gait. A rhythm lasts a random number of steps and draws one period for all joints and, for each joint, an
    amplitude up to 1.5 (the limits cut it), a phase and an offset within 0.4; coloured noise of a random scale lies
    on top:

        action_t = clip(offset + amplitude sin(2 pi t / period + phase) + scale * x_t, -1, 1),
        x_t = rho x_{t-1} + sqrt(1 - rho^2) noise_t,   rho = 0.6.

    Args:
      num_envs, action_size, seed, first_episode: as for `ColouredActor`.
      periods: (shortest, longest) period in agent steps, drawn log-uniformly.
      lengths: (shortest, longest) rhythm in agent steps.
      scales: (least, greatest) scale of the noise.
    """

    def __init__(
        self,
        num_envs: int,
        action_size: int,
        *,
        seed: int,
        first_episode: int = 0,
        periods: tuple[float, float] = (6.0, 30.0),
        lengths: tuple[int, int] = (50, 250),
        scales: tuple[float, float] = (0.0, 0.5),
    ):
        self._random = EpisodeRandom(num_envs, seed, first_episode)
        self._periods, self._lengths, self._scales = periods, lengths, scales
        self._left = np.zeros(num_envs, int)  # agent steps of the rhythm that are to come
        self._frequency, self._scale = np.zeros((2, num_envs, 1))
        self._amplitude, self._phase, self._offset, self._noise = np.zeros((4, num_envs, action_size))

    def __call__(self, records: Records) -> np.ndarray:
        """Records {name: [N, ...]} -> actions [N, A] float32."""
        size = self._noise.shape[1]
        for env in self._random.started(records):
            self._left[env] = 0
            self._noise[env] = self._random.generators[env].standard_normal(size)
        for env in np.flatnonzero(self._left == 0).tolist():
            self._begin(env, self._random.generators[env])
        actions = self._offset + self._amplitude * np.sin(self._phase) + self._scale * self._noise
        self._noise = _next_noise(self._noise, RHYTHM_CORRELATION, self._random)
        self._phase += self._frequency
        self._left -= 1
        return np.clip(actions, -1, 1).astype(np.float32)

    def _begin(self, env: int, rng: np.random.Generator):
        """Draws a rhythm."""
        size = self._noise.shape[1]
        self._left[env] = rng.integers(*self._lengths, endpoint=True)
        self._frequency[env] = 2 * np.pi / np.exp(rng.uniform(*np.log(self._periods)))
        self._scale[env] = rng.uniform(*self._scales)
        self._amplitude[env] = rng.uniform(0, 1.5, size)
        self._phase[env] = rng.uniform(0, 2 * np.pi, size)
        self._offset[env] = rng.uniform(-0.4, 0.4, size)


class Disturbance:
    """Coloured noise on top of a policy, in a share of the episodes: a more diverse replay.

    Args:
      num_envs, action_size, seed, first_episode, **options: as for `ColouredActor`.
      share: share of the episodes that are disturbed.
    """

    def __init__(
        self, num_envs: int, action_size: int, *, share: float, seed: int, first_episode: int = 0, **options
    ):
        self._share = share
        self._random = EpisodeRandom(num_envs, seed + 1, first_episode)
        self._noise = ColouredActor(num_envs, action_size, seed=seed, first_episode=first_episode, **options)
        self._disturbed = np.zeros((num_envs, 1), bool)

    def __call__(self, records: Records, actions: np.ndarray) -> np.ndarray:
        """Records {name: [N, ...]} and actions [N, A] -> the actions to take, [N, A] float32."""
        for env in self._random.started(records):
            self._disturbed[env] = self._random.generators[env].uniform() < self._share
        noise = self._noise(records)
        return np.where(self._disturbed, np.clip(actions + noise, -1, 1), actions).astype(np.float32)


NOISES = {"uniform": UniformActor, "coloured": ColouredActor, "rhythmic": RhythmicActor}
