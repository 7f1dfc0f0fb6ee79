"""Translation of images by a constant sub-pixel shift, and the sums that registration needs."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel


@kernel
def cubic_weights(f, out):
    """Fill `out` (4,) with Catmull-Rom weights for the samples at -1, 0, 1, 2 of the fraction `f`."""
    out[0] = ((-0.5 * f + 1.0) * f - 0.5) * f
    out[1] = (1.5 * f - 2.5) * f * f + 1.0
    out[2] = ((-1.5 * f + 2.0) * f + 0.5) * f
    out[3] = (0.5 * f - 0.5) * f * f


@kernel
def translate(image, dy, dx, row, out):
    """Fill `out`[y, x] with `image` at (y + dy, x + dx), cubic, edges replicated.

    `row` (W + 3,) is scratch: one row, interpolated vertically, with a replicated margin.
    """
    h, w = image.shape
    iy, ix = int(np.floor(dy)), int(np.floor(dx))
    wy, wx = np.empty(4, np.float32), np.empty(4, np.float32)
    cubic_weights(dy - iy, wy)
    cubic_weights(dx - ix, wx)
    wy0, wy1, wy2, wy3 = wy[0], wy[1], wy[2], wy[3]
    wx0, wx1, wx2, wx3 = wx[0], wx[1], wx[2], wx[3]
    # row[j] holds column j + ix - 1, held at the first and the last column.
    first = min(max(ix - 1, 0), w - 1)
    last = max(min(ix + w + 2, w), first + 1)
    at = min(max(first - (ix - 1), 0), w + 2)
    last = min(last, first + w + 3 - at)
    inside = row[at : at + last - first]
    a, b, c, d = row[:w], row[1 : w + 1], row[2 : w + 2], row[3 : w + 3]
    for y in range(h):
        # Slices begin at 0: the compiler need not think of negative indices, and makes vector instructions.
        y0 = image[min(max(y + iy - 1, 0), h - 1), first:last]
        y1 = image[min(max(y + iy, 0), h - 1), first:last]
        y2 = image[min(max(y + iy + 1, 0), h - 1), first:last]
        y3 = image[min(max(y + iy + 2, 0), h - 1), first:last]
        for j in range(inside.shape[0]):
            inside[j] = wy0 * y0[j] + wy1 * y1[j] + wy2 * y2[j] + wy3 * y3[j]
        row[:at] = inside[0]
        row[at + inside.shape[0] :] = inside[inside.shape[0] - 1]
        moved = out[y]
        for x in range(moved.shape[0]):
            moved[x] = wx0 * a[x] + wx1 * b[x] + wx2 * c[x] + wx3 * d[x]


@kernel
def newton_sums(moved, template, gain, weight, clip, out):
    """Fill `out` (6,): the normal equations of a small shift and the agreement of two images.

    With e = moved - gain template, clipped at +-`clip` pixel by pixel, and the template's gradient (gy, gx):
    sums of w gy gy, w gy gx, w gx gx, w gy e, w gx e, and w moved template. Borders of 1 px are left out.
    """
    h, w = moved.shape
    a11 = a12 = a22 = b1 = b2 = cross = 0.0
    for y in range(1, h - 1):
        s11 = s12 = s22 = t1 = t2 = c = np.float32(0.0)
        for x in range(1, w - 1):
            gy = np.float32(0.5) * (template[y + 1, x] - template[y - 1, x])
            gx = np.float32(0.5) * (template[y, x + 1] - template[y, x - 1])
            e = moved[y, x] - gain * template[y, x]
            e = min(max(e, -clip[y, x]), clip[y, x])
            q = weight[y, x]
            s11 += q * gy * gy
            s12 += q * gy * gx
            s22 += q * gx * gx
            t1 += q * gy * e
            t2 += q * gx * e
            c += q * moved[y, x] * template[y, x]
        a11 += s11
        a12 += s12
        a22 += s22
        b1 += t1
        b2 += t2
        cross += c
    out[0] = a11
    out[1] = a12
    out[2] = a22
    out[3] = b1
    out[4] = b2
    out[5] = cross


@kernel
def update_template(moved, gain, rate, template, variance):
    """Move the running mean and the running squared residual by `rate` towards `moved` / `gain`."""
    h, w = moved.shape
    for y in range(h):
        for x in range(w):
            e = moved[y, x] / gain - template[y, x]
            template[y, x] += rate * e
            variance[y, x] += rate * (e * e - variance[y, x])


@kernel
def center(aligned, b0, y0, y1, x0, x1, out):
    """Fill `out` with `aligned` - `b0` inside rows y0..y1 and columns x0..x1, and with 0 outside."""
    for y in range(aligned.shape[0]):
        row = out[y]
        if y < y0 or y >= y1:
            row[:] = 0.0
            continue
        row[:x0] = 0.0
        row[x1:] = 0.0
        # Slices begin at 0: the compiler need not think of negative indices, and makes vector instructions.
        inside, a, b = row[x0:x1], aligned[y, x0:x1], b0[y, x0:x1]
        for x in range(inside.shape[0]):
            inside[x] = a[x] - b[x]
