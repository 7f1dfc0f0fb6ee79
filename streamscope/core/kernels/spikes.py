"""Kernels of non-negative deconvolution in a sliding window, for a response with two exponentials.

Within the window the events s >= 0 minimise 1/2 |y - h * s|^2 + sum lambda_i s_i, by coordinate descent from
where the frame before left it. lambda_i = least |h_i|, where h_i is the part of the response to frame i that
has been seen: an event of frame i stays 0 unless its matched filter exceeds `least` noise units, however much
or little of it there is yet. What leaves the window stays, and goes on as the response's two exponentials.
Times are in frame periods and may skip missing frames. A NaN sample says nothing.
"""

from __future__ import annotations

import math

import numpy as np

from streamscope.core.kernels._jit import kernel
from streamscope.types import DoubleArray, FloatArray, LongArray


@kernel
def push_window(
    y: FloatArray,
    now: int,
    times: LongArray,
    taps: DoubleArray,
    exponentials: DoubleArray,
    least: float,
    sweeps: int,
    lagged: DoubleArray,
    work: DoubleArray,
    s: DoubleArray,
    r: DoubleArray,
    seen: DoubleArray,
    tail: DoubleArray,
) -> None:
    """Advance the windows s, r, seen (W, K) by one sample per cell, y (K,), at time `now`.

    `times` (W,) are those of the window's frames, newest last; `taps` (N,) is the response and `exponentials`
    are (coefficient, log of the decay per frame period) of the slow and of the fast one. `r` is y - h * s,
    `seen` is 1 where there is a sample. `tail` (2, K) is what older events add to the newest frame: its slow
    and fast part, NaN before a cell's first sample. `lagged` (W, W) and `work` (2, K) are scratch. Cells are
    the inner loop of all that follows, so that several of them are worked on at once.
    """
    size = len(times)
    last = size - 1
    cells = range(y.shape[0])
    elapsed, age = now - times[last], now - times[0]
    slow, log_slow, fast, log_fast = exponentials
    keep_slow, keep_fast = math.exp(log_slow * elapsed), math.exp(log_fast * elapsed)
    gone_slow, gone_fast = slow * math.exp(log_slow * age), fast * math.exp(log_fast * age)
    times[:last] = times[1:]
    times[last] = now
    for i in range(size):
        for j in range(i, size):
            lag = times[j] - times[i]
            lagged[i, j] = taps[lag] if lag < len(taps) else 0.0
    for k in cells:
        tail[0, k] = tail[0, k] * keep_slow + s[0, k] * gone_slow
        tail[1, k] = tail[1, k] * keep_fast + s[0, k] * gone_fast
        work[0, k] = 0.0
    for i in range(last):
        for k in cells:
            s[i, k], r[i, k], seen[i, k] = s[i + 1, k], r[i + 1, k], seen[i + 1, k]
            work[0, k] += s[i, k] * lagged[i, last]
    for k in cells:
        s[last, k] = r[last, k] = seen[last, k] = 0.0
        if np.isnan(y[k]):
            continue
        if np.isnan(tail[0, k]):  # what the first sample shows is the end of what was before
            tail[0, k], tail[1, k] = max(y[k], 0.0), 0.0
        r[last, k], seen[last, k] = y[k] - work[0, k] - (tail[0, k] - tail[1, k]), 1.0
    for _ in range(sweeps):
        for i in range(size):
            _descend(i, lagged[i], least, s, r, seen, work[0], work[1])


@kernel
def _descend(
    i: int,
    lagged: DoubleArray,
    least: float,
    s: DoubleArray,
    r: DoubleArray,
    seen: DoubleArray,
    match: DoubleArray,
    power: DoubleArray,
) -> None:
    """Give the events of frame `i` of the window, s[i] (K,), the value that is best while all others stay.

    A cell without a sample in the newest frame has learned nothing and is left alone.
    """
    size, n_cells = s.shape
    match[:] = 0.0
    power[:] = 0.0
    for j in range(i, size):
        for k in range(n_cells):
            match[k] += lagged[j] * r[j, k]
            power[k] += lagged[j] * lagged[j] * seen[j, k]
    for k in range(n_cells):
        best = (match[k] - least * math.sqrt(power[k])) / max(power[k], 1e-30)
        match[k] = max(best, -s[i, k]) if seen[i, k] * seen[size - 1, k] > 0.0 else 0.0
        s[i, k] += match[k]
    for j in range(i, size):
        for k in range(n_cells):
            r[j, k] -= match[k] * lagged[j] * seen[j, k]


@kernel
def run_window(
    y: FloatArray,
    at: LongArray,
    events: FloatArray,
    squares: DoubleArray,
    times: LongArray,
    taps: DoubleArray,
    exponentials: DoubleArray,
    least: float,
    sweeps: int,
    lagged: DoubleArray,
    work: DoubleArray,
    s: DoubleArray,
    r: DoubleArray,
    seen: DoubleArray,
    tail: DoubleArray,
) -> None:
    """Fill `events` (T, K) with those of whole traces y (T, K) at times `at`, and `squares` (K,) with sum r^2."""
    length, n_cells = y.shape
    size = len(times)
    for t in range(length + size - 1):
        if t < length:
            push_window(y[t], at[t], times, taps, exponentials, least, sweeps, lagged, work, s, r, seen, tail)
        out, i = t - size + 1, max(0, t - length + 1)
        if out < 0:
            continue
        for k in range(n_cells):
            events[out, k] = s[i, k]
            squares[k] += r[i, k] * r[i, k]
