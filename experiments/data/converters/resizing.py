"""Images at another size, as OpenCV's default gives them (bilinear, no smoothing), without OpenCV."""

from __future__ import annotations

import numpy as np

_ONE = 2048  # weights are 11-bit fixed point


def resize(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes uint8 [N, y, x, c] to [N, height, width, c].

    Pixel i of the result looks at (i + 1/2) * y / height - 1/2 of the source and mixes its two neighbours; made
    smaller, an image is therefore not smoothed. The published 64 x 64 demonstrations were made so.
    """
    if images.shape[1:3] == (height, width):
        return images
    rows, row_weights = _neighbours(images.shape[1], height)
    columns, column_weights = _neighbours(images.shape[2], width)
    result = np.empty((len(images), height, width, images.shape[3]), np.uint8)
    for number, image in enumerate(images.astype(np.int32)):
        across = sum(image[:, columns[i]] * column_weights[i][None, :, None] for i in range(2)) >> 4
        down = sum((across[rows[i]] * row_weights[i][:, None, None]) >> 16 for i in range(2))
        result[number] = (down + 2) >> 2
    return result


def _neighbours(size: int, new_size: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the two source indices of each pixel of the result, and their weights."""
    place = ((np.arange(new_size) + 0.5) * (size / new_size) - 0.5).astype(np.float32)
    below = np.floor(place).astype(np.int32)
    share = np.where((below < 0) | (below >= size - 1), 0, place - below).astype(np.float32)
    below = np.clip(below, 0, size - 1)
    indices = [below, np.minimum(below + 1, size - 1)]
    return indices, [np.rint(weight * _ONE).astype(np.int32) for weight in (1 - share, share)]
