"""The learner's memory: buffers of frames and traces that always agree with its model."""

from __future__ import annotations

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.background import bin_down, fit_ring, ring_mean_weights
from streamscope.core.buffer import CoarseHistory, FrameBuffer, TraceWindow
from streamscope.core.deconvolve import OnlineOasis, deconvolve
from streamscope.core.kernels import sparse
from streamscope.core.model import Model
from streamscope.types import FloatArray, Footprints, LongArray

_WINDOW_S = 30.0
_MEDIAN_FRAMES = 51
LEAST_EVENT_SN = 2.0  # activity below this is not taken out of the residual


class Memory:
    """Frames of the last seconds, blocks of the last minute, traces of the last half minute.

    What depends on the model (projections, traces, activity, blocks without cells) is computed anew when the
    model changes, so that nothing in here remembers an old model's errors.
    """

    def __init__(self, config: EngineConfig, model: Model) -> None:
        geometry = model.geometry
        self._g = config.g
        self.model = model
        self.buffer = FrameBuffer(config.frames(config.detect.buffer_s), model.shape, geometry.grid)
        stride = max(1, round(config.background.history_s * config.fps / config.background.n_frames))
        self.history = CoarseHistory(config.background.n_frames, geometry.n_bins, stride)
        self.window = TraceWindow(config.frames(_WINDOW_S))
        self.oasis = OnlineOasis(config.g, 0, LEAST_EVENT_SN)
        self.b0_blocks = np.zeros(geometry.grid, np.float32)

    def activity(self, y: FloatArray, elapsed: int) -> FloatArray:
        """Return the events' part of this frame's signed traces, (K,), ADU."""
        sn = self.model.sn
        return self.oasis.push(y / sn, elapsed)[0] * sn

    def without_cells(self, blocks: FloatArray, c: FloatArray) -> FloatArray:
        """Return blocks (P',) less the components with activity `c`."""
        rest = blocks.reshape(-1).copy()
        coarse = self.model.coarse
        sparse.subtract_components(coarse.indptr, coarse.bins, coarse.values, c, rest)
        return rest

    def settle_b0(self) -> None:
        """Renew the static background and its blocks."""
        self.model.settle_b0()
        bin_down(self.model.b0, self.model.geometry.step, self.b0_blocks)

    def start_over(self) -> None:
        """Take b0 and traces from the buffered frames alone.

        b0 is their median: a mean of the first seconds holds whatever was active in them.
        """
        model, buffer = self.model, self.buffer
        few = buffer.frames[: buffer.n][:: -(-buffer.n // _MEDIAN_FRAMES)]
        model.mean[:] = np.median(few, axis=0) * buffer.scale
        model.level[:] = 0
        self.settle_b0()
        self.reproject()
        self.window.restart(buffer.y[: buffer.n], buffer.c[: buffer.n])
        self.shift_baselines(self.window.baselines())
        self.reproject()

    def shift_baselines(self, shift: FloatArray) -> None:
        """Move a constant from each trace (K,) into b0."""
        self.model.level -= shift
        self.window.y -= shift
        self.buffer.y -= shift
        self.settle_b0()

    def keep(self, positions: LongArray) -> None:
        """Keep only some components, in this order."""
        for store in (self.buffer, self.history, self.window):
            store.keep(positions)
        self.oasis.remap(positions)

    def grow(self, n_new: int) -> None:
        """Make room for new components at the end."""
        n = self.model.n
        for store in (self.buffer, self.history, self.window):
            store.grow(n)
        self.oasis.remap(np.r_[np.arange(n - n_new), np.full(n_new, -1)])

    def recall(self, new: LongArray) -> None:
        """Fill in what the buffered frames say of new components, and set their baselines to 0."""
        model, buffer, window = self.model, self.buffer, self.window
        order = buffer.order()
        recent = window.newest(len(order))
        order = order[-len(recent) :]
        window.y[np.ix_(recent, new)] = buffer.y[np.ix_(order, new)]
        shift = np.zeros(model.n, np.float32)
        shift[new] = window.baselines()[new]
        self.shift_baselines(shift)
        self.reproject()
        for k in new:
            window.c[recent, k] = buffer.c[order, k]
            self.history.fill(int(k), buffer.index[order], buffer.c[order, k])

    def project_again(self, which: LongArray) -> None:
        """Project the buffered frames on the footprints that changed."""
        if not len(which):
            return
        buffer, model = self.buffer, self.model
        some = Footprints.from_columns(model.shape, [model.columns[k] for k in which])
        u = np.zeros((buffer.n, len(which)), np.float32)
        sparse.project_stored(
            buffer.flat,
            buffer.rects,
            buffer.scale,
            model.b0.reshape(-1),
            model.shape[1],
            some.indptr,
            some.pixels,
            some.weights,
            u,
        )
        buffer.u[: buffer.n, which] = u

    def reproject(self) -> None:
        """Compute traces, activity and cell-free blocks of the buffered frames with the present model."""
        model, buffer = self.model, self.buffer
        n = buffer.n
        blocks = buffer.blocks[:n].reshape(n, -1) - self.b0_blocks.reshape(-1)
        u = buffer.u[:n] - model.still
        seen = np.empty(model.n, np.float32)
        for t in range(n):
            model.V.dot(blocks[t], seen)
            u[t] -= seen
        buffer.y[:n] = u @ model.solve.T
        if model.n:
            order = buffer.order()
            traces = np.ascontiguousarray(buffer.y[order].T) / model.sn[:, None]
            c = deconvolve(traces, self._g, LEAST_EVENT_SN)[0] * model.sn[:, None]
            buffer.c[order] = c.T
        buffer.rest[:n] = blocks
        self._subtract_cells(buffer.rest[:n], buffer.c[:n])

    def fit_ring(self) -> None:
        """Fit the ring on the remembered blocks, less static background and cells."""
        model, history = self.model, self.history
        n = history.n
        rest = history.blocks[:n] - self.b0_blocks.reshape(-1)
        self._subtract_cells(rest, history.c[:n])
        rest -= rest.mean(0)
        prior = ring_mean_weights(self.b0_blocks, model.geometry)
        model.W = fit_ring(rest, model.geometry, max(2e-5, 0.05 / n), prior)

    def _subtract_cells(self, blocks: FloatArray, c: FloatArray) -> None:
        coarse = self.model.coarse
        for row, activity in zip(blocks, c, strict=True):
            sparse.subtract_components(coarse.indptr, coarse.bins, coarse.values, activity, row)
