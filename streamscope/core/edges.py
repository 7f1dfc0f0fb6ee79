"""Edges that are fixed to the sensor: the rim of a lens, dust, the border of the LED's light, a cover.

They are seen through the same band-pass as the tissue, and would hold the estimate of its motion back. A pixel that
is steadier at its place on the sensor than against the moving template belongs to the sensor and has no vote. The
measure is the recording's own: noise and flicker are in both numbers, and they are the same where nothing moves.
"""

from __future__ import annotations

import cv2
import numpy as np

from streamscope.core.kernels import edges as kernels
from streamscope.core.kernels import warp
from streamscope.types import FloatArray

_EVERY = 4  # of so many frames one is looked at
_FEWEST = 16  # looks before there is a verdict
_JUDGED, _JUDGED_LATER = (
    8,
    32,
)  # looks after which it is renewed, at first and when the means have their memory
_DOUBT_LOOKS = 6  # variances of so few looks may differ by chance
_BLUR_PX = 5
_ON, _OFF = 1.5, 1.2  # times as far from the template as from its own mean
_LEAST_SHARE = 0.02  # of the pixels: fewer pull too little to be worth the time of every frame
_NEAR_BORDER_PX = 6  # there the band-pass sees the border of the sensor: it is left alone, as it always was


class SensorEdges:
    """Finds the pixels of the sensor that do not move with the tissue.

    Parameters
    ----------
    shape : tuple of int
        (h, w) of the band-passed images.
    memory : int
        Frames of the running means.
    """

    def __init__(self, shape: tuple[int, int], memory: int) -> None:
        self._memory = max(memory // _EVERY, 2 * _FEWEST)
        self._n = self._n_looks = 0
        self._mean, self._spread, self._misfit = (np.zeros(shape, np.float32) for _ in range(3))
        self._expected, self._row = np.zeros(shape, np.float32), np.zeros(shape[1] + 3, np.float32)
        self._keep = np.ones(shape, np.float32)
        self.found = False

    @classmethod
    def of_sample(cls, shape: tuple[int, int], n: int) -> SensorEdges:
        """Return an instance that weighs each of `n` images alike."""
        return cls(shape, n * _EVERY)

    @property
    def keep(self) -> FloatArray | None:
        """Return 1 where a pixel of the sensor sees tissue and 0 where it does not, (h, w); None: all do."""
        return self._keep if self.found else None

    def update(self, image: FloatArray, template: FloatArray, dy: float, dx: float, gain: float) -> bool:
        """Learn from a band-passed image (h, w) that lies at (dy, dx), px, on a template of its size.

        Returns whether there is something that moves with the sensor now, and was not before.
        """
        before = self.found
        self._n += 1
        if self._n % _EVERY == 0:
            self.look(image, template, dy, dx, gain)
        return self.found and not before

    def look(self, image: FloatArray, template: FloatArray, dy: float, dx: float, gain: float) -> None:
        """Learn from this image, whatever the number of frames before it."""
        if not self._n_looks:
            np.divide(image, np.float32(gain), out=self._mean)
        self._n_looks += 1
        rate = 1.0 / min(self._n_looks, self._memory)
        warp.translate(template, -dy, -dx, self._row, self._expected)
        kernels.note_steadiness(image, self._expected, gain, rate, self._mean, self._spread, self._misfit)
        after = _JUDGED if self._n_looks < self._memory else _JUDGED_LATER
        if self._n_looks >= _FEWEST and self._n_looks % after == 0:
            self.judge()

    def judge(self) -> None:
        """Say anew which pixels have a vote."""
        size = (_BLUR_PX, _BLUR_PX)
        spread, misfit = cv2.blur(self._spread, size), cv2.blur(self._misfit, size)
        doubt = 1 + _DOUBT_LOOKS / min(self._n_looks, self._memory)
        limit = np.where(self._keep > 0, np.float32(_ON * doubt), np.float32(_OFF * doubt))
        fixed = (misfit > limit * spread).astype(np.uint8)
        b = _NEAR_BORDER_PX
        fixed[:b], fixed[-b:], fixed[:, :b], fixed[:, -b:] = 0, 0, 0, 0
        self._keep[:] = 1 - cv2.dilate(fixed, np.ones((3, 3), np.uint8))
        self.found = bool(self._keep.mean() < 1 - _LEAST_SHARE)

    def state(self) -> dict[str, np.ndarray | float | int]:
        """Return all that is needed to go on from here."""
        return {
            "n": self._n,
            "n_looks": self._n_looks,
            "mean": self._mean.copy(),
            "spread": self._spread.copy(),
            "misfit": self._misfit.copy(),
            "keep": self._keep.copy(),
            "found": int(self.found),
        }

    @classmethod
    def from_state(cls, memory: int, state: dict[str, np.ndarray | float | int]) -> SensorEdges:
        """Return a stage that goes on where `state` was taken."""
        h, w = np.asarray(state["mean"]).shape
        self = cls((h, w), memory)
        self._n, self._n_looks = int(state["n"]), int(state["n_looks"])
        for name in ("mean", "spread", "misfit", "keep"):
            setattr(self, f"_{name}", np.array(state[name]))
        self.found = bool(state["found"])
        return self
