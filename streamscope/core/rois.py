"""Regions of interest that are given and stay: nothing is searched for, and traces flow from frame 0.

A region's trace is the projection of the registered frame on its uniform, unit-norm footprint, less that of the
static background b0. There is no ring: what is around a region is not taken out of it, and what is in it is not
taken for background. b0 follows the mode of each region's trace and its trend, so that traces lie around zero.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from streamscope.config import EngineConfig
from streamscope.core.background import SparseRows
from streamscope.core.buffer import TraceWindow
from streamscope.core.deconvolve import noise_sd
from streamscope.core.demix import field_of
from streamscope.core.epoch import CONFIRMED, Epoch
from streamscope.core.kernels import sparse
from streamscope.core.mean_image import MeanImage
from streamscope.core.preprocess import grey_levels
from streamscope.types import (
    ComponentEvent,
    DoubleArray,
    FloatArray,
    Footprints,
    FrameResult,
    ImageArray,
    Kinetics,
)

_LONG_S = 60.0  # of the traces whose trend b0 follows
_WINDOW_S = 20.0  # of the traces whose mode b0 follows, and memory of the mean image
_FIRST_S, _EVERY_S = 0.25, 2.0  # b0 follows after the first, twice as much each time, then regularly
_NOISE_S = 5.0  # of frames that the noise scale is taken from, once
_LEAST_SN = 0.05  # ADU; a region that never changes has no noise
_LEAST_MODE = 20  # frames; fewer have a median, but no mode
_TWIN_RIDGE = 1e-4  # of a footprint's energy: regions that overlap fully must not make the system singular
_STEP = 8  # block side of the background that there is none of, px


class FixedRois:
    """Follows the light under given regions; in place of a `Learner`, with its interface.

    Parameters
    ----------
    config : EngineConfig
        Settings of the engine.
    rois : Footprints
        The regions, unit norm; their ids are 1..K.
    image : ndarray, shape (H, W), uint8 or uint16
        The first frame: the first b0, and the first idea of the noise.
    """

    def __init__(self, config: EngineConfig, rois: Footprints, image: ImageArray) -> None:
        self._config = config
        seen = grey_levels(image, config.bits)
        self._rois = rois
        self._system = overlaps_of(rois)
        self.lag_frames = self.lag(config)
        self._next = self.lag_frames  # update of b0, frames from the start
        self._window = TraceWindow(config.frames(_LONG_S))
        self._window.grow(rois.n)
        self._silence = np.zeros(rois.n, np.float32)
        self._mean = MeanImage(seen.astype(np.float32))
        self._b0 = self._mean.image.copy()
        self._sn = np.full(rois.n, max(image_noise(seen), _LEAST_SN), np.float32)
        self._measured = self._frozen = False  # the noise; by request
        self._n = self._number = 0
        self.first = self._epoch(0, tuple(self._begin()))

    @staticmethod
    def lag(config: EngineConfig) -> int:
        """Return after how many frames b0 follows first."""
        return config.frames(_FIRST_S)

    def consume(self, aligned: FloatArray, result: FrameResult) -> Epoch | None:
        """Follow one frame.

        Parameters
        ----------
        aligned : ndarray, shape (H, W), float32
            Registered frame, ADU. Not kept.
        result : FrameResult
            Of the same frame; a frame that is no picture says nothing.

        Returns
        -------
        Epoch or None
            Now and then, often at first, the same regions on the static background of now.
        """
        if result.shift.ok:
            self._observe(aligned, field_of(self._rois.shape, result.shift))
        self._n += 1
        if self._n < self._next or not self._window.n:
            return None
        self._next = min(2 * self._n, self._n + self._config.frames(_EVERY_S))
        self._follow()
        return self._epoch(result.index, tuple(self._measure(result.index)))

    def freeze(self) -> None:
        """Keep the noise scale as it is; b0 follows the light, as it always does."""
        self._frozen = True

    def thaw(self) -> None:
        """Measure the noise scale, if that has not been done."""
        self._frozen = False

    def _observe(self, aligned: FloatArray, field: tuple[int, int, int, int]) -> None:
        self._mean.follow(aligned, field, self._config.frames(_WINDOW_S))
        self._window.push(self._project(aligned), self._silence)

    def _follow(self) -> None:
        """Let b0 be the mean image, put right within each region so that its trace now lies around zero."""
        window = self._window
        level = level_now(window.y[window.newest(window.n)], self._config.frames(_WINDOW_S))
        missing = sp.linalg.spsolve(
            self._system, np.asarray(level - self._project(self._mean.image), np.float64)
        )
        b0 = self._mean.image.copy()
        for k, value in enumerate(np.atleast_1d(missing)):
            pixels, weights = self._rois.column(k)
            b0.reshape(-1)[pixels] += weights * np.float32(value)
        self._b0 = np.round(b0 * 64) / np.float32(64)  # as it is kept in the journal

    def _measure(self, frame: int) -> list[ComponentEvent]:
        """Take the noise scale from the first seconds, once, and tell the factor by which it differs."""
        window = self._window
        if self._measured or self._frozen or window.n < self._config.frames(_NOISE_S):
            return []
        self._measured = True
        traces = np.ascontiguousarray(window.y[window.newest(window.n)].T)
        sn = np.maximum(noise_sd(traces), _LEAST_SN).astype(np.float32)
        factors, self._sn = self._sn / sn, sn
        return [
            ComponentEvent("rescaled", k + 1, frame, factor=float(f), reason="noise of the first seconds")
            for k, f in enumerate(factors)
        ]

    def _project(self, image: FloatArray) -> FloatArray:
        A, out = self._rois, np.empty(self._rois.n, np.float32)
        sparse.project(A.indptr, A.pixels, A.weights, image.reshape(-1), out)
        return out

    def _begin(self) -> list[ComponentEvent]:
        events = []
        for k in range(self._rois.n):
            y, x = (float(v.mean()) for v in np.divmod(self._rois.column(k)[0], self._rois.shape[1]))
            events += [
                ComponentEvent(kind, k + 1, 0, y=y, x=x, snr=0.0, reason="region of interest")
                for kind in ("born", "confirmed")
            ]
        return events

    def _epoch(self, frame: int, events: tuple[ComponentEvent, ...]) -> Epoch:
        self._number += 1
        n, (height, width) = self._rois.n, self._rois.shape
        return Epoch(
            number=self._number,
            frame=frame,
            ids=np.arange(1, n + 1, dtype=np.uint32),
            status=np.full(n, CONFIRMED, np.uint8),
            born_at=np.zeros(n, np.int64),
            snr=np.zeros(n, np.float32),
            footprints=self._rois,
            V=SparseRows.empty(n, -(-height // _STEP) * -(-width // _STEP)),
            step=_STEP,
            solve=SparseRows.identity(n),  # a region's own light, whatever lies over it
            b0=self._b0.copy(),
            sn=self._sn.copy(),
            kinetics=Kinetics(self._config.decay_s),
            events=events,
        )


def level_now(traces: FloatArray, recent: int) -> FloatArray:
    """Return where traces (n, K) lie at their end, apart from activity, (K,): their mode along their trend.

    The mode is that of the last `recent` frames, the trend that of all, from twice as many on. Without a trend the
    level of a trace that bleaches would be that of half a window ago; a trend of few frames would be that of the
    background's slow waves.
    """
    n = len(traces)
    if n < _LEAST_MODE:
        return np.asarray(np.median(traces, 0), np.float32)
    half = n // 2
    slope = np.median(traces[half : 2 * half] - traces[:half], 0) / half if n >= 2 * recent else 0.0
    flat = traces - np.arange(1 - n, 1, dtype=np.float32)[:, None] * slope
    settled = TraceWindow(min(n, recent))
    settled.grow(traces.shape[1])
    settled.restart(np.asarray(flat[-recent:], np.float32))
    return settled.baselines()


def overlaps_of(rois: Footprints) -> sp.csc_matrix:
    """Return A'A (K, K) with a trace of ridge, sparse: the identity for regions that do not overlap."""
    n_pixels = rois.shape[0] * rois.shape[1]
    A = sp.csc_matrix((rois.weights.astype(np.float64), rois.pixels, rois.indptr), (n_pixels, rois.n))
    return sp.csc_matrix(A.T @ A + _TWIN_RIDGE * sp.identity(rois.n))


def image_noise(image: NDArray[np.generic]) -> float:
    """Return the noise of the pixels of one image (H, W), ADU, from second differences along both axes.

    References
    ----------
    Immerkaer 1996, Comput Vis Image Underst 64:300-302.
    """
    x: DoubleArray = image.astype(np.float64)
    rough = x[2:] - 2 * x[1:-1] + x[:-2]
    rough = rough[:, 2:] - 2 * rough[:, 1:-1] + rough[:, :-2]
    return float(np.sqrt(np.pi / 2) * np.abs(rough).mean() / 6) if rough.size else 0.0
