"""From the sensor's image to grey levels: repair of hot and dead pixels, and the scale of more than 8 bits."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamscope.core.kernels import repair as kernels
from streamscope.types import FloatArray, ImageArray, LongArray

_CHECK_AT = (8, 50, 200)  # frames after which defects are looked for
_LEAST_ADU = 4.0
_SD = 8.0


class Preprocess:
    """Replaces defective pixels by the median of their neighbours.

    Left alone, a hot pixel walks through the registered movie and looks like small short events.

    Parameters
    ----------
    shape : tuple of int
        (H, W) of the frames, px.
    bits : int
        Of a pixel.
    """

    def __init__(self, shape: tuple[int, int], bits: int = 8) -> None:
        self._bits = bits
        self._sum = np.zeros(shape, np.float32)
        self._image: ImageArray = np.zeros(shape, pixel_type(bits))
        self._n = 0
        self.defects: LongArray = np.zeros((0, 2), np.int64)  # rows and columns

    def update(self, raw: ImageArray) -> NDArray[np.generic]:
        """Return a copy of the frame (H, W), in grey levels, with known defects repaired.

        It is uint8, and the next call fills it again, or float32 where a pixel has more than 8 bits.
        """
        if self._n < _CHECK_AT[-1]:
            self._sum += raw
            self._n += 1
            if self._n in _CHECK_AT:
                self.defects = find_defects(_per_count(self._bits) * self._sum / np.float32(self._n))
        np.copyto(self._image, raw)  # from here on C order, whatever the source gave
        kernels.repair(self.defects, self._image)
        return grey_levels(self._image, self._bits)

    def state(self) -> dict[str, np.ndarray | float | int]:
        """Return all that is needed to go on from here."""
        return {"sum": self._sum.copy(), "n": self._n, "bits": self._bits, "defects": self.defects.copy()}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray | float | int]) -> Preprocess:
        """Return a stage that goes on where `state` was taken."""
        total = np.asarray(state["sum"], np.float32)
        self = cls((total.shape[0], total.shape[1]), int(state["bits"]))
        self._sum, self._n = total.copy(), int(state["n"])
        self.defects = np.array(state["defects"], np.int64)
        return self


def pixel_type(bits: int) -> type[np.unsignedinteger[Any]]:
    """Return the type of pixels as they are recorded."""
    return np.uint8 if bits == 8 else np.uint16


def grey_levels(image: NDArray[np.generic], bits: int) -> NDArray[np.generic]:
    """Return images in grey levels, of which 256 span all values of a pixel.

    Thresholds and what is stored are in grey levels. 8-bit images are returned as they are; others become float32,
    whose fractions hold each of their values.
    """
    return image if bits == 8 else np.multiply(image, _per_count(bits), dtype=np.float32)


def _per_count(bits: int) -> np.float32:
    return np.float32(2.0 ** (8 - bits))


def find_defects(mean: FloatArray) -> LongArray:
    """Return rows and columns of pixels that stand out of their 3 x 3 median in a mean image, (n, 2)."""
    difference = mean - np.asarray(cv2.medianBlur(mean, 3), np.float32)
    spread = 1.4826 * float(np.median(np.abs(difference)))
    return np.argwhere(np.abs(difference) > max(_SD * spread, _LEAST_ADU))
