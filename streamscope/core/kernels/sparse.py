"""Products of sparse footprints with images, and the residual of the model on its coarse grids."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel
from streamscope.core.kernels.dots import dot, fetch


@kernel
def project(indptr, pixels, weights, image, out):
    """Fill `out` (K,) with A' image; `image` is flat (P,)."""
    for k in range(indptr.shape[0] - 1):
        out[k] = dot(pixels, weights, indptr[k], indptr[k + 1], image)


@kernel
def subtract_components(indptr, bins, values, c, grid):
    """Subtract from the flat `grid` the components with activity `c` (K,)."""
    for k in range(c.shape[0]):
        if c[k] != 0.0:
            for i in range(indptr[k], indptr[k + 1]):
                grid[bins[i]] -= c[k] * values[i]


@kernel
def subtract_model(blocks, still, indptr, bins, values, c, out):
    """Fill `out` (n, P') with `blocks` less `still` (P',) and less the components with activity `c` (n, K)."""
    for t in range(out.shape[0]):
        row, seen, activity = out[t], blocks[t], c[t]
        for p in range(row.shape[0]):
            row[p] = seen[p] - still[p]
        for k in range(activity.shape[0]):
            if activity[k] != 0.0:
                for i in range(indptr[k], indptr[k + 1]):
                    row[bins[i]] -= activity[k] * values[i]


@kernel
def encode(aligned, scale, out):
    """Fill `out` uint16 with `aligned` * `scale`, rounded and clipped."""
    h, w = aligned.shape
    for y in range(h):
        for x in range(w):
            v = aligned[y, x] * scale + np.float32(0.5)
            out[y, x] = np.uint16(min(max(v, np.float32(0.0)), np.float32(65535.0)))


@kernel
def decode_centered(frame, scale, b0, y0, y1, x0, x1, out):
    """Fill `out` with a stored frame less `b0` inside rows y0..y1 and columns x0..x1, and with 0 outside."""
    for y in range(frame.shape[0]):
        row = out[y]
        if y < y0 or y >= y1:
            row[:] = 0.0
            continue
        row[:x0] = 0.0
        row[x1:] = 0.0
        inside, a, b = row[x0:x1], frame[y, x0:x1], b0[y, x0:x1]
        for x in range(inside.shape[0]):
            inside[x] = np.float32(a[x]) * scale - b[x]


@kernel
def project_stored(frames, rects, scale, b0, width, indptr, pixels, weights, out):
    """Fill `out` (n, K) with A'y of the first n stored frames, with b0 for y outside a frame's field.

    `frames` is (N, P) and `b0` (P,), both flat. What is returned is what `fetch` returned.
    """
    fetched = 0
    for k in range(indptr.shape[0] - 1):
        a, b = indptr[k], indptr[k + 1]
        p, w = pixels[a:b], weights[a:b]
        top = left = 1 << 30
        bottom = right = 0
        for i in range(p.shape[0]):
            y, x = p[i] // width, p[i] % width
            top, bottom = min(top, y), max(bottom, y + 1)
            left, right = min(left, x), max(right, x + 1)
        for t in range(out.shape[0]):
            frame = frames[t]
            if t + 1 < out.shape[0] and bottom > top:
                fetched += fetch(frames[t + 1], width, top, left, bottom, right)
            if rects[t, 0] <= top and bottom <= rects[t, 1] and rects[t, 2] <= left and right <= rects[t, 3]:
                out[t, k] = scale * dot(p, w, 0, p.shape[0], frame)
                continue
            total = np.float32(0.0)
            for i in range(p.shape[0]):
                y, x = p[i] // width, p[i] % width
                seen = rects[t, 0] <= y < rects[t, 1] and rects[t, 2] <= x < rects[t, 3]
                total += w[i] * (np.float32(frame[p[i]]) * scale if seen else b0[p[i]])
            out[t, k] = total
    return fetched


