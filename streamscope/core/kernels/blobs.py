"""What a footprint looks like: its extent, its centre, how round it is, which part of it hangs together."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel
from streamscope.core.kernels.seeds import keep_connected


@kernel
def extent(pixels, width):
    """Return first row and column of some pixels of a frame that is `width` wide, and the last ones plus 1."""
    top = left = 1 << 30
    bottom = right = 0
    for i in range(pixels.shape[0]):
        y, x = pixels[i] // width, pixels[i] % width
        top, bottom = min(top, y), max(bottom, y + 1)
        left, right = min(left, x), max(right, x + 1)
    return top, left, bottom, right


@kernel
def fill_image(pixels, values, width, top, left, image):
    """Fill `image` (h, w), whose first pixel is (top, left), with `values` (n,) of its pixels and 0 around them."""
    image[:] = 0.0
    for i in range(pixels.shape[0]):
        image[pixels[i] // width - top, pixels[i] % width - left] = values[i]


@kernel
def centre_above(image, part):
    """Return the centre of mass (y, x) of what is above `part` of the maximum of an image (h, w)."""
    top = np.float32(0.0)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            top = max(top, image[y, x])
    total, rows, cols = 1e-12, 0.0, 0.0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if image[y, x] > part * top:
                total += image[y, x]
                rows += y * image[y, x]
                cols += x * image[y, x]
    return rows / total, cols / total


@kernel
def best_gaussian(shape, image, reach, sigmas):
    """Return the largest correlation of `shape` (h, w) with a round Gaussian, and which of `sigmas` (n,) gives it.

    It is about the centre of what is above 0.3 of the maximum of `image` (h, w), on the pixels within `reach` of it.
    """
    h, w = shape.shape
    cy, cx = centre_above(image, np.float32(0.3))
    count, mean, square = 0, 0.0, 0.0
    for y in range(h):
        for x in range(w):
            if (y - cy) ** 2 + (x - cx) ** 2 <= reach * reach:
                count += 1
                mean += shape[y, x]
                square += shape[y, x] * np.float64(shape[y, x])
    mean /= max(count, 1)
    square -= count * mean * mean
    down, across = np.empty(h), np.empty(w)
    best, which = -np.inf, 0
    for i in range(sigmas.shape[0]):
        narrow = -0.5 / sigmas[i] ** 2
        for y in range(h):
            down[y] = np.exp(narrow * (y - cy) ** 2)
        for x in range(w):
            across[x] = np.exp(narrow * (x - cx) ** 2)
        total, squares, both = 0.0, 0.0, 0.0
        for y in range(h):
            for x in range(w):
                if (y - cy) ** 2 + (x - cx) ** 2 <= reach * reach:
                    value = down[y] * across[x]
                    total += value
                    squares += value * value
                    both += value * (shape[y, x] - mean)
        spread = squares - total * total / max(count, 1)
        r = both / (np.sqrt(max(spread, 0.0)) * np.sqrt(max(square, 0.0)) + 1e-12)
        if r > best:
            best, which = r, i
    return best, which


@kernel
def keep_part(smooth, image, cut, y, x):
    """Set an image (h, w) to 0 where `smooth` is not above `cut` of its maximum or not connected with (y, x).

    `smooth` (h, w) is lost.
    """
    top = np.float32(0.0)
    for v in range(smooth.shape[0]):
        for u in range(smooth.shape[1]):
            top = max(top, smooth[v, u])
    keep_connected(smooth, np.float32(cut * top), y, x)
    for v in range(smooth.shape[0]):
        for u in range(smooth.shape[1]):
            if not smooth[v, u] > 0:
                image[v, u] = 0.0


@kernel
def peak_near(image, y, x, reach):
    """Return row and column of the largest value of an image (h, w) within `reach` of (y, x), of all if none is."""
    best, row, col, found = np.float32(-1.0), 0, 0, False
    top, first, last = np.float32(-1.0), 0, 0
    for v in range(image.shape[0]):
        for u in range(image.shape[1]):
            value = image[v, u]
            if value > top:
                top, first, last = value, v, u
            if (v - y) ** 2 + (u - x) ** 2 <= reach * reach:
                found = True
                if value > best:
                    best, row, col = value, v, u
    return (row, col) if found else (first, last)


@kernel
def rim_level(pixels, width, y, x, inner, values):
    """Return the median of `values` (n,) of the pixels farther than `inner` from (y, x), 0 if there are none."""
    rim = np.empty(values.shape[0], np.float32)
    n = 0
    for i in range(pixels.shape[0]):
        dy, dx = pixels[i] // width - y, pixels[i] % width - x
        if dy * dy + dx * dx > inner * inner:
            rim[n] = values[i]
            n += 1
    return np.float32(np.median(rim[:n])) if n else np.float32(0.0)
