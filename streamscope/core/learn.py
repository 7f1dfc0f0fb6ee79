"""The learner: everything that is learned from the frames, in order, block by block.

Frame by frame it keeps the residual's score and remembers; once a block it settles baselines, refines shapes,
takes in new cells, merges and retires, and refreshes the ring. The result is a new epoch.
"""

from __future__ import annotations

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.background import (
    apply_ring,
    bin_down,
    fit_ring,
    ring_mean_weights,
    spread_up,
)
from streamscope.core.births import Births
from streamscope.core.buffer import CoarseHistory, FrameBuffer, TraceWindow
from streamscope.core.deconvolve import OnlineOasis, deconvolve
from streamscope.core.demix import Demix, field_of
from streamscope.core.detect import Detector
from streamscope.core.epoch import CONFIRMED, Epoch
from streamscope.core.kernels import sparse
from streamscope.core.merge import duplicates
from streamscope.core.model import Model
from streamscope.core.shapes import Shapes
from streamscope.types import ComponentEvent, FloatArray, FrameResult, LongArray

_MEAN_MEMORY_S = 30.0
_WINDOW_S = 30.0
_LEAST_EVENT_SN = 2.0  # activity below this is not subtracted from the residual
_LARGEST_GAUGE_SN = 2.0  # baseline correction of one block
_CONFIRM_PEAK_SN = 8.0
_CONFIRM_BORDER = 0.5  # least distance of the centre from the border, cell diameters
_FIRST_REFRESHES_S = (5.0, 10.0, 20.0)


