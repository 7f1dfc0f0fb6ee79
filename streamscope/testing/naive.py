"""Slow, plain twins of the compiled kernels, for tests on tiny arrays."""

from __future__ import annotations

import numpy as np

from streamscope.types import DoubleArray, FloatArray, Footprints, IntArray


def block_mean_matrix(shape: tuple[int, int], step: int) -> DoubleArray:
    """Return D (P', P): means of step x step blocks."""
    height, width = shape
    w = -(-width // step)
    y, x = np.divmod(np.arange(height * width), width)
    D = np.zeros(((-(-height // step)) * w, height * width))
    D[(y // step) * w + x // step, np.arange(height * width)] = 1
    return np.asarray(D / D.sum(1, keepdims=True), np.float64)


def bilinear_matrix(shape: tuple[int, int], step: int) -> DoubleArray:
    """Return U (P, P'): bilinear interpolation between block centres, edges held."""
    rows = [_bilinear_line(n, step) for n in shape]
    return np.asarray(np.kron(rows[0], rows[1]), np.float64)


def _bilinear_line(n: int, step: int) -> DoubleArray:
    n_bins = -(-n // step)
    out = np.zeros((n, n_bins))
    for i in range(n):
        at = min(max((i + 0.5) / step - 0.5, 0), n_bins - 1)
        low = int(at)
        out[i, low] += 1 - (at - low)
        out[i, min(low + 1, n_bins - 1)] += at - low
    return out


def ring_matrix(W: FloatArray, neighbours: IntArray) -> DoubleArray:
    """Return the ring weights as a dense (P', P') matrix."""
    out = np.zeros((len(W), len(W)))
    for p in range(len(W)):
        for j in range(neighbours.shape[1]):
            if neighbours[p, j] >= 0:
                out[p, neighbours[p, j]] += W[p, j]
    return out


def ring_fit(x: DoubleArray, neighbours: IntArray, ridge: float, prior: FloatArray) -> DoubleArray:
    """Return ridge weights (P', n) for block values x (n_frames, P'), one least-squares problem per block."""
    W = np.zeros(neighbours.shape)
    for p in range(len(neighbours)):
        used = np.flatnonzero(neighbours[p] >= 0)
        X = x[:, neighbours[p, used]]
        G = X.T @ X
        rhs = X.T @ x[:, p] - G @ prior[p, used]
        step = np.linalg.solve(G + ridge * np.trace(G) * np.eye(len(used)), rhs) if np.trace(G) > 0 else 0
        W[p, used] = prior[p, used] + step
    return W


def oasis(y: DoubleArray, times: IntArray, g: float, s_min: float) -> tuple[DoubleArray, DoubleArray]:
    """Return c, s (T,) of one trace: start with one pool per frame, merge violations until none is left."""
    pools = [(float(value), 1.0, int(time)) for value, time in zip(y, times, strict=True)]
    i = 1
    while i < len(pools):
        (v0, w0, t0), (v1, w1, t1) = pools[i - 1], pools[i]
        d = t1 - t0
        if max(v0 / w0, 0) * g**d + s_min > v1 / w1:
            pools[i - 1 : i + 1] = [(v0 + v1 * g**d, w0 + w1 * g ** (2 * d), t0)]
            i = max(i - 1, 1)
        else:
            i += 1
    c, s = np.zeros(len(y)), np.zeros(len(y))
    for n, (v, w, t0) in enumerate(pools):
        end = pools[n + 1][2] if n + 1 < len(pools) else times[-1] + 1
        inside = (times >= t0) & (times < end)
        c[inside] = max(v / w, 0) * g ** (times[inside] - t0)
        if n:
            first = int(np.flatnonzero(inside)[0])
            s[first] = c[first] - c[first - 1] * g ** (times[first] - times[first - 1])
    return c, s


def dense(footprints: Footprints) -> DoubleArray:
    """Return A (P, K) with the stored weights, not normalised."""
    A = np.zeros((footprints.shape[0] * footprints.shape[1], footprints.n))
    for k in range(footprints.n):
        pixels, weights = footprints.column(k)
        A[pixels, k] = weights
    return A


def seed_score(Z: FloatArray, grid: tuple[int, int], noise: FloatArray) -> DoubleArray:
    """Return, for each block of Z (P', T), peak over noise times the mean correlation with its neighbours."""
    h, w = grid
    u = Z.astype(np.float64)
    u[u <= 2 * noise[:, None]] = 0
    out = np.zeros(h * w)
    for p in range(h * w):
        y, x = divmod(p, w)
        found = []
        for yy, xx in ((y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)):
            if 0 <= yy < h and 0 <= xx < w:
                a, b = u[p] - u[p].mean(), u[yy * w + xx] - u[yy * w + xx].mean()
                norm = np.sqrt((a @ a) * (b @ b))
                found.append(a @ b / norm if norm > 0 else 0.0)
        out[p] = max(Z[p].max(), 0) / noise[p] * max(sum(found), 0) / len(found)
    return out


def shapes(CY: DoubleArray, CC: DoubleArray, masks: DoubleArray, n_sweeps: int) -> DoubleArray:
    """Return footprints (P, K) by coordinate descent on CY (P, K) and CC (K, K), 0 outside `masks`."""
    A = masks.astype(np.float64)
    for _ in range(n_sweeps):
        for k in range(A.shape[1]):
            rest = CY[:, k] - A @ CC[:, k] + A[:, k] * CC[k, k]
            A[:, k] = np.where(masks[:, k] > 0, np.maximum(rest / CC[k, k], 0), 0)
    return A


def field_at(field: FloatArray, shape: tuple[int, int]) -> DoubleArray:
    """Return a field (gy, gx, 2) at every pixel, (H, W, 2): nodes corner to corner, linear between."""
    lines = []
    for size, nodes in zip(shape, field.shape[:2], strict=True):
        at = np.arange(size) * (nodes - 1) / (size - 1)
        lines.append(np.maximum(1 - np.abs(at[:, None] - np.arange(nodes)), 0))
    return np.asarray(np.einsum("yi,xj,ijc->yxc", *lines, field.astype(np.float64)), np.float64)


def block_normal(
    moved: DoubleArray, template: DoubleArray, weight: FloatArray, clip: FloatArray, block: int
) -> tuple[DoubleArray, DoubleArray]:
    """Return block sums of w gy gy, w gy gx, w gx gx, (by, bx, 3), and of w gy e, w gx e, (by, bx, 2)."""
    h, w = template.shape
    information = np.zeros((-(-h // block), -(-w // block), 3))
    drive = np.zeros((*information.shape[:2], 2))
    for y in range(1, h - 1):
        for x in range(1, w - 1):
            gy = (template[y + 1, x] - template[y - 1, x]) / 2
            gx = (template[y, x + 1] - template[y, x - 1]) / 2
            e = np.clip(moved[y, x] - template[y, x], -clip[y, x], clip[y, x])
            place = (y // block, x // block)
            information[place] += weight[y, x] * np.array([gy * gy, gy * gx, gx * gx])
            drive[place] += weight[y, x] * np.array([gy * e, gx * e])
    return information, drive
