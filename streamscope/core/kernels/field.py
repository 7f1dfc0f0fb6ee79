"""Resampling by a shift and a smooth field on top of it, and the sums that the field is found from."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel
from streamscope.core.kernels.warp import cubic_weights


@kernel
def _blend(r0, r1, r2, r3, f, step, out):
    """Fill `out` (n,) with the Catmull-Rom blend of four rows at fractions f, f + step, f + 2 step ..."""
    for j in range(out.shape[0]):
        a = f + np.float32(j) * step
        aa = a * a
        b = a * (np.float32(1.0) - a)
        c = b * np.float32(0.5)
        # The four weights, with what they share taken out: -c (1 - a), 1 - ..., 1 - ..., -c a.
        w0 = c * (a - np.float32(1.0))
        w3 = -c * a
        w1 = np.float32(1.0) + aa * (np.float32(1.5) * a - np.float32(2.5))
        w2 = np.float32(1.0) - w0 - w1 - w3
        out[j] = (w0 * np.float32(r0[j]) + w1 * np.float32(r1[j])) + (
            w2 * np.float32(r2[j]) + w3 * np.float32(r3[j])
        )


@kernel
def _run_stop(d, step, x, stop):
    """Return where the run from `x` ends: up to there d + (x' - x) step keeps its integer part."""
    if step == 0:
        return stop
    room = (np.floor(d) + (1 if step > 0 else 0) - d) / step
    return min(stop, x + int(room) + 1) if room < stop - x else stop


@kernel
def warp_field(image, dy, dx, field, row, out):
    """Fill `out`[y, x] with `image` at (y + dy + uy, x + dx + ux), cubic, edges replicated.

    `field` (gy, gx, 2) holds (uy, ux) at nodes that span the image corner to corner, linear between them, with slopes
    less than 1. `row` (at least W,) is scratch: the image along the curve on which the content of this row lies,
    at whole columns; then it is looked up between columns. Both passes are cut into runs within which the integer
    part of the displacement stays: the loop over pixels then has neither a look-up nor a condition.
    """
    h, w = image.shape
    gy, gx = field.shape[0], field.shape[1]
    pitch = (w - 1.0) / (gx - 1)
    weights = np.empty(4, np.float32)
    for y in range(h):
        at = y * (gy - 1.0) / (h - 1.0)
        top = min(int(at), gy - 2)
        part = at - top
        seen = np.int64(0)  # columns of `row` that are done
        for n in range(gx - 1):
            y0 = dy + (1 - part) * field[top, n, 0] + part * field[top + 1, n, 0]
            y1 = dy + (1 - part) * field[top, n + 1, 0] + part * field[top + 1, n + 1, 0]
            x0 = n * pitch + dx + (1 - part) * field[top, n, 1] + part * field[top + 1, n, 1]
            x1 = (n + 1) * pitch + dx + (1 - part) * field[top, n + 1, 1] + part * field[top + 1, n + 1, 1]
            step = (y1 - y0) / (x1 - x0)
            stop = w if n == gx - 2 else min(w, int(np.ceil(x1)))
            while seen < stop:
                d = y0 + (seen - x0) * step
                end = _run_stop(d, step, seen, stop)
                i = int(np.floor(d))
                _blend(
                    image[min(max(y + i - 1, 0), h - 1), seen:end],
                    image[min(max(y + i, 0), h - 1), seen:end],
                    image[min(max(y + i + 1, 0), h - 1), seen:end],
                    image[min(max(y + i + 2, 0), h - 1), seen:end],
                    np.float32(d - i),
                    np.float32(step),
                    row[seen:end],
                )
                seen = end
        for n in range(gx - 1):
            x = int(np.ceil(n * pitch))
            stop = w if n == gx - 2 else int(np.ceil((n + 1) * pitch))
            x0 = dx + (1 - part) * field[top, n, 1] + part * field[top + 1, n, 1]
            x1 = dx + (1 - part) * field[top, n + 1, 1] + part * field[top + 1, n + 1, 1]
            step = (x1 - x0) / pitch
            while x < stop:
                d = x0 + (x - n * pitch) * step
                end = _run_stop(d, step, x, stop)
                i = int(np.floor(d))
                inside = x + i >= 1 and x + i + 3 <= w
                end = min(end, w - i - 2) if inside else min(end, max(1 - i, x + 1)) if x + i < 1 else end
                if inside:
                    a, k = x + i - 1, end - x
                    _blend(
                        row[a : a + k],
                        row[a + 1 : a + 1 + k],
                        row[a + 2 : a + 2 + k],
                        row[a + 3 : a + 3 + k],
                        np.float32(d - i),
                        np.float32(step),
                        out[y, x:end],
                    )
                else:
                    for j in range(x, end):
                        cubic_weights(d - i + (j - x) * step, weights)
                        total = np.float32(0.0)
                        for k in range(4):
                            total += weights[k] * row[min(max(j + i + k - 1, 0), w - 1)]
                        out[y, j] = total
                x = end


@kernel
def block_information(template, weight, block, out):
    """Fill `out` (by, bx, 3): block sums of w gy gy, w gy gx, w gx gx, with the template's gradient (gy, gx)."""
    h, w = template.shape
    out[:] = 0.0
    for y in range(1, h - 1):
        for x in range(1, w - 1):
            gy = np.float32(0.5) * (template[y + 1, x] - template[y - 1, x])
            gx = np.float32(0.5) * (template[y, x + 1] - template[y, x - 1])
            o = out[y // block, x // block]
            o[0] += weight[y, x] * gy * gy
            o[1] += weight[y, x] * gy * gx
            o[2] += weight[y, x] * gx * gx


@kernel
def block_sums(moved, template, gain, weight, clip, seen, block, out):
    """Fill `out` (by, bx, 2): block sums of w gy e and w gx e, with the template's gradient (gy, gx).

    With e = moved / gain - template, clipped at +-`clip` pixel by pixel, inside `seen`: rows y0..y1, columns x0..x1.
    """
    h, w = moved.shape
    y0, y1, x0, x1 = max(seen[0], 1), min(seen[1], h - 1), max(seen[2], 1), min(seen[3], w - 1)
    inverse = np.float32(1.0) / gain
    out[:] = 0.0
    if x1 <= x0:
        return
    drive_y, drive_x = np.empty(x1 - x0, np.float32), np.empty(x1 - x0, np.float32)
    for y in range(y0, y1):
        # Slices begin at 0: the compiler need not think of negative indices, and makes vector instructions.
        above, below = template[y - 1, x0:x1], template[y + 1, x0:x1]
        left, here, right = template[y, x0 - 1 : x1 - 1], template[y, x0:x1], template[y, x0 + 1 : x1 + 1]
        image, votes, most = moved[y, x0:x1], weight[y, x0:x1], clip[y, x0:x1]
        for j in range(drive_y.shape[0]):
            e = image[j] * inverse - here[j]
            q = np.float32(0.5) * votes[j] * min(max(e, -most[j]), most[j])
            drive_y[j] = q * (below[j] - above[j])
            drive_x[j] = q * (right[j] - left[j])
        for k in range(x0 // block, (x1 - 1) // block + 1):
            first, last = max(x0, k * block) - x0, min(x1, (k + 1) * block) - x0
            out[y // block, k, 0] += drive_y[first:last].sum()
            out[y // block, k, 1] += drive_x[first:last].sum()
