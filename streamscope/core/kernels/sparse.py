"""Products of sparse footprints with images, and the residual of the model on its coarse grids."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel


@kernel
def project(indptr, pixels, weights, image, out):
    """Fill `out` (K,) with A' image; `image` is flat (P,)."""
    for k in range(indptr.shape[0] - 1):
        total = np.float32(0.0)
        for i in range(indptr[k], indptr[k + 1]):
            total += weights[i] * image[pixels[i]]
        out[k] = total


@kernel
def subtract_components(indptr, bins, values, c, grid):
    """Subtract from the flat `grid` the components with activity `c` (K,)."""
    for k in range(c.shape[0]):
        if c[k] != 0.0:
            for i in range(indptr[k], indptr[k + 1]):
                grid[bins[i]] -= c[k] * values[i]


@kernel
def encode(aligned, scale, out):
    """Fill `out` uint16 with `aligned` * `scale`, rounded and clipped."""
    h, w = aligned.shape
    for y in range(h):
        for x in range(w):
            v = aligned[y, x] * scale + np.float32(0.5)
            out[y, x] = np.uint16(min(max(v, np.float32(0.0)), np.float32(65535.0)))


@kernel
def reproject(frames, rects, scale, b0, indptr, pixels, weights, n_slots, out):
    """Fill `out` (n, K) with A' (y - b0) of the first `n_slots` stored frames; outside a frame's field counts 0."""
    w = b0.shape[1]
    for t in range(n_slots):
        y0, y1, x0, x1 = rects[t, 0], rects[t, 1], rects[t, 2], rects[t, 3]
        for k in range(indptr.shape[0] - 1):
            total = np.float32(0.0)
            for i in range(indptr[k], indptr[k + 1]):
                y, x = pixels[i] // w, pixels[i] % w
                if y0 <= y < y1 and x0 <= x < x1:
                    total += weights[i] * (frames[t, y, x] * scale - b0[y, x])
            out[t, k] = total


@kernel
def box_residual(frames, rects, scale, b0, background, step, slots, top, left, out):
    """Fill `out` (n, h, w) with y - b0 - B of a box of the stored frames `slots`; 0 outside a frame's field.

    `background` (N, hl, wl) holds B of each stored frame on the grid of step x step blocks; it is read
    bilinearly between block centres.
    """
    n, h, w = out.shape
    hl, wl = background.shape[1], background.shape[2]
    for i in range(n):
        t = slots[i]
        y0, y1, x0, x1 = rects[t, 0], rects[t, 1], rects[t, 2], rects[t, 3]
        for j in range(h):
            y = top + j
            fy = min(max((y + np.float32(0.5)) / step - np.float32(0.5), np.float32(0.0)), np.float32(hl - 1))
            gy = min(int(fy), max(hl - 2, 0))
            wy = fy - gy
            gy1 = min(gy + 1, hl - 1)
            for k in range(w):
                x = left + k
                if not (y0 <= y < y1 and x0 <= x < x1):
                    out[i, j, k] = 0.0
                    continue
                fx = min(
                    max((x + np.float32(0.5)) / step - np.float32(0.5), np.float32(0.0)), np.float32(wl - 1)
                )
                gx = min(int(fx), max(wl - 2, 0))
                wx = fx - gx
                gx1 = min(gx + 1, wl - 1)
                upper = background[t, gy, gx] * (1 - wx) + background[t, gy, gx1] * wx
                lower = background[t, gy1, gx] * (1 - wx) + background[t, gy1, gx1] * wx
                out[i, j, k] = frames[t, y, x] * scale - b0[y, x] - (upper * (1 - wy) + lower * wy)


@kernel
def follow_mean(aligned, y0, y1, x0, x1, rate, mean, count):
    """Move the running mean image by `rate`, faster (1 / count) where few frames have been seen."""
    for y in range(y0, y1):
        for x in range(x0, x1):
            count[y, x] += np.float32(1.0)
            r = max(rate, np.float32(1.0) / count[y, x])
            mean[y, x] += r * (aligned[y, x] - mean[y, x])


@kernel
def static_background(mean, indptr, pixels, weights, level, out):
    """Fill `out` (flat) with mean - A level: what is left of the mean image when the cells are silent."""
    for p in range(mean.shape[0]):
        out[p] = mean[p]
    for k in range(level.shape[0]):
        for i in range(indptr[k], indptr[k + 1]):
            out[pixels[i]] -= weights[i] * level[k]
    for p in range(mean.shape[0]):  # exactly what is stored: multiples of 1/64
        out[p] = np.floor(out[p] * np.float32(64.0) + np.float32(0.5)) * np.float32(0.015625)
