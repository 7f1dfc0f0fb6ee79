"""Sums that footprints are refined from, and the refinement itself."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel
from streamscope.core.kernels.ring import apply_ring_locally


@kernel
def accumulate(
    frames, rects, scale, b0, width, W, neighbours, rest, grid, step, slots, indptr, pixels, weight, sums
):
    """Add weighted background-free frames to `sums` (nnz,) of every mask.

    Parameters
    ----------
    frames, rects, scale, b0, width
        Stored frames (N, P) flat, the field of each, their scale, the static background (P,), the row length.
    W, neighbours, rest, grid, step
        The ring, the blocks it is applied to (N, P'), and their grid.
    slots : (n,)
        Stored frames to add.
    indptr, pixels
        Masks, column by column.
    weight : (n, K)
        Weight of each frame for each component; 0 leaves it out.
    """
    for k in range(indptr.shape[0] - 1):
        a, b = indptr[k], indptr[k + 1]
        mask, total = pixels[a:b], sums[a:b]
        r0 = c0 = np.int64(1 << 30)
        r1 = c1 = 0
        for i in range(mask.shape[0]):
            y, x = mask[i] // width, mask[i] % width
            r = int(min(max((y + 0.5) / step - 0.5, 0.0), grid[0] - 1.0))
            c = int(min(max((x + 0.5) / step - 0.5, 0.0), grid[1] - 1.0))
            r0, r1 = min(r0, r), max(r1, min(r + 1, grid[0] - 1))
            c0, c1 = min(c0, c), max(c1, min(c + 1, grid[1] - 1))
        low = np.empty((1, max(r1 - r0 + 1, 0), max(c1 - c0 + 1, 0)), np.float32)
        for i in range(slots.shape[0]):
            if weight[i, k] <= 0:
                continue
            t = slots[i]
            apply_ring_locally(W, neighbours, rest, slots[i : i + 1], r0, c0, grid[1], low)
            frame, factor = frames[t], weight[i, k]
            for j in range(mask.shape[0]):
                y, x = mask[j] // width, mask[j] % width
                if not (rects[t, 0] <= y < rects[t, 1] and rects[t, 2] <= x < rects[t, 3]):
                    continue
                fy = min(max((y + 0.5) / step - 0.5, 0.0), grid[0] - 1.0)
                fx = min(max((x + 0.5) / step - 0.5, 0.0), grid[1] - 1.0)
                r, c = int(fy), int(fx)
                wy, wx = np.float32(fy - r), np.float32(fx - c)
                below, right = min(r + 1, grid[0] - 1) - r0, min(c + 1, grid[1] - 1) - c0
                upper = low[0, r - r0, c - c0] * (1 - wx) + low[0, r - r0, right] * wx
                lower = low[0, below, c - c0] * (1 - wx) + low[0, below, right] * wx
                total[j] += factor * (frame[mask[j]] * scale - b0[mask[j]] - (upper * (1 - wy) + lower * wy))


@kernel
def subtract_overlap(pixels, scratch, other_pixels, other_weights, factor, out):
    """Subtract `factor` times another footprint from `out` on `pixels`; `scratch` (P,) must be and stays -1."""
    for i in range(pixels.shape[0]):
        scratch[pixels[i]] = i
    for j in range(other_pixels.shape[0]):
        i = scratch[other_pixels[j]]
        if i >= 0:
            out[i] -= factor * other_weights[j]
    for i in range(pixels.shape[0]):
        scratch[pixels[i]] = -1
