"""Greedy search for cells in a binned, background-free movie, time last.

At each block the score is peak over noise times the mean correlation with the four neighbours. The best block is
taken, a footprint is regressed around it, both are subtracted, and the scores near it are computed again.
"""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel
from streamscope.types import FloatArray


@kernel
def pair_correlation(a: FloatArray, b: FloatArray, low_a: float, low_b: float) -> float:
    """Return the correlation of two series, values under their `low` set to 0."""
    n = a.shape[0]
    sa = np.float32(0.0)
    sb = np.float32(0.0)
    aa = np.float32(0.0)
    bb = np.float32(0.0)
    ab = np.float32(0.0)
    for t in range(n):
        x = a[t] if a[t] > low_a else np.float32(0.0)
        y = b[t] if b[t] > low_b else np.float32(0.0)
        sa += x
        sb += y
        aa += x * x
        bb += y * y
        ab += x * y
    va = aa - sa * sa / n
    vb = bb - sb * sb / n
    if va <= 0.0 or vb <= 0.0:
        return 0.0
    return float((ab - sa * sb / n) / np.sqrt(va * vb))


@kernel
def score_box(
    Z: FloatArray,
    grid: tuple[int, int],
    noise: FloatArray,
    box: tuple[int, int, int, int],
    right: FloatArray,
    down: FloatArray,
    peak: FloatArray,
    score: FloatArray,
) -> None:
    """Compute the scores (P',) anew inside box (y0, y1, x0, x1) of Z (P', T).

    `right` and `down` (P',) keep the correlations with the right and lower neighbours, `peak` the largest value
    over noise.
    """
    h, w = grid
    y0, y1, x0, x1 = box
    for y in range(y0, y1):
        for x in range(x0, x1):
            p = y * w + x
            top = np.float32(0.0)
            for t in range(Z.shape[1]):
                top = max(top, Z[p, t])
            peak[p] = top / noise[p]
            if x + 1 < w:
                right[p] = pair_correlation(Z[p], Z[p + 1], 2 * noise[p], 2 * noise[p + 1])
            if y + 1 < h:
                down[p] = pair_correlation(Z[p], Z[p + w], 2 * noise[p], 2 * noise[p + w])
    for y in range(max(y0 - 1, 0), min(y1 + 1, h)):
        for x in range(max(x0 - 1, 0), min(x1 + 1, w)):
            p = y * w + x
            total = np.float32(0.0)
            n = 0
            if x + 1 < w:
                total += right[p]
                n += 1
            if x > 0:
                total += right[p - 1]
                n += 1
            if y + 1 < h:
                total += down[p]
                n += 1
            if y > 0:
                total += down[p - w]
                n += 1
            score[p] = peak[p] * max(total, np.float32(0.0)) / np.float32(n)


@kernel
def core_trace(
    Z: FloatArray, grid: tuple[int, int], seed: int, radius: float, least: float, trace: FloatArray
) -> int:
    """Fill `trace` (T,) with the mean of Z over the blocks near `seed` that correlate with it; return how many."""
    h, w = grid
    cy = seed // w
    cx = seed % w
    reach = int(radius)
    for t in range(trace.shape[0]):
        trace[t] = Z[seed, t]
    n = 1
    for y in range(max(cy - reach, 0), min(cy + reach + 1, h)):
        for x in range(max(cx - reach, 0), min(cx + reach + 1, w)):
            q = y * w + x
            if q == seed or (y - cy) ** 2 + (x - cx) ** 2 > radius * radius:
                continue
            if pair_correlation(Z[seed], Z[q], -1e30, -1e30) > least:
                for t in range(trace.shape[0]):
                    trace[t] += Z[q, t]
                n += 1
    for t in range(trace.shape[0]):
        trace[t] /= np.float32(n)
    return n


