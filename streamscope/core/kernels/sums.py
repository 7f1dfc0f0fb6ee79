"""Sums over stored frames (16 bit, frame after frame) that the offline refit is made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamscope.core.kernels._jit import kernel
from streamscope.types import DoubleArray, FloatArray, IntArray, LongArray


@kernel
def to_words(image: FloatArray, scale: float, out: NDArray[np.uint16]) -> None:
    """Fill `out` (P,) uint16 with image * scale, rounded, cut to the range of 16 bit."""
    for p in range(image.shape[0]):
        out[p] = np.uint16(min(max(image[p] * scale + np.float32(0.5), np.float32(0.0)), np.float32(65535.0)))


@kernel
def bin_words(
    frames: NDArray[np.uint16], shape: tuple[int, int], step: int, scale: float, out: FloatArray
) -> None:
    """Fill `out` (n, P') with the means of step x step blocks of frames (n, P), times `scale`."""
    height, width = shape
    h = (height + step - 1) // step
    w = (width + step - 1) // step
    row = np.zeros(w * step, np.float32)
    for t in range(frames.shape[0]):
        for i in range(h):
            top = i * step
            bottom = min(top + step, height)
            row[:] = 0.0
            for y in range(top, bottom):
                line = frames[t, y * width : (y + 1) * width]
                for x in range(width):
                    row[x] += np.float32(line[x])
            sums = out[t, i * w : (i + 1) * w]
            factor = np.float32(scale / ((bottom - top) * step))
            if step == 2:  # unrolled, so that it becomes vector instructions
                for j in range(w):
                    sums[j] = (row[2 * j] + row[2 * j + 1]) * factor
            else:
                for j in range(w):
                    total = np.float32(0.0)
                    for x in range(step):
                        total += row[j * step + x]
                    sums[j] = total * factor
            sums[w - 1] *= np.float32(step) / np.float32(width - (w - 1) * step)


@kernel
def subtract_ring(W: FloatArray, neighbours: IntArray, first: int, last: int, x: FloatArray) -> None:
    """Subtract the ring's prediction from block images x (n, last - first) of blocks first..last.

    Neighbours outside that range count nothing.
    """
    low = np.empty(x.shape[1], np.float32)
    for t in range(x.shape[0]):
        for p in range(first, last):
            total = np.float32(0.0)
            for j in range(neighbours.shape[1]):
                q = neighbours[p, j]
                if first <= q < last:
                    total += W[p, j] * x[t, q - first]
            low[p - first] = total
        for p in range(first, last):
            x[t, p - first] -= low[p - first]


@kernel
def project_words(
    frames: NDArray[np.uint16],
    indptr: LongArray,
    pixels: IntArray,
    weights: FloatArray,
    scale: float,
    out: FloatArray,
) -> None:
    """Fill `out` (K, n) with the products of sparse columns and frames (n, P), times `scale`."""
    for t in range(frames.shape[0]):
        for k in range(indptr.shape[0] - 1):
            total = np.float32(0.0)
            for e in range(indptr[k], indptr[k + 1]):
                total += weights[e] * np.float32(frames[t, pixels[e]])
            out[k, t] = total * scale


@kernel
def project_bins(
    indptr: LongArray, bins: IntArray, values: FloatArray, x: FloatArray, out: FloatArray
) -> None:
    """Subtract from `out` (K, n) the products of sparse rows and block images x (n, P')."""
    for t in range(x.shape[0]):
        for k in range(indptr.shape[0] - 1):
            total = np.float32(0.0)
            for e in range(indptr[k], indptr[k + 1]):
                total += values[e] * x[t, bins[e]]
            out[k, t] -= total


@kernel
def add_products(
    frames: NDArray[np.uint16] | FloatArray,
    indptr: LongArray,
    pixels: IntArray,
    instrument: FloatArray,
    scale: float,
    out: DoubleArray,
) -> None:
    """Add to `out` (nnz,) the products of each component's instrument (K, n) and the frames at its pixels.

    Frames in which the instrument is 0 cost nothing.
    """
    n_frames = frames.shape[0]
    part = np.zeros(pixels.shape[0], np.float32)
    for first in range(0, n_frames, 8):  # a few frames at a time stay in the cache
        for k in range(indptr.shape[0] - 1):
            for t in range(first, min(first + 8, n_frames)):
                factor = np.float32(instrument[k, t] * scale)
                if factor != 0.0:
                    frame = frames[t]
                    for e in range(indptr[k], indptr[k + 1]):
                        part[e] += factor * np.float32(frame[pixels[e]])
    for e in range(pixels.shape[0]):
        out[e] += part[e]


@kernel
def add_moments(
    frames: NDArray[np.uint16],
    scale: float,
    total: DoubleArray,
) -> None:
    """Add to `total` (P,) the sum of the frames (n, P), times `scale`."""
    row = np.zeros(frames.shape[1], np.float32)
    for t in range(frames.shape[0]):
        for p in range(frames.shape[1]):
            row[p] += np.float32(frames[t, p])
    for p in range(frames.shape[1]):
        total[p] += row[p] * scale


@kernel
def shape_sweeps(
    indptr: LongArray,
    pixels: IntArray,
    CY: DoubleArray,
    CC: DoubleArray,
    n_sweeps: int,
    image: IntArray,
    weights: DoubleArray,
) -> None:
    """Coordinate descent for footprints on fixed masks: CY_k = sum_j CC_kj a_j at each pixel, a >= 0.

    Components are visited in turn; `image` (n, P) int32 holds, per layer, the entry of a component at each
    pixel, -1 if none: which other footprints a pixel has is read from there.
    """
    n_layers = image.shape[0]
    owner = np.empty(pixels.shape[0], np.int64)
    for k in range(indptr.shape[0] - 1):
        for e in range(indptr[k], indptr[k + 1]):
            owner[e] = k
    for _ in range(n_sweeps):
        for k in range(indptr.shape[0] - 1):
            if CC[k, k] <= 0.0:
                continue
            for e in range(indptr[k], indptr[k + 1]):
                rest = CY[e]
                for layer in range(n_layers):
                    other = image[layer, pixels[e]]
                    if other >= 0 and other != e:
                        rest -= CC[k, owner[other]] * weights[other]
                weights[e] = max(rest / CC[k, k], 0.0)


@kernel
def subtract_background(
    indptr: LongArray,
    pixels: IntArray,
    width: int,
    step: int,
    grid: tuple[int, int],
    fold_indptr: LongArray,
    fold_bins: IntArray,
    ring_indptr: LongArray,
    ring_bins: IntArray,
    CX: DoubleArray,
    binned_indptr: LongArray,
    binned_bins: IntArray,
    binned_values: FloatArray,
    CC: DoubleArray,
    W: FloatArray,
    neighbours: IntArray,
    CY: DoubleArray,
) -> None:
    """Subtract the background's share from CY (nnz,): U W (CX - D A CC), component by component.

    `CX` (nnz of the ring rows) holds the products of instruments and blocks; the rows of `binned` are D A.
    """
    h, w = grid
    low = np.zeros(h * w, np.float64)
    mark = np.full(h * w, -1, np.int64)
    up = np.zeros(h * w, np.float64)
    for k in range(indptr.shape[0] - 1):
        for e in range(ring_indptr[k], ring_indptr[k + 1]):
            mark[ring_bins[e]] = k
            low[ring_bins[e]] = CX[e]
        for j in range(binned_indptr.shape[0] - 1):
            if CC[k, j] != 0.0:
                for e in range(binned_indptr[j], binned_indptr[j + 1]):
                    if mark[binned_bins[e]] == k:
                        low[binned_bins[e]] -= CC[k, j] * binned_values[e]
        for e in range(fold_indptr[k], fold_indptr[k + 1]):
            p = fold_bins[e]
            total = 0.0
            for n in range(neighbours.shape[1]):
                if neighbours[p, n] >= 0:
                    total += W[p, n] * low[neighbours[p, n]]
            up[p] = total
        for e in range(indptr[k], indptr[k + 1]):
            y = pixels[e] // width
            at = (y + 0.5) / step - 0.5
            i = min(max(int(np.floor(at)), 0), h - 1)
            fy = min(max(at - i, 0.0), 1.0)
            at = (pixels[e] - y * width + 0.5) / step - 0.5
            j = min(max(int(np.floor(at)), 0), w - 1)
            fx = min(max(at - j, 0.0), 1.0)
            i1 = min(i + 1, h - 1)
            j1 = min(j + 1, w - 1)
            top = (1 - fx) * up[i * w + j] + fx * up[i * w + j1]
            bottom = (1 - fx) * up[i1 * w + j] + fx * up[i1 * w + j1]
            CY[e] -= (1 - fy) * top + fy * bottom


@kernel
def add_neighbour_moments(image: FloatArray, moments: DoubleArray) -> None:
    """Add an image (H, W) to moments (4, H, W): z, z^2, z times its right and z times its lower neighbour."""
    height, width = image.shape
    for y in range(height):
        for x in range(width):
            z = image[y, x]
            moments[0, y, x] += z
            moments[1, y, x] += z * z
            if x + 1 < width:
                moments[2, y, x] += z * image[y, x + 1]
            if y + 1 < height:
                moments[3, y, x] += z * image[y + 1, x]
