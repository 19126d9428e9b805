"""Expert demonstrations of PatchAIL (Liu et al., ICLR 2023): `expert_demos.pkl` of one task.

The file is a pickled list of observations [N, T, 9, 84, 84] (three stacked frames, channels first), states [N, T, S],
actions [N, T, A] and rewards [N, T]. Action t is taken at observation t, so that it led to record t + 1. Reward t is
already what was earned on arrival at record t. The published converter shifts rewards with the actions, one record too
far (harmless there: rewards of demonstrations are not used); ours leaves them where they belong, unless
`published_rewards` asks for the published files.

The demonstrations have `state` instead of the sensors of DeepMind Control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from experiments.converters.resizing import resize
from experiments.converters.safe_pickle import load_arrays
from worldmodels.episodes import Episode


def episodes(config) -> Iterator[tuple[str, Callable[[], Episode]]]:
    """The demonstrations of the file `config.source`.

    Args:
      config: image_size (pixels), env ("" if unknown), published_rewards, suffix, limit (None for all).

    Raises:
      UnsafePickle: the file asks for more than arrays, or is damaged.
      ValueError: it holds something else than the four arrays.
    """
    observations, states, actions, rewards = _checked(load_arrays(config.source), config.source)
    metadata = {"source": "patchail", "action_repeat": 2}
    metadata |= {"environment": config.env} if config.env else {}
    for number in range(len(observations) if config.limit is None else min(config.limit, len(observations))):

        def make(number=number) -> Episode:
            records = demonstration(
                np.asarray(observations[number]),
                np.asarray(states[number]),
                np.asarray(actions[number]),
                np.asarray(rewards[number]),
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
        "image": resize(images.astype(np.uint8), image_size, image_size),
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


def _checked(content: object, source: str) -> list:
    """The four arrays, or a ValueError that says what is wrong with them."""
    if not isinstance(content, list | tuple) or len(content) != 4:
        raise ValueError(
            f"{source} holds no list of observations, states, actions and rewards; is it an expert_demos.pkl?"
        )
    if len({len(part) for part in content}) != 1 or not len(content[0]):
        raise ValueError(
            f"{source} has {[len(part) for part in content]} episodes in its four parts; expected equals."
        )
    first = np.asarray(content[0][0])
    if first.ndim != 4 or first.shape[1] % 3 or first.dtype != np.uint8:
        raise ValueError(
            f"{source} has observations of shape {list(first.shape)} and dtype {first.dtype} per episode; "
            "expected uint8 [T, 9, y, x], stacked frames with channels first."
        )
    lengths = {len(part[0]) for part in content}
    if len(lengths) != 1:
        raise ValueError(
            f"{source} has parts of {sorted(lengths)} records in its first episode; expected equals."
        )
    return list(content)
