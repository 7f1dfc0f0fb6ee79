"""Slow, plain twins of the kernels that only the refit uses."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label
from scipy.signal import convolve2d

from streamscope.types import DoubleArray

Floats: TypeAlias = NDArray[np.floating[Any]]


def correlation(a: Floats, b: Floats) -> float:
    """Return Pearson's r of two series, 0 if one of them is constant."""
    u, v = a.astype(np.float64), b.astype(np.float64)
    u, v = u - u.mean(), v - v.mean()
    norm = np.sqrt((u @ u) * (v @ v))
    return float(u @ v / norm) if norm > 0 else 0.0


def seed_score(Z: Floats, grid: tuple[int, int], noise: Floats) -> DoubleArray:
    """Return, for each block of Z (P', T), peak over noise times the mean correlation with its neighbours."""
    h, w = grid
    u = np.where(2 * noise[:, None] < Z, Z, 0)
    out = np.zeros(h * w)
    for p in range(h * w):
        y, x = divmod(p, w)
        near = [(y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)]
        found = [correlation(u[p], u[v * w + x]) for v, x in near if 0 <= v < h and 0 <= x < w]
        out[p] = max(Z[p].max(), 0) / noise[p] * max(sum(found), 0) / len(found)
    return out


def distances(grid: tuple[int, int], seed: int) -> DoubleArray:
    """Return the distance of each block (P',) from block `seed`."""
    y, x = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    return np.asarray(np.hypot(y - seed // grid[1], x - seed % grid[1]))


def core_trace(Z: Floats, grid: tuple[int, int], seed: int, radius: float, least: float) -> DoubleArray:
    """Return the mean of Z over the blocks within `radius` that correlate with the seed, and the seed."""
    near = np.flatnonzero(distances(grid, seed) <= radius)
    chosen = [q for q in near if q == seed or correlation(Z[seed], Z[q]) > least]
    return np.asarray(Z[chosen].mean(0, dtype=np.float64))


def ring_trace(X: Floats, grid: tuple[int, int], seed: int, inner: float, outer: float) -> DoubleArray:
    """Return the mean of X over the blocks between two radii around the seed, 0 if there are none."""
    d = distances(grid, seed)
    chosen = (d >= inner) & (d <= outer)
    return np.asarray(X[chosen].sum(0, dtype=np.float64) / max(chosen.sum(), 1))


def regress_box(
    X: Floats, grid: tuple[int, int], seed: int, radius: int, trace: Floats, around: Floats
) -> DoubleArray:
    """Return the coefficients of `trace` in the blocks around the seed, next to `around` and a constant."""
    design = np.stack([trace, around, np.ones_like(trace)], 1).astype(np.float64)
    slope = np.linalg.lstsq(design, X.T.astype(np.float64), rcond=None)[0][0]
    slope[distances(grid, seed) > radius] = 0
    y, x = np.divmod(seed, grid[1])
    padded = np.pad(slope.reshape(grid), radius)
    return np.asarray(padded[y : y + 2 * radius + 1, x : x + 2 * radius + 1])


def connected(image: Floats, floor: float, start: tuple[int, int]) -> Floats:
    """Return the image with 0 wherever it is not above `floor` and 4-connected with the start."""
    parts, _ = label(image > floor)
    return np.where((parts > 0) & (parts == parts[start]), image, 0)


def placed(shape: Floats, grid: tuple[int, int], seed: int) -> Floats:
    """Return the whole grid (P',) with a small image centred on the seed, cut at the borders."""
    r = shape.shape[0] // 2
    y, x = divmod(seed, grid[1])
    padded = np.zeros((grid[0] + 2 * r, grid[1] + 2 * r), shape.dtype)
    padded[y : y + 2 * r + 1, x : x + 2 * r + 1] = shape
    return padded[r : r + grid[0], r : r + grid[1]].ravel()


def peel(
    X: Floats,
    Z: Floats,
    grid: tuple[int, int],
    noise: Floats,
    stencil: Floats,
    diameter: float,
    threshold: float,
    border: int,
    radius: int,
    most: int,
) -> tuple[list[int], list[Floats]]:
    """Return seeds and footprints found one by one, all scores computed anew after each of them."""
    X, Z = X.copy(), Z.copy()
    allowed = np.zeros(grid, bool)
    allowed[border : grid[0] - border, border : grid[1] - border] = True
    closed = ~allowed.ravel()
    seeds: list[int] = []
    shapes: list[Floats] = []
    traces: list[DoubleArray] = []
    while len(seeds) < most:
        score = np.where(closed, 0, seed_score(Z, grid, noise))
        seed = int(score.argmax())
        if score[seed] < threshold:
            break
        closed[seed] = True
        trace = core_trace(Z, grid, seed, max(diameter / 2, 1), 0.7)
        around = ring_trace(X, grid, seed, 1.2 * diameter, 1.8 * diameter)
        trace, around = trace - trace.mean(), around - around.mean()
        coefficients = regress_box(X, grid, seed, radius, trace, around)
        shape = connected(coefficients, 0.2 * coefficients[radius, radius], (radius, radius))
        if (shape > 0).sum() < 2:
            continue
        near = [i for i, other in enumerate(seeds) if distances(grid, seed)[other] < 0.9 * diameter]
        fragment = any(correlation(traces[i], trace) > 0.4 for i in near)
        X -= np.outer(placed(shape, grid, seed), trace).astype(np.float32)
        Z -= np.outer(placed(convolve2d(shape, stencil), grid, seed), trace).astype(np.float32)
        if not fragment:
            seeds.append(seed)
            shapes.append(shape)
            traces.append(trace)
    return seeds, shapes


def shapes(CY: DoubleArray, CC: DoubleArray, masks: DoubleArray, n_sweeps: int) -> DoubleArray:
    """Return footprints (P, K) by coordinate descent on CY (P, K) and CC (K, K), 0 outside `masks`."""
    A = masks.astype(np.float64)
    for _ in range(n_sweeps):
        for k in range(A.shape[1]):
            rest = CY[:, k] - A @ CC[:, k] + A[:, k] * CC[k, k]
            A[:, k] = np.where(masks[:, k] > 0, np.maximum(rest / CC[k, k], 0), 0)
    return A
