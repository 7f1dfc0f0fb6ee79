"""The round aperture of a GRIN lens: where it lies in the field, and what of the field it shows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamscope.types import BoolArray, DoubleArray, FloatArray

_LEVELS = (0.25, 0.35, 0.45, 0.55)  # of the bright part of the field, at which an edge is looked for
_BRIGHT = 0.9  # quantile
_BLUR_PX = 2.0
_MOST_RESIDUAL = 0.03  # of the edge from its circle, radii, rms
_LEAST_ARC = 0.5  # of the circle whose edge is in the field
_LEAST_ALIKE = 0.92  # common part of what is bright and the disc
_INSIDE, _OUTSIDE = (0.86, 0.95), (1.05, 1.14)  # rings whose light is compared, radii
_LARGEST_RATIO = (
    0.5  # of the light outside to inside; fields that fade to the corners keep 0.8 over so short a way
)
_LEAST_RADIUS, _LARGEST_RADIUS = 0.2, 0.75  # of the longer side
_MARGIN_PX = 2  # around the disc


@dataclass(frozen=True, slots=True)
class Aperture:
    """A disc of light."""

    disc: tuple[float, float, float]  # centre y, x and radius, px
    ratio: float  # of the light just outside to that just inside

    def window(self, shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return the rows y0..y1 and columns x0..x1 that hold the disc in frames (H, W)."""
        y, x, radius = self.disc
        reach = radius + _MARGIN_PX
        rows = max(int(y - reach), 0), min(int(np.ceil(y + reach)) + 1, shape[0])
        columns = max(int(x - reach), 0), min(int(np.ceil(x + reach)) + 1, shape[1])
        return *rows, *columns


def find_aperture(frames: NDArray[np.generic], largest: int) -> Aperture | None:
    """Return the disc that a lens shows, None unless it is plain: round, its edge sharp, dark outside.

    Parameters
    ----------
    frames : ndarray, shape (n, H, W)
        Some frames of a recording, counts; dark ones say nothing.
    largest : int
        Largest value of a pixel.
    """
    light = frames.mean((1, 2))
    lit = frames[light >= 0.5 * light.max()]
    image = cv2.GaussianBlur(lit.mean(0, dtype=np.float32), (0, 0), _BLUR_PX)
    bright = float(np.quantile(image, _BRIGHT))
    if bright < 0.02 * largest:
        return None
    found = [_disc(image, level * bright) for level in _LEVELS]
    discs = [disc for disc in found if disc is not None]
    return min(discs, key=lambda disc: disc.ratio, default=None)


def outside(
    shape: tuple[int, int], disc: tuple[float, float, float] | None, margin: float = 0.0
) -> BoolArray:
    """Return which pixels (H, W) lie outside of a disc that is smaller by a margin, px; none without a disc."""
    return depth(shape, disc) < margin


def border_distance(
    places: DoubleArray, shape: tuple[int, ...], disc: tuple[float, float, float] | None
) -> DoubleArray:
    """Return how far places (n, 2) y, x are from the border of a field (H, W), or from the rim of a disc, px."""
    last = np.array(shape[:2]) - 1
    away = np.minimum(places, last - places).min(1)
    if disc is not None:
        away = np.minimum(away, disc[2] - np.hypot(places[:, 0] - disc[0], places[:, 1] - disc[1]))
    return np.asarray(away, np.float64)


def depth(shape: tuple[int, int], disc: tuple[float, float, float] | None) -> FloatArray:
    """Return how far each pixel (H, W) lies inside of a disc, px; infinite without a disc."""
    if disc is None:
        return np.full(shape, np.inf, np.float32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.asarray(disc[2] - np.hypot(y - disc[0], x - disc[1]), np.float32)


def _disc(image: FloatArray, level: float) -> Aperture | None:
    """Return the disc that is brighter than a level, if it is one."""
    mask = _largest_part(image > level)
    edge = _edge(mask)
    if len(edge) < 16:
        return None
    circle = _circle(edge)
    away = np.hypot(edge[:, 0] - circle[0], edge[:, 1] - circle[1]) - circle[2]
    near = np.abs(away) < 3 * np.median(np.abs(away)) + 1  # vessels and cells at the edge
    circle = _circle(edge[near])
    y, x, radius = circle
    side = max(image.shape)
    if not _LEAST_RADIUS * side <= radius <= _LARGEST_RADIUS * side:
        return None
    away = np.hypot(edge[:, 0] - y, edge[:, 1] - x) - radius
    if np.sqrt(np.mean(np.square(away))) > _MOST_RESIDUAL * radius:
        return None
    angles = np.arctan2(edge[:, 0] - y, edge[:, 1] - x)
    if len(np.unique(np.floor(angles / np.pi * 36))) < _LEAST_ARC * 72:
        return None
    inside = ~outside(mask.shape, circle)
    if (inside & mask).sum() < _LEAST_ALIKE * (inside | mask).sum():
        return None
    away_from = (
        np.hypot(*(np.mgrid[: mask.shape[0], : mask.shape[1]] - np.array([y, x])[:, None, None])) / radius
    )
    rings = [(a <= away_from) & (away_from < b) for a, b in (_INSIDE, _OUTSIDE)]
    if not all(ring.any() for ring in rings):
        return None
    within, beyond = (float(image[ring].mean()) for ring in rings)
    ratio = beyond / max(within, 1e-6)
    return Aperture(circle, ratio) if ratio < _LARGEST_RATIO else None


def _largest_part(mask: BoolArray) -> BoolArray:
    """Return the largest connected part of a mask, its holes filled."""
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if n < 2:
        return np.zeros_like(mask)
    part = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    outlines, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    return filled > 0


def _edge(mask: BoolArray) -> DoubleArray:
    """Return the outline of a mask, but for what lies along the border of the field, (n, 2) y, x."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return np.zeros((0, 2))
    x, y = np.concatenate(outlines).reshape(-1, 2).T
    height, width = mask.shape
    inner = (y > 1) & (y < height - 2) & (x > 1) & (x < width - 2)
    return np.stack([y[inner], x[inner]], 1).astype(np.float64)


def _circle(points: DoubleArray) -> tuple[float, float, float]:
    """Return centre and radius of the circle that is nearest to points, by its equation (Kasa 1976)."""
    y, x = points.T
    terms = np.stack([2 * y, 2 * x, np.ones(len(points))], 1)
    (cy, cx, rest), *_ = np.linalg.lstsq(terms, y * y + x * x, rcond=None)
    return float(cy), float(cx), float(np.sqrt(max(rest + cy * cy + cx * cx, 0.0)))
