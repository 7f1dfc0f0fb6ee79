"""The learner's memory: buffers of frames and traces that always agree with its model."""

from __future__ import annotations

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.background import fit_ring_rows, ring_mean_weights
from streamscope.core.buffer import CoarseHistory, FrameBuffer, TraceWindow
from streamscope.core.crew import Crew
from streamscope.core.deconvolve import OnlineOasis, deconvolve
from streamscope.core.epoch import CONFIRMED
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

    def __init__(self, config: EngineConfig, model: Model, crew: Crew) -> None:
        self._crew = crew
        geometry = model.geometry
        self._g = config.g
        self.model = model
        self.buffer = FrameBuffer(config.frames(config.detect.buffer_s), model.shape, geometry.grid)
        stride = max(1, round(config.background.history_s * config.fps / config.background.n_frames))
        self.history = CoarseHistory(config.background.n_frames, geometry.n_bins, stride)
        self.window = TraceWindow(config.frames(_WINDOW_S))
        self.oasis = OnlineOasis(config.g, 0, LEAST_EVENT_SN)

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

    def start_over(self) -> None:
        """Take b0 and traces from the buffered frames alone.

        b0 is their median: a mean of the first seconds holds whatever was active in them.
        """
        model, buffer, window = self.model, self.buffer, self.window
        model.mean[:] = buffer.median(_MEDIAN_FRAMES, self._crew)
        model.level[:] = 0
        model.settle_b0()
        self._trace()
        window.restart(buffer.y[: buffer.n])
        self.shift_baselines(window.baselines())
        self._find_activity()
        window.c[: buffer.n] = buffer.c[: buffer.n]

    def brighten(self, factor: float) -> None:
        """Follow a step of the light: scale what stands still, and forget the frames from before."""
        model = self.model
        model.mean *= np.float32(factor)
        model.level *= factor
        model.settle_b0()
        self.history.blocks *= np.float32(factor)
        self.buffer.clear()
        self.window.restart(self.window.y[:0])

    def baselines(self) -> FloatArray:
        """Return the mode of each trace of the last half minute, (K,), ADU."""
        parts = self._crew.share(0, self.model.n)
        modes = self._crew.map(lambda part: self.window.baselines(np.arange(*part)), parts)
        return np.concatenate([np.zeros(0, np.float32), *modes])

    def shift_baselines(self, shift: FloatArray) -> None:
        """Move a constant from each trace (K,) into b0."""
        self.model.level -= shift
        self.window.y -= shift
        self.buffer.y -= shift
        self.model.settle_b0()

    def keep(self, positions: LongArray) -> None:
        """Keep only some components, in this order."""
        for store in (self.buffer, self.history, self.window):
            store.keep(positions)
        self.oasis.remap(positions)

    def renew(self, changed: LongArray | None = None, n_new: int = 0, ring: bool = False) -> None:
        """Compute what is remembered anew with a rebuilt model.

        Parameters
        ----------
        changed : ndarray, shape (n,), int64, optional
            Components whose footprint is another one.
        n_new : int
            How many components were added at the end.
        ring : bool
            Whether the ring is another one.
        """
        new = np.arange(self.model.n - n_new, self.model.n)
        if n_new:
            self._grow(n_new)
        self._project(new if changed is None else np.r_[changed, new], ring)
        self._trace()
        if n_new:
            self._settle(new)
        self._find_activity()
        if n_new:
            self._recall(new)

    def _grow(self, n_new: int) -> None:
        """Make room for new components at the end."""
        n = self.model.n
        for store in (self.buffer, self.history, self.window):
            store.grow(n)
        self.oasis.remap(np.r_[np.arange(n - n_new), np.full(n_new, -1)])

    def _project(self, which: LongArray, ring: bool) -> None:
        """Project the buffered frames on the footprints `which`, and on all of them through a new ring."""
        buffer, model = self.buffer, self.model
        self._crew.map(self._project_stored, [which[a:b] for a, b in self._crew.share(0, len(which))])
        seen = np.arange(model.n) if ring else which
        self._crew.map(
            lambda part: model.V.dot_many(
                buffer.blocks[part[0] : part[1]], seen, buffer.seen[part[0] : part[1]]
            ),
            self._crew.share(0, buffer.n),
        )

    def _project_stored(self, which: LongArray) -> None:
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

    def _trace(self) -> None:
        """Compute the signed traces of the buffered frames."""
        model, buffer, n = self.model, self.buffer, self.buffer.n
        projected = buffer.u[:n] - buffer.seen[:n] - (model.still - model.still_seen)
        buffer.y[:n] = model.solve.times(np.ascontiguousarray(projected.T)).T

    def _settle(self, new: LongArray) -> None:
        """Set the baselines of new components to 0, from what the buffered frames say of them."""
        buffer, window = self.buffer, self.window
        order = buffer.order()
        recent = window.newest(len(order))
        window.y[np.ix_(recent, new)] = buffer.y[np.ix_(order[-len(recent) :], new)]
        shift = np.zeros(self.model.n, np.float32)
        shift[new] = window.baselines(new)
        self.shift_baselines(shift)

    def _find_activity(self) -> None:
        """Compute activity and cell-free blocks of the buffered frames from their traces."""
        model, buffer, n = self.model, self.buffer, self.buffer.n
        order = buffer.order()

        def find(part: tuple[int, int]) -> None:
            some = slice(*part)
            traces = np.ascontiguousarray(buffer.y[order, some].T) / model.sn[some, None]
            c = deconvolve(traces, self._g, LEAST_EVENT_SN)[0] * model.sn[some, None]
            buffer.c[order, some] = c.T

        self._crew.map(find, self._crew.share(0, model.n))
        self._subtract_model(buffer.blocks[:n], buffer.c[:n], buffer.rest[:n])

    def _recall(self, new: LongArray) -> None:
        """Fill the activity of new components in the buffered frames into window and history."""
        buffer, window = self.buffer, self.window
        order = buffer.order()
        recent = window.newest(len(order))
        window.c[np.ix_(recent, new)] = buffer.c[np.ix_(order[-len(recent) :], new)]
        for k in new:
            self.history.fill(int(k), buffer.index[order], buffer.c[order, k])

    def fit_ring(self) -> None:
        """Fit the ring on the remembered blocks, less static background and confirmed cells.

        A component that is background would keep it from the ring, which would then predict less, so that the
        component takes more and is confirmed in the end: nothing else pulls it back.
        """
        model, history = self.model, self.history
        n = history.n
        rest = np.empty((n, model.geometry.n_bins), np.float32)
        c = history.c[:n]
        sure = np.array(model.status) == CONFIRMED
        self._subtract_model(history.blocks[:n], np.where(sure, c, np.float32(0)), rest)
        self._crew.map(
            lambda part: _take_mean_off(rest[:, slice(*part)]), self._crew.share(0, model.geometry.n_bins)
        )
        prior = ring_mean_weights(model.b0_blocks, model.geometry)
        ridge, W = max(2e-5, 0.05 / n), np.zeros_like(prior)
        self._crew.map(
            lambda part: fit_ring_rows(rest, model.geometry, ridge, prior, part[0], part[1], W),
            self._crew.share(0, model.geometry.n_bins),
        )
        model.take_ring(W)

    def _subtract_model(self, blocks: FloatArray, c: FloatArray, out: FloatArray) -> None:
        """Fill `out` (n, P') with remembered blocks less static background and cells with activity `c` (n, K)."""
        coarse, still = self.model.coarse, self.model.b0_blocks
        rows = coarse.indptr, coarse.bins, coarse.values

        def subtract(part: tuple[int, int]) -> None:
            some = slice(*part)
            sparse.subtract_model(blocks[some], still, *rows, c[some], out[some])

        self._crew.map(subtract, self._crew.share(0, len(out)))


def _take_mean_off(series: FloatArray) -> None:
    series -= series.mean(0)