@kernel
def ring_trace(
    X: FloatArray, grid: tuple[int, int], seed: int, inner: float, outer: float, trace: FloatArray
) -> None:
    """Fill `trace` (T,) with the mean of X over the blocks between two radii around `seed`."""
    h, w = grid
    cy = seed // w
    cx = seed % w
    reach = int(outer)
    trace[:] = np.float32(0.0)
    n = 0
    for y in range(max(cy - reach, 0), min(cy + reach + 1, h)):
        for x in range(max(cx - reach, 0), min(cx + reach + 1, w)):
            d2 = (y - cy) ** 2 + (x - cx) ** 2
            if inner * inner <= d2 <= outer * outer:
                for t in range(trace.shape[0]):
                    trace[t] += X[y * w + x, t]
                n += 1
    for t in range(trace.shape[0]):
        trace[t] /= np.float32(max(n, 1))


@kernel
def take_mean_off(trace: FloatArray) -> None:
    """Subtract from `trace` (T,) its mean."""
    total = 0.0
    for t in range(trace.shape[0]):
        total += trace[t]
    mean = np.float32(total / trace.shape[0])
    for t in range(trace.shape[0]):
        trace[t] -= mean


@kernel
def regress_box(
    X: FloatArray,
    grid: tuple[int, int],
    seed: int,
    radius: int,
    trace: FloatArray,
    around: FloatArray,
    out: FloatArray,
) -> None:
    """Fill `out` (2 radius + 1, 2 radius + 1) with each block's coefficient of `trace`, beside `around` and 1.

    `trace` and `around` (T,) have mean 0. Blocks outside the field or farther than `radius` get 0.
    """
    h, w = grid
    cy = seed // w
    cx = seed % w
    cc = 0.0
    cb = 0.0
    bb = 0.0
    for t in range(trace.shape[0]):
        cc += trace[t] * trace[t]
        cb += trace[t] * around[t]
        bb += around[t] * around[t]
    det = cc * bb - cb * cb
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            out[dy + radius, dx + radius] = 0.0
            y = cy + dy
            x = cx + dx
            if y < 0 or y >= h or x < 0 or x >= w or dy * dy + dx * dx > radius * radius:
                continue
            q = y * w + x
            xc = np.float32(0.0)
            xb = np.float32(0.0)
            for t in range(trace.shape[0]):
                xc += X[q, t] * trace[t]
                xb += X[q, t] * around[t]
            if det > 1e-6 * cc * bb:
                out[dy + radius, dx + radius] = (xc * bb - xb * cb) / det
            elif cc > 0.0:
                out[dy + radius, dx + radius] = xc / cc


@kernel
def keep_connected(image: FloatArray, floor: float, start_y: int, start_x: int) -> int:
    """Set to 0 what is at most `floor` or not 4-connected with the start; return the number of pixels kept."""
    h, w = image.shape
    keep = np.zeros((h, w), np.bool_)
    stack = np.empty(h * w, np.int64)
    n_stack = 0
    if image[start_y, start_x] > floor:
        stack[0] = start_y * w + start_x
        keep[start_y, start_x] = True
        n_stack = 1
    n = 0
    while n_stack > 0:
        n_stack -= 1
        y = stack[n_stack] // w
        x = stack[n_stack] % w
        n += 1
        for side in range(4):
            yy = y + (1 if side == 0 else -1 if side == 1 else 0)
            xx = x + (1 if side == 2 else -1 if side == 3 else 0)
            if 0 <= yy < h and 0 <= xx < w and not keep[yy, xx] and image[yy, xx] > floor:
                keep[yy, xx] = True
                stack[n_stack] = yy * w + xx
                n_stack += 1
    for y in range(h):
        for x in range(w):
            if not keep[y, x]:
                image[y, x] = 0.0
    return n


