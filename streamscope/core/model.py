"""The learner's model: footprints, ring, static background, and what follows from them. Nobody else changes it."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.background import (
    RingGeometry,
    SparseRows,
    bin_down,
    bin_footprints,
    by_offset,
    fold,
    ring_mean_weights,
    ring_rows,
)
from streamscope.core.crew import Crew
from streamscope.core.epoch import PROVISIONAL, Epoch
from streamscope.core.kernels import sparse
from streamscope.core.mean_image import MeanImage
from streamscope.core.system import inverse_of, overlaps, products
from streamscope.errors import StageError
from streamscope.types import (
    ComponentEvent,
    DoubleArray,
    FloatArray,
    Footprints,
    IntArray,
    Kinetics,
    LongArray,
)

Column: TypeAlias = tuple[IntArray, FloatArray]  # pixels and weights of one footprint


def detection_step(diameter_px: float) -> int:
    """Return the block side of the detection grid, px: a quarter of a cell, 1 to 4."""
    return min(max(round(diameter_px / 4), 1), 4)


class Model:
    """Footprints with their statistics, the ring W and the static background b0.

    b0 is not learned by itself: it is the running mean image less what the cells contributed to it,
    b0 = mean - A level. A cell that is found, reshaped or removed is therefore put right in b0 at once, and
    nothing accumulates.
    """

    def __init__(self, config: EngineConfig, shape: tuple[int, int], crew: Crew | None = None) -> None:
        self._crew = crew or Crew()
        self._diameter = diameter = config.cell_diameter_px
        self.shape = shape
        self.fine = _grid(shape, detection_step(diameter))
        step = min(2 * self.fine.step, 8)
        self.geometry = RingGeometry.make(shape, diameter, config.background.ring_radius, step)
        self.take_ring(ring_mean_weights(np.ones(self.geometry.n_bins, np.float32), self.geometry))
        self.mean = np.zeros(shape, np.float32)
        self._mean_image = MeanImage(self.mean)
        self.b0 = np.zeros(shape, np.float32)
        self.b0_blocks = np.zeros(self.geometry.n_bins, np.float32)  # D b0
        # One entry a component.
        self.columns: list[Column] = []
        self.centres: DoubleArray = np.zeros((0, 2))  # y, x, px
        self.ids: list[int] = []
        self.status: list[int] = []
        self.born_at: list[int] = []
        self.level: DoubleArray = np.zeros(0)  # mean activity within `mean`
        self.sn: FloatArray = np.zeros(0, np.float32)  # ADU, frozen at birth
        self.active_at: LongArray = np.zeros(0, np.int64)  # last frame known to be active
        self.peak: FloatArray = np.zeros(0, np.float32)  # largest filtered trace so far, sn units
        self.next_id = 1
        self.number = 0
        self.rebuild()

    @property
    def n(self) -> int:
        """Return the number of components."""
        return len(self.columns)

    def take_ring(self, W: FloatArray) -> None:
        """Use other ring weights (P', n), after the next `rebuild` also for traces."""
        self.W = W
        self.ring = by_offset(W)

    def add(
        self,
        column: Column,
        centre: tuple[float, float],
        frame: int,
        sn: float,
        peak: float,
        id_: int | None = None,
    ) -> int:
        """Add a provisional component with a unit-norm footprint, by default with a new id; return its position."""
        self.columns.append(column)
        self.centres = np.vstack([self.centres, centre])
        self.ids.append(self.next_id if id_ is None else id_)
        self.next_id = max(self.next_id, self.ids[-1] + 1)
        self.status.append(PROVISIONAL)
        self.born_at.append(frame)
        self.level = np.append(self.level, 0.0)
        self.sn = np.append(self.sn, np.float32(max(sn, 1e-3))).astype(np.float32)
        self.peak = np.append(self.peak, np.float32(peak)).astype(np.float32)
        self.active_at = np.append(self.active_at, frame)
        return self.n - 1

    def remove(self, positions: list[int]) -> LongArray:
        """Remove components; return the positions that stay, (K,)."""
        gone = set(positions)
        keep = [k for k in range(self.n) if k not in gone]
        self.columns = [self.columns[k] for k in keep]
        self.ids = [self.ids[k] for k in keep]
        self.status = [self.status[k] for k in keep]
        self.born_at = [self.born_at[k] for k in keep]
        index = np.array(keep, np.int64)
        self.level, self.sn, self.peak = self.level[index], self.sn[index], self.peak[index]
        self.active_at = self.active_at[index]
        return index

    def follow(
        self, aligned: FloatArray, field: tuple[int, int, int, int], activity: FloatArray, n: int, memory: int
    ) -> None:
        """Let the `n`-th frame into the mean image and its activity (K,) into the mean activity.

        `memory` (frames) is that of the means.
        """
        self._mean_image.follow(aligned, field, memory)
        self.level += (activity - self.level) / min(n, memory)

    def rebuild(self) -> None:
        """Derive everything that depends on the footprints and the ring."""
        self.footprints = Footprints.from_columns(self.shape, self.columns)
        VDA, _ = self._crew.map(lambda derive: derive(), (self._derive_background, self._derive_overlaps))
        self.solve = inverse_of(self.AtA, VDA, self.centres, self._diameter, self._crew)
        self._project_b0()

    def _derive_background(self) -> SparseRows:
        """Derive what blocks and ring see of the footprints; return V D A."""
        self.coarse: SparseRows = bin_footprints(self.footprints, self.geometry)
        self.V: SparseRows = ring_rows(fold(self.footprints, self.geometry), self.W, self.geometry)
        return products(self.V, self.coarse, self.geometry.grid[1])

    def _derive_overlaps(self) -> None:
        """Derive where the footprints are, what they share, and what the detection grid sees of them."""
        A = self.footprints
        self.centres = np.empty((self.n, 2))
        sparse.centres(A.indptr, A.pixels, A.weights, self.shape[1], self.centres)
        self.AtA: SparseRows = overlaps(A)
        self.detail: SparseRows = bin_footprints(A, self.fine)

    def settle_b0(self) -> None:
        """Renew b0, its blocks and projections, from the mean image and the cells' part in it."""
        sparse.static_background(
            self.mean.reshape(-1),
            self.footprints.indptr,
            self.footprints.pixels,
            self.footprints.weights,
            self.level.astype(np.float32),
            self.b0.reshape(-1),
        )
        bin_down(self.b0, self.geometry.step, self.b0_blocks.reshape(self.geometry.grid))
        self._project_b0()

    def _project_b0(self) -> None:
        self.still, self.still_seen = np.zeros(self.n, np.float32), np.zeros(self.n, np.float32)
        A = self.footprints
        sparse.project(A.indptr, A.pixels, A.weights, self.b0.reshape(-1), self.still)
        self.V.dot(self.b0_blocks, self.still_seen)

    def epoch(self, frame: int, kinetics: Kinetics, events: tuple[ComponentEvent, ...]) -> Epoch:
        """Return an immutable copy under the next number."""
        self.check_invariants()
        self.number += 1
        return Epoch(
            number=self.number,
            frame=frame,
            ids=np.array(self.ids, np.uint32),
            status=np.array(self.status, np.uint8),
            born_at=np.array(self.born_at, np.int64),
            snr=self.peak.copy(),
            footprints=self.footprints,
            V=self.V,
            step=self.geometry.step,
            solve=self.solve,
            b0=self.b0.copy(),
            sn=self.sn.copy(),
            kinetics=kinetics,
            events=events,
        )

    def check_invariants(self) -> None:
        """Raise StageError if the model is not fit to be handed out."""
        if not (np.isfinite(self.solve.values).all() and np.isfinite(self.b0).all()):
            raise StageError("the model is not finite; please report this with the session's journal")
        norms = np.array([np.linalg.norm(weights) for _, weights in self.columns])
        if self.n and not np.allclose(norms, 1, atol=1e-3):
            raise StageError(f"footprints should have norm 1, got {norms.min():.4f} to {norms.max():.4f}")


def centre_of(column: Column, width: int) -> tuple[float, float]:
    """Return the centre of mass (y, x) of a footprint, px."""
    pixels, weights = column
    total = float(weights.sum()) + 1e-12
    return float((pixels // width) @ weights) / total, float((pixels % width) @ weights) / total


def unit(pixels: IntArray, weights: FloatArray) -> Column:
    """Return a footprint scaled to unit L2 norm."""
    norm = float(np.sqrt((weights.astype(np.float64) ** 2).sum()))
    return pixels.astype(np.int32), (weights / max(norm, 1e-12)).astype(np.float32)


def _grid(shape: tuple[int, int], step: int) -> RingGeometry:
    """Return a grid of blocks without rings."""
    grid = (-(-shape[0] // step), -(-shape[1] // step))
    empty = np.zeros((grid[0] * grid[1], 0), np.int32)
    return RingGeometry(shape, step, grid, np.zeros((0, 2), np.int32), empty)
