"""From the sensor's image to grey levels: repair of pixels that say nothing, and the scale of more than 8 bits."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from streamscope.core.kernels import repair as kernels
from streamscope.types import BoolArray, FloatArray, ImageArray, LongArray

_CHECK_AT = (8, 50, 200)  # frames after which defects are looked for
_LEAST_ADU = 4.0
_SD = 8.0
_MOST_FULL = 0.01  # of the pixels; a part of the field that is saturated for good cannot be made up
_LEAST_CHANGES = 8  # frames unlike the one before, until one that is like it is a wonder


class Preprocess:
    """Replaces defective pixels by the median of their neighbours, and those that are always full by the nearest.

    Left alone, a hot pixel walks through the registered movie and looks like small short events. It also tells a
    frame that is the one before once more.

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
        self._before: ImageArray = np.zeros(shape, pixel_type(bits))  # the frame before, repaired too
        self._stillness = Stillness()
        self._n = 0
        self.frozen = False  # whether the last frame was the one before once more
        self.defects: LongArray = np.zeros((0, 2), np.int64)  # rows and columns
        self.full = Substitutes.of(np.zeros(shape, np.bool_))  # pixels that are always saturated

    def update(self, raw: ImageArray) -> NDArray[np.generic]:
        """Return a copy of the frame (H, W), in grey levels, with known defects repaired.

        It is uint8, and the next call fills it again, or float32 where a pixel has more than 8 bits.
        """
        if self._n < _CHECK_AT[-1]:
            self._look_for_defects(raw)
        self._image, self._before = self._before, self._image
        np.copyto(self._image, raw)  # from here on C order, whatever the source gave
        kernels.repair(self.defects, self._image)
        self.full.fill(self._image)
        self.frozen = self._stillness.again(self._before, self._image)
        return grey_levels(self._image, self._bits)

    def _look_for_defects(self, raw: ImageArray) -> None:
        self._sum += raw
        self._n += 1
        if self._n in _CHECK_AT:
            mean = self._sum / np.float32(self._n)
            self.defects = find_defects(_per_count(self._bits) * mean)
            self.full = Substitutes.of(always_full(mean, self._bits))

    def state(self) -> dict[str, np.ndarray | float | int]:
        """Return all that is needed to go on from here."""
        return {
            "sum": self._sum.copy(),
            "n": self._n,
            "bits": self._bits,
            "defects": self.defects.copy(),
            "full": self.full.mask,
            "before": self._image.copy(),
            "changes": self._stillness.changes,
        }

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray | float | int]) -> Preprocess:
        """Return a stage that goes on where `state` was taken."""
        total = np.asarray(state["sum"], np.float32)
        self = cls((total.shape[0], total.shape[1]), int(state["bits"]))
        self._sum, self._n = total.copy(), int(state["n"])
        self.defects = np.array(state["defects"], np.int64)
        self.full = Substitutes.of(np.asarray(state["full"], np.bool_))
        self._image = np.array(state["before"])
        self._stillness.changes = int(state["changes"])
        return self


class Stillness:
    """Tells frames that are the one before once more, where that is not the rule."""

    def __init__(self) -> None:
        self.changes = 0  # frames that were not

    def again(self, before: ImageArray, frame: ImageArray) -> bool:
        """Return whether `frame` is the one before once more."""
        same = np.array_equal(before[::64], frame[::64]) and np.array_equal(before, frame)
        self.changes += not same
        return same and self.changes >= _LEAST_CHANGES


class Substitutes:
    """For pixels that say nothing: the nearest that say something."""

    def __init__(self, mask: BoolArray, pixels: LongArray, nearest: LongArray) -> None:
        self.mask = mask  # (H, W)
        self._pixels, self._nearest = pixels, nearest  # (n,) flat

    @classmethod
    def of(cls, mask: BoolArray) -> Substitutes:
        """Return them for the pixels of a mask (H, W); none if it is all of them."""
        pixels = np.flatnonzero(mask)
        if not len(pixels) or mask.all():
            return cls(mask, pixels[:0], pixels[:0])
        rows, columns = distance_transform_edt(mask, return_distances=False, return_indices=True)
        return cls(mask, pixels, (rows * mask.shape[1] + columns).reshape(-1)[pixels])

    def fill(self, image: NDArray[np.generic]) -> None:
        """Let the pixels of an image (H, W), C order, have the values of their substitutes."""
        if len(self._pixels):
            flat = image.reshape(-1)
            flat[self._pixels] = flat[self._nearest]


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


def always_full(mean: FloatArray, bits: int) -> BoolArray:
    """Return which pixels (H, W) of a mean image, counts, are always saturated; none if they are a good part."""
    full = mean >= (1 << bits) - 1.5
    return np.asarray(full & (full.mean() <= _MOST_FULL))


def find_defects(mean: FloatArray) -> LongArray:
    """Return rows and columns of pixels that stand out of their 3 x 3 median in a mean image, (n, 2)."""
    difference = mean - np.asarray(cv2.medianBlur(mean, 3), np.float32)
    spread = 1.4826 * float(np.median(np.abs(difference)))
    return np.argwhere(np.abs(difference) > max(_SD * spread, _LEAST_ADU))
