"""Slow, plain twins of the compiled kernels, for tests on tiny arrays."""

from __future__ import annotations

import numpy as np

from streamscope.core.response import Response
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


def events(
    y: DoubleArray, times: IntArray, response: Response, least: float, size: int, sweeps: int
) -> DoubleArray:
    """Return the events (T,) of one trace after its last sample, each residual computed from all events anew."""

    slow, log_slow, fast, log_fast = response.exponentials

    def h(lag: int) -> float:
        if lag == 0:
            return float(response.taps[0])
        return float(slow * np.exp(log_slow * lag) - fast * np.exp(log_fast * lag))

    s = np.zeros(len(y))
    known = [t for t in range(len(y)) if np.isfinite(y[t])]
    first = known[0]
    for now in known:
        window = [t for t in known if now - size < t <= now]
        for _ in range(sweeps):
            for i in window:
                match = power = 0.0
                for j in [t for t in window if t >= i]:
                    before = max(y[first], 0) * np.exp(log_slow * (times[j] - times[first]))
                    made = sum(s[n] * h(int(times[j] - times[n])) for n in range(j + 1))
                    match += h(int(times[j] - times[i])) * (y[j] - before - made)
                    power += h(int(times[j] - times[i])) ** 2
                s[i] += max((match - least * np.sqrt(power)) / power, -s[i])
    return s


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
