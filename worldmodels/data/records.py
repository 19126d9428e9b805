"""The arrays of an episode: their names, and how arrays of any origin get the shapes and dtypes of memory."""

from collections.abc import Mapping, Sequence

import numpy as np

from worldmodels.data.episode_files import EpisodeError

FLAGS = ("is_first", "is_last", "is_terminal")
BOOLEANS = (*FLAGS, "success")
SCALARS = ("reward", "task_id", *BOOLEANS)
REQUIRED = ("pre_action", "reward", *FLAGS)
ROUNDING = 1e-6  # by which an action may leave [-1, 1]
NOT_SENSORS = (*SCALARS, "pre_action", "physics_state")


def stack_records(records: Sequence[Mapping[str, object]]) -> dict[str, np.ndarray]:
    """Stacks T per-step records {name: value [...]} into the arrays {name: [T, ...]} of an episode.

    `success` is False in records that lack it where others have it: some environments define it in a later step.

    Raises:
      EpisodeError: there are no records, or one has other names or shapes than the first.
    """
    if not records:
        raise EpisodeError("stack_records was given no records; an episode has at least its reset record.")
    if any("success" in record for record in records):
        records = [{"success": False, **record} for record in records]
    for index, record in enumerate(records):
        if record.keys() != records[0].keys():
            different = ", ".join(sorted(record.keys() ^ records[0].keys()))
            raise EpisodeError(
                f"Record {index} and record 0 of an episode differ in {different}; every record needs all."
            )
    try:
        stacked = {name: np.stack([np.asarray(record[name]) for record in records]) for name in records[0]}
    except ValueError as error:
        raise EpisodeError(f"The records of an episode have different shapes ({error}).") from error
    return canonical_records(stacked, "an episode being collected")


def canonical_records(records: Mapping[str, np.ndarray], source: object) -> dict[str, np.ndarray]:
    """Brings arrays of any dtype to the shapes and dtypes of the table in `worldmodels.data.episodes`.

    Args:
      records: {name: [T, ...]}.
      source: where they are from, for messages.

    Raises:
      EpisodeError: unequal lengths, no records, not numbers, NaN or infinite values, other ranks, images that are
        not 0..255.
    """
    lengths = {name: len(value) if np.ndim(value) else 0 for name, value in records.items()}
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{name} {length}" for name, length in sorted(lengths.items()))
        raise EpisodeError(
            f"{source} has arrays of unequal length ({listing}); every array needs one row per record."
        )
    if not any(lengths.values()):
        raise EpisodeError(f"{source} has no records; an episode has at least its reset record.")
    return {name: canonical(name, np.asarray(value), source) for name, value in records.items()}


def canonical(name: str, value: np.ndarray, source: object) -> np.ndarray:
    """Brings one array to the shape and dtype of memory; see `canonical_records`."""
    if value.dtype.kind not in "biuf":
        raise EpisodeError(
            f"{source}: {name!r} has dtype {value.dtype}; expected numbers. Remove it or write it again."
        )
    if value.dtype.kind == "f":
        with np.errstate(over="ignore"):
            value = value.astype(np.float64 if name == "physics_state" else np.float32, copy=False)
        finite = np.isfinite(value)
        if not finite.all():
            first = np.argwhere(~finite)[0, 0]
            raise EpisodeError(
                f"{source}: {name!r} has NaN or infinite values, the first in record {first}; find their cause, and "
                "leave the episode out."
            )
    if name in SCALARS:
        if value.size != len(value):
            raise EpisodeError(
                f"{source}: {name!r} has shape {list(value.shape)}; expected one number per record."
            )
        value = value.reshape(-1)
    elif value.ndim == 1:
        value = value[:, None]
    allowed = (1,) if name in SCALARS else (2,) if name in NOT_SENSORS else (2, 4)
    if value.ndim not in allowed:
        expected = "a vector per record, [T, d]" + (", or images, [T, y, x, 3]" if 4 in allowed else "")
        raise EpisodeError(f"{source}: {name!r} has shape {list(value.shape)}; expected {expected}.")
    return _cast(name, value, source)


def _cast(name: str, value: np.ndarray, source: object) -> np.ndarray:
    if name in BOOLEANS:
        return value > 0.5 if value.dtype.kind == "f" else value.astype(bool)
    if name == "task_id":
        return value.astype(np.int64)
    if value.ndim == 4:
        check_image_shape(name, value.shape, source)
        return _as_image(name, value, source)
    return value.astype(np.float64 if name == "physics_state" else np.float32, copy=False)


def check_image_shape(name: str, shape: tuple[int, ...], source: object) -> None:
    """Raises EpisodeError unless images [T, y, x, 3] have this shape."""
    if 0 in shape[1:]:
        raise EpisodeError(f"{source}: image {name!r} has shape {list(shape)}, no pixels; remove it.")
    if shape[-1] == 3:
        return
    if shape[1] == 3:
        raise EpisodeError(
            f"{source}: image {name!r} has shape {list(shape)}, channels before rows; expected [T, y, x, 3]. "
            "`python -m experiments convert` with config.channels_first=True writes it so."
        )
    raise EpisodeError(f"{source}: image {name!r} has shape {list(shape)}; expected colours, [T, y, x, 3].")


def _as_image(name: str, value: np.ndarray, source: object) -> np.ndarray:
    if value.dtype == np.uint8:
        return value
    rounded = value if value.dtype.kind == "b" else np.rint(value)
    in_0_to_1 = value.dtype.kind in "bf" and 0 < value.max() <= 1
    if rounded.min() < 0 or rounded.max() > 255 or in_0_to_1:
        raise EpisodeError(
            f"{source}: image {name!r} has values from {float(value.min()):g} to {float(value.max()):g}; "
            "expected 0 to 255. Scale it before writing (`python -m experiments convert`, config.image_scale)."
        )
    return rounded.astype(np.uint8)


def large_actions(episodes: Sequence[Mapping[str, np.ndarray]]) -> str:
    """Returns a sentence about actions outside [-1, 1] in episodes {name: [T, ...]}; "" if there are none."""
    sizes = [np.abs(each["pre_action"]).max(initial=0) for each in episodes if "pre_action" in each]
    largest = max(sizes, default=0.0)
    if largest <= 1 + ROUNDING:
        return ""
    beyond = sum(size > 1 + ROUNDING for size in sizes)
    return (
        f"{beyond} of {len(episodes)} episodes have actions of up to {largest:g} in "
        "size, and policies act in [-1, 1]; `python -m experiments convert --config=convert:files --config.source=DIR "
        "--config.action_low=LOW --config.action_high=HIGH --workdir=DIR` scales them from the bounds of their space."
    )
