"""Refinement of footprints from sufficient statistics of the frames in which a cell is in an event.

With weights w_k (the activity of cell k, in event frames only) and background-free frames, the statistics are
CY_k = sum_t w_kt (y_t - b0 - B_t) on a mask around the cell, and CC_kj = sum_t w_kt c_jt. A footprint is the
non-negative solution a_k = (CY_k - sum_j CC_kj a_j) / CC_kk (one HALS sweep at a time), trimmed and at unit norm.

References
----------
Giovannucci et al. 2017, NIPS (OnACID: sufficient statistics); weights in events only are our departure: noise
and baseline errors then do not enter.
"""

from __future__ import annotations

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.background import apply_ring_locally
from streamscope.core.buffer import LEAST_VIEW, FrameBuffer
from streamscope.core.candidate import best_gaussian, blur, trim
from streamscope.core.crew import Crew
from streamscope.core.kernels import blobs, sparse
from streamscope.core.kernels import shapes as kernels
from streamscope.core.model import Column, Model, centre_of, unit
from streamscope.types import BoolArray, DoubleArray, FloatArray, IntArray, LongArray

_REACH = 1.25  # mask radius, cell diameters
_RIM = 1.1  # radius of the rim, cell diameters
_LEAST_EVENT_SN = 3.0  # an event counts from this activity on
_LEAST_PURE = 1.0  # and only where a cell is brighter than its neighbours: their errors count less there
_LEAST_LIKE = 0.75  # cosine of a footprint with what it was when it settled
# When it does: energy as below, or all of the memory without it, and r with the best Gaussian.
_SETTLED_ENERGY, _SETTLED_ROUNDNESS = 1000.0, 0.8
_LEAST_AREA = 0.35  # of a disc of one cell diameter
_LEAST_ENERGY = 200.0  # sum of squared activity, noise units, before a shape is touched
_ROUNDNESS_RATE = 0.3  # weight of the latest estimate: beside cells that are not known yet the first are bad
_LEAST_NEWS = 0.15  # part of that energy that is new since the shape was refined last


