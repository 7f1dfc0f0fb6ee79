"""What a frame looks like, tile by tile and band by band: roughness, brightness, agreement."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel


@kernel
def look(image, top, side, line, grain, level, rows):
    """Fill what an image (H, W) looks like, and return how many pixels of its even rows are `top` or more.

    `grain` and `level` (n, m): mean second difference along rows, without sign, and mean value, of the even rows of
    tiles of `side` rows and W // m columns; the last tiles of a column are higher, pixels that are left over at the
    right are not looked at. `rows` (H,): mean of each row. `line` (W,) is scratch.
    """
    h = image.shape[0]
    n, m = grain.shape
    wide = line.shape[0] // m
    grain[:] = 0.0
    level[:] = 0.0
    full = 0
    for y in range(h):
        pixels = image[y]
        whole = np.float32(0.0)
        if y % 2 == 1:
            for x in range(line.shape[0]):
                whole += np.float32(pixels[x])
            rows[y] = whole / np.float32(line.shape[0])
            continue
        for x in range(line.shape[0]):
            line[x] = np.float32(pixels[x])
        i = min(y // side, n - 1)
        for j in range(m):
            tile, total = line[j * wide : (j + 1) * wide], np.float32(0.0)
            for x in range(wide):
                total += tile[x]
            level[i, j] += total
            whole += total
            left, here, right = tile[: wide - 2], tile[1 : wide - 1], tile[2:]
            bends = np.float32(0.0)
            for x in range(left.shape[0]):
                bends += abs(left[x] + right[x] - here[x] - here[x])
            grain[i, j] += bends
        for x in range(m * wide, line.shape[0]):
            whole += line[x]
        rows[y] = whole / np.float32(line.shape[0])
        for x in range(line.shape[0]):
            full += np.int32(line[x] >= top)
    for i in range(n):
        first, last = i * side, h if i == n - 1 else (i + 1) * side
        even = (last + 1) // 2 - (first + 1) // 2
        for j in range(m):
            grain[i, j] /= np.float32(max(even, 1) * (wide - 2))
            level[i, j] /= np.float32(max(even, 1) * wide)
    return full


@kernel
def band_agreements(moved, template, weight, out):
    """Fill `out` (n,) with the weighted correlation of a registered image and a template, band by band.

    Bands are as many rows high as h // n, of which every second one is used; what is left over belongs to the last.
    NaN where no pixel has a vote.
    """
    h = moved.shape[0]
    n = out.shape[0]
    side = max(h // n, 1)
    for i in range(n):
        cross = own = other = np.float32(0.0)
        for y in range(i * side, h if i == n - 1 else (i + 1) * side, 2):
            image, mean, votes = moved[y], template[y], weight[y]
            for x in range(image.shape[0]):
                q, r = votes[x] * image[x], votes[x] * mean[x]
                cross += q * mean[x]
                own += q * image[x]
                other += r * mean[x]
        if other == 0:
            out[i] = np.nan
        else:
            out[i] = cross / np.sqrt((own + np.float32(1e-12)) * (other + np.float32(1e-12)))
