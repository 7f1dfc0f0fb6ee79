"""Division of a component that is two cells.

Two cells that overlap by a half or more are often found as one: the first event is one of both, or a footprint
grows over a neighbour that is not known yet. What such a component leaves in the residual is the light of one cell
less that of the other, which passes no test as a cell. With the component put back, a non-negative fit of rank two to
the frames in which something is active shows both, if each of them is active without the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamscope.core.candidate import Rejected, best_gaussian, blur, squared_distance, trim
from streamscope.core.deconvolve import noise_sd
from streamscope.types import BoolArray, DoubleArray, FloatArray

_DISC, _RIM = 1.2, 1.1  # radius of the fit, and from where its level is taken; cell diameters
_LEAST_EVENT_SN = 3.0
_MOST_FRAMES = 96  # the brightest are fitted
_ROUNDS = 10
_POWERS = 5  # the matrix of changes is squared so often: its first eigenvector stands out
_LEAST_APART = 0.3  # cell diameters; what lies closer is merged again
_LEAST_BLOB = 0.85
_SIGMA_RANGE = (0.19, 0.72)  # of the best Gaussian, cell diameters
_LEAST_PEAK_SN = 8.0
_OWN_LIGHT = 0.8  # of a frame that belongs to one cell
_LEAST_OWN_FRAMES, _LEAST_OWN_ENERGY = 5, 0.5  # that a cell must have, and their part of its energy
_LEAST_EXPLAINED = 0.9  # cosine of the component with the best sum of the two


@dataclass(frozen=True, slots=True)
class Part:
    """One of two cells."""

    image: FloatArray  # (h, w) footprint in the box, unit norm
    sn: float  # ADU
    peak_sn: float
    blob: float
    likeness: float  # cosine with the component


def divide(movie: FloatArray, image: FloatArray, trace: FloatArray, diameter: float) -> list[Part] | Rejected:
    """Return the two cells of which a component consists, the one that is more like it first, or why there are none.

    Parameters
    ----------
    movie : ndarray, shape (n, h, w), float32
        Residual of a box, ADU, without this component.
    image : ndarray, shape (h, w), float32
        The component's footprint in the box.
    trace : ndarray, shape (n,), float32
        Its activity in these frames, ADU.
    diameter : float
        Cell diameter, px.
    """
    n, h, w = movie.shape
    r2 = squared_distance(image.shape, *_centre(image))
    disc = r2 <= (_DISC * diameter) ** 2
    pixels = movie.reshape(n, h * w)[:, disc.reshape(-1)] + trace[:, None] * image[disc]
    bright = _bright_frames(pixels, r2[disc], diameter)
    if len(bright) < 2 * _LEAST_OWN_FRAMES:
        return Rejected("too short")
    W = _factors(pixels[bright])
    if W is None:
        return Rejected("one cell")
    level = np.median(W[:, r2[disc] > (_RIM * diameter) ** 2], axis=1, keepdims=True)
    images = [_tidy(factor, disc) for factor in np.maximum(W - np.maximum(level, 0), 0)]
    W = np.stack([part[disc] for part in images])
    if not W.any(1).all():
        return Rejected("one cell")
    if explained_by(image[disc], W) < _LEAST_EXPLAINED:
        return Rejected("not its cells")
    return _judge(images, W, pixels, image, diameter)


def explained_by(image: FloatArray, W: FloatArray) -> float:
    """Return the cosine of a footprint (P,) with the best non-negative sum of two others (2, P), unit norm."""
    best = activities(image[None] @ W.T, W)[:, 0] @ W
    return float(best @ image / (np.linalg.norm(best) * np.linalg.norm(image) + 1e-12))


def activities(single: FloatArray, W: FloatArray) -> FloatArray:
    """Return the non-negative activities (2, n) that explain products (n, 2) with two unit-norm footprints best."""
    alone = np.maximum(single.T, 0)
    a, b = _unmixed(single, W)
    return np.stack(
        [np.where(a < 0, 0, np.where(b < 0, alone[0], a)), np.where(b < 0, 0, np.where(a < 0, alone[1], b))]
    )


def _unmixed(single: FloatArray, W: FloatArray) -> FloatArray:
    """Return the signed activities (2, n) that explain products (n, 2) of frames and two footprints best."""
    overlap = np.float32(W[0] @ W[1])
    return np.asarray((single - overlap * single[:, ::-1]).T / max(1 - overlap**2, np.float32(1e-3)))


def _bright_frames(pixels: FloatArray, r2: DoubleArray, diameter: float) -> DoubleArray:
    """Return the brightest frames (of n, P) that hold an event, in order."""
    wide = np.exp(-0.5 * r2 / (diameter / 2) ** 2).astype(np.float32)
    light = pixels @ (wide / np.linalg.norm(wide))
    frames = np.flatnonzero(light > _LEAST_EVENT_SN * noise_sd(light))
    return np.sort(frames[np.argsort(-light[frames], kind="stable")[:_MOST_FRAMES]])


def _factors(X: FloatArray) -> FloatArray | None:
    """Return the two footprints (2, P) of a non-negative factorisation of frames (n, P), or None if one vanishes.

    It begins with the means of the frames on either side of the strongest change of shape.
    """
    mean = X.mean(0)
    mean /= np.linalg.norm(mean) + 1e-12
    change = X - (X @ mean)[:, None] * mean
    side = _first_eigenvector(change @ change.T)
    W = np.maximum(np.maximum([side, -side], 0) @ X, 0)
    for _ in range(_ROUNDS):
        norms = np.linalg.norm(W, axis=1, keepdims=True)
        if not norms.all():
            return None
        W /= norms
        H = activities(X @ W.T, W)
        HX, HH = H @ X, H @ H.T
        if not HH.diagonal().all():
            return None
        for i in (0, 1, 0, 1):
            W[i] = np.maximum((HX[i] - HH[i, 1 - i] * W[1 - i]) / HH[i, i], 0)
    return W


def _first_eigenvector(M: FloatArray) -> FloatArray:
    """Return the eigenvector of the largest eigenvalue of a positive matrix, nearly."""
    for _ in range(_POWERS):
        M = M @ M
        M /= np.trace(M) + np.float32(1e-30)
    return np.asarray(M[:, np.diag(M).argmax()])


def _judge(
    images: list[FloatArray], W: FloatArray, pixels: FloatArray, image: FloatArray, diameter: float
) -> list[Part] | Rejected:
    single = pixels @ W.T
    H = activities(single, W)
    noise = [float(noise_sd(trace)) for trace in _unmixed(single, W)]
    parts = []
    for k, part in enumerate(images):
        blob, sigma = best_gaussian(blur(part), part, diameter)
        if blob < _LEAST_BLOB or not _SIGMA_RANGE[0] * diameter <= sigma <= _SIGMA_RANGE[1] * diameter:
            return Rejected("not a blob")
        peak = float(np.partition(H[k], -3)[-3:].mean()) / noise[k]
        if peak < _LEAST_PEAK_SN or not _has_its_own(H[k], H[1 - k], noise[k]):
            return Rejected("not its own")
        parts.append(Part(part, noise[k], peak, blob, float((part * image).sum())))
    (y, x), (v, u) = (_centre(part.image) for part in parts)
    if np.hypot(v - y, u - x) < _LEAST_APART * diameter:
        return Rejected("too close")
    return sorted(parts, key=lambda part: -part.likeness)


def _has_its_own(trace: FloatArray, other: FloatArray, noise: float) -> bool:
    """Return whether a cell is active without the other."""
    event = np.where(trace > _LEAST_EVENT_SN * noise, trace, 0)
    own = event[event > _OWN_LIGHT * (event + other + 1e-12)]
    energy = float(own @ own) / (float(event @ event) + 1e-12)
    return len(own) >= _LEAST_OWN_FRAMES and energy >= _LEAST_OWN_ENERGY


def _tidy(factor: FloatArray, disc: BoolArray) -> FloatArray:
    """Return the part of a footprint (P,) that is connected with its brightest place, as an image of unit norm."""
    image = np.zeros(disc.shape, np.float32)
    image[disc] = factor
    smooth = blur(image)
    return trim(image, np.unravel_index(int(smooth.argmax()), disc.shape))


def _centre(image: FloatArray) -> tuple[float, float]:
    rows, cols = image.sum(1, dtype=np.float64), image.sum(0, dtype=np.float64)
    return float(rows @ np.arange(len(rows)) / rows.sum()), float(cols @ np.arange(len(cols)) / cols.sum())