class Shapes:
    """The statistics of all components, and the update of their footprints."""

    def __init__(self, config: EngineConfig, shape: tuple[int, int], crew: Crew | None = None) -> None:
        self._shape = shape
        self._crew = crew or Crew()
        self._diameter = config.cell_diameter_px
        self._reach = _REACH * config.cell_diameter_px
        self._block_s, self._memory_s = config.detect.block_s, config.shapes.memory_s
        self._decay = np.exp(-self._block_s / self._memory_s)
        self.masks: list[IntArray] = []
        self.sums: list[FloatArray] = []  # CY
        self.cross: DoubleArray = np.zeros((0, 0))  # CC
        self.refined: DoubleArray = np.zeros(0)  # CC_kk when the footprint was refined last, faded since
        self.roundness: DoubleArray = np.zeros(0)  # smoothed r of the estimates with the best Gaussian
        self.settled: list[Column | None] = []  # the footprint that later ones may not leave, if there is one
        self.seconds: DoubleArray = np.zeros(0)  # that each one is known
        self.bright: DoubleArray = np.zeros((0, 2))  # y, x of what is above half the maximum of a footprint
        self._scratch = np.full(shape[0] * shape[1], -1, np.int32)

    def add(self, column: Column) -> None:
        """Begin the statistics of a new component with this footprint."""
        self.masks.append(self._mask(column))
        self.sums.append(np.zeros(len(self.masks[-1]), np.float32))
        self.cross = np.pad(self.cross, ((0, 1), (0, 1)))
        self.refined = np.append(self.refined, 0.0)
        self.roundness = np.append(self.roundness, 1.0)
        self.bright = np.vstack([self.bright, self._bright(column)])
        self.settled.append(None)
        self.seconds = np.append(self.seconds, 0.0)

    def restart(self, k: int, column: Column) -> None:
        """Begin the statistics of a component anew, with a footprint that is settled."""
        self.masks[k] = self._mask(column)
        self.sums[k] = np.zeros(len(self.masks[k]), np.float32)
        self.cross[k] = 0
        self.settled[k] = column
        self.refined[k], self.roundness[k], self.seconds[k] = 0.0, 1.0, 0.0
        self.bright[k] = self._bright(column)

    def trust(self, k: int, column: Column, energy: float) -> None:
        """Count a footprint that is known from before as if it had been seen with this energy, ADU^2."""
        self._scratch[column[0]] = np.arange(len(column[0]))
        at = self._scratch[self.masks[k]]
        self._scratch[column[0]] = -1
        known = np.where(at >= 0, column[1][np.maximum(at, 0)], 0)
        self.sums[k] += np.asarray(energy * known, np.float32)
        self.cross[k, k] += energy
        self.refined[k] += energy

    def keep(self, positions: LongArray) -> None:
        """Keep only some components, in this order."""
        self.masks = [self.masks[k] for k in positions]
        self.sums = [self.sums[k] for k in positions]
        self.cross = self.cross[np.ix_(positions, positions)]
        self.refined = self.refined[positions]
        self.roundness = self.roundness[positions]
        self.bright = self.bright[positions]
        self.settled = [self.settled[k] for k in positions]
        self.seconds = self.seconds[positions]

    def forget(self) -> None:
        """Fade the statistics by one block."""
        self.seconds += self._block_s
        self.cross *= self._decay
        self.refined *= self._decay
        for total in self.sums:
            total *= np.float32(self._decay)

    def observe(self, model: Model, buffer: FrameBuffer, slots: LongArray) -> None:
        """Add frames that just came, `slots`, to the statistics, with the background that they were scored with."""
        weight = self._weights(model, buffer, slots)
        active = np.flatnonzero(weight.any(0))
        background = buffer.background[slots].reshape(-1, *model.geometry.grid)
        self._add(model, buffer, slots, active, weight, background, (0, 0))

    def recall(self, model: Model, buffer: FrameBuffer, new: LongArray) -> None:
        """Begin the statistics of new components with all buffered frames in which they were active."""
        slots = buffer.order()
        weight = self._weights(model, buffer, slots)
        for k in new:
            seen = weight[:, k] > 0
            if seen.any():
                blocks = model.geometry.around(*blobs.extent(self.masks[k], self._shape[1]))
                background = apply_ring_locally(model.W, model.geometry, buffer.rest, slots[seen], blocks)
                self._add(model, buffer, slots[seen], np.array([k]), weight[seen], background, blocks[:2])

    def _weights(self, model: Model, buffer: FrameBuffer, slots: LongArray) -> FloatArray:
        """Return the activity (n, K) of the frames `slots` where it is an event, 0 elsewhere."""
        activity = buffer.c[slots]
        others = model.AtA.times(np.ascontiguousarray(activity.T)).T - activity
        event = (activity > _LEAST_EVENT_SN * model.sn) & (activity > _LEAST_PURE * others)
        return np.where(event, activity, 0).astype(np.float32)

    def _add(
        self,
        model: Model,
        buffer: FrameBuffer,
        slots: LongArray,
        which: LongArray,
        weight: FloatArray,
        background: FloatArray,
        first_block: tuple[int, int],
    ) -> None:
        """Add the frames `slots` to the statistics of the components `which`; B from block `first_block` on."""
        masks = [self.masks[k] for k in which]
        if not masks:
            return
        indptr = np.concatenate([[0], np.cumsum([len(m) for m in masks])]).astype(np.int64)
        pixels = np.concatenate(masks)
        weight = weight[:, which] * self._shown(indptr, pixels, buffer, slots)
        sums = np.zeros(indptr[-1], np.float32)

        def accumulate(part: tuple[int, int]) -> None:
            first, last = part
            kernels.accumulate(
                buffer.flat,
                buffer.rects,
                buffer.scale,
                model.b0.reshape(-1),
                model.shape[1],
                background,
                *first_block,
                model.geometry.grid,
                model.geometry.step,
                slots,
                indptr[first : last + 1],
                pixels,
                np.ascontiguousarray(weight[:, first:last]),
                sums,
            )

        self._crew.map(accumulate, self._crew.share(0, len(which)))
        for i, k in enumerate(which):
            self.sums[k] += sums[indptr[i] : indptr[i + 1]]
        self.cross[which] += weight.T.astype(np.float64) @ buffer.c[slots].astype(np.float64)

    def _shown(self, indptr: LongArray, pixels: IntArray, buffer: FrameBuffer, slots: LongArray) -> BoolArray:
        """Return which frames (n, K) show all of a mask that most frames show; the others would cut the footprint."""
        top, left, bottom, right = buffer.view(LEAST_VIEW)
        extents = np.empty((len(indptr) - 1, 4), np.int64)
        sparse.boxes(indptr, pixels, self._shape[1], extents)
        first_y, last_y, first_x, last_x = extents.T
        corners = (
            np.maximum([first_y, first_x], [[top], [left]]),
            np.minimum([last_y + 1, last_x + 1], [[bottom], [right]]),
        )
        return buffer.shown(slots, np.concatenate(corners).T)

    def update(self, model: Model, which: LongArray) -> list[int]:
        """Refine the footprints of the components `which`; return those that changed."""
        return [int(k) for k in which if self._update_one(model, int(k))]

    def _update_one(self, model: Model, k: int) -> bool:
        energy = self.cross[k, k]
        few = _LEAST_ENERGY * float(model.sn[k]) ** 2
        if energy < few or energy - self.refined[k] < _LEAST_NEWS * energy:
            return False
        self.refined[k] = energy
        mask = self.masks[k]
        estimate = (self.sums[k] / energy).astype(np.float32)
        apart = np.hypot(*(model.centres - model.centres[k]).T)
        for j in np.flatnonzero((self.cross[k] > 1e-3 * energy) & (apart < 2.5 * self._reach)):
            if j != k:
                kernels.subtract_overlap(
                    mask, self._scratch, *model.columns[j], np.float32(self.cross[k, j] / energy), estimate
                )
        self._level(mask, estimate, model.columns[k])
        column = self._tidy(mask, np.maximum(estimate, 0), model.columns[k])
        if column is None:
            return False
        settled, roundness = self.settled[k], self._roundness(mask, estimate)
        if settled is not None and self._overlap(settled, column) < _LEAST_LIKE:
            return False
        self.roundness[k] += _ROUNDNESS_RATE * (roundness - self.roundness[k])
        known = energy > _SETTLED_ENERGY * float(model.sn[k]) ** 2 or self.seconds[k] > self._memory_s
        if settled is None and known:
            self.settled[k] = column if self._roundness(*column) > _SETTLED_ROUNDNESS else None
        model.columns[k] = column
        self.bright[k] = self._bright(column)
        return True

    def _overlap(self, a: Column, b: Column) -> float:
        """Return the cosine of two footprints."""
        self._scratch[a[0]] = np.arange(len(a[0]))
        at = self._scratch[b[0]]
        self._scratch[a[0]] = -1
        both = at >= 0
        return float(a[1][at[both]] @ b[1][both])

    def _level(self, mask: IntArray, estimate: FloatArray, old: Column) -> None:
        """Take the level of its rim out of an estimate, where it is above 0."""
        y, x = centre_of(old, self._shape[1])
        level = blobs.rim_level(mask, self._shape[1], y, x, _RIM * self._diameter, estimate)
        estimate -= max(level, np.float32(0))

    def _roundness(self, mask: IntArray, estimate: FloatArray) -> float:
        """Return how much an estimate looks like a cell: r with the round Gaussian that fits it best."""
        smooth = blur(self._image(mask, estimate)[0])
        return max(best_gaussian(smooth, np.maximum(smooth, 0), self._diameter)[0], 0.0)

    def _bright(self, column: Column) -> tuple[float, float]:
        """Return the centre of what is above half the maximum of a footprint: where its light is."""
        image, top, left = self._image(*column)
        y, x = blobs.centre_above(blur(image), np.float32(0.5))
        return top + y, left + x

    def _image(self, mask: IntArray, values: FloatArray) -> tuple[FloatArray, int, int]:
        """Return values (n,) of a mask as an image, 0 around them, and the row and column of its first pixel."""
        top, left, bottom, right = blobs.extent(mask, self._shape[1])
        image = np.empty((bottom - top, right - left), np.float32)
        blobs.fill_image(mask, values, self._shape[1], top, left, image)
        return image, top, left

    def _tidy(self, mask: IntArray, estimate: FloatArray, old: Column) -> Column | None:
        """Return the connected part of an estimate around the old peak, or None if nothing sensible is left."""
        image, top, left = self._image(mask, estimate)
        if image.max() <= 0:
            return None
        width = self._shape[1]
        y, x = centre_of(old, width)
        seed = blobs.peak_near(image, y - top, x - left, max(self._reach / 3, 1.0))
        image = trim(image, seed)
        v, u = np.nonzero(image)
        if len(v) < _LEAST_AREA * np.pi * (self._reach / _REACH / 2) ** 2:
            return None
        return unit(((v + top) * width + u + left).astype(np.int32), image[v, u])

    def _mask(self, column: Column) -> IntArray:
        h, w = self._shape
        y, x = centre_of(column, w)
        reach = self._reach
        rows = np.arange(max(0, int(y - reach)), min(h, int(y + reach) + 2))
        cols = np.arange(max(0, int(x - reach)), min(w, int(x + reach) + 2))
        inside = np.hypot(rows[:, None] - y, cols[None] - x) <= reach
        return np.asarray((rows[:, None] * w + cols[None])[inside], np.int32)
