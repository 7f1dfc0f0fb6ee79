"""From an aligned frame to the signed trace of each component, ring background and overlap removed at once."""

from __future__ import annotations

import math

import numpy as np

from streamscope.core.background import SparseRows, bin_down
from streamscope.core.kernels import sparse, warp
from streamscope.types import FloatArray, Footprints, Shift


def field_of(shape: tuple[int, int], shift: Shift) -> tuple[int, int, int, int]:
    """Return rows y0..y1 and columns x0..x1 of the reference frame that the sensor saw in this frame."""
    h, w = shape
    y0, y1 = _span(h, shift.dy)
    x0, x1 = _span(w, shift.dx)
    return y0, y1, x0, x1


def _span(n: int, d: float) -> tuple[int, int]:
    first = min(max(math.ceil(-d), 0), n)
    return first, max(first, min(n, math.floor(n - 1 - d) + 1))


class Demix:
    """Projects frames: x = y - b0 inside the field and 0 outside, then c = inv(M) (A'x - V D x)."""

    def __init__(self, shape: tuple[int, int], step: int) -> None:
        self._step = step
        self.x = np.zeros(shape, np.float32)  # frame without static background
        self.blocks = np.zeros((-(-shape[0] // step), -(-shape[1] // step)), np.float32)  # D x
        self.u = np.zeros(0, np.float32)  # A'x
        self.seen = np.zeros(0, np.float32)  # V D x, the background that each footprint sees

    def center(self, aligned: FloatArray, b0: FloatArray, shift: Shift) -> None:
        """Fill `x` and `blocks` from an aligned frame (H, W)."""
        warp.center(aligned, b0, *field_of(self.x.shape, shift), self.x)
        bin_down(self.x, self._step, self.blocks)

    def solve(self, footprints: Footprints, V: SparseRows, inverse: SparseRows) -> FloatArray:
        """Return the signed traces of the centred frame, (K,) float32, ADU times unit-norm footprint.

        References
        ----------
        Friedrich, Giovannucci, Pnevmatikakis 2021, PLoS Comput Biol 17:e1008565 (projection of the ring).
        """
        self.u, self.seen = np.empty(footprints.n, np.float32), np.empty(footprints.n, np.float32)
        sparse.project(footprints.indptr, footprints.pixels, footprints.weights, self.x.reshape(-1), self.u)
        V.dot(self.blocks.reshape(-1), self.seen)
        y = np.empty_like(self.u)
        inverse.dot(self.u - self.seen, y)
        return y
