"""Expert demonstrations of PatchAIL (Liu et al., ICLR 2023): `expert_demos.pkl` of one task.

The file is a pickled list of observations [N, T, 9, 84, 84] (three stacked frames, channels first), states [N, T, S],
actions [N, T, A] and rewards [N, T]. Action t is taken at observation t, so that it led to record t + 1. Reward t is
already what was earned on arrival at record t. The published converter shifts rewards with the actions, one record too
far (harmless there: rewards of demonstrations are not used); ours leaves them where they belong, unless
`published_rewards` asks for the published files.

The demonstrations have `state` instead of the sensors of DeepMind Control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from experiments.data.converters.resizing import resize
from experiments.data.converters.safe_pickle import load_arrays
from worldmodels.data.episodes import Episode


def episodes(config) -> Iterator[tuple[str, Callable[[], Episode]]]:
    """Returns the demonstrations of the file `config.source`.

    Args:
      config: image_size (pixels), env ("" if unknown), published_rewards, suffix, limit (None for all).

    Raises:
      UnsafePickle: the file asks for more than arrays, or is damaged.
      ValueError: it holds something else than the four arrays, in any of its episodes.
    """
    if config.image_size < 1:
        raise ValueError(f"image_size is {config.image_size}; images have at least one pixel.")
    demonstrations = _checked(load_arrays(config.source), config.source)
    metadata = {"source": "patchail", "action_repeat": 2}
    metadata |= {"environment": config.env} if config.env else {}
    for number, parts in enumerate(demonstrations[: config.limit]):

        def make(number=number, parts=parts) -> Episode:
            records = demonstration(
                *parts,
                image_size=config.image_size,
                published_rewards=config.published_rewards,
            )
            return Episode(records, metadata | {"episode": number})

        yield f"{number}{config.suffix}", make


def demonstration(
    observations: np.ndarray,
    states: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray,
    *,
    image_size: int,
    published_rewards: bool = False,
) -> dict[str, np.ndarray]:
    """Records of one demonstration from its arrays [T, ...]; the last action led nowhere and is dropped."""
    num_records = len(observations)
    images = np.moveaxis(observations[:, -3:], 1, -1)
    rewards = np.asarray(rewards, np.float32).reshape(num_records)
    steps = np.arange(num_records)
    return {
        "image": resize(images, image_size, image_size),
        "state": states.reshape(num_records, -1).astype(np.float32),
        "pre_action": _one_later(actions.astype(np.float32)),
        "reward": _one_later(rewards) if published_rewards else np.where(steps == 0, 0, rewards),
        "is_first": steps == 0,
        "is_last": steps == num_records - 1,
        "is_terminal": np.zeros(num_records, bool),
    }


def _one_later(values: np.ndarray) -> np.ndarray:
    """[T, ...] moved by one record, with zeros at the first."""
    return np.concatenate([np.zeros_like(values[:1]), values[:-1]])


def _checked(content: object, source: str) -> list[tuple[np.ndarray, ...]]:
    """(observations, states, actions, rewards) of each demonstration, or a ValueError that says what is wrong."""
    if not isinstance(content, list | tuple) or len(content) != 4 or not all(map(_is_sequence, content)):
        raise ValueError(
            f"{source} holds no list of observations, states, actions and rewards; is it an expert_demos.pkl?"
        )
    if len({len(part) for part in content}) != 1 or not len(content[0]):
        raise ValueError(
            f"{source} has {[len(part) for part in content]} episodes in its four parts; expected equals."
        )
    try:
        demonstrations = [tuple(map(np.asarray, parts)) for parts in zip(*content, strict=True)]
    except ValueError as error:  # lists of arrays of several shapes
        raise ValueError(
            f"{source} has records of several shapes in one episode; expected equals."
        ) from error
    for number, parts in enumerate(demonstrations):
        _check(parts, demonstrations[0], f"{source}, episode {number},")
    return demonstrations


def _is_sequence(part: object) -> bool:
    return isinstance(part, list | tuple) or (isinstance(part, np.ndarray) and part.ndim > 0)


def _check(parts: Sequence[np.ndarray], first: Sequence[np.ndarray], where: str) -> None:
    """Refuses a demonstration whose arrays are of another kind, or do not go together or with the first's."""
    observations, states, actions, rewards = parts
    shape = observations.shape
    channels_first = len(shape) == 4 and 0 not in shape and shape[1] % 3 == 0
    if not channels_first or observations.dtype != np.uint8:
        raise ValueError(
            f"{where} has observations of shape {list(shape)} and dtype {observations.dtype}; "
            "expected uint8 [T, 9, y, x], stacked frames with channels first."
        )
    lengths = [len(part) if part.ndim else 0 for part in parts]
    if len(set(lengths)) != 1 or rewards.size != lengths[0]:
        raise ValueError(
            f"{where} has parts of {lengths} records; expected equals, and one reward per record."
        )
    if actions.ndim != 2 or any(part.dtype.kind not in "fiu" for part in (states, actions, rewards)):
        raise ValueError(
            f"{where} has actions of shape {list(actions.shape)} and values of dtypes {states.dtype}, "
            f"{actions.dtype} and {rewards.dtype}; expected numbers, and actions [T, A]."
        )
    for name, mine, theirs in zip(("observations", "states", "actions"), parts, first, strict=False):
        if mine.shape[1:] != theirs.shape[1:]:
            raise ValueError(
                f"{where} has {name} of shape {list(mine.shape[1:])} per record, the first has "
                f"{list(theirs.shape[1:])}; expected equals."
            )
