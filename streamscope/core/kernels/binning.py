"""Sums of blocks of pixels: frames with fewer, and less noisy, pixels."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel


@kernel
def add_blocks(image, side, out):
    """Add to `out` (h, w) int64 the sums of the blocks of side x side pixels of an image; what is left over is not used."""
    h, w = out.shape
    for y in range(h):
        row = out[y]
        for i in range(side):
            pixels = image[y * side + i]
            for x in range(w):
                total = np.int64(0)
                for j in range(side):
                    total += np.int64(pixels[x * side + j])
                row[x] += total


@kernel
def scale(total, factor, out):
    """Fill `out` (h, w) uint16 with `total` times `factor`, rounded."""
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = np.uint16(total[y, x] * factor + 0.5)
