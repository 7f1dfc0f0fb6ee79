"""Repair of pixels that do not follow the scene: hot and dead ones, which stand still while the content moves."""

from __future__ import annotations

import cv2
import numpy as np

from streamscope.core.kernels import repair as kernels
from streamscope.types import ByteArray, FloatArray, LongArray

_CHECK_AT = (8, 50, 200)  # frames after which defects are looked for
_LEAST_ADU = 4.0
_SD = 8.0


class Preprocess:
    """Replaces defective pixels by the median of their neighbours.

    Left alone, a hot pixel walks through the registered movie and looks like small short events.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._sum = np.zeros(shape, np.float32)
        self._image = np.zeros(shape, np.uint8)
        self._n = 0
        self.defects: LongArray = np.zeros((0, 2), np.int64)  # rows and columns

    def update(self, raw: ByteArray) -> ByteArray:
        """Return a copy of the frame (H, W) with known defects repaired; the next call fills it again."""
        if self._n < _CHECK_AT[-1]:
            self._sum += raw
            self._n += 1
            if self._n in _CHECK_AT:
                self.defects = find_defects(self._sum / np.float32(self._n))
        np.copyto(self._image, raw)  # from here on C order, whatever the source gave
        kernels.repair(self.defects, self._image)
        return self._image

    def state(self) -> dict[str, np.ndarray | float | int]:
        """Return all that is needed to go on from here."""
        return {"sum": self._sum.copy(), "n": self._n, "defects": self.defects.copy()}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray | float | int]) -> Preprocess:
        """Return a stage that goes on where `state` was taken."""
        total = np.asarray(state["sum"], np.float32)
        self = cls((total.shape[0], total.shape[1]))
        self._sum, self._n = total.copy(), int(state["n"])
        self.defects = np.array(state["defects"], np.int64)
        return self


def find_defects(mean: FloatArray) -> LongArray:
    """Return rows and columns of pixels that stand out of their 3 x 3 median in a mean image, (n, 2)."""
    difference = mean - np.asarray(cv2.medianBlur(mean, 3), np.float32)
    spread = 1.4826 * float(np.median(np.abs(difference)))
    return np.argwhere(np.abs(difference) > max(_SD * spread, _LEAST_ADU))
