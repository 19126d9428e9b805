"""Gymnasium's spaces as sensors and actions of ours: names, shapes, pixels and scales, judged before any step.

Spaces are recognised by what they have, so that data sets can be read whose spaces come from another package.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.envs.interface import ArraySpec
from worldmodels.data.episode_files import RESERVED_NAMES
from worldmodels.data.records import NOT_SENSORS

_WAY_OUT = "change it with a gymnasium.ObservationWrapper"


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One leaf of an observation space, which becomes a sensor.

    Attributes:
      name: of the sensor. path: keys that lead to the leaf.
      space: the leaf.
      spec: of the sensor: float32 [d], or uint8 [y, x, 3].
    """

    name: str
    path: tuple[Any, ...]
    space: Any
    spec: ArraySpec

    def read(self, observation: Any, where: str, *, num_axes: int = 0) -> np.ndarray:
        """Returns the sensor in an observation, or in many at once: [..., d] or [..., y, x, 3].

        Args:
          observation: in the whole space.
          where: it is from, for messages.
          num_axes: of its arrays in front of those that the space has.

        Raises:
          ValueError: the observation is not in the space, or not finite.
        """
        for key in self.path:
            try:
                observation = observation[key]
            except (KeyError, IndexError, TypeError):
                raise ValueError(f"{where} lacks {key!r}, which its observation space has.") from None
        value, shape = np.asarray(observation), tuple(self.space.shape or ())
        lead = value.shape[:num_axes]
        if value.shape != (*lead, *shape) or value.dtype.kind not in "biuf":
            raise ValueError(
                f"{where} has {self.name!r} of shape {list(value.shape)} and dtype {value.dtype}, its space says "
                f"{self.space}; make the two agree."
            )
        if len(self.spec.shape) == 3:
            value = value.reshape(*lead, *_image_shape(self.space))
            return _image(value, self.space, f"{where} has an image {self.name!r}")
        if hasattr(self.space, "nvec") or (hasattr(self.space, "n") and not shape):
            value = _one_hot(value, self.space, lead, f"{where} has {self.name!r}")
        with np.errstate(over="ignore"):
            vector = value.reshape(*lead, *self.spec.shape).astype(np.float32)
        if not np.isfinite(vector).all():
            raise ValueError(f"{where} has NaN or infinite values in {self.name!r}; find their cause.")
        return vector


def sensors_of(space: Any, where: str, wanted: Callable[[str], bool] = lambda name: True) -> list[Leaf]:
    """Returns the sensors of an observation space.

    A vector becomes `state`, an image `image`; a dict gives its keys, nested ones joined by "_". What is named like a
    part of the records, such as `reward`, becomes `observed_reward`. Discrete values become one-hot vectors.

    Args:
      space: Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of these.
      where: it is from, for messages.
      wanted: whether the sensor of a name is; of others nothing is asked.

    Raises:
      ValueError: another space, images that cannot be scaled to 0..255 or have other than 1 or 3 channels, or two
        sensors of one name.
    """
    found: dict[str, Leaf] = {}
    for name, (path, leaf) in zip(names_of(space), _leaves(space), strict=True):
        if not wanted(name):
            continue
        spec = _spec(leaf, f"{where} has the observation {'/'.join(map(str, path)) or 'space'!r}")
        if name in found:
            raise ValueError(
                f"{where} has two observations that would both be the sensor {name!r}; rename one: {_WAY_OUT}."
            )
        found[name] = Leaf(name, path, leaf, spec)
    if not found:
        raise ValueError(f"{where} has the observation space {space}, in which there is nothing to see.")
    return list(found.values())


def names_of(space: Any) -> list[str]:
    """Returns the names of all sensors of an observation space, of those too that cannot be used."""
    names = []
    for path, leaf in _leaves(space):
        alone = "image" if len(_image_shape(leaf)) == 3 else "state"
        name = "_".join(str(key) for key in path).replace("/", "_").replace("\0", "_") or alone
        names.append(f"observed_{name}" if name in (*NOT_SENSORS, *RESERVED_NAMES) else name)
    return names


