"""Slow, plain twins of the kernels that work on frames as they come."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.types import DoubleArray, FloatArray, LongArray


def look(
    image: NDArray[np.generic], top: float, side: int, n: int, m: int
) -> tuple[int, DoubleArray, DoubleArray, DoubleArray]:
    """Return full pixels of even rows, grain and level of n x m tiles, and the mean of each row."""
    values = image.astype(np.float64)
    wide = values.shape[1] // m
    grain, level = np.zeros((n, m)), np.zeros((n, m))
    for i in range(n):
        first, last = i * side, len(values) if i == n - 1 else (i + 1) * side
        for j in range(m):
            tile = values[first:last, j * wide : (j + 1) * wide]
            grain[i, j] = np.abs(np.diff(tile[first % 2 :: 2], 2, axis=1)).mean()
            level[i, j] = tile[first % 2 :: 2].mean()
    return int((values[::2] >= top).sum()), grain, level, values.mean(1)


def band_agreements(moved: FloatArray, template: FloatArray, weight: FloatArray, n: int) -> DoubleArray:
    """Return the weighted correlation of every second row of n bands."""
    side = max(len(moved) // n, 1)
    out = np.zeros(n)
    for i in range(n):
        rows = slice(i * side, len(moved) if i == n - 1 else (i + 1) * side, 2)
        w, a, b = (x[rows].astype(np.float64) for x in (weight, moved, template))
        out[i] = (w * a * b).sum() / np.sqrt((w * a * a).sum() * (w * b * b).sum())
    return out


def block_sums(image: NDArray[np.unsignedinteger[Any]], side: int) -> LongArray:
    """Return the sums of the whole blocks of side x side pixels."""
    h, w = image.shape[0] // side, image.shape[1] // side
    out = np.zeros((h, w), np.int64)
    for y in range(h):
        for x in range(w):
            out[y, x] = image[y * side : (y + 1) * side, x * side : (x + 1) * side].sum(dtype=np.int64)
    return out
