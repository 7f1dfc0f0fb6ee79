"""What somebody who sets light, gain and focus wants to know of a picture: how sharp it is, and how bright."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from streamscope.types import FloatArray, ImageArray, LongArray

FINE_PX, COARSE_PX = 1.0, 4.0  # standard deviations between which structures are looked at
BINS = 64  # of the histogram
DARK_SHARE = 1 / 64  # of the range: a pixel below says nothing
EDGE_PX = 8  # left out all around
_STEP = 2  # pixels, for the histogram


@dataclass(frozen=True, slots=True)
class View:
    """One picture in numbers, grey levels as recorded."""

    sharpness: float  # %: size of its fine structures over its mean
    mean: float
    low: float  # 1st percentile
    high: float  # 99th
    saturated: float  # %
    dark: float  # %
    histogram: LongArray  # (BINS,) pixels


def view_of(image: ImageArray, before: ImageArray, saturation: int = 255) -> View:
    """Return a picture in numbers.

    Sharpness is the size of structures of 1 to 4 pixels over the mean. It is taken from two pictures in a row, in
    which the noise differs and the tissue does not: their covariance has no part of the noise, so that neither light
    nor gain makes a picture seem sharper.

    Parameters
    ----------
    image, before : ndarray, shape (H, W)
        The picture, and the one before it.
    saturation : int
        Largest value that a pixel can have.
    """
    part = np.asarray(image[::_STEP, ::_STEP])
    histogram = np.bincount((part.ravel().astype(np.int64) * BINS) // (saturation + 1), minlength=BINS)
    low, high = np.percentile(part, [1, 99])
    mean = float(part.mean())
    structure = float((_fine(image) * _fine(before)).mean())
    return View(
        sharpness=100.0 * max(structure, 0.0) ** 0.5 / max(mean, 1.0),
        mean=mean,
        low=float(low),
        high=float(high),
        saturated=100.0 * float(np.mean(part >= saturation)),
        dark=100.0 * float(np.mean(part < DARK_SHARE * saturation)),
        histogram=histogram.astype(np.int64),
    )


def _fine(image: ImageArray) -> FloatArray:
    """Return the structures of a picture between the two sizes, its edge left out."""
    levels = np.asarray(image, np.float32)
    fine = cv2.GaussianBlur(levels, (0, 0), FINE_PX) - cv2.GaussianBlur(levels, (0, 0), COARSE_PX)
    edge = min(EDGE_PX, min(levels.shape) // 4)
    inner: FloatArray = fine[edge : levels.shape[0] - edge, edge : levels.shape[1] - edge]
    return inner
