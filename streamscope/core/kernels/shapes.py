"""Sums that footprints are refined from, and the refinement itself."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel


@kernel
def gather(frames, rects, scale, b0, background, step, slot, pixels, weight, out):
    """Add `weight` (y - b0 - B) of one stored frame at `pixels` to `out`; outside its field nothing is added."""
    width = b0.shape[1]
    hl, wl = background.shape[1], background.shape[2]
    y0, y1, x0, x1 = rects[slot, 0], rects[slot, 1], rects[slot, 2], rects[slot, 3]
    for i in range(pixels.shape[0]):
        y, x = pixels[i] // width, pixels[i] % width
        if not (y0 <= y < y1 and x0 <= x < x1):
            continue
        fy = min(max((y + np.float32(0.5)) / step - np.float32(0.5), np.float32(0.0)), np.float32(hl - 1))
        fx = min(max((x + np.float32(0.5)) / step - np.float32(0.5), np.float32(0.0)), np.float32(wl - 1))
        gy, gx = min(int(fy), max(hl - 2, 0)), min(int(fx), max(wl - 2, 0))
        gy1, gx1 = min(gy + 1, hl - 1), min(gx + 1, wl - 1)
        wy, wx = fy - gy, fx - gx
        upper = background[slot, gy, gx] * (1 - wx) + background[slot, gy, gx1] * wx
        lower = background[slot, gy1, gx] * (1 - wx) + background[slot, gy1, gx1] * wx
        out[i] += weight * (frames[slot, y, x] * scale - b0[y, x] - (upper * (1 - wy) + lower * wy))


@kernel
def accumulate(frames, rects, scale, b0, background, step, slots, indptr, pixels, weight, sums):
    """Add the weighted background-free frames to `sums` (nnz,) of every mask; `weight` is (n, K)."""
    for i in range(slots.shape[0]):
        for k in range(indptr.shape[0] - 1):
            if weight[i, k] > 0:
                a, b = indptr[k], indptr[k + 1]
                gather(
                    frames, rects, scale, b0, background, step, slots[i], pixels[a:b], weight[i, k], sums[a:b]
                )


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
