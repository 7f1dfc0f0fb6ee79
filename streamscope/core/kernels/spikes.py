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
    s: DoubleArray,
    r: DoubleArray,
    seen: DoubleArray,
    tail: DoubleArray,
) -> None:
    """Advance the windows s, r, seen (K, W) by one sample per cell, y (K,), at time `now`.

    `times` (W,) are those of the window's frames, newest last; `taps` (N,) is the response and `exponentials`
    are (coefficient, log of the decay per frame period) of the slow and of the fast one. `r` is y - h * s,
    `seen` is 1 where there is a sample. `tail` (K, 2) is what older events add to the newest frame: its slow
    and fast part, NaN before a cell's first sample. `lagged` (W, W) is scratch.
    """
    size = len(times)
    last = size - 1
    elapsed, age = now - times[last], now - times[0]
    slow, log_slow, fast, log_fast = exponentials
    keep_slow, keep_fast = math.exp(log_slow * elapsed), math.exp(log_fast * elapsed)
    gone_slow, gone_fast = slow * math.exp(log_slow * age), fast * math.exp(log_fast * age)
    for i in range(last):
        times[i] = times[i + 1]
    times[last] = now
    for i in range(size):
        for j in range(i, size):
            lag = times[j] - times[i]
            lagged[i, j] = taps[lag] if lag < len(taps) else 0.0
    for k in range(y.shape[0]):
        tail[k, 0] = tail[k, 0] * keep_slow + s[k, 0] * gone_slow
        tail[k, 1] = tail[k, 1] * keep_fast + s[k, 0] * gone_fast
        expected = 0.0
        for i in range(last):
            s[k, i], r[k, i], seen[k, i] = s[k, i + 1], r[k, i + 1], seen[k, i + 1]
            expected += s[k, i] * lagged[i, last]
        s[k, last] = r[k, last] = seen[k, last] = 0.0
        if np.isnan(y[k]):
            continue
        if np.isnan(tail[k, 0]):  # what the first sample shows is the end of what was before
            tail[k, 0], tail[k, 1] = max(y[k], 0.0), 0.0
        r[k, last], seen[k, last] = y[k] - expected - (tail[k, 0] - tail[k, 1]), 1.0
        for _ in range(sweeps):
            for i in range(size):
                if seen[k, i] == 0.0:
                    continue
                match = power = 0.0
                for j in range(i, size):
                    match += lagged[i, j] * r[k, j]
                    power += lagged[i, j] * lagged[i, j] * seen[k, j]
                change = max((match - least * math.sqrt(power)) / power, -s[k, i])
                if change != 0.0:
                    s[k, i] += change
                    for j in range(i, size):
                        r[k, j] -= change * lagged[i, j] * seen[k, j]


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
            push_window(y[t], at[t], times, taps, exponentials, least, sweeps, lagged, s, r, seen, tail)
        out, i = t - size + 1, max(0, t - length + 1)
        for k in range(n_cells):
            if out >= 0:
                events[out, k] = s[k, i]
                squares[k] += r[k, i] * r[k, i]
