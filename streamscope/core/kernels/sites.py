"""The rank-one fit of a candidate site: one footprint and one trace for the residual around it."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels._jit import kernel

DONE, TOO_SHORT, NOTHING = 0, 1, 2


@kernel
def above_baseline(trace):
    """Take the median out of a trace (n,), in place."""
    middle = np.float32(np.median(trace))
    for t in range(trace.shape[0]):
        trace[t] -= middle


@kernel
def find_active(trace, least, part, active):
    """Fill `active` (n,) with the frames in which the mean of three is an event; return how many.

    An event is above `least` sd of the noise of such a mean, and above `part` of the largest one.
    """
    n = trace.shape[0]
    second, smooth = np.empty(max(n - 2, 1), np.float32), np.empty(n, np.float32)
    second[0] = 0.0
    for t in range(n - 2):
        second[t] = abs(trace[t + 2] - 2 * trace[t + 1] + trace[t])
    sd = max(1.4826 / np.sqrt(6.0) * np.median(second), 1e-6)
    top = np.float32(-np.inf)
    for t in range(n):
        total = trace[t]
        if t > 0:
            total += trace[t - 1]
        if t < n - 1:
            total += trace[t + 1]
        smooth[t] = total / 3
        top = max(top, smooth[t])
    level = max(least * sd / np.sqrt(3.0), part * top)
    found = 0
    for t in range(n):
        active[t] = smooth[t] > level
        found += active[t]
    return found


@kernel
def weighted_sum(flat, trace, active, image):
    """Fill `image` (P,) with the sum of the active frames of `flat` (n, P), weighted by the trace."""
    image[:] = 0.0
    for t in range(flat.shape[0]):
        if active[t]:
            weight, frame = trace[t], flat[t]
            for p in range(image.shape[0]):
                image[p] += weight * frame[p]


@kernel
def project_frames(flat, image, trace):
    """Fill `trace` (n,) with the products of the frames (n, P) and an image (P,)."""
    for t in range(flat.shape[0]):
        total, frame = np.float32(0.0), flat[t]
        for p in range(image.shape[0]):
            total += frame[p] * image[p]
        trace[t] = total


@kernel
def fit_site(flat, disc, rim, rounds, fewest, least, part, image, trace, active):
    """Fit one footprint and one trace to a residual movie, in turn; return DONE, TOO_SHORT or NOTHING.

    Parameters
    ----------
    flat : (n, P) float32
        Residual of a box.
    disc, rim : (P,) bool
        Where the footprint may be, and what surrounds it.
    rounds, fewest : int
        How often both are fitted; the fewest active frames.
    least, part : float
        As for `find_active`.
    image : (P,) float32
        The footprint to start from, unit norm; the fitted one at the end.
    trace : (n,) float32
        Filled with the footprint's trace, median 0.
    active : (n,) bool
        Filled with the frames in which it is active.
    """
    n_rim = 0
    for p in range(rim.shape[0]):
        n_rim += rim[p]
    around = np.empty(max(n_rim, 1), np.float32)
    project_frames(flat, image, trace)
    above_baseline(trace)
    for _ in range(rounds):
        if find_active(trace, least, part, active) < fewest:
            return TOO_SHORT
        weighted_sum(flat, trace, active, image)
        around[0] = 0.0
        k = 0
        for p in range(rim.shape[0]):
            if rim[p]:
                around[k] = image[p]
                k += 1
        level = np.float32(np.median(around))
        square = 0.0
        for p in range(image.shape[0]):
            image[p] = max(image[p] - level, np.float32(0.0)) if disc[p] else np.float32(0.0)
            square += image[p] * image[p]
        if not square > 0.0:
            return NOTHING
        scale = np.float32(1.0 / np.sqrt(square))
        for p in range(image.shape[0]):
            image[p] *= scale
        project_frames(flat, image, trace)
        above_baseline(trace)
    return TOO_SHORT if find_active(trace, least, part, active) < fewest else DONE
