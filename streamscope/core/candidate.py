"""Examination of one candidate site: does the residual around it hold a cell?

A rank-one fit of the last seconds of residual in a box gives a footprint and a trace; then the footprint must
come out the same from two halves of its active frames, look like a blob of the size of a cell, and rise clearly
above the noise. One event that passes is enough: many cells fire once in a session.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from streamscope.core.deconvolve import noise_sd
from streamscope.core.kernels import blobs, sites
from streamscope.types import BoolArray, DoubleArray, FloatArray

_LEAST_ACTIVE = 3  # frames
_LEAST_SPLIT_HALF = 0.55
_LEAST_BLOB = 0.72
_SIGMA_RANGE = (0.19, 0.72)  # of the best Gaussian, cell diameters
_LEAST_PEAK_SN = 4.0
_DISC = 0.95  # radius of the fit, cell diameters
_ROUNDS = 3
_LEAST_EVENT_SD, _PART_OF_LARGEST = 3.0, 0.35  # of an active frame: over the noise, of the largest one
_CUT = 0.05  # of the peak, at the rim of a footprint
_BRIGHT = np.float32(0.3)  # of the peak: what counts for the centre of a footprint
_SIGMAS = np.geomspace(0.15, 0.95, 12)  # of Gaussians that are tried, cell diameters


@dataclass(frozen=True, slots=True)
class Fit:
    """A cell that was found in a box."""

    image: FloatArray  # (h, w) footprint in the box, unit norm
    trace: FloatArray  # (n,) ADU
    active: BoolArray  # (n,) frames that define it
    split_half: float
    blob: float
    peak_sn: float


@dataclass(frozen=True, slots=True)
class Rejected:
    """A site without a cell, and why."""

    reason: str


def examine(movie: FloatArray, y: float, x: float, diameter: float) -> Fit | Rejected:
    """Return the cell at (y, x) of a residual movie, or the reason why there is none.

    Parameters
    ----------
    movie : ndarray, shape (n, h, w), float32
        Residual y - b0 - B - A c of a box, ADU, frames in order.
    y, x : float
        Candidate position within the box, px.
    diameter : float
        Cell diameter, px.
    """
    fit = _fit(movie, y, x, diameter)
    if isinstance(fit, Rejected):
        return fit
    cy, cx = blobs.centre_above(fit.image, _BRIGHT)
    if np.hypot(cy - y, cx - x) > diameter / 8:  # centre the disc on what was found, once
        fit = _fit(movie, cy, cx, diameter)
        if isinstance(fit, Rejected):
            return fit
        ny, nx = blobs.centre_above(fit.image, _BRIGHT)
        if np.hypot(ny - cy, nx - cx) > diameter / 2.5:
            return Rejected("off centre")
    return fit


def _fit(movie: FloatArray, y: float, x: float, diameter: float) -> Fit | Rejected:
    n, h, w = movie.shape
    flat = movie.reshape(n, h * w)
    distance = np.sqrt(squared_distance((h, w), y, x)).astype(np.float32)
    disc = distance <= _DISC * diameter
    rim = (distance > 1.15 * diameter) & (distance <= 1.6 * diameter)
    image = np.exp(-0.5 * (distance / np.float32(diameter / 4)) ** 2) * disc
    image /= np.linalg.norm(image)
    trace, active = np.empty(n, np.float32), np.empty(n, np.bool_)
    failed = sites.fit_site(
        flat,
        disc.reshape(-1),
        rim.reshape(-1),
        _ROUNDS,
        _LEAST_ACTIVE,
        _LEAST_EVENT_SD,
        _PART_OF_LARGEST,
        image.reshape(-1),
        trace,
        active,
    )
    if failed:
        return Rejected("too short" if failed == sites.TOO_SHORT else "nothing there")
    halves = [blur(_sum_of(flat, trace, half).reshape(h, w)) for half in _halves(active)]
    split_half = _pearson(halves[0], halves[1], disc)
    if split_half < _LEAST_SPLIT_HALF:
        return Rejected("not reproducible")
    blob, sigma = best_gaussian(halves[0] + halves[1], image, diameter)
    if blob < _LEAST_BLOB:
        return Rejected("not a blob")
    if not _SIGMA_RANGE[0] * diameter <= sigma <= _SIGMA_RANGE[1] * diameter:
        return Rejected("wrong size")
    peak = float(np.partition(trace, -_LEAST_ACTIVE)[-_LEAST_ACTIVE:].mean() / noise_sd(trace))
    if peak < _LEAST_PEAK_SN:
        return Rejected("weak")
    final = trim(image, np.unravel_index(int(np.argmax(blur(image) * disc)), image.shape))
    return Fit(final, trace, active, split_half, blob, peak)


def _halves(active: BoolArray) -> list[BoolArray]:
    """Return every second active frame, and the others."""
    frames = np.flatnonzero(active)
    halves = [np.zeros_like(active), np.zeros_like(active)]
    for i in (0, 1):
        halves[i][frames[i::2]] = True
    return halves


def _sum_of(flat: FloatArray, trace: FloatArray, which: BoolArray) -> FloatArray:
    """Return the sum of some frames (P,), weighted by the trace."""
    out = np.empty(flat.shape[1], np.float32)
    sites.weighted_sum(flat, trace, which, out)
    return out


def blur(image: FloatArray) -> FloatArray:
    """Return an image blurred by a Gaussian of 1 px."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.0), np.float32)


def _pearson(a: FloatArray, b: FloatArray, where: BoolArray) -> float:
    u, v = a[where] - a[where].mean(), b[where] - b[where].mean()
    return float((u @ v) / (np.linalg.norm(u) * np.linalg.norm(v) + 1e-12))


def best_gaussian(shape: FloatArray, image: FloatArray, diameter: float) -> tuple[float, float]:
    """Return the best correlation with a round Gaussian about the centroid, and its sigma, px."""
    sigmas = diameter * _SIGMAS
    r, best = blobs.best_gaussian(shape, image, _DISC * diameter, sigmas)
    return float(r), float(sigmas[best])


def squared_distance(shape: tuple[int, ...], y: float, x: float) -> DoubleArray:
    """Return the squared distance of each pixel from (y, x), px^2."""
    return np.asarray(np.add.outer((np.arange(shape[0]) - y) ** 2, (np.arange(shape[1]) - x) ** 2))


def trim(image: FloatArray, seed: tuple[int, int] | tuple[np.intp, ...]) -> FloatArray:
    """Return the part of a footprint that is connected with its peak, above 5 % of it, at unit norm.

    An image without light comes back as zeros.
    """
    out = image.copy()
    blobs.keep_part(blur(image), out, _CUT, int(seed[0]), int(seed[1]))
    norm = float(np.linalg.norm(out))
    return out / norm if norm > 0 else out
