"""Whether a frame is a picture of the tissue: black, saturated, torn and striped frames are not.

Three questions, each with the recording itself as the measure. Does the registered frame look like the template?
Bright events lower the agreement of a good frame to about half; a frame of something else has none. Where it is
half: is it so in a good part of the field? Events are bright and small. And do neighbouring rows agree in their
mean? Cameras lose rows, and the tissue has no edge right across the field that comes and goes.

What lasts is the scene: frames of something else that look like each other for some seconds are no broken frames, but
what is seen from now on (core/motion.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from streamscope.core.robust import median
from streamscope.types import FloatArray

LASTING_S = 5.0  # frames that look like each other for so long are the scene, whatever it was before
LEAST_STRUCTURE = 0.15  # of the structure of the scene before: darkness does not become the scene
_REMEMBERED = 500  # good frames
_FEWEST = 8  # of them, before there is a measure
_SPREADS, _MARGIN = 8.0, 0.02  # of the usual agreement
_NONE, _DOUBTFUL = 0.4, 0.7  # times the usual agreement
_MOST_STRANGE = 0.35  # of the field
_JUMP_TIMES, _JUMP_ADU = 4.0, 4.0  # of the usual jump from row to row, and what no camera is blamed for


def edge_margin(max_shift_px: float, height: int) -> int:
    """Return how many rows at top and bottom may be filled by an earlier registration."""
    return min(math.ceil(max_shift_px), height // 6)


def row_jump(image: NDArray[np.generic], margin: int) -> float:
    """Return the largest second difference of the row means of an image (H, W), ADU.

    `margin` rows at top and bottom are left out: in recordings that were registered before, the filled edge of a
    frame lies there.
    """
    inner = np.asarray(image[margin : len(image) - margin])
    rows = np.asarray(cv2.reduce(inner, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F)).reshape(-1)
    return float(np.abs(rows[2:] - 2 * rows[1:-1] + rows[:-2]).max()) if len(rows) > 2 else 0.0


def strange_share(moved: FloatArray, gain: float, mean: FloatArray, clip: FloatArray) -> float:
    """Return the share of the field in which a registered image is none of what the template expects.

    Parameters
    ----------
    moved, mean, clip : ndarray, shape (h, w), float32
        Band-passed image after registration; the template, and two standard deviations of its residual.
    gain : float
        Of the image against the template.
    """
    every = np.s_[::2, ::2]  # band-passed: the pixels between say the same
    return float(np.mean(np.abs(moved[every] / np.float32(gain) - mean[every]) > clip[every]))


class FrameQuality:
    """What is usual in a recording, and whether a frame is far from it."""

    def __init__(self) -> None:
        self._agreements = np.zeros(_REMEMBERED, np.float32)
        self._jumps = np.zeros(_REMEMBERED, np.float32)
        self._n = 0

    def remember(self, agreement: float, jump: float) -> None:
        """Let a good frame into what is usual."""
        slot = self._n % _REMEMBERED
        self._agreements[slot], self._jumps[slot] = agreement, jump
        self._n += 1

    @property
    def least(self) -> float:
        """Return the agreement that no picture of a scene like this falls short of; 0 before there is a measure."""
        return _NONE * median(self._agreements[: self._n]) if self._n >= _FEWEST else 0.0

    def credible(self, agreement: float, jump: float, strange: Callable[[], float]) -> bool:
        """Return whether a frame is a picture of the tissue.

        Parameters
        ----------
        agreement : float
            Correlation with the template.
        jump : float
            `row_jump` of the raw frame.
        strange : callable
            Gives `strange_share` of the registered frame; called only in doubt.
        """
        if not agreement > 0:  # NaN too
            return False
        if self._n < _FEWEST:
            return True
        known = self._agreements[: self._n]
        middle = median(known)
        spread = 1.4826 * median(np.abs(known - middle))
        if agreement <= min(middle - _SPREADS * spread - _MARGIN, _NONE * middle):
            return False
        if jump > _JUMP_TIMES * median(self._jumps[: self._n]) + _JUMP_ADU:
            return False
        return agreement >= _DOUBTFUL * middle or strange() <= _MOST_STRANGE

    def state(self) -> dict[str, np.ndarray | float | int]:
        """Return all that is needed to go on from here."""
        return {"agreements": self._agreements.copy(), "jumps": self._jumps.copy(), "n": self._n}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray | float | int]) -> FrameQuality:
        """Return an instance that goes on where `state` was taken."""
        self = cls()
        self._agreements, self._jumps = np.array(state["agreements"]), np.array(state["jumps"])
        self._n = int(state["n"])
        return self
