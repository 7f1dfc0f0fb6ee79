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
    translate_rows(image, dy, dx, 0, image.shape[0], row, out)


@kernel
def translate_rows(image, dy, dx, top, bottom, row, out):
    """Fill rows `top` to `bottom` of `out` as `translate` does."""
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
    for y in range(top, bottom):
        # Slices begin at 0: the compiler need not think of negative indices, and makes vector instructions.
        y0 = image[min(max(y + iy - 1, 0), h - 1), first:last]
        y1 = image[min(max(y + iy, 0), h - 1), first:last]
        y2 = image[min(max(y + iy + 1, 0), h - 1), first:last]
        y3 = image[min(max(y + iy + 2, 0), h - 1), first:last]
        for j in range(inside.shape[0]):
            inside[j] = (wy0 * np.float32(y0[j]) + wy1 * np.float32(y1[j])) + (
                wy2 * np.float32(y2[j]) + wy3 * np.float32(y3[j])
            )
        row[:at] = inside[0]
        row[at + inside.shape[0] :] = inside[inside.shape[0] - 1]
        moved = out[y]
        for x in range(moved.shape[0]):
            moved[x] = wx0 * a[x] + wx1 * b[x] + wx2 * c[x] + wx3 * d[x]


@kernel
def hessian(template, weight, out):
    """Fill `out` (3,): sums of w gy gy, w gy gx, w gx gx with the template's gradient (gy, gx), borders left out."""
    h, w = template.shape
    out[:] = 0.0
    for y in range(1, h - 1):
        # Slices begin at 0: the compiler need not think of negative indices, and makes vector instructions.
        above, below = template[y - 1, 1 : w - 1], template[y + 1, 1 : w - 1]
        left, right, votes = template[y, : w - 2], template[y, 2:], weight[y, 1 : w - 1]
        s11 = s12 = s22 = np.float32(0.0)
        for x in range(votes.shape[0]):
            gy, gx = np.float32(0.5) * (below[x] - above[x]), np.float32(0.5) * (right[x] - left[x])
            s11 += votes[x] * gy * gy
            s12 += votes[x] * gy * gx
            s22 += votes[x] * gx * gx
        out[0] += s11
        out[1] += s12
        out[2] += s22


@kernel
def drive(moved, template, gain, weight, clip, out):
    """Fill `out` (2,): sums of w gy e and w gx e with the template's gradient (gy, gx), borders left out.

    With e = moved - gain template, clipped at +-`clip` pixel by pixel.
    """
    h, w = moved.shape
    g = np.float32(gain)
    out[:] = 0.0
    for y in range(1, h - 1):
        above, below = template[y - 1, 1 : w - 1], template[y + 1, 1 : w - 1]
        left, here, right = template[y, : w - 2], template[y, 1 : w - 1], template[y, 2:]
        image, votes, most = moved[y, 1 : w - 1], weight[y, 1 : w - 1], clip[y, 1 : w - 1]
        ty = tx = np.float32(0.0)
        for x in range(image.shape[0]):
            e = image[x] - g * here[x]
            e = np.float32(0.5) * votes[x] * min(max(e, -most[x]), most[x])
            ty += (below[x] - above[x]) * e
            tx += (right[x] - left[x]) * e
        out[0] += ty
        out[1] += tx


@kernel
def agreement(moved, template, weight, out):
    """Fill `out` (2,): sums of w moved template and of w moved moved."""
    out[:] = 0.0
    for y in range(moved.shape[0]):
        image, mean, votes = moved[y], template[y], weight[y]
        cross = own = np.float32(0.0)
        for x in range(image.shape[0]):
            q = votes[x] * image[x]
            cross += q * mean[x]
            own += q * image[x]
        out[0] += cross
        out[1] += own


@kernel
def refine(image, template, weight, clip, equations, start, limits, steps, row, moved, out):
    """Fill `out` (4,) with a shift (dy, dx) after Gauss-Newton steps, the gain there and the weighted correlation.

    `equations` (4,) holds the three sums of `hessian` and the energy sum of w template template. `limits` (3,) holds
    the largest step, the largest way from `start` (2,), which is gone back to beyond it, and the smallest gain.
    `moved` is left as the image translated by the shift; `row` is scratch for that.
    """
    a11, a12, a22, energy = equations
    determinant = a11 * a22 - a12 * a12
    solvable = determinant > 1e-12 * (a11 + a22) ** 2
    sums, b = np.empty(2, np.float64), np.empty(2, np.float64)
    dy, dx = start[0], start[1]
    translate(image, dy, dx, row, moved)
    agreement(moved, template, weight, sums)
    gain = max(sums[0] / energy, limits[2])
    for _ in range(steps):
        if not solvable:
            break
        drive(moved, template, gain, weight, clip, b)
        dy -= min(max((a22 * b[0] - a12 * b[1]) / determinant / gain, -limits[0]), limits[0])
        dx -= min(max((a11 * b[1] - a12 * b[0]) / determinant / gain, -limits[0]), limits[0])
        if abs(dy - start[0]) > limits[1] or abs(dx - start[1]) > limits[1]:
            dy, dx = start[0], start[1]  # the step left the peak: distrust it
        translate(image, dy, dx, row, moved)
        agreement(moved, template, weight, sums)
        gain = max(sums[0] / energy, limits[2])
    out[0] = dy
    out[1] = dx
    out[2] = gain
    out[3] = sums[0] / np.sqrt((sums[1] + 1e-12) * energy)


@kernel
def settle_weights(variance, window, template, steadiness, clip_sd, weight, clip, weighted):
    """Fill `weight`, `clip` and `weighted` (weight times template) from a template and its residual variance.

    A pixel's vote is the window times level / (variance + `steadiness` level), with the mean variance as level;
    `clip` is `clip_sd` standard deviations.
    """
    h, w = variance.shape
    level = 0.0
    for y in range(h):
        row, total = variance[y], np.float32(0.0)
        for x in range(row.shape[0]):
            total += row[x]
        level += total
    level = np.float32(level / (h * w) + 1e-12)
    least, sd = np.float32(steadiness) * level, np.float32(clip_sd)
    for y in range(h):
        row, flank, mean = variance[y], window[y], template[y]
        votes, most, product = weight[y], clip[y], weighted[y]
        for x in range(row.shape[0]):
            votes[x] = flank[x] * level / (row[x] + least)
        for x in range(row.shape[0]):
            most[x] = sd * np.sqrt(row[x])
        for x in range(row.shape[0]):
            product[x] = votes[x] * mean[x]


@kernel
def update_template(moved, gain, rate, template, variance):
    """Move the running mean and the running squared residual by `rate` towards `moved` / `gain`."""
    inverse = np.float32(1.0) / gain
    for y in range(moved.shape[0]):
        image, mean, spread = moved[y], template[y], variance[y]
        for x in range(image.shape[0]):
            e = image[x] * inverse - mean[x]
            mean[x] += rate * e
            spread[x] += rate * (e * e - spread[x])


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
