"""The running detection score of the residual, one frame at a time."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel


@kernel
def update_score(residuals, planes, insides, decay, rates, quantile_rates, counts, first, last, zmax):
    """Let blurred residual frames into rows first..last of the score.

    Row by row, so that its state stays in the cache; threads can share the rows.

    Parameters
    ----------
    residuals : (n, h, w) float32
        Blurred residual on the detection grid, frames in order.
    planes : (7, h, w) float32
        State: last residual, the one before, squared second difference, filtered residual, its median,
        squared lower half, share of frames in which the pixel was in the field.
    insides : (n, 4) int64
        Rows y0..y1 and columns x0..x1 that are in the field in each frame.
    decay : float32
        Per-frame decay of the temporal filter.
    rates, quantile_rates : (n,) float32
        Rates of the running squares and of the median (in noise units a frame).
    counts : (n,) bool
        Whether the score of a frame counts.
    first, last : int
        Rows to work on.
    zmax : (h, w) float32
        Largest score of the present block.
    """
    n, _, w = residuals.shape
    shot = np.float32(np.sqrt((1 - decay) / (1 + decay) / 6))
    keep, new = np.float32(decay), np.float32(1 - decay)
    two = np.float32(2.0)  # a whole number in its place would make float64 of everything
    e = np.empty(w, np.float32)
    z = np.empty(w, np.float32)
    for y in range(first, last):
        share, best = planes[6, y], zmax[y]
        last_one, before, square = planes[0, y], planes[1, y], planes[2, y]
        filtered, median, lower = planes[3, y], planes[4, y], planes[5, y]
        for i in range(n):
            rate, quantile_rate, residual = rates[i], quantile_rates[i], residuals[i, y]
            y0, y1, x0, x1 = insides[i]
            if y0 <= y < y1:
                e[:x0] = 0.0
                e[x1:] = 0.0
                for x in range(x0, x1):
                    e[x] = residual[x]
            else:
                e[:] = 0.0
            stay = np.float32(1.0) - rate
            for x in range(w):
                share[x] *= stay
            if y0 <= y < y1:
                for x in range(x0, x1):
                    share[x] += rate
            for x in range(w):
                d = e[x] - two * last_one[x] + before[x]
                before[x] = last_one[x]
                last_one[x] = e[x]
                square[x] += rate * (d * d - square[x])
                f = keep * filtered[x] + new * e[x]
                filtered[x] = f
                sd_shot = shot * np.sqrt(square[x]) + np.float32(1e-6)
                m = f - median[x]
                step = quantile_rate * sd_shot
                median[x] += step if m > step else (-step if m < -step else m)
                low = m if m < np.float32(0.0) else np.float32(0.0)
                lower[x] += rate * (two * low * low - lower[x])
                sd_low = np.float32(0.8) * np.sqrt(lower[x])
                z[x] = m / (sd_shot if sd_shot > sd_low else sd_low)
            if counts[i]:
                for x in range(w):
                    best[x] = z[x] if z[x] > best[x] else best[x]


@kernel
def local_maxima(zmax, share, threshold, least_share, radius, out):
    """Fill `out` (n, 2) with rows and columns of local maxima above `threshold`; return how many."""
    h, w = zmax.shape
    n = 0
    for y in range(h):
        for x in range(w):
            z = zmax[y, x]
            if z < threshold or share[y, x] < least_share:
                continue
            best = True
            for v in range(max(0, y - radius), min(h, y + radius + 1)):
                for u in range(max(0, x - radius), min(w, x + radius + 1)):
                    other = zmax[v, u]
                    if other > z or (other == z and (v, u) < (y, x)):
                        best = False
                        break
                if not best:
                    break
            if best and n < out.shape[0]:
                out[n, 0] = y
                out[n, 1] = x
                n += 1
    return n