@kernel
def subtract_cell(
    X: FloatArray,
    Z: FloatArray,
    grid: tuple[int, int],
    seed: int,
    shape: FloatArray,
    stencil: FloatArray,
    trace: FloatArray,
) -> None:
    """Subtract shape (n, n) times trace (T,), centred on `seed`, from X, and its filtered version from Z (P', T)."""
    h, w = grid
    cy = seed // w
    cx = seed % w
    r = shape.shape[0] // 2
    s = stencil.shape[0] // 2
    for dy in range(-r - s, r + s + 1):
        for dx in range(-r - s, r + s + 1):
            y = cy + dy
            x = cx + dx
            if y < 0 or y >= h or x < 0 or x >= w:
                continue
            value = np.float32(0.0)
            for i in range(-s, s + 1):
                for j in range(-s, s + 1):
                    if -r <= dy - i <= r and -r <= dx - j <= r:
                        value += stencil[i + s, j + s] * shape[dy - i + r, dx - j + r]
            q = y * w + x
            if value != 0.0:
                for t in range(trace.shape[0]):
                    Z[q, t] -= value * trace[t]
            if -r <= dy <= r and -r <= dx <= r and shape[dy + r, dx + r] != 0.0:
                for t in range(trace.shape[0]):
                    X[q, t] -= shape[dy + r, dx + r] * trace[t]


@kernel
def peel(
    X: FloatArray,
    Z: FloatArray,
    grid: tuple[int, int],
    noise: FloatArray,
    stencil: FloatArray,
    diameter: float,
    threshold: float,
    border: int,
    right: FloatArray,
    down: FloatArray,
    peak: FloatArray,
    score: FloatArray,
    seeds: FloatArray,
    shapes: FloatArray,
    traces: FloatArray,
) -> int:
    """Take cells off X and Z (P', T) until no score reaches `threshold`; return how many were found.

    What lies within 0.9 diameters of an earlier find and does the same is taken off, but is not a find.

    `seeds` (N, 3) gets block, score and peak, `shapes` (N, 2 r + 1, 2 r + 1) the footprints around the seed,
    `traces` (N, T) their traces. `diameter` is in blocks.
    """
    h, w = grid
    radius = shapes.shape[1] // 2
    reach = radius + stencil.shape[0] // 2 + 1
    around = np.empty(X.shape[1], np.float32)
    closed = np.zeros(h * w, np.bool_)
    for y in range(h):
        for x in range(w):
            if y < border or y >= h - border or x < border or x >= w - border:
                closed[y * w + x] = True
    n = 0
    while n < seeds.shape[0]:
        best = np.float32(0.0)
        seed: int = np.int64(-1)  # type: ignore[assignment]  # typed: a literal compiles its users twice
        for p in range(h * w):
            if score[p] > best and not closed[p]:
                best = score[p]
                seed = p
        if seed < 0 or best < threshold:
            break
        closed[seed] = True
        cy = seed // w
        cx = seed % w
        core_trace(Z, grid, seed, max(diameter / 2, 1.0), 0.7, traces[n])
        ring_trace(X, grid, seed, 1.2 * diameter, 1.8 * diameter, around)
        take_mean_off(traces[n])
        take_mean_off(around)
        regress_box(X, grid, seed, radius, traces[n], around, shapes[n])
        top = shapes[n, radius, radius]
        size = keep_connected(shapes[n], 0.2 * top, radius, radius) if top > 0.0 else 0
        if size < 2:
            continue
        seeds[n, 0] = seed
        seeds[n, 1] = best
        seeds[n, 2] = peak[seed]
        fragment = False
        for i in range(n):
            oy = int(seeds[i, 0]) // w - cy
            ox = int(seeds[i, 0]) % w - cx
            if oy * oy + ox * ox < 0.81 * diameter * diameter:
                fragment |= pair_correlation(traces[i], traces[n], -1e30, -1e30) > 0.4
        subtract_cell(X, Z, grid, seed, shapes[n], stencil, traces[n])
        box = (max(cy - reach, 0), min(cy + reach + 1, h), max(cx - reach, 0), min(cx + reach + 1, w))
        score_box(Z, grid, noise, box, right, down, peak, score)
        if not fragment:
            n += 1
    return n
