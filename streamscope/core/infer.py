"""The way of a frame: repair, align, project and demix, deconvolve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamscope.config import EngineConfig
from streamscope.core.deconvolve import Deconvolver
from streamscope.core.epoch import Epoch
from streamscope.core.kernels import warp
from streamscope.core.kernels.field import warp_field
from streamscope.core.motion import Motion
from streamscope.core.preprocess import Preprocess
from streamscope.core.readout import Readout
from streamscope.types import (
    FLAG_BAD_MOTION,
    FLAG_BIG_MOTION,
    FLAG_FROZEN,
    FloatArray,
    Frame,
    FrameResult,
    IdArray,
    Kinetics,
    Shift,
    Tail,
)

FROZEN = FLAG_BAD_MOTION | FLAG_FROZEN


class Infer:
    """Turns frames into results on the epoch in force. No clock, no learning, bounded work."""

    def __init__(self, config: EngineConfig, shape: tuple[int, int]) -> None:
        self._config = config
        self._preprocess = Preprocess(shape, config.bits)
        self._motion = Motion(config, shape)
        self._row = np.zeros(shape[1] + 3, np.float32)
        self._deconvolver = Deconvolver(
            config.fps, Kinetics(config.decay_s), config.deconvolve.lag, config.deconvolve.min_event_sn
        )
        self._deconvolver.remap(np.zeros(0, np.int64))
        self._epoch: Epoch | None = None
        self._readout: Readout | None = None
        self._next_frame = 0

    def __call__(self, frame: Frame, aligned: FloatArray) -> FrameResult:
        """Return what this frame says of every component of the present epoch.

        Parameters
        ----------
        frame : Frame
            Image (H, W), uint8, or uint16 if the settings say more than 8 bits.
        aligned : ndarray, shape (H, W), float32
            Filled with the registered frame, grey levels; where the sensor saw nothing edges are replicated, or, as
            soon as there are cells, it is their static background.

        Returns
        -------
        FrameResult
            With `t_result_ns` 0: the caller has the clock.
        """
        image = self._preprocess.update(frame.image)
        shift = self._motion.repeat(FROZEN) if self._preprocess.frozen else self._motion.update(image)
        y = self._traces(image, shift, aligned)
        said = y if shift.ok else np.full_like(y, np.nan)  # a bad frame's y is what it is, and tells nothing
        c, s, c_lag, s_lag = self._deconvolver.push(said, 1 + frame.gap)
        self._next_frame = frame.index + 1
        return FrameResult(
            index=frame.index,
            epoch=self._epoch.number if self._epoch else 0,
            t_capture_ns=frame.t_capture_ns,
            t_result_ns=0,
            shift=shift,
            ids=self._ids,
            y=y,
            c=c,
            s=s,
            c_lag=c_lag,
            s_lag=s_lag,
            lag=self._config.deconvolve.lag,
            flags=self._flags(shift),
            gap=frame.gap,
            hw=frame.hw,
            time_s=frame.time_s,
        )

    def adopt(self, epoch: Epoch) -> None:
        """Take over what the learner has learned, before the next frame; traces of kept ids go on."""
        place = {int(i): k for k, i in enumerate(self._ids)}
        self._deconvolver.remap(np.array([place.get(int(i), -1) for i in epoch.ids], np.int64))
        self._deconvolver.retune(epoch.kinetics)
        self._epoch = epoch
        self._readout = Readout(epoch) if epoch.n else None

    def tail(self) -> Tail:
        """Return the delayed values of the last frames, which no later frame can carry."""
        c, s = self._deconvolver.tail()
        return Tail(self._next_frame - len(c), self._ids, c, s)

    def _traces(self, image: NDArray[np.generic], shift: Shift, aligned: FloatArray) -> FloatArray:
        """Fill `aligned` and return the signed traces, (K,), sn units."""
        if self._readout is not None:
            return self._readout(image, shift, aligned)
        if shift.field is None:
            warp.translate(image, shift.dy, shift.dx, self._row, aligned)
        else:
            warp_field(image, shift.dy, shift.dx, shift.field, self._row, aligned)
        return np.zeros(0, np.float32)

    def _flags(self, shift: Shift) -> int:
        big = abs(shift.dy) > self._config.cell_diameter_px or abs(shift.dx) > self._config.cell_diameter_px
        return shift.flags | (FLAG_BIG_MOTION if big else 0)

    @property
    def _ids(self) -> IdArray:
        return self._epoch.ids if self._epoch else np.zeros(0, np.uint32)
