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
    return D / D.sum(1, keepdims=True)


def bilinear_matrix(shape: tuple[int, int], step: int) -> DoubleArray:
    """Return U (P, P'): bilinear interpolation between block centres, edges held."""
    rows = [_bilinear_line(n, step) for n in shape]
    return np.kron(rows[0], rows[1])


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


def dense(footprints: Footprints) -> DoubleArray:
    """Return A (P, K) with the stored weights, not normalised."""
    A = np.zeros((footprints.shape[0] * footprints.shape[1], footprints.n))
    for k in range(footprints.n):
        pixels, weights = footprints.column(k)
        A[pixels, k] = weights
    return A