@kernel
def between_blocks(start, n, step, first, n_blocks):
    """Return the blocks before and after pixels start.., counted from block `first`, and how far between they are."""
    before, after, part = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.float32)
    for i in range(n):
        at = min(max((start + i + 0.5) / step - 0.5, 0.0), n_blocks - 1.0)
        before[i] = int(at)
        part[i] = at - before[i]
        after[i] = min(before[i] + 1, n_blocks - 1) - first
        before[i] -= first
    return before, after, part


@kernel
def box_residual(
    frames, rects, scale, b0, background, first_row, first_col, grid, step, slots, top, left, out
):
    """Fill `out` (n, h, w) with y - b0 - B of a box of the stored frames `slots`; 0 outside a frame's field.

    `background` (n, hb, wb) is B on the blocks from (first_row, first_col) on, of a grid of `grid` blocks of
    step x step pixels; it is read bilinearly between block centres. All in one pass: what is read of a frame lies
    far from what is read of the next. What is returned is what `fetch` returned.
    """
    fetched = 0
    n, h, w = out.shape
    row_of, next_row, row_part = between_blocks(top, h, step, first_row, grid[0])
    col_of, next_col, col_part = between_blocks(left, w, step, first_col, grid[1])
    n_rows = background.shape[1]
    wide = np.empty((n_rows, w), np.float32)  # B of the rows of blocks, spread to the columns of the box
    still = b0[top : top + h, left : left + w].copy()
    flat = frames.reshape(frames.shape[0], -1)
    for i in range(n):
        t = slots[i]
        fetched += fetch(flat[slots[min(i + 1, n - 1)]], frames.shape[2], top, left, top + h, left + w)
        for r in range(n_rows):
            low, line = background[i, r], wide[r]
            for k in range(w):
                here = low[col_of[k]]
                line[k] = here + col_part[k] * (low[next_col[k]] - here)
        for j in range(h):
            seen, quiet, image = frames[t, top + j, left : left + w], still[j], out[i, j]
            upper, lower, part = wide[row_of[j]], wide[next_row[j]], row_part[j]
            for k in range(w):  # a whole number times a float32 would be a float64
                image[k] = np.float32(seen[k]) * scale - quiet[k] - (upper[k] + part * (lower[k] - upper[k]))
        y0, y1, x0, x1 = rects[t, 0] - top, rects[t, 1] - top, rects[t, 2] - left, rects[t, 3] - left
        if y0 > 0 or y1 < h or x0 > 0 or x1 < w:
            for j in range(h):
                for k in range(w):
                    if j < y0 or j >= y1 or k < x0 or k >= x1:
                        out[i, j, k] = 0.0
    return fetched


@kernel
def subtract_from_box(indptr, pixels, weights, which, c, slots, width, top, left, out):
    """Subtract the components `which` with activity `c` (N, K) from a box `out` (n, h, w) of frames `slots`.

    Columns of `indptr`, `pixels`, `weights` are the footprints; `width` is that of the frames and (top, left)
    the first pixel of the box.
    """
    n, h, w = out.shape
    flat = out.reshape(n, h * w)
    for k in which:
        size = indptr[k + 1] - indptr[k]
        at, weight = np.empty(size, np.int64), np.empty(size, np.float32)
        m = 0
        for i in range(indptr[k], indptr[k + 1]):
            y, x = pixels[i] // width - top, pixels[i] % width - left
            if 0 <= y < h and 0 <= x < w:
                at[m], weight[m] = y * w + x, weights[i]
                m += 1
        for t in range(n):
            activity = c[slots[t], k]
            if activity != 0.0:
                image = flat[t]
                for i in range(m):
                    image[at[i]] -= activity * weight[i]


