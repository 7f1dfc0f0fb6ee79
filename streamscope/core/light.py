"""Steps of the light: when it grows by a part g, so does all that stands still, b0.

The ring takes care of what is smooth of that; what is finer stays in the residual as g times the fine structure of
b0. It is one pattern over the whole field, so that g follows from few frames with an error below a percent. Slow
changes are left to the mean image; a step makes remembered frames and the score of the residual useless.
"""

from __future__ import annotations

import numpy as np

from streamscope.types import FloatArray

_LEAST_STEP = 0.15  # from block to block; usual changes (bleaching, tissue that moves) stay below 0.09
_LARGEST_STEP = 2.0  # times brighter or darker that is believed
_LEAST_STRUCTURE = 0.5  # of the mean; ratios to what is flatter are noise


class Light:
    """Follows the brightness of the light block by block, as a part of the static background."""

    def __init__(self) -> None:
        self._fine = self._whole = 0.0

    def step(self, rest: FloatArray, background: FloatArray, b0: FloatArray, smooth: FloatArray) -> float:
        """Return how much brighter the light is than b0 says if it has just jumped, as a part of b0; 0 if not.

        The fine structure and the whole field must both have jumped. Whoever calls it puts b0 right after a step.

        Parameters
        ----------
        rest : ndarray, shape (P',), float32
            Block means of the latest frames less static background and cells, ADU.
        background, smooth : ndarray, shape (P',), float32
            What the ring predicts of `rest` and of b0.
        b0 : ndarray, shape (P',), float32
            Block means of the static background.
        """
        fine = light_change(rest - background, b0 - smooth)
        whole = float(rest.mean() / max(float(b0.mean()), 1e-3))
        steps = fine - self._fine, whole - self._whole
        if min(steps) < _LEAST_STEP and max(steps) > -_LEAST_STEP:
            self._fine, self._whole = fine, whole
            return 0.0
        self._fine, self._whole = 0.0, whole - fine
        return float(np.clip(fine, 1 / _LARGEST_STEP - 1, _LARGEST_STEP - 1))


def light_change(residual: FloatArray, structure: FloatArray) -> float:
    """Return g that makes g times `structure` (P',) most like `residual` (P',), 0 without structure.

    It has the least absolute deviation, so that cells that are not known yet do not count.
    """
    scale = np.abs(structure)
    strong = scale > _LEAST_STRUCTURE * scale.mean()
    if not strong.any():
        return 0.0
    ratio, weight = residual[strong] / structure[strong], scale[strong]
    order = np.argsort(ratio)
    total = np.cumsum(weight[order], dtype=np.float64)
    return float(ratio[order][np.searchsorted(total, total[-1] / 2)])
