"""The median of stored frames, pixel by pixel."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel


@kernel
def median_frame(frames, slots, top, bottom, left, right, out):
    """Fill rows top..bottom and columns left..right of `out` (H, W) float32 with the median of stored frames.

    Parameters
    ----------
    frames : (N, H, W) uint16
        Stored frames.
    slots : (n,) int64
        Which of them, at least one.

    Notes
    -----
    The median of a whole row of pixels is found bit by bit from the highest: a bit is set if no more values than
    half lie below what it makes. No value is moved, and each step is a long loop.
    """
    n, width = slots.shape[0], right - left
    stack = np.empty((n, width), np.uint16)
    value, below = np.empty(width, np.int32), np.empty(width, np.int32)
    upper = np.empty(width, np.int32)
    for y in range(top, bottom):
        for i in range(n):
            row, stored = stack[i], frames[slots[i], y, left:right]
            for x in range(width):
                row[x] = stored[x]
        value[:] = 0
        for step in range(15, -1, -1):
            bit = np.int32(1 << step)
            below[:] = 0
            for i in range(n):
                row = stack[i]
                for x in range(width):
                    below[x] += np.int32(np.int32(row[x]) < value[x] + bit)
            for x in range(width):
                value[x] += bit if below[x] <= (n - 1) // 2 else np.int32(0)
        line = out[y, left:right]
        if n % 2:
            for x in range(width):
                line[x] = value[x]
            continue
        upper[:] = 1 << 16  # the next larger one, if no further one is as large
        below[:] = 0
        for i in range(n):
            row = stack[i]
            for x in range(width):
                here = np.int32(row[x])
                below[x] += np.int32(here <= value[x])
                upper[x] = here if value[x] < here < upper[x] else upper[x]
        for x in range(width):
            line[x] = np.float32(0.5) * (value[x] + (value[x] if below[x] > n // 2 else upper[x]))