def boxes_of(
    sensors: Mapping[str, tuple[int, ...]], action_size: int, low: Sequence[float], high: Sequence[float]
) -> tuple[Any, Any]:
    """Makes Gymnasium's spaces of records.

    Args:
      sensors: {name: shape of a vector or, with three axes, of an image}.
      action_size, low, high: number of actions, and the bounds of all or of each.

    Returns:
      (Dict space of the sensors, Box of the actions), float32 but for images.
    """
    from gymnasium.spaces import Box, Dict

    seen: dict[str, Any] = {
        name: Box(0, 255, shape, np.uint8) if len(shape) == 3 else Box(-np.inf, np.inf, shape, np.float32)
        for name, shape in sensors.items()
    }
    least, most = (np.broadcast_to(np.asarray(bound, np.float32), (action_size,)) for bound in (low, high))
    return Dict(seen), Box(least, most, dtype=np.float32)


def _leaves(space: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yields (keys, space) of everything that is not a Dict or Tuple."""
    parts = getattr(space, "spaces", None)
    if parts is None or type(space).__name__ == "OneOf":  # which changes its part from step to step
        yield path, space
        return
    for key, part in parts.items() if isinstance(parts, Mapping) else enumerate(parts):
        yield from _leaves(part, (*path, key))


def _spec(space: Any, what: str) -> ArraySpec:
    """Returns the spec of the sensor that a leaf becomes; `what` it is, for messages."""
    if hasattr(space, "nvec"):  # MultiDiscrete
        return ArraySpec((int(np.sum(space.nvec)),), "float32")
    if hasattr(space, "n"):  # Discrete, or MultiBinary, which has a shape
        return ArraySpec((math.prod(space.shape) if space.shape else int(space.n),), "float32")
    if getattr(space, "low", None) is None:
        raise ValueError(f"{what} in {space}; vectors, images and discrete values are supported: {_WAY_OUT}.")
    if len(space.shape) > 3:
        raise ValueError(
            f"{what} in {space}, with more axes than a picture has; leave stacks of frames out, since world models "
            f"remember, and make of other arrays a vector or a picture: {_WAY_OUT}."
        )
    shape = _image_shape(space)
    if len(shape) != 3:
        return ArraySpec((math.prod(shape),), "float32")
    _pixel_bounds(space, what)
    rows, columns, _ = _channels_last(shape, what)
    return ArraySpec((rows, columns, 3), "uint8", 0, 255)


def _image_shape(space: Any) -> tuple[int, ...]:
    """Returns the shape of a space; that of a grey picture of bytes, [y, x], with its channel."""
    shape = tuple(getattr(space, "shape", None) or ())
    low, high = np.asarray(getattr(space, "low", 0)), np.asarray(getattr(space, "high", 0))
    grey = len(shape) == 2 and low.dtype == np.uint8 and (low == 0).all() and (high == 255).all()
    return (*shape, 1) if grey else shape


def _channels_last(shape: tuple[int, ...], what: str) -> tuple[int, ...]:
    """Returns (y, x, channels) of an image's shape."""
    for order in ((0, 1, 2), (1, 2, 0)):
        rows, columns, channels = (shape[axis] for axis in order)
        if channels in (1, 3) and rows and columns:
            return rows, columns, channels
    raise ValueError(
        f"{what} of shape {list(shape)}, neither [y, x, channels] nor [channels, y, x] with 1 or 3 channels; "
        f"{_WAY_OUT}."
    )


def _pixel_bounds(space: Any, what: str) -> tuple[float, float]:
    """Returns what black and white are in an image's space."""
    low, high = (np.unique(np.asarray(bound, np.float64)) for bound in (space.low, space.high))
    if len(low) != 1 or len(high) != 1 or not np.isfinite([low, high]).all() or low[0] >= high[0]:
        raise ValueError(
            f"{what} in {space}, whose bounds do not say what black and white are; give all its pixels one finite "
            f"bound, such as 0 and 255 or 0 and 1: {_WAY_OUT}."
        )
    return float(low[0]), float(high[0])


def _image(value: np.ndarray, space: Any, what: str) -> np.ndarray:
    """Returns images [..., y, x, 3] uint8 from those of a space, scaled by its bounds."""
    if _channels_last(_image_shape(space), what) != _image_shape(space):
        value = np.moveaxis(value, -3, -1)
    low, high = _pixel_bounds(space, what)
    if value.dtype != np.uint8 or (low, high) != (0, 255):
        lowest, highest = float(value.min()), float(value.max())
        slack = 1e-3 * (high - low)
        if not (low - slack <= lowest and highest <= high + slack):
            raise ValueError(
                f"{what} with values from {lowest:g} to {highest:g}, its space says {low:g} to {high:g}; make the two "
                "agree."
            )
        if value.dtype.kind == "f" and high - low > 2 and 0 < highest - low <= 1:
            raise ValueError(
                f"{what} with values up to {highest:g}, which is black where its space says {low:g} to {high:g}; make "
                "the two agree."
            )
        scaled = (value.astype(np.float32) - low) * (255 / (high - low))
        value = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return np.repeat(value, 3, axis=-1) if value.shape[-1] == 1 else np.ascontiguousarray(value)


def _one_hot(value: np.ndarray, space: Any, lead: tuple[int, ...], what: str) -> np.ndarray:
    """Returns discrete values [..., *shape] as vectors of zeros and ones, [..., sum of their numbers]."""
    sizes = np.ravel(getattr(space, "nvec", getattr(space, "n", 0)))
    start = np.broadcast_to(np.ravel(getattr(space, "start", 0)), sizes.shape)
    indices = value.reshape(*lead, len(sizes)).astype(np.int64) - start
    if (indices < 0).any() or (indices >= sizes).any():
        raise ValueError(f"{what} with values from {value.min()} to {value.max()}, its space says {space}.")
    return np.concatenate([indices[..., i, None] == np.arange(n) for i, n in enumerate(sizes)], axis=-1)


@dataclasses.dataclass(frozen=True)
class ActionScale:
    """Actions in [-1, 1] as those of a bounded space, and back.

    Attributes:
      low, high: bounds, [A] in the space's own dtype.
      shape: of an action in the space.
    """

    low: np.ndarray
    high: np.ndarray
    shape: tuple[int, ...]

    @classmethod
    def of(cls, space: Any, where: str) -> "ActionScale":
        """Makes the scale of an action space; raises ValueError unless its actions are bounded and continuous."""
        low, high = getattr(space, "low", None), getattr(space, "high", None)
        if low is None or high is None or np.asarray(low).dtype.kind != "f" or not np.size(low):
            raise ValueError(
                f"{where} has the action space {space}; only continuous actions are supported, so that nothing is "
                "played: wrap it with a gymnasium.ActionWrapper that takes a bounded Box of floats."
            )
        largest = min(float(np.finfo(low.dtype).max), float(np.finfo(np.float32).max))
        size = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
        if not (size < largest).all() or not (low < high).all():
            raise ValueError(
                f"{where} has the action space {space}, whose bounds cannot be scaled to [-1, 1]; wrap it with "
                "gymnasium.wrappers.RescaleAction or a Box with finite low below high."
            )
        return cls(low.reshape(-1), high.reshape(-1), tuple(np.shape(low)))

    def bounds(self) -> dict[str, list[float]]:
        """Returns {"low": [A], "high": [A]}, as the metadata of episodes keep it."""
        return {"low": self.low.astype(np.float64).tolist(), "high": self.high.astype(np.float64).tolist()}

    def to_space(self, action: np.ndarray) -> np.ndarray:
        """Returns actions [A] in [-1, 1] as those of the space, within its bounds and in its dtype."""
        low, high = self.low.astype(np.float64), self.high.astype(np.float64)
        scaled = low + (np.asarray(action, np.float64) + 1) / 2 * (high - low)
        return np.clip(scaled.astype(self.low.dtype), self.low, self.high).reshape(self.shape)

    def from_space(self, actions: np.ndarray) -> np.ndarray:
        """Returns actions [T, ...] of the space scaled to [-1, 1], float32 [T, A]."""
        low, high = self.low.astype(np.float64), self.high.astype(np.float64)
        flat = np.asarray(actions, np.float64).reshape(len(actions), -1)
        return (2 * (flat - low) / (high - low) - 1).astype(np.float32)
