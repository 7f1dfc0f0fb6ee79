"""From the sensor's frame to what each component shows of it, in one pass over memory."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel
from streamscope.core.kernels.dots import dot
from streamscope.core.kernels.warp import translate_rows

_ROWS = 16  # of an aligned frame that are finished while they are in the cache


@kernel
def _hold(b0, y0, y1, x0, x1, top, bottom, aligned):
    """Set rows `top` to `bottom` of `aligned` to `b0` outside rows y0..y1 and columns x0..x1."""
    for y in range(top, bottom):
        if y < y0 or y >= y1:
            aligned[y] = b0[y]
        else:
            aligned[y, :x0] = b0[y, :x0]
            aligned[y, x1:] = b0[y, x1:]


@kernel
def _bin(aligned, step, top, bottom, line, blocks):
    """Fill the rows of `blocks` that stand for rows `top` to `bottom` with means of step x step pixels.

    `line` (W,) is scratch: rows are added first, so that it becomes vector instructions.
    """
    height, width = aligned.shape
    whole, rest = width // step, width % step
    sums = line[:width]
    for i in range(top // step, -(-bottom // step)):
        first, stop = i * step, min((i + 1) * step, height)
        pixels = aligned[first]
        for x in range(sums.shape[0]):
            sums[x] = pixels[x]
        for y in range(first + 1, stop):
            pixels = aligned[y]
            for x in range(sums.shape[0]):
                sums[x] += pixels[x]
        row = blocks[i]
        scale = np.float32(1.0 / ((stop - first) * step))
        if step == 2:
            for j in range(whole):
                row[j] = scale * (sums[2 * j] + sums[2 * j + 1])
        elif step == 4:
            for j in range(whole):
                row[j] = scale * ((sums[4 * j] + sums[4 * j + 1]) + (sums[4 * j + 2] + sums[4 * j + 3]))
        else:
            for j in range(whole):
                total = np.float32(0.0)
                for k in range(step):
                    total += sums[j * step + k]
                row[j] = scale * total
        if rest:
            total = np.float32(0.0)
            for x in range(width - rest, width):
                total += sums[x]
            row[whole] = total / np.float32((stop - first) * rest)


@kernel
def align(image, dy, dx, b0, field, step, row, aligned, blocks):
    """Fill `aligned` with `image` at (y + dy, x + dx), but `b0` outside the field, and `blocks` with its means.

    `field` holds rows y0..y1 and columns x0..x1. `row` (W + 3,) is scratch.
    """
    height = image.shape[0]
    rows = step * max(_ROWS // step, 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        translate_rows(image, dy, dx, top, bottom, row, aligned)
        _hold(b0, *field, top, bottom, aligned)
        _bin(aligned, step, top, bottom, row, blocks)


@kernel
def hold_and_bin(b0, field, step, row, aligned, blocks):
    """Set `aligned` to `b0` outside the field, and fill `blocks` with its means; arguments as in `align`."""
    _hold(b0, *field, 0, aligned.shape[0], aligned)
    _bin(aligned, step, 0, aligned.shape[0], row, blocks)


@kernel
def project(indptr, pixels, weights, image, seen_indptr, bins, seen_values, blocks, still, out):
    """Fill `out` (K,) with A'y - V D y - `still` of a flat image y and its flat blocks D y."""
    for k in range(out.shape[0]):
        own = dot(pixels, weights, indptr[k], indptr[k + 1], image)
        background = dot(bins, seen_values, seen_indptr[k], seen_indptr[k + 1], blocks)
        out[k] = (own - background) - still[k]
