"""Sums that footprints are refined from, and the refinement itself."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel


@kernel
def accumulate(
    frames,
    rects,
    scale,
    b0,
    width,
    background,
    first_row,
    first_col,
    grid,
    step,
    slots,
    indptr,
    pixels,
    weight,
    sums,
):
    """Add weighted background-free frames to `sums` (nnz,) of every mask.

    Parameters
    ----------
    frames, rects, scale, b0, width
        Stored frames (N, P) flat, the field of each, their scale, the static background (P,), the row length.
    background, first_row, first_col, grid, step
        B (n, hb, wb) of these frames on the blocks from (first_row, first_col) on, their grid, their side in pixels.
    slots : (n,)
        Stored frames to add.
    indptr, pixels
        Masks, column by column.
    weight : (n, K)
        Weight of each frame for each component; 0 leaves it out.
    """
    n_cols = background.shape[2]
    blocks = background.reshape(background.shape[0], -1)
    most = 0
    for k in range(indptr.shape[0] - 1):
        most = max(most, indptr[k + 1] - indptr[k])
    block, right, below = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    wy, wx = np.empty(most, np.float32), np.empty(most, np.float32)
    for k in range(indptr.shape[0] - 1):
        a, b = indptr[k], indptr[k + 1]
        mask, total = pixels[a:b], sums[a:b]
        for j in range(mask.shape[0]):
            y, x = mask[j] // width, mask[j] % width
            fy = min(max((y + 0.5) / step - 0.5, 0.0), grid[0] - 1.0)
            fx = min(max((x + 0.5) / step - 0.5, 0.0), grid[1] - 1.0)
            r, c = int(fy), int(fx)
            block[j] = (r - first_row) * n_cols + c - first_col
            right[j] = min(c + 1, grid[1] - 1) - c
            below[j] = (min(r + 1, grid[0] - 1) - r) * n_cols
            wy[j], wx[j] = fy - r, fx - c
        for i in range(slots.shape[0]):
            if weight[i, k] <= 0:
                continue
            t = slots[i]
            frame, low, factor = frames[t], blocks[i], weight[i, k]
            for j in range(mask.shape[0]):
                y, x = mask[j] // width, mask[j] % width
                if not (rects[t, 0] <= y < rects[t, 1] and rects[t, 2] <= x < rects[t, 3]):
                    continue
                q, e, s = block[j], right[j], below[j]
                upper = low[q] + wx[j] * (low[q + e] - low[q])
                lower = low[q + s] + wx[j] * (low[q + s + e] - low[q + s])
                B = upper + wy[j] * (lower - upper)
                total[j] += factor * (np.float32(frame[mask[j]]) * scale - b0[mask[j]] - B)


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
