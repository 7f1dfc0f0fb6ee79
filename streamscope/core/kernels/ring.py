"""Kernels of the ring background: block means, bilinear spreading, ring weights, sparse rows of blocks."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel
from streamscope.core.kernels.dots import dot, fetch
from streamscope.types import BoolArray, DoubleArray, FloatArray, IntArray, LongArray

_STRETCH = 2048  # blocks whose ring weights stay in the cache
_SIDE_BY_SIDE = 8  # frames: as many values as a vector instruction takes


@kernel
def bin_down(image: FloatArray, step: int, out: FloatArray) -> None:
    """Fill `out` (h, w) with the means of step x step blocks; cut blocks use the pixels they have."""
    height, width = image.shape
    h, w = out.shape
    whole = width // step
    for i in range(h):
        top = i * step
        bottom = min(top + step, height)
        sums = out[i]
        sums[:] = 0.0
        for y in range(top, bottom):
            row = image[y]
            if step == 2:  # unrolled, so that they become vector instructions
                for j in range(whole):
                    sums[j] += row[2 * j] + row[2 * j + 1]
            elif step == 4:
                for j in range(whole):
                    sums[j] += (row[4 * j] + row[4 * j + 1]) + (row[4 * j + 2] + row[4 * j + 3])
            else:
                for j in range(whole):
                    for k in range(step):
                        sums[j] += row[j * step + k]
            for x in range(whole * step, width):
                sums[w - 1] += row[x]
        full = np.float32(1.0 / ((bottom - top) * step))
        for j in range(whole):
            sums[j] *= full
        if w > whole:
            sums[w - 1] /= np.float32((bottom - top) * (width - whole * step))


@kernel
def spread_up(low: FloatArray, step: int, out: FloatArray) -> None:
    """Fill `out` (H, W) with `low` (h, w), bilinear between block centres, edges held."""
    out[:] = 0.0
    add_spread(low, step, np.float32(1.0), out)


@kernel
def subtract_spread(low: FloatArray, step: int, image: FloatArray) -> None:
    """Subtract from `image` (H, W) what `spread_up` makes of `low` (h, w)."""
    add_spread(low, step, np.float32(-1.0), image)


@kernel
def add_spread(low: FloatArray, step: int, factor: np.float32, out: FloatArray) -> None:
    """Add `factor` times `low` (h, w) to `out` (H, W), bilinear between block centres, edges held."""
    h, w = low.shape
    height, width = out.shape
    left = np.empty(width, np.int32)
    part = np.empty(width, np.float32)
    for x in range(width):
        at = min(max((x + 0.5) / step - 0.5, 0.0), w - 1.0)
        left[x] = int(at)
        part[x] = at - left[x]
    line, rise = np.empty(w, np.float32), np.empty(w, np.float32)
    rise[w - 1] = 0.0
    for y in range(height):
        at = min(max((y + 0.5) / step - 0.5, 0.0), h - 1.0)
        i = int(at)
        fy = np.float32(at - i)
        upper, lower = low[i], low[min(i + 1, h - 1)]
        for j in range(w):
            line[j] = factor * (upper[j] + fy * (lower[j] - upper[j]))
        for j in range(w - 1):
            rise[j] = line[j + 1] - line[j]
        row = out[y]
        for x in range(width):
            row[x] += line[left[x]] + part[x] * rise[left[x]]


@kernel
def apply_ring(by_offset: FloatArray, offsets: IntArray, width: int, x: FloatArray, out: FloatArray) -> None:
    """Fill `out` (n, P') with W x of `x` (n, P'); `by_offset` (n_ring, P') is W, ring offset by ring offset.

    Weights of neighbours outside the field must be 0: each offset is one long loop that runs over the ends of rows.
    All frames go through a stretch of weights while it is in the cache.
    """
    n_bins = x.shape[1]
    for begin in range(0, n_bins, _STRETCH):
        end = min(begin + _STRETCH, n_bins)
        for t in range(x.shape[0]):
            background = out[t]
            background[begin:end] = 0.0
            for j in range(offsets.shape[0]):
                apart = offsets[j, 0] * width + offsets[j, 1]
                first, last = max(begin, -apart), min(end, n_bins - apart)
                if first >= last:
                    continue
                here, weight, there = (
                    background[first:last],
                    by_offset[j, first:last],
                    x[t, first + apart : last + apart],
                )
                for p in range(here.shape[0]):
                    here[p] += weight[p] * there[p]


@kernel
def apply_ring_locally(
    W: FloatArray,
    neighbours: IntArray,
    reach: int,
    grid: tuple[int, int],
    rest: FloatArray,
    slots: LongArray,
    first_row: int,
    first_col: int,
    out: FloatArray,
) -> int:
    """Fill `out` (n, hb, wb) with W x of the stored blocks `rest` (N, P') on a rectangle of blocks only.

    No ring is wider than `reach` blocks. The blocks around the rectangle are gathered with time last, so that all
    frames go through a weight at once. What is returned is what `fetch` returned.
    """
    n, hb, wb = out.shape
    top, bottom = max(0, first_row - reach), min(grid[0], first_row + hb + reach)
    left, right = max(0, first_col - reach), min(grid[1], first_col + wb + reach)
    n_cols = right - left
    near = np.empty(((bottom - top) * n_cols, n), np.float32)
    fetched = 0
    for i in range(n):
        x = rest[slots[i]]
        fetched += fetch(rest[slots[min(i + 1, n - 1)]], grid[1], top, left, bottom, right)
        for r in range(top, bottom):
            row = x[r * grid[1] + left : r * grid[1] + right]
            for c in range(n_cols):
                near[(r - top) * n_cols + c, i] = row[c]
    total = np.empty(n, np.float32)
    for r in range(hb):
        for c in range(wb):
            p = (first_row + r) * grid[1] + first_col + c
            total[:] = 0.0
            for j in range(neighbours.shape[1]):
                q = neighbours[p, j]
                if q >= 0:
                    weight, series = W[p, j], near[(q // grid[1] - top) * n_cols + q % grid[1] - left]
                    for i in range(n):
                        total[i] += weight * series[i]
            for i in range(n):
                out[i, r, c] = total[i]
    return fetched


@kernel
def rows_dot(indptr: LongArray, bins: IntArray, values: FloatArray, x: FloatArray, out: FloatArray) -> None:
    """Fill `out` (K,) with the product of sparse rows and a vector (P',)."""
    for k in range(indptr.shape[0] - 1):
        out[k] = dot(bins, values, indptr[k], indptr[k + 1], x)


@kernel
def rows_times(indptr: LongArray, bins: IntArray, values: FloatArray, x: FloatArray, out: FloatArray) -> None:
    """Fill `out` (K, n) with the product of sparse rows and `x` (P', n)."""
    out[:] = 0.0
    for k in range(indptr.shape[0] - 1):
        row = out[k]
        for e in range(indptr[k], indptr[k + 1]):
            value, other = values[e], x[bins[e]]
            for t in range(row.shape[0]):
                row[t] += value * other[t]


@kernel
def rows_dot_many(
    indptr: LongArray,
    bins: IntArray,
    values: FloatArray,
    which: LongArray,
    x: FloatArray,
    out: FloatArray,
) -> None:
    """Fill columns `which` of `out` (n, K) with the products of those sparse rows and each row of `x` (n, P').

    Eight frames at a time, block by block side by side, so that each weight is used for all of them at once.
    """
    side = np.zeros((x.shape[1], _SIDE_BY_SIDE), np.float32)
    total = np.empty(_SIDE_BY_SIDE, np.float32)
    for first in range(0, x.shape[0], _SIDE_BY_SIDE):
        n = min(_SIDE_BY_SIDE, x.shape[0] - first)
        for i in range(n):
            image = x[first + i]
            for p in range(image.shape[0]):
                side[p, i] = image[p]
        for k in which:
            total[:] = 0.0
            for e in range(indptr[k], indptr[k + 1]):
                value, seen = values[e], side[bins[e]]
                for i in range(_SIDE_BY_SIDE):
                    total[i] += value * seen[i]
            for i in range(n):
                out[first + i, k] = total[i]


@kernel
def fold_rows(
    indptr: LongArray,
    pixels: IntArray,
    weights: FloatArray,
    width: int,
    grid: tuple[int, int],
    step: int,
    slot: IntArray,
    out_indptr: LongArray,
    out_bins: IntArray,
    out_values: FloatArray,
) -> None:
    """Fill sparse rows with `spread_up` transposed on each footprint; `slot` (P',) is -1 before and after."""
    h, w = grid
    end = 0
    for k in range(indptr.shape[0] - 1):
        start = end
        for e in range(indptr[k], indptr[k + 1]):
            y = pixels[e] // width
            at = (y + 0.5) / step - 0.5
            i = min(max(int(np.floor(at)), 0), h - 1)
            fy = min(max(at - i, 0.0), 1.0)
            at = (pixels[e] - y * width + 0.5) / step - 0.5
            j = min(max(int(np.floor(at)), 0), w - 1)
            fx = min(max(at - j, 0.0), 1.0)
            for corner in range(4):
                cy = corner // 2
                cx = corner % 2
                part = (fy if cy else 1.0 - fy) * (fx if cx else 1.0 - fx)
                if part > 0.0:
                    q = min(i + cy, h - 1) * w + min(j + cx, w - 1)
                    if slot[q] < 0:
                        slot[q] = end
                        out_bins[end] = q
                        out_values[end] = 0.0
                        end += 1
                    out_values[slot[q]] += np.float32(part) * weights[e]
        for e in range(start, end):
            slot[out_bins[e]] = -1
        out_indptr[k + 1] = end


@kernel
def bin_rows(
    indptr: LongArray,
    pixels: IntArray,
    weights: FloatArray,
    shape: tuple[int, int],
    grid: tuple[int, int],
    step: int,
    slot: IntArray,
    out_indptr: LongArray,
    out_bins: IntArray,
    out_values: FloatArray,
) -> None:
    """Fill sparse rows with `bin_down` of each footprint; `slot` (P',) is -1 before and after."""
    height, width = shape
    w = grid[1]
    end = 0
    for k in range(indptr.shape[0] - 1):
        start = end
        for e in range(indptr[k], indptr[k + 1]):
            i = pixels[e] // width // step
            j = pixels[e] % width // step
            q = i * w + j
            if slot[q] < 0:
                slot[q] = end
                out_bins[end] = q
                out_values[end] = 0.0
                end += 1
            n = (min(i * step + step, height) - i * step) * (min(j * step + step, width) - j * step)
            out_values[slot[q]] += weights[e] / np.float32(n)
        for e in range(start, end):
            slot[out_bins[e]] = -1
        out_indptr[k + 1] = end


@kernel
def ring_rows(
    indptr: LongArray,
    bins: IntArray,
    values: FloatArray,
    W: FloatArray,
    neighbours: IntArray,
    slot: IntArray,
    out_indptr: LongArray,
    out_bins: IntArray,
    out_values: FloatArray,
) -> None:
    """Fill sparse rows with rows times W; `slot` (P',) is -1 before and after. Empty outputs: only count."""
    count_only = out_bins.shape[0] == 0
    end = 0
    for k in range(indptr.shape[0] - 1):
        for e in range(indptr[k], indptr[k + 1]):
            p = bins[e]
            for j in range(neighbours.shape[1]):
                q = neighbours[p, j]
                if q < 0:
                    continue
                if slot[q] < 0:
                    slot[q] = end
                    if not count_only:
                        out_bins[end] = q
                        out_values[end] = 0.0
                    end += 1
                if not count_only:
                    out_values[slot[q]] += values[e] * W[p, j]
        for e in range(indptr[k], indptr[k + 1]):
            for j in range(neighbours.shape[1]):
                if neighbours[bins[e], j] >= 0:
                    slot[neighbours[bins[e], j]] = -1
        out_indptr[k + 1] = end


@kernel
def offset_products(x: FloatArray, apart: LongArray, first: int, last: int, out: FloatArray) -> None:
    """Fill `out` (D, last - first) with sums over frames of x_p times x_(p + apart), for blocks p of first..last.

    `x` is (n_frames, P'). Four frames at a time on stretches that stay in the cache. Where p + apart lies beyond
    the last block, the sum stays 0.
    """
    n_frames, n_bins = x.shape
    stretch = 512
    for d in range(out.shape[0]):
        for p in range(out.shape[1]):
            out[d, p] = 0.0
    for begin in range(first, last, stretch):
        for t in range(0, n_frames, 4):
            left = n_frames - t
            x0, x1 = x[t], x[t + min(1, left - 1)]
            x2, x3 = x[t + min(2, left - 1)], x[t + min(3, left - 1)]
            w1, w2, w3 = np.float32(left > 1), np.float32(left > 2), np.float32(left > 3)
            for d in range(apart.shape[0]):
                end = min(begin + stretch, last, n_bins - apart[d])
                if end <= begin:
                    continue
                a, b = begin + apart[d], end + apart[d]
                total = out[d, begin - first : end - first]
                here0, here1, here2, here3 = x0[begin:end], x1[begin:end], x2[begin:end], x3[begin:end]
                there0, there1, there2, there3 = x0[a:b], x1[a:b], x2[a:b], x3[a:b]
                for p in range(total.shape[0]):
                    total[p] += (here0[p] * there0[p] + w1 * (here1[p] * there1[p])) + (
                        w2 * (here2[p] * there2[p]) + w3 * (here3[p] * there3[p])
                    )


@kernel
def solve_positive(gram: DoubleArray, rhs: DoubleArray) -> None:
    """Solve n x n positive definite systems in place by Cholesky, gram (n, n, m); `rhs` (n, m) becomes the solutions.

    The m systems lie side by side, so that each step is done for all of them at once.
    """
    n = rhs.shape[0]
    for i in range(n):
        for j in range(i + 1):
            total = gram[i, j]
            for k in range(j):
                a, b = gram[i, k], gram[j, k]
                for m in range(total.shape[0]):
                    total[m] -= a[m] * b[m]
            if i == j:
                for m in range(total.shape[0]):
                    total[m] = 1.0 / np.sqrt(max(total[m], 1e-300))
            else:
                scale = gram[j, j]
                for m in range(total.shape[0]):
                    total[m] *= scale[m]
    for i in range(n):
        total, scale = rhs[i], gram[i, i]
        for k in range(i):
            a, b = gram[i, k], rhs[k]
            for m in range(total.shape[0]):
                total[m] -= a[m] * b[m]
        for m in range(total.shape[0]):
            total[m] *= scale[m]
    for i in range(n - 1, -1, -1):
        total, scale = rhs[i], gram[i, i]
        for k in range(i + 1, n):
            a, b = gram[k, i], rhs[k]
            for m in range(total.shape[0]):
                total[m] -= a[m] * b[m]
        for m in range(total.shape[0]):
            total[m] *= scale[m]


@kernel
def fit_ring_rows(
    products: FloatArray,
    first: int,
    pair: IntArray,
    forward: BoolArray,
    neighbours: IntArray,
    ridge: float,
    prior: FloatArray,
    start: int,
    stop: int,
    W: FloatArray,
) -> None:
    """Fill rows start..stop of W (P', n) by ridge regression of each block on its ring.

    `products` (D, .) are the `offset_products` of blocks `first` and on. `pair` (n + 1, n + 1) says which of the
    D lies between two members of a ring, the last of them its centre, and `forward` whether it counts from the
    first of the two. `ridge` is relative to the trace of each ring's Gram matrix and pulls towards `prior` (P', n).
    A black ring keeps the prior.
    """
    n_ring, together = neighbours.shape[1], 16
    gram = np.empty((n_ring, n_ring, together), np.float64)
    rhs = np.empty((n_ring, together), np.float64)
    trace = np.empty(together, np.float64)
    at = np.empty((n_ring + 1, together), np.int64)  # members of the rings, the last of them their centres
    inside = np.empty(
        (n_ring + 1, together), np.float64
    )  # 0: outside the field, beside or beyond the last block
    for begin in range(start, stop, together):
        for m in range(together):
            p = min(begin + m, stop - 1)
            for j in range(n_ring):
                inside[j, m] = neighbours[p, j] >= 0
                at[j, m] = max(neighbours[p, j], first) - first
            at[n_ring, m], inside[n_ring, m] = p - first, 1.0
        trace[:] = 0.0
        for i in range(n_ring):
            for j in range(i + 1):
                apart, base, total = products[pair[i, j]], at[i] if forward[i, j] else at[j], gram[i, j]
                for m in range(together):
                    total[m] = apart[base[m]] * inside[i, m] * inside[j, m]
            apart, base = products[pair[i, n_ring]], at[i] if forward[i, n_ring] else at[n_ring]
            for m in range(together):
                rhs[i, m] = apart[base[m]] * inside[i, m]
                trace[m] += gram[i, i, m]
        for i in range(n_ring):  # solve for the difference from the prior
            for j in range(n_ring):
                total = gram[i, j] if j <= i else gram[j, i]
                for m in range(together):
                    rhs[i, m] -= total[m] * prior[min(begin + m, stop - 1), j]
        for i in range(n_ring):
            for m in range(together):
                known = trace[m] > 0.0 and inside[i, m] > 0.0  # else the equation says 0
                gram[i, i, m] = gram[i, i, m] + ridge * trace[m] if known else 1.0
        solve_positive(gram, rhs)
        for m in range(min(together, stop - begin)):
            p = begin + m
            for i in range(n_ring):
                W[p, i] = (prior[p, i] + np.float32(rhs[i, m])) * np.float32(inside[i, m])
