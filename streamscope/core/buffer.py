"""What the learner remembers: the last seconds in full, a minute on the coarse grid, traces of half a minute."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamscope.core.crew import Crew
from streamscope.core.kernels import medians, sparse
from streamscope.types import BoolArray, FloatArray, LongArray

LEAST_VIEW = 0.8  # of the frames: what they show is the view
_SCALE = 256.0  # stored ADU are multiples of 1/256


class FrameBuffer:
    """The last N aligned frames (uint16), with their field, coarse blocks, background and traces."""

    def __init__(self, n_slots: int, shape: tuple[int, int], grid: tuple[int, int]) -> None:
        self.size = n_slots
        self.frames = np.empty((n_slots, *shape), np.uint16)
        self.frames.fill(0)  # written to, so that no frame waits for its memory
        self.rects = np.zeros((n_slots, 4), np.int64)
        self.blocks = np.zeros((n_slots, grid[0] * grid[1]), np.float32)  # D y, with b0 outside the field
        self.rest = np.zeros((n_slots, grid[0] * grid[1]), np.float32)  # D (y - b0 - A c)
        self.background = np.zeros((n_slots, grid[0] * grid[1]), np.float32)  # W `rest` when the frame came
        self.index = np.full(n_slots, -1, np.int64)  # frame numbers
        self.u = np.zeros((n_slots, 0), np.float32)  # A'y, with b0 outside the field
        self.seen = np.zeros((n_slots, 0), np.float32)  # V D y, the same
        self.y = np.zeros((n_slots, 0), np.float32)  # signed traces, ADU
        self.c = np.zeros((n_slots, 0), np.float32)  # activity, ADU
        self.scale = np.float32(1 / _SCALE)
        self.n_seen = 0

    @property
    def n(self) -> int:
        """Return how many slots are filled; they are the first ones."""
        return min(self.n_seen, self.size)

    def push(
        self,
        aligned: FloatArray,
        field: tuple[int, int, int, int],
        frame: int,
        blocks: FloatArray,
        rest: FloatArray,
        u: FloatArray,
        seen: FloatArray,
        y: FloatArray,
        c: FloatArray,
    ) -> int:
        """Store a frame in place of the oldest; return its slot, where its `background` is to follow."""
        slot = self.n_seen % self.size
        sparse.encode(aligned, np.float32(_SCALE), self.frames[slot])
        self.rects[slot] = field
        self.blocks[slot], self.rest[slot] = blocks, rest
        self.index[slot] = frame
        self.u[slot], self.seen[slot], self.y[slot], self.c[slot] = u, seen, y, c
        self.n_seen += 1
        return slot

    def clear(self) -> None:
        """Forget all frames."""
        self.n_seen = 0

    def order(self, last: int | None = None) -> LongArray:
        """Return the slots from the oldest to the newest frame, or of the `last` frames only."""
        slots = np.arange(self.n, dtype=np.int64)
        if self.n_seen > self.size:
            slots = np.roll(slots, -(self.n_seen % self.size))
        return slots if last is None else slots[-last:]

    def view(self, share: float) -> tuple[int, int, int, int]:
        """Return rows and columns (top, left, bottom, right) that at least this share of the frames showed."""
        y0, y1, x0, x1 = np.sort(self.rects[: self.n], axis=0).T
        last = min(math.ceil(share * self.n), self.n) - 1
        first = self.n - 1 - last
        return int(y0[last]), int(x0[last]), int(y1[first]), int(x1[first])

    def showing(self, box: tuple[int, int, int, int]) -> LongArray:
        """Return the slots of the frames that showed all of a box (top, left, bottom, right), oldest first."""
        slots = self.order()
        return np.asarray(slots[self.shown(slots, np.array([box]))[:, 0]], np.int64)

    def shown(self, slots: LongArray, boxes: LongArray) -> BoolArray:
        """Return which frames in `slots` (n,) showed all of which box (K, 4: top, left, bottom, right), (n, K)."""
        top, left, bottom, right = boxes.T
        y0, y1, x0, x1 = self.rects[slots].T[..., None]
        return np.asarray((y0 <= top) & (bottom <= y1) & (x0 <= left) & (right <= x1))

    def median(self, most: int, crew: Crew) -> FloatArray:
        """Return the median image (H, W), ADU, of at most about `most` frames spread over the buffer.

        Rows and columns that were not always in the field have the median of the frames that showed them.
        """
        image = np.empty(self.frames.shape[1:], np.float32)
        height, width = image.shape
        slots = _spread(np.arange(self.n), most)
        crew.map(
            lambda rows: medians.median_frame(self.frames, slots, rows[0], rows[1], 0, width, image),
            crew.share(0, height),
        )
        y0, y1, x0, x1 = self.rects[: self.n].T
        for y in range(height):
            seen = (y0 <= y) & (y < y1)
            if seen.any() and not seen[slots].all():
                some = _spread(np.flatnonzero(seen), most)
                medians.median_frame(self.frames, some, y, y + 1, 0, width, image)
        for x in range(width):
            seen = (x0 <= x) & (x < x1)
            if seen.any() and not seen[slots].all():
                some = _spread(np.flatnonzero(seen), most)
                medians.median_frame(self.frames, some, 0, height, x, x + 1, image)
        image *= self.scale
        return image

    def keep(self, positions: LongArray) -> None:
        """Keep only the traces of some components, in this order."""
        traces = (self.u, self.seen, self.y, self.c)
        self.u, self.seen, self.y, self.c = (v[:, positions].copy() for v in traces)

    def grow(self, n_components: int) -> None:
        """Make room for the traces of new components, 0 so far."""
        more = ((0, 0), (0, n_components - self.y.shape[1]))
        self.u, self.seen, self.y, self.c = (np.pad(v, more) for v in (self.u, self.seen, self.y, self.c))

    @property
    def flat(self) -> NDArray[np.uint16]:
        """Return the frames as (N, P)."""
        return self.frames.reshape(self.size, -1)


def _spread(slots: LongArray, most: int) -> LongArray:
    """Return at most about `most` of these slots, evenly spread, C order: a kernel has one signature."""
    return np.ascontiguousarray(slots[:: -(-len(slots) // most)])


class CoarseHistory:
    """Frames on the coarse grid over a longer span, thinned, for the ring: raw blocks and the cells' activity."""

    def __init__(self, n_slots: int, n_bins: int, stride: int) -> None:
        self.blocks = np.zeros((n_slots, n_bins), np.float32)
        self.index = np.full(n_slots, -1, np.int64)
        self.c = np.zeros((n_slots, 0), np.float32)
        self._stride = stride
        self._n_seen = self._n_offered = 0

    @property
    def n(self) -> int:
        """Return how many slots are filled; they are the first ones."""
        return min(self._n_seen, len(self.index))

    def offer(self, frame: int, blocks: FloatArray, c: FloatArray) -> None:
        """Store a frame if it is its turn: all until the history is full, then one in `stride`."""
        self._n_offered += 1
        if self._n_seen >= len(self.index) and self._n_offered % self._stride:
            return
        slot = self._n_seen % len(self.index)
        self.blocks[slot] = blocks
        self.index[slot], self.c[slot] = frame, c
        self._n_seen += 1

    def keep(self, positions: LongArray) -> None:
        """Keep only the traces of some components, in this order."""
        self.c = self.c[:, positions].copy()

    def grow(self, n_components: int) -> None:
        """Make room for new components, silent so far."""
        self.c = np.pad(self.c, ((0, 0), (0, n_components - self.c.shape[1])))

    def fill(self, k: int, frames: LongArray, c: FloatArray) -> None:
        """Fill in the activity of component `k` at the given frames, where they are remembered."""
        order = np.argsort(frames, kind="stable")
        at = np.minimum(np.searchsorted(frames, self.index, sorter=order), len(frames) - 1)
        known = frames[order[at]] == self.index
        self.c[known, k] = c[order[at[known]]]


