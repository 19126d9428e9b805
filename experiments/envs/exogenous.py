"""Exogenous noise: points that move by themselves, whatever the robot does, as people and cars behind it do.

    z_{t+1} = RHO R(2 pi / period) z_t + sqrt(1 - RHO^2) e_t,    z_0, e_t ~ N(0, I),  per agent step

R turns the plane; every point has a period of its own, the same in all episodes. A coordinate has mean 0 and variance 1
at any time. The present place of a point predicts the next one, and no action does. Where there is such noise, what is
learnt from video without actions, by forward modelling or temporal contrast, may be the noise and not the robot, which
needs far more data than actions do (Misra et al., ICLR 2024, arXiv 2403.13765; its lower bound is exponential).

Where the points are is a function of the episode's seed and the agent step alone.
"""

from __future__ import annotations

import numpy as np

from experiments.envs.interface import ArraySpec

RHO = 0.98
PERIODS = (10.0, 100.0)  # agent steps; those of the points divide this range evenly, by their logarithm
_SPREAD = 0.25  # of a picture's height and width, per standard deviation
_RADIUS = 1 / 16  # of a disc, over the shorter side


class ExogenousNoise:
    """Points on their paths, of one episode.

    Args:
      number: N of them.
      seed: what the episode has drawn.
    """

    def __init__(self, number: int, seed: int):
        self._random = np.random.default_rng(seed)
        self._turns = np.exp(2j * np.pi / periods(number))
        self._colours = np.random.default_rng(0).integers(64, 256, (number, 3), np.uint8)
        self._path = [self._drawn()]

    def places(self, step: int) -> np.ndarray:
        """Returns the sensor `exogenous` at an agent step: x and y of every point, [2 N] float32."""
        return self._at(step).view(np.float64).astype(np.float32)

    def draw(self, image: np.ndarray, step: int) -> np.ndarray:
        """Returns a picture, uint8 [height, width, 3], with a disc at every point, before all else."""
        height, width = image.shape[:2]
        rows, columns = np.mgrid[:height, :width]
        radius, image = max(1.0, min(height, width) * _RADIUS), image.copy()
        for place, colour in zip(self._at(step), self._colours, strict=True):
            row, column = height * (0.5 - _SPREAD * place.imag), width * (0.5 + _SPREAD * place.real)
            image[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = colour
        return image

    def _at(self, step: int) -> np.ndarray:
        """Returns the places x + iy at an agent step, complex [N]."""
        while len(self._path) <= step:
            fresh = np.sqrt(1 - RHO**2) * self._drawn()
            self._path.append(RHO * self._turns * self._path[-1] + fresh)
        return self._path[step]

    def _drawn(self) -> np.ndarray:
        return self._random.standard_normal(2 * len(self._turns)).view(np.complex128)


def periods(number: int) -> np.ndarray:
    """Returns the periods of so many points in agent steps, [N], the shortest first."""
    shares = (np.arange(number) + 0.5) / number
    return PERIODS[0] * (PERIODS[1] / PERIODS[0]) ** shares


def spec(number: int) -> ArraySpec:
    """Returns the spec of the sensor `exogenous` of so many points."""
    return ArraySpec((2 * number,), "float32")
