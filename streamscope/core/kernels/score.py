"""The running detection score of the residual, one frame at a time."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel


@kernel
def update_score(residual, planes, inside, decay, rate, quantile_rate, zmax, tmax, t):
    """Let one blurred residual frame into the score.

    Parameters
    ----------
    residual : (h, w) float32
        Blurred residual on the detection grid.
    planes : (7, h, w) float32
        State: last residual, the one before, squared second difference, filtered residual, its median,
        squared lower half, share of frames in which the pixel was in the field.
    inside : (4,) int64
        Rows y0..y1 and columns x0..x1 that are in the field in this frame.
    decay : float32
        Per-frame decay of the temporal filter.
    rate, quantile_rate : float32
        Rates of the running squares and of the median (in noise units a frame).
    zmax, tmax : (h, w)
        Largest score of the present block and its frame `t`.
    """
    h, w = residual.shape
    shot = np.sqrt((1 - decay) / (1 + decay) / np.float32(6.0))
    for y in range(h):
        row_in = inside[0] <= y < inside[1]
        for x in range(w):
            present = row_in and inside[2] <= x < inside[3]
            planes[6, y, x] += rate * ((np.float32(1.0) if present else np.float32(0.0)) - planes[6, y, x])
            e = residual[y, x] if present else np.float32(0.0)
            d = e - 2 * planes[0, y, x] + planes[1, y, x]
            planes[1, y, x] = planes[0, y, x]
            planes[0, y, x] = e
            planes[2, y, x] += rate * (d * d - planes[2, y, x])
            f = decay * planes[3, y, x] + (1 - decay) * e
            planes[3, y, x] = f
            sd_shot = shot * np.sqrt(planes[2, y, x]) + np.float32(1e-6)
            m = f - planes[4, y, x]
            step = quantile_rate * sd_shot
            planes[4, y, x] += min(max(m, -step), step)
            low = min(m, np.float32(0.0))
            planes[5, y, x] += rate * (2 * low * low - planes[5, y, x])
            sd = max(sd_shot, np.float32(0.8) * np.sqrt(planes[5, y, x]))
            z = m / sd
            if z > zmax[y, x]:
                zmax[y, x] = z
                tmax[y, x] = t


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