@kernel
def follow_mean(aligned, y0, y1, x0, x1, row_rate, column_rate, mean):
    """Move the running mean image inside rows y0..y1 and columns x0..x1, each pixel by the larger of its rates."""
    for y in range(y0, y1):
        a, m, quick = aligned[y, x0:x1], mean[y, x0:x1], column_rate[x0:x1]
        slow = row_rate[y]
        for x in range(a.shape[0]):
            rate = slow if slow > quick[x] else quick[x]
            m[x] += rate * (a[x] - m[x])


@kernel
def static_background(mean, indptr, pixels, weights, level, out):
    """Fill `out` (flat) with mean - A level: what is left of the mean image when the cells are silent."""
    for p in range(mean.shape[0]):
        out[p] = mean[p]
    for k in range(level.shape[0]):
        for i in range(indptr[k], indptr[k + 1]):
            out[pixels[i]] -= weights[i] * level[k]
    for p in range(mean.shape[0]):  # exactly what is stored: multiples of 1/64
        out[p] = np.floor(out[p] * np.float32(64.0) + np.float32(0.5)) * np.float32(0.015625)


@kernel
def centres(indptr, pixels, weights, width, out):
    """Fill `out` (K, 2) with the centres of mass (y, x) of the columns of A."""
    for k in range(indptr.shape[0] - 1):
        total, y, x = 1e-12, 0.0, 0.0
        for i in range(indptr[k], indptr[k + 1]):
            total += weights[i]
            y += weights[i] * (pixels[i] // width)
            x += weights[i] * (pixels[i] % width)
        out[k, 0], out[k, 1] = y / total, x / total


@kernel
def boxes(indptr, at, width, out):
    """Fill `out` (K, 4) with first and last row and column of sparse rows on a grid that is `width` wide."""
    for k in range(indptr.shape[0] - 1):
        top = left = 1 << 30
        bottom = right = -1
        for i in range(indptr[k], indptr[k + 1]):
            y, x = at[i] // width, at[i] % width
            top, bottom = min(top, y), max(bottom, y)
            left, right = min(left, x), max(right, x)
        out[k, 0], out[k, 1], out[k, 2], out[k, 3] = top, bottom, left, right


@kernel
def find_near(boxes1, boxes2, indptr, near):
    """Fill the sparse rows `near` with those of `boxes2` that meet each of `boxes1`; return how many.

    With `near` too short, they are only counted in `indptr` (K + 1,).
    """
    n = 0
    for k in range(boxes1.shape[0]):
        top, bottom, left, right = boxes1[k]
        for j in range(boxes2.shape[0]):
            if (
                boxes2[j, 0] <= bottom
                and boxes2[j, 1] >= top
                and boxes2[j, 2] <= right
                and boxes2[j, 3] >= left
            ):
                if n < near.shape[0]:
                    near[n] = j
                n += 1
        indptr[k + 1] = n
    return n


@kernel
def near_products(indptr, at, values, indptr2, at2, values2, near_indptr, near, scratch, out):
    """Fill `out` (nnz,) with products of sparse rows and those `near`; `scratch` is zero before and after."""
    for k in range(indptr.shape[0] - 1):
        for e in range(indptr[k], indptr[k + 1]):
            scratch[at[e]] += values[e]
        for n in range(near_indptr[k], near_indptr[k + 1]):
            j, total = near[n], 0.0
            for e in range(indptr2[j], indptr2[j + 1]):
                total += scratch[at2[e]] * values2[e]
            out[n] = total
        for e in range(indptr[k], indptr[k + 1]):
            scratch[at[e]] = 0.0


@kernel
def add_submatrix(indptr, at, values, factor, which, place, out):
    """Add `factor` times rows and columns `which` (n,) of a sparse matrix to `out` (n, n).

    `place` (K,) says where a column lies within `which`, -1 for nowhere.
    """
    for i in range(which.shape[0]):
        for e in range(indptr[which[i]], indptr[which[i] + 1]):
            j = place[at[e]]
            if j >= 0:
                out[i, j] += factor * values[e]
