"""The band-pass of registration: halving, blurs with symmetric taps, and one of them at half of the size."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel

STRIP = 16  # rows


@kernel
def mirrored(i, n):
    """Return the index 0..n - 1 that position `i` is a mirror image of; the border itself is not repeated."""
    if n == 1:
        return 0
    while i < 0 or i >= n:
        i = -i if i < 0 else 2 * (n - 1) - i
    return i


@kernel
def halve(image, edge, line, border, out):
    """Fill `out` but for its `border` with the means of 2 x 2 pixels of `image` inside its `edge`.

    An odd last row or column stands for two. `line` (W,) is scratch. Pairs of rows are added first, so that both
    loops become vector instructions.
    """
    height, width = image.shape[0] - 2 * edge, image.shape[1] - 2 * edge
    h, w = out.shape[0] - 2 * border, out.shape[1] - 2 * border
    whole = min(width // 2, w)
    sums = line[:width]
    for i in range(h):
        upper = image[edge + 2 * i, edge : edge + width]
        lower = image[edge + min(2 * i + 1, height - 1), edge : edge + width]
        row = out[border + i, border : border + w]
        for x in range(sums.shape[0]):
            sums[x] = np.float32(upper[x]) + np.float32(lower[x])
        for j in range(whole):
            row[j] = np.float32(0.25) * (sums[2 * j] + sums[2 * j + 1])
        if w > whole:
            row[whole] = np.float32(0.5) * sums[width - 1]


@kernel
def as_float(image, border, out):
    """Fill `out` float32 but for its `border` with an image (H, W)."""
    for y in range(image.shape[0]):
        row, pixels = out[border + y, border : border + image.shape[1]], image[y]
        for x in range(row.shape[0]):
            row[x] = np.float32(pixels[x])


@kernel
def pad(padded, reach):
    """Fill a border of `reach` pixels of `padded` with the mirror image of what lies inside."""
    h, w = padded.shape[0] - 2 * reach, padded.shape[1] - 2 * reach
    for y in range(reach, reach + h):
        row = padded[y]
        for k in range(1, reach + 1):
            row[reach - k] = row[reach + mirrored(-k, w)]
            row[reach + w - 1 + k] = row[reach + mirrored(w - 1 + k, w)]
    for k in range(1, reach + 1):
        padded[reach - k] = padded[reach + mirrored(-k, h)]
        padded[reach + h - 1 + k] = padded[reach + mirrored(h - 1 + k, h)]


@kernel
def _convolve(flat, pitch, taps, out):
    """Fill `out` (n,) with symmetric `taps` over `flat` at distances of `pitch`; `out` begins at the first middle."""
    n, reach = out.shape[0], taps.shape[0] - 1
    start = flat[reach * pitch : reach * pitch + n]
    for i in range(n):
        out[i] = taps[0] * start[i]
    for k in range(1, reach, 4):
        # Slices begin at 0, and no more than eight of them: the compiler then makes vector instructions.
        t1, t2, t3, t4 = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
        low, high = (reach - k) * pitch, (reach + k) * pitch
        a1, b1 = flat[low : low + n], flat[high : high + n]
        low, high = low - pitch, high + pitch
        a2, b2 = flat[low : low + n], flat[high : high + n]
        low, high = low - pitch, high + pitch
        a3, b3 = flat[low : low + n], flat[high : high + n]
        low, high = low - pitch, high + pitch
        a4, b4 = flat[low : low + n], flat[high : high + n]
        for i in range(n):
            out[i] += (t1 * (a1[i] + b1[i]) + t2 * (a2[i] + b2[i])) + (
                t3 * (a3[i] + b3[i]) + t4 * (a4[i] + b4[i])
            )


@kernel
def blur(padded, taps, strip, out):
    """Fill `out` (h, w) with what is inside `padded` times symmetric `taps` along both axes.

    `taps` (1 + 4 n,) are those of the middle and of each distance from it; the border of `padded` is 4 n wide.
    `strip` is scratch for twice `STRIP` of its rows: so many at once, which stay in the cache, are blurred along
    columns and then along rows.
    """
    h, w = out.shape
    width, reach = padded.shape[1], taps.shape[0] - 1
    flat = padded.reshape(-1)
    for top in range(0, h, STRIP):
        rows = min(STRIP, h - top)
        n = rows * width
        columns, both = strip[:n], strip[n : 2 * n - 2 * reach]
        _convolve(flat[top * width :], width, taps, columns)
        _convolve(columns, 1, taps, both)
        for y in range(rows):
            out[top + y] = both[y * width : y * width + w]


@kernel
def subtract_doubled(small, line, out):
    """Subtract from `out` (h, w) an image of half its size, read linearly between the middles of its pixels.

    `line` (at least half of w and 2 more,) is scratch.
    """
    n, m = small.shape
    near, far = np.float32(0.75), np.float32(0.25)
    blended = line[1 : m + 1]
    for y in range(out.shape[0]):
        i = y // 2
        here, there = small[i], small[min(max(i - 1 + 2 * (y % 2), 0), n - 1)]
        for j in range(blended.shape[0]):
            blended[j] = near * here[j] + far * there[j]
        line[0], line[m + 1] = blended[0], blended[m - 1]
        row = out[y]
        half = row.shape[0] // 2
        left, middle, right = line[:half], blended[:half], line[2 : half + 2]
        for j in range(half):
            row[2 * j] -= far * left[j] + near * middle[j]
            row[2 * j + 1] -= near * middle[j] + far * right[j]
        if row.shape[0] % 2:
            row[2 * half] -= far * line[half] + near * line[half + 1]


@kernel
def band_pass(image, inner, outer, line, strip, base, small, wide, out):
    """Fill `out` (h, w) with the difference of two blurs of an image of its size, or of twice its size.

    `inner` and `outer` are the taps; the outer blur is taken at half of the size of `out`. Scratch: `line` (W + 2,),
    `strip` as in `blur`, `base` as large as `out` with a border for `inner`, `wide` (half of h and w, rounded up),
    and `small` as large as that with a border for `outer`.
    """
    reach, edge = inner.shape[0] - 1, outer.shape[0] - 1
    if image.shape[0] >= 2 * out.shape[0]:
        halve(image, 0, line, reach, base)
    else:
        as_float(image, reach, base)
    halve(base, reach, line, edge, small)
    pad(base, reach)
    pad(small, edge)
    blur(small, outer, strip, wide)
    blur(base, inner, strip, out)
    subtract_doubled(wide, line, out)


@kernel
def lay_out(image, window, top, left, lag, out):
    """Fill `out` (n, m) with a part of an image times `window` (n, m), rolled by `lag` along both axes.

    The part begins at row `top` and column `left` of the image.
    """
    n, m = out.shape
    for i in range(n):
        row = out[(i + lag) % n]
        first, weight, pixels = row[lag:], window[i], image[top + i, left : left + m]
        for j in range(first.shape[0]):
            first[j] = weight[j] * pixels[j]
        for j in range(m - lag, m):
            row[j + lag - m] = weight[j] * pixels[j]
