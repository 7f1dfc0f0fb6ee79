"""Kernels of AR(1) deconvolution by pools (OASIS).

A pool is a stretch of frames between two events: v = sum g^(t - t0) y, w = sum g^(2 (t - t0)); its trace is
max(v / w, 0) g^(t - t0). Two neighbouring pools merge while the later one does not rise at least s_min above
the decay of the earlier one. Times are in frame periods and may skip missing frames. Sums are float64.
A NaN sample says nothing: the trace decays through it.
"""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel
from streamscope.types import DoubleArray, FloatArray, LongArray


@kernel
def oasis_ar1(
    y: FloatArray, times: LongArray, g: DoubleArray, s_min: DoubleArray, c: FloatArray, s: FloatArray
) -> None:
    """Fill c, s (K, T) with the denoised traces and events of y (K, T) at `times` (T,), frame periods."""
    n_cells, length = y.shape
    v = np.empty(length, np.float64)
    w = np.empty(length, np.float64)
    first = np.empty(length, np.int64)  # frame at which each pool starts
    for k in range(n_cells):
        log_g = np.log(g[k])
        n = 0
        for t in range(length):
            c[k, t] = 0.0
            s[k, t] = 0.0
            if np.isnan(y[k, t]):
                continue
            v[n] = y[k, t]
            w[n] = 1.0
            first[n] = t
            n += 1
            while n > 1:
                decay = np.exp(log_g * (times[first[n - 1]] - times[first[n - 2]]))
                if max(v[n - 2] / w[n - 2], 0.0) * decay + s_min[k] <= v[n - 1] / w[n - 1]:
                    break
                v[n - 2] += v[n - 1] * decay
                w[n - 2] += w[n - 1] * decay * decay
                n -= 1
        for i in range(n):
            last = first[i + 1] if i + 1 < n else length
            start = first[i]
            height = max(v[i] / w[i], 0.0)
            for t in range(start, last):
                c[k, t] = height * np.exp(log_g * (times[t] - times[start]))
            if i > 0:
                s[k, start] = height - c[k, start - 1] * np.exp(log_g * (times[start] - times[start - 1]))


@kernel
def oasis_push(
    y: FloatArray,
    now: int,
    log_g: DoubleArray,
    s_min: DoubleArray,
    v: DoubleArray,
    w: DoubleArray,
    t0: LongArray,
    oldest: LongArray,
    count: LongArray,
    born: LongArray,
) -> None:
    """Add one sample per cell at time `now` to the rings of pools v, w, t0 (K, N).

    `oldest` and `count` (K,) say where each ring starts and how many pools it holds; a full ring forgets its
    oldest pool. `born` (K,) is the time of the first sample, -1 before it. `log_g` (K,) is the log of the decay.
    """
    size = v.shape[1]
    for k in range(y.shape[0]):
        if born[k] < 0:
            born[k] = now
        if np.isnan(y[k]):
            continue
        if count[k] == size:
            oldest[k] = _slot(oldest[k] + 1, size)
            count[k] -= 1
        last = _slot(oldest[k] + count[k], size)
        v[k, last] = y[k]
        w[k, last] = 1.0
        t0[k, last] = now
        count[k] += 1
        while count[k] > 1:
            before = last - 1 if last > 0 else size - 1
            decay = np.exp(log_g[k] * (t0[k, last] - t0[k, before]))
            if max(v[k, before] / w[k, before], 0.0) * decay + s_min[k] <= v[k, last] / w[k, last]:
                break
            v[k, before] += v[k, last] * decay
            w[k, before] += w[k, last] * decay * decay
            count[k] -= 1
            last = before


@kernel
def oasis_read(
    at: int,
    log_g: DoubleArray,
    v: DoubleArray,
    w: DoubleArray,
    t0: LongArray,
    oldest: LongArray,
    count: LongArray,
    born: LongArray,
    c: FloatArray,
    s: FloatArray,
) -> None:
    """Fill c, s (K,) with what the pools say of the frame at time `at`; 0 before a cell's first sample."""
    size = v.shape[1]
    for k in range(c.shape[0]):
        c[k] = 0.0
        s[k] = 0.0
        if born[k] < 0 or at < born[k] or count[k] == 0:
            continue
        i = count[k] - 1
        pool = _slot(oldest[k] + i, size)
        while i > 0 and t0[k, pool] > at:
            i -= 1
            pool = pool - 1 if pool > 0 else size - 1
        if t0[k, pool] > at:
            continue
        c[k] = max(v[k, pool] / w[k, pool], 0.0) * np.exp(log_g[k] * (at - t0[k, pool]))
        if i > 0 and t0[k, pool] == at:
            before = pool - 1 if pool > 0 else size - 1
            height = max(v[k, before] / w[k, before], 0.0)
            s[k] = c[k] - np.float32(height * np.exp(log_g[k] * (at - t0[k, before])))


@kernel
def _slot(i: int, size: int) -> int:
    """Return i modulo size, for 0 <= i < 2 size: dividing takes longer."""
    return i if i < size else i - size
