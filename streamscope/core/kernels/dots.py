"""Products of sparse values with what lies scattered in memory, and how not to wait for memory."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel


@kernel
def dot(index, values, start, stop, image):
    """Return the sum of values times pixels of a flat image; four sums at once wait less for each other."""
    s0 = s1 = s2 = s3 = np.float32(0.0)
    whole = start + (stop - start) // 4 * 4
    for e in range(start, whole, 4):
        s0 += values[e] * np.float32(image[np.uint32(index[e])])
        s1 += values[e + 1] * np.float32(image[np.uint32(index[e + 1])])
        s2 += values[e + 2] * np.float32(image[np.uint32(index[e + 2])])
        s3 += values[e + 3] * np.float32(image[np.uint32(index[e + 3])])
    for e in range(whole, stop):
        s0 += values[e] * np.float32(image[np.uint32(index[e])])
    return (s0 + s1) + (s2 + s3)


@kernel
def fetch(image, width, top, left, bottom, right):
    """Bring rows top..bottom and columns left..right of a flat image into the cache, all of them at once.

    To be called one frame ahead: what a box holds of a frame is scattered over memory, and whoever reads it pixel by
    pixel waits for each row. The number that is returned has no meaning, but if nobody returned it the compiler
    would leave out the reading.
    """
    found = 0
    for y in range(top, bottom):
        for x in range(left, right - 1, 16):
            found += image[y * width + x] != 0
        found += image[y * width + right - 1] != 0
    return found
