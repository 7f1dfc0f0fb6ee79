"""Repair of pixels that do not follow the scene: hot and dead ones, which stand still while the content moves."""

from __future__ import annotations

import cv2
import numpy as np

from streamscope.types import FloatArray, LongArray

_CHECK_AT = (8, 50, 200)  # frames after which defects are looked for
_LEAST_ADU = 4.0
_SD = 8.0


class Preprocess:
    """Makes float frames and replaces defective pixels by the median of their neighbours.

    Left alone, a hot pixel walks through the registered movie and looks like small short events.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._sum = np.zeros(shape, np.float32)
        self._n = 0
        self.defects: LongArray = np.zeros((0, 2), np.int64)  # rows and columns

    def update(self, raw: np.ndarray) -> FloatArray:
        """Return the frame as float32 (H, W), in ADU, with known defects repaired."""
        image = raw.astype(np.float32)
        if self._n < _CHECK_AT[-1]:
            self._sum += image
            self._n += 1
            if self._n in _CHECK_AT:
                self.defects = find_defects(self._sum / np.float32(self._n))
        repair(image, self.defects)
        return image

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


def repair(image: FloatArray, defects: LongArray) -> None:
    """Replace each defect in place by the median of its neighbours."""
    h, w = image.shape
    for y, x in defects:
        box = image[max(0, y - 1) : min(h, y + 2), max(0, x - 1) : min(w, x + 2)]
        image[y, x] = np.median(box)