class TraceWindow:
    """Signed traces of the last half minute, for baselines and for comparing components."""

    def __init__(self, n_slots: int) -> None:
        self.y = np.full((n_slots, 0), np.nan, np.float32)  # ADU; NaN before birth
        self.c = np.zeros((n_slots, 0), np.float32)
        self._n_seen = 0

    @property
    def n(self) -> int:
        """Return how many slots are filled; they are the first ones."""
        return min(self._n_seen, len(self.y))

    def push(self, y: FloatArray, c: FloatArray) -> None:
        """Store a frame's traces in place of the oldest."""
        slot = self._n_seen % len(self.y)
        self.y[slot], self.c[slot] = y, c
        self._n_seen += 1

    def restart(self, y: FloatArray) -> None:
        """Hold these frames' signed traces (n, K) and nothing else."""
        self.y[:] = np.nan
        self.y[: len(y)] = y
        self._n_seen = len(y)

    def newest(self, count: int) -> LongArray:
        """Return the slots of the last `count` frames, oldest first."""
        count = min(count, self.n)
        return (np.arange(self._n_seen - count, self._n_seen) % len(self.y)).astype(np.int64)

    def keep(self, positions: LongArray) -> None:
        """Keep only the traces of some components, in this order."""
        self.y, self.c = self.y[:, positions].copy(), self.c[:, positions].copy()

    def grow(self, n_components: int) -> None:
        """Make room for the traces of new components."""
        more = ((0, 0), (0, n_components - self.y.shape[1]))
        self.y = np.pad(self.y, more, constant_values=np.nan)
        self.c = np.pad(self.c, more)

    def baselines(self, which: LongArray | None = None, fraction: float = 0.35) -> FloatArray:
        """Return the mode of each trace or of those `which` (n,): the mean of its narrowest interval.

        That interval holds `fraction` of the trace.
        """
        window = self.y[: self.n] if which is None else self.y[: self.n, which]
        out = np.zeros(window.shape[1], np.float32)
        n_known = np.isfinite(window).sum(0)
        for count in np.unique(n_known[n_known >= 20]):
            rows = np.flatnonzero(n_known == count)
            ordered = np.sort(window[:, rows], axis=0)[:count]  # NaN sorts last
            out[rows] = _half_sample_mode(ordered, max(2, round(fraction * int(count))))
        return out


def _half_sample_mode(ordered: FloatArray, width: int) -> FloatArray:
    spread = ordered[width - 1 :] - ordered[: len(ordered) - width + 1]
    start = np.argmin(spread, axis=0)
    total = np.cumsum(np.pad(ordered.astype(np.float64), ((1, 0), (0, 0))), axis=0)
    columns = np.arange(ordered.shape[1])
    return np.asarray((total[start + width, columns] - total[start, columns]) / width, np.float32)
