"""Where the field of one session lies in that of another: a shift and a small turn, found on their still images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import scipy  # scipy.fft is imported when it is first used: a seed is rare, and the start shall be short
from numpy.typing import NDArray

from streamscope.core.model import Column, unit
from streamscope.types import DoubleArray, FloatArray

MOST_DEGREES = 6.0
LEAST_OVERLAP = 0.5  # of the field that both images must show
_CLIP_SD = 3.0
_COARSE_PX = 4.0  # cell diameter in the images that are searched, at least
_STEPS = 100  # of the refinement, at most
_FAINT = 0.01  # of the peak of a footprint: what is below is left out


@dataclass(frozen=True, slots=True)
class Placement:
    """A turn about the middle of the image, then a shift: where content of the one image is seen in the other."""

    dy: float  # px
    dx: float  # px
    angle_deg: float  # from x to y
    agreement: float  # correlation of the two images where both see something, -1..1

    def matrix(self, shape: tuple[int, int]) -> DoubleArray:
        """Return the 2 x 3 matrix that maps (x, y, 1) of an image (H, W) into the other."""
        cos, sin = math.cos(math.radians(self.angle_deg)), math.sin(math.radians(self.angle_deg))
        middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
        turn = np.array([[cos, -sin], [sin, cos]])
        return np.column_stack([turn, middle + np.array([self.dx, self.dy]) - turn @ middle])


def align(before: FloatArray, now: FloatArray, diameter: float) -> Placement:
    """Return where the content of an image is seen in another one of the same field.

    Turns of up to 6 degrees and shifts that leave half of the field in view are tried by correlation of
    band-passed images where they overlap; the best is refined to a fraction of a pixel.

    Parameters
    ----------
    before, now : ndarray, shape (H, W), float32
        Still images, any unit.
    diameter : float
        Cell diameter, px.

    References
    ----------
    Padfield 2012, IEEE Trans Image Process 21:2706 (normalised correlation of masked images by FFT);
    Evangelidis, Psarakis 2008, IEEE Trans Pattern Anal 30:1858 (refinement).
    """
    factor = max(1, int(diameter // _COARSE_PX))
    old, new = (_band_pass(_reduced(image, factor), diameter / factor) for image in (before, now))
    coarse = _search(old, new, _angles(old.shape, diameter / factor))
    start = Placement(factor * coarse.dy, factor * coarse.dx, coarse.angle_deg, coarse.agreement)
    return _refine(_band_pass(before, diameter), _band_pass(now, diameter), start)


def carry(
    column: Column, placement: Placement, shape: tuple[int, int], diameter: float
) -> tuple[Column | None, float]:
    """Return a footprint as it is seen in the other image, at unit norm, and the part of it that is in view."""
    pixels, weights = column
    height, width = shape
    rows, cols = pixels // width, pixels % width
    top, left, reach = int(rows.min()), int(cols.min()), math.ceil(diameter)
    patch = np.zeros((int(rows.max()) - top + 1, int(cols.max()) - left + 1), np.float32)
    patch[rows - top, cols - left] = weights
    matrix = placement.matrix(shape)
    matrix[:, 2] += matrix[:, :2] @ (left, top)  # pixels of the patch instead of the image
    x, y = matrix @ ((patch.shape[1] - 1) / 2, (patch.shape[0] - 1) / 2, 1)
    h, w = (n + 2 * reach for n in patch.shape)
    new_top, new_left = round(y - h / 2), round(x - w / 2)
    matrix[:, 2] -= (new_left, new_top)
    moved = cv2.warpAffine(patch, matrix, (w, h), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    moved[moved < _FAINT * moved.max()] = 0
    v, u = np.nonzero(moved)
    values, v, u = moved[v, u], v + new_top, u + new_left
    inside = (v >= 0) & (v < height) & (u >= 0) & (u < width)
    if not inside.any():
        return None, 0.0
    part = float(values[inside].sum() / values.sum())
    return unit((v * width + u)[inside].astype(np.int32), values[inside]), part


def _reduced(image: FloatArray, factor: int) -> FloatArray:
    if factor == 1:
        return image
    h, w = (n // factor for n in image.shape)
    part = image[: h * factor, : w * factor]
    return np.asarray(cv2.resize(part, (w, h), interpolation=cv2.INTER_AREA), np.float32)


def _band_pass(image: FloatArray, diameter: float) -> FloatArray:
    """Return what is as large as cells and vessels; single bright spots are clipped, so that they do not decide."""
    blurred = [cv2.GaussianBlur(image, (0, 0), sigma) for sigma in (max(diameter / 4, 1.0), diameter)]
    out = blurred[0] - blurred[1]
    limit = _CLIP_SD * float(out.std()) + 1e-12
    return np.asarray(np.clip(out, -limit, limit), np.float32)


def _angles(shape: tuple[int, ...], diameter: float) -> DoubleArray:
    """Return turns so dense that at the border of the field the nearest is within a third of a cell."""
    step = math.degrees(2 / 3 * diameter / (max(shape) / 2))
    n = math.ceil(MOST_DEGREES / step)
    return np.asarray(np.arange(-n, n + 1) * (MOST_DEGREES / n), np.float64)


def _search(before: FloatArray, now: FloatArray, angles: DoubleArray) -> Placement:
    """Return the best of these turns with the best whole-pixel shift."""
    shape = before.shape
    size = tuple(scipy.fft.next_fast_len(2 * n, real=True) for n in shape)
    seen = np.ones_like(before)

    def spectrum(image: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(scipy.fft.rfft2(image, size))

    spectra = [spectrum(image) for image in (now, now * now, seen)]
    best = Placement(0.0, 0.0, 0.0, -1.0)
    for angle in angles:
        matrix = Placement(0.0, 0.0, float(angle), 0.0).matrix(shape)
        turned, mask = (cv2.warpAffine(image, matrix, shape[::-1]) for image in (before, seen))
        own = [np.conj(spectrum(image)) for image in (turned, turned * turned, mask)]
        pairs = ((0, 0), (1, 2), (2, 1), (2, 2))
        cross, energy, own_energy, overlap = (scipy.fft.irfft2(spectra[i] * own[j], size) for i, j in pairs)
        both = np.sqrt(np.maximum(energy * own_energy, 1e-12))
        enough = overlap > LEAST_OVERLAP * before.size
        agreement = np.where(enough, cross / both, -1.0)
        at = np.unravel_index(int(agreement.argmax()), agreement.shape)
        if agreement[at] > best.agreement:
            dy, dx = (float(p if p < n // 2 else p - n) for p, n in zip(at, size, strict=True))
            best = Placement(dy, dx, float(angle), float(agreement[at]))
    return best


def _refine(before: FloatArray, now: FloatArray, start: Placement) -> Placement:
    """Return the placement after a continuous search from `start`, or `start` where that finds nothing."""
    shape = before.shape
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS, 1e-5)
    mask = np.full(shape, 255, np.uint8)
    try:
        agreement, matrix = cv2.findTransformECC(
            before, now, start.matrix(shape).astype(np.float32), cv2.MOTION_EUCLIDEAN, criteria, mask, 1
        )
    except cv2.error:  # no correlation to climb
        return start
    angle = math.degrees(math.atan2(matrix[1, 0], matrix[0, 0]))
    turned = Placement(0.0, 0.0, angle, 0.0).matrix(shape)
    dx, dy = matrix[:, 2].astype(np.float64) - turned[:, 2]
    return Placement(float(dy), float(dx), angle, float(agreement))
