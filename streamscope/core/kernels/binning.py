"""Sums of blocks of pixels: frames with fewer, and less noisy, pixels."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel


@kernel
def add_blocks(image, side, line, out):
    """Add to `out` (h, w) int32 the sums of side x side pixels of an image; what is left over is not used.

    `line` (w side,) int32 is scratch: rows are added first, so that it becomes vector instructions.
    """
    h, w = out.shape
    for y in range(h):
        row = out[y]
        line[:] = 0
        for i in range(side):
            pixels = image[y * side + i]
            for x in range(line.shape[0]):
                line[x] += np.int32(pixels[x])
        if side == 1:
            for x in range(w):
                row[x] += line[x]
        elif side == 2:
            for x in range(w):
                row[x] += line[2 * x] + line[2 * x + 1]
        else:
            for x in range(w):
                total = np.int32(0)
                for j in range(side):
                    total += line[x * side + j]
                row[x] += total


@kernel
def scale(total, factor, out):
    """Fill `out` (h, w) uint16 with `total` times `factor`, rounded."""
    for y in range(out.shape[0]):
        sums, means = total[y], out[y]
        for x in range(means.shape[0]):
            means[x] = np.uint16(np.int32(np.float32(sums[x]) * factor + np.float32(0.5)))
