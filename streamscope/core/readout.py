"""From the sensor's frame to the signed trace of each component, ring background and overlap removed at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamscope.core.demix import field_of
from streamscope.core.epoch import Epoch
from streamscope.core.kernels import readout as kernels
from streamscope.core.kernels.field import warp_field
from streamscope.types import FloatArray, Shift


class Readout:
    """Reads one epoch's components out of frames, c = inv(M) F (y - b0) with F = A' - V D.

    b0 is not subtracted from the frame but F b0, which is the same for all frames, from the projections. Where the
    sensor saw nothing y is b0. The result is that of `Demix` but for rounding, in one pass over the frame.
    """

    def __init__(self, epoch: Epoch) -> None:
        height, width = epoch.footprints.shape
        step = epoch.step
        self._epoch = epoch
        self._row = np.zeros(width + 3, np.float32)
        self._blocks = np.zeros((-(-height // step), -(-width // step)), np.float32)
        self._x = np.zeros(epoch.n, np.float32)
        self._still = np.zeros(epoch.n, np.float32)
        kernels.hold_and_bin(epoch.b0, (0, height, 0, width), step, self._row, epoch.b0, self._blocks)
        self._project(epoch.b0)
        self._still = self._x.copy()

    def __call__(self, image: NDArray[np.generic], shift: Shift, aligned: FloatArray) -> FloatArray:
        """Fill `aligned` with the registered frame, b0 where the sensor saw nothing, and return its signed traces.

        Parameters
        ----------
        image : ndarray, shape (H, W), uint8 or float32
            The frame as the sensor saw it.
        shift : Shift
            Where it is.
        aligned : ndarray, shape (H, W), float32
            ADU.

        Returns
        -------
        ndarray, shape (K,), float32
            Units of `sn`.

        References
        ----------
        Friedrich, Giovannucci, Pnevmatikakis 2021, PLoS Comput Biol 17:e1008565 (projection of the ring).
        """
        epoch, field = self._epoch, field_of(aligned.shape, shift)
        if shift.field is None:
            kernels.align(
                image, shift.dy, shift.dx, epoch.b0, field, epoch.step, self._row, aligned, self._blocks
            )
        else:
            warp_field(image, shift.dy, shift.dx, shift.field, self._row, aligned)
            kernels.hold_and_bin(epoch.b0, field, epoch.step, self._row, aligned, self._blocks)
        self._project(aligned)
        y = np.empty_like(self._x)
        epoch.solve.dot(self._x, y)
        return y / epoch.sn

    def _project(self, aligned: FloatArray) -> None:
        A, V = self._epoch.footprints, self._epoch.V
        seen = V.indptr, V.bins, V.values, self._blocks.reshape(-1)
        kernels.project(A.indptr, A.pixels, A.weights, aligned.reshape(-1), *seen, self._still, self._x)