class Learner:
    """Learns from aligned frames; hands over an epoch at the end of each block in which something changed."""

    def __init__(self, config: EngineConfig, shape: tuple[int, int]) -> None:
        self._config = config
        self._shape = shape
        self.model = Model(config, shape)
        geometry = self.model.geometry
        self._block = config.frames(config.detect.block_s)
        self.lag_frames = self._block
        self._demix = Demix(shape, geometry.step)
        self._detector = Detector(config, self.model.fine)
        self._births = Births(config)
        self._shapes = Shapes(config, shape)
        self._oasis = OnlineOasis(config.g, 0, _LEAST_EVENT_SN)
        self._buffer = FrameBuffer(config.frames(config.detect.buffer_s), shape, geometry.grid)
        stride = max(1, round(config.background.history_s * config.fps / config.background.n_frames))
        self._history = CoarseHistory(config.background.n_frames, geometry.n_bins, stride)
        self._window = TraceWindow(config.frames(_WINDOW_S))
        self._b0_blocks = np.zeros(geometry.grid, np.float32)
        self._background = np.zeros(geometry.grid, np.float32)
        self._fine = np.zeros(self.model.fine.grid, np.float32)
        self._fine_background = np.zeros(self.model.fine.grid, np.float32)
        self._events: list[ComponentEvent] = []
        self._n = 0
        self._in_block = 0
        self._refresh_at = [config.frames(s) for s in _FIRST_REFRESHES_S]

    def consume(self, aligned: FloatArray, result: FrameResult) -> Epoch | None:
        """Learn from one frame.

        Parameters
        ----------
        aligned : ndarray, shape (H, W), float32
            Registered frame, ADU. Not kept.
        result : FrameResult
            Of the same frame; its shift says which part of the field was seen.

        Returns
        -------
        Epoch or None
            At the end of a block, the new model.
        """
        if result.shift.ok:
            self._observe(aligned, result)
        self._in_block += 1
        if self._in_block < self._block or self._n == 0:
            return None
        self._in_block = 0
        return self._close_block(result.index)

    # -- frame by frame

    def _observe(self, aligned: FloatArray, result: FrameResult) -> None:
        model, demix = self.model, self._demix
        field = field_of(self._shape, result.shift)
        self._n += 1
        started = self._n > self._buffer.size
        demix.center(aligned, model.b0, result.shift)
        y = demix.solve(model.footprints, model.V, model.solve)
        c = self._oasis.push(y / model.sn, 1 + result.gap)[0] * model.sn
        if started:  # until then, blocks are scored after the fact
            self._score(demix.x, demix.blocks, c, field, result.index)
        rate = 1.0 / min(self._n, self._config.frames(_MEAN_MEMORY_S))
        model.follow(aligned, field, c, rate)
        raw_blocks = demix.blocks + self._b0_blocks
        self._buffer.push(aligned, field, result.index, raw_blocks, self._background, y, c)
        self._history.offer(result.index, raw_blocks, c)
        self._window.push(y, c)

    def _score(
        self, x: FloatArray, blocks: FloatArray, c: FloatArray, field: tuple[int, int, int, int], frame: int
    ) -> None:
        """Update the detection score with what the model does not explain of a centred frame."""
        model = self.model
        self._predict(blocks, c, self._background)
        bin_down(x, model.fine.step, self._fine)
        spread_up(self._background, model.geometry.step // model.fine.step, self._fine_background)
        self._fine -= self._fine_background
        detail = model.detail
        sparse.subtract_components(detail.indptr, detail.bins, detail.values, c, self._fine.reshape(-1))
        self._detector.update(self._fine, field, frame)

    def _predict(self, blocks: FloatArray, c: FloatArray, out: FloatArray) -> None:
        """Fill `out` with the fluctuating background on the coarse grid, W D (x - A c)."""
        model = self.model
        rest = blocks.reshape(-1).copy()
        sparse.subtract_components(model.coarse.indptr, model.coarse.bins, model.coarse.values, c, rest)
        apply_ring(model.W, model.geometry.neighbours, rest, out.reshape(-1))

    # -- block by block

    def _close_block(self, frame: int) -> Epoch:
        if self._n <= self._buffer.size:
            self._start_over()
        slots = self._buffer.order(last=self._block)
        self._settle_baselines()
        self._refine_shapes(slots)
        born = self._take_in(frame)
        removed = self._clean_up(frame)
        refreshed = self._refresh_ring()
        if born or removed or refreshed:
            self._reproject()
        self._confirm(slots, frame)
        self._settle_b0()
        events, self._events = tuple(self._events), []
        return self.model.epoch(frame, events)

    def _start_over(self) -> None:
        """While the buffer still holds every frame: take b0, traces and score from all of them anew.

        b0 is their median, because a mean of the first seconds holds whatever was active in them.
        """
        model, buffer = self.model, self._buffer
        model.mean[:] = _median(buffer.frames[: buffer.n]) * buffer.scale
        model.level[:] = 0
        self._settle_b0()
        if self._refresh_at[0] == self._config.frames(_FIRST_REFRESHES_S[0]):
            model.W = ring_mean_weights(self._b0_blocks, model.geometry)
            model.rebuild()
        self._reproject()
        self._window.restart(buffer.y[: buffer.n], buffer.c[: buffer.n])
        self._shift_baselines(self._window.baselines())
        self._settle_b0()
        self._reproject()
        self._detector.restart()
        for slot in buffer.order():
            self._rescore(int(slot))

    def _rescore(self, slot: int) -> None:
        """Score a buffered frame with the present model."""
        model, buffer = self.model, self._buffer
        y0, y1, x0, x1 = (int(v) for v in buffer.rects[slot])
        x = self._demix.x
        x.fill(0)
        x[y0:y1, x0:x1] = buffer.frames[slot, y0:y1, x0:x1] * buffer.scale - model.b0[y0:y1, x0:x1]
        bin_down(x, model.geometry.step, self._demix.blocks)
        self._score(x, self._demix.blocks, buffer.c[slot], (y0, y1, x0, x1), int(buffer.index[slot]))

    def _settle_b0(self) -> None:
        self.model.settle_b0()
        bin_down(self.model.b0, self.model.geometry.step, self._b0_blocks)

    def _settle_baselines(self) -> None:
        """Move the mode of each trace into b0, a bounded step at a time."""
        if not self.model.n:
            return
        bound = _LARGEST_GAUGE_SN * self.model.sn
        self._shift_baselines(np.clip(self._window.baselines(), -bound, bound))
        self._settle_b0()

    def _shift_baselines(self, shift: FloatArray) -> None:
        self.model.level -= shift
        self._window.y -= shift
        self._buffer.y -= shift

    def _refine_shapes(self, slots: LongArray) -> None:
        model = self.model
        if not model.n:
            return
        self._shapes.forget()
        self._shapes.observe(model, self._buffer, slots)
        active = np.flatnonzero((self._buffer.c[slots] > 3 * model.sn).any(0))
        if self._shapes.update(model, active):
            model.rebuild()

    def _take_in(self, frame: int) -> bool:
        """Add the cells that the residual of this block shows."""
        found = self._births.search(self._detector.candidates(), self.model, self._buffer)
        for birth in found:
            k = self.model.add(birth.column, frame, birth.sn, 0.0, birth.peak_sn)
            self._shapes.add(birth.column)
            y, x = self.model.centre(k)
            self._events.append(
                ComponentEvent(
                    "born", self.model.ids[k], frame, y=y, x=x, snr=birth.peak_sn, reason=birth.reason
                )
            )
        if found:
            n_old = self.model.n - len(found)
            self.model.rebuild()
            self._grow(n_old)
        return bool(found)

    def _grow(self, n_old: int) -> None:
        """Make room for new components, and fill in what the buffer knows of them."""
        model, buffer = self.model, self._buffer
        for store in (buffer, self._history, self._window):
            store.grow(model.n)
        new = np.arange(n_old, model.n)
        self._oasis.remap(np.r_[np.arange(n_old), np.full(len(new), -1)])
        self._reproject()
        order = buffer.order()
        recent = self._window.newest(len(order))
        order = order[-len(recent) :]
        self._window.y[np.ix_(recent, new)] = buffer.y[np.ix_(order, new)]
        shift = np.zeros(model.n, np.float32)
        shift[new] = self._window.baselines()[new]
        self._shift_baselines(shift)
        self._settle_b0()
        self._reproject()
        for k in new:
            self._window.c[recent, k] = buffer.c[order, k]
            self._history.fill(int(k), buffer.index[order], buffer.c[order, k])
        self._shapes.observe(model, buffer, order, new)

    def _clean_up(self, frame: int) -> bool:
        """Merge components that are one cell."""
        gone: list[int] = []
        for weaker, stronger in duplicates(self.model, self._window, self._config.cell_diameter_px):
            self._events.append(
                ComponentEvent("merged", self.model.ids[weaker], frame, into=self.model.ids[stronger])
            )
            gone.append(weaker)
        if gone:
            self._drop(gone)
        return bool(gone)

    def _drop(self, gone: list[int]) -> None:
        keep = self.model.remove(gone)
        for store in (self._shapes, self._buffer, self._history, self._window):
            store.keep(keep)
        self._oasis.remap(keep)
        self.model.rebuild()

    def _refresh_ring(self) -> bool:
        """Fit the ring anew on the remembered frames, less static background and cells, when it is time."""
        if not self._refresh_at or self._n < self._refresh_at[0]:
            return False
        self._refresh_at.pop(0)
        if not self._refresh_at:
            self._refresh_at.append(self._n + self._config.frames(self._config.background.refresh_s))
        model, history = self.model, self._history
        n = history.n
        rest = history.blocks[:n] - self._b0_blocks.reshape(-1)
        for row, c in zip(rest, history.c[:n], strict=True):
            sparse.subtract_components(model.coarse.indptr, model.coarse.bins, model.coarse.values, c, row)
        rest -= rest.mean(0)
        prior = ring_mean_weights(self._b0_blocks, model.geometry)
        model.W = fit_ring(rest, model.geometry, max(2e-5, 0.05 / n), prior)
        model.rebuild()
        return True

    def _reproject(self) -> None:
        """Compute traces, activity and background of the buffered frames with the present model."""
        model, buffer = self.model, self._buffer
        n = buffer.n
        A = model.footprints
        u = np.zeros((n, model.n), np.float32)
        sparse.reproject(
            buffer.frames, buffer.rects, buffer.scale, model.b0, A.indptr, A.pixels, A.weights, n, u
        )
        blocks = buffer.blocks[:n] - self._b0_blocks
        seen = np.empty(model.n, np.float32)
        for t in range(n):
            model.V.dot(blocks[t].reshape(-1), seen)
            u[t] -= seen
        buffer.y[:n] = u @ model.solve.T
        order = buffer.order()
        traces = np.ascontiguousarray(buffer.y[order].T) / model.sn[:, None]
        buffer.c[order] = (deconvolve(traces, self._config.g, _LEAST_EVENT_SN)[0] * model.sn[:, None]).T
        for t in range(n):
            self._predict(blocks[t], buffer.c[t], buffer.background[t])

    def _confirm(self, slots: LongArray, frame: int) -> None:
        """Keep the largest peaks, and confirm what showed a large one and is not cut by the border.

        On simulated sets what is no cell peaks below 8 noise units or sits on the border.
        """
        model = self.model
        if not model.n:
            return
        model.peak = np.maximum(model.peak, self._buffer.c[slots].max(0) / model.sn)
        border = _CONFIRM_BORDER * self._config.cell_diameter_px
        for k in range(model.n):
            if model.status[k] == CONFIRMED or model.peak[k] < _CONFIRM_PEAK_SN:
                continue
            y, x = model.centre(k)
            if min(y, x, self._shape[0] - 1 - y, self._shape[1] - 1 - x) >= border:
                model.status[k] = CONFIRMED
                snr = float(model.peak[k])
                self._events.append(ComponentEvent("confirmed", model.ids[k], frame, y=y, x=x, snr=snr))


def _median(frames: np.ndarray) -> FloatArray:
    """Return the median image of at most 51 frames, evenly spread."""
    few = frames[:: -(-len(frames) // 51)]
    return np.asarray(np.median(few, axis=0), np.float32)
