"""Which parts demonstrations have in common, without labels: the voting alignment of EIL, and what to keep by it.

EIL (Zheng et al. 2022, arXiv 2210.01379) looks for extraneous segments, such as a detour or a pause, in
demonstrations of one task. All go through their frames together. At each step a demonstration elects the frame, of
those still to come, that is most often the nearest one to the present frames of the others; the mean of what all have
elected is the reference; and each jumps to the earlier of the two later frames that are most like the reference. What
a demonstration alone shows is jumped over.

EIL trains embeddings for it, with actions, and clones what is matched, frame by frame. Here the embeddings are those of
a world model, standardised and compared by their cosine, and what is learnt from are sequences: so all records between
two matched frames are kept unless they are many. Tasks should have a beginning and an end: a gait repeats itself, and
every stride is like every other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def aligned(embeddings: Sequence[np.ndarray], *, tolerance: int = 2) -> np.ndarray:
    """Returns the frames of N demonstrations that are matched, in order, [N, K]: first and last ones among them.

    Args:
      embeddings: of each demonstration, [T_n, E].
      tolerance: of so many later frames that are most like the reference, the earliest is jumped to.

    Raises:
      ValueError: there is only one demonstration.
    """
    if len(embeddings) < 2:
        raise ValueError("What demonstrations have in common is found among two at least; show more of them.")
    units, last = _units(embeddings), np.array([len(each) - 1 for each in embeddings])
    frames = np.zeros(len(units), int)
    matched = [frames]
    while (frames < last).any():
        rest = [unit[frame:] for unit, frame in zip(units, frames, strict=True)]
        present = np.stack([each[0] for each in rest])
        elected = []
        for index, each in enumerate(rest):
            nearest = (np.delete(present, index, axis=0) @ each.T).argmax(axis=1)
            elected.append(each[np.bincount(nearest).argmax()])
        reference = np.mean(elected, axis=0)
        jumps = [_jump(each[1:] @ reference, tolerance) for each in rest]
        frames = np.minimum(frames + jumps, last)
        matched.append(frames)
    return np.stack(matched, axis=1)


def common_parts(frames: np.ndarray, *, max_gap: int, min_length: int) -> list[slice]:
    """Returns the parts of a demonstration to keep: records around matched frames that follow each other closely.

    Args:
      frames: [K] matched, in order.
      max_gap: records between two matched frames are kept if these are at most so far apart.
      min_length: records that a part has at least.
    """
    frames = np.unique(frames)
    breaks = np.flatnonzero(np.diff(frames) > max_gap) + 1
    parts = [slice(int(part[0]), int(part[-1]) + 1) for part in np.split(frames, breaks)]
    return [part for part in parts if part.stop - part.start >= min_length]


def _jump(likeness: np.ndarray, tolerance: int) -> int:
    """Returns how many frames further the earliest of the best is; 1 where fewer are left."""
    if len(likeness) < tolerance:
        return 1
    return int(np.argsort(likeness, kind="stable")[-tolerance:].min()) + 1


def _units(embeddings: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns embeddings standardised over all frames, of norm 1."""
    every = np.concatenate(embeddings)
    mean, std = every.mean(axis=0), every.std(axis=0) + 1e-8
    standardised = [(each - mean) / std for each in embeddings]
    return [each / (np.linalg.norm(each, axis=1, keepdims=True) + 1e-8) for each in standardised]
