"""Ring background: B = b0 + U W D (y - b0 - A c), on a coarse grid of blocks.

D takes means of step x step blocks, W predicts each block from a ring of blocks around it, U spreads the
prediction back, bilinear between block centres. The background is never formed at full size for traces: its
projection on the footprints is V D (y - b0) - V D A c with V = (U' A)' W. Because U is applied to the
footprints themselves there is no subsampling factor to forget.

References
----------
Zhou et al. 2018, eLife 7:e28728 (ring model).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamscope.core.kernels import ring as kernels
from streamscope.types import BoolArray, FloatArray, Footprints, IntArray, LongArray

_MAX_NEIGHBOURS = 48
_STRETCH = 4096  # blocks whose rings are fitted at once


@dataclass(frozen=True, slots=True)
class SparseRows:
    """K sparse rows on the grid of blocks (compressed rows)."""

    n_bins: int
    indptr: LongArray  # (K + 1,)
    bins: IntArray  # (nnz,)
    values: FloatArray  # (nnz,)

    @staticmethod
    def empty(n: int, n_bins: int) -> SparseRows:
        """Return `n` rows that hold nothing."""
        return SparseRows(n_bins, np.zeros(n + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))

    @staticmethod
    def identity(n: int) -> SparseRows:
        """Return the identity of `n` rows."""
        at = np.arange(n + 1)
        return SparseRows(n, at.astype(np.int64), at[:n].astype(np.int32), np.ones(n, np.float32))

    def dot(self, x: FloatArray, out: FloatArray) -> None:
        """Fill `out` (K,) with the product with a vector of blocks (P',)."""
        kernels.rows_dot(self.indptr, self.bins, self.values, x, out)

    def times(self, x: FloatArray) -> FloatArray:
        """Return the product with a matrix (P', n), (K, n)."""
        out = np.empty((len(self.indptr) - 1, x.shape[1]), np.float32)
        kernels.rows_times(self.indptr, self.bins, self.values, x, out)
        return out

    def dot_many(self, x: FloatArray, which: LongArray, out: FloatArray) -> None:
        """Fill columns `which` of `out` (n, K) with the products of those rows with each row of `x` (n, P')."""
        kernels.rows_dot_many(self.indptr, self.bins, self.values, which, x, out)


@dataclass(frozen=True, slots=True)
class RingGeometry:
    """The grid of blocks and the ring around each of them."""

    shape: tuple[int, int]  # (H, W), px
    step: int  # block side, px
    grid: tuple[int, int]  # (h, w), blocks
    offsets: IntArray  # (n, 2) dy, dx of the ring, blocks
    neighbours: IntArray  # (P', n), -1 outside the field

    @property
    def n_bins(self) -> int:
        """Return the number of blocks P'."""
        return self.grid[0] * self.grid[1]

    @property
    def reach(self) -> int:
        """Return how far the ring reaches, blocks."""
        return int(np.abs(self.offsets).max(initial=0))

    def around(self, top: int, left: int, bottom: int, right: int) -> tuple[int, int, int, int]:
        """Return first row and column and last ones plus 1 of the blocks that spread into a box of pixels."""
        h, w = self.grid
        step = self.step
        r0, r1 = max(0, (top - step) // step), min(h, bottom // step + 2)
        c0, c1 = max(0, (left - step) // step), min(w, right // step + 2)
        return r0, c0, r1, c1

    @staticmethod
    def make(
        shape: tuple[int, int], diameter_px: float, radius: float, step: int | None = None
    ) -> RingGeometry:
        """Return the rings of `radius` cell diameters for frames of `shape`.

        Parameters
        ----------
        shape : tuple of int
            (H, W), px.
        diameter_px : float
            Cell diameter, px.
        radius : float
            Ring radius, cell diameters.
        step : int, optional
            Block side, px; half a cell diameter, 2 to 8, if not given.
        """
        if step is None:
            step = min(max(round(diameter_px / 2), 2), 8)
        grid = (-(-shape[0] // step), -(-shape[1] // step))
        offsets = _ring_offsets(radius * diameter_px / step)
        return RingGeometry(shape, step, grid, offsets, _neighbours(grid, offsets))


def _ring_offsets(radius: float) -> IntArray:
    """Return the block offsets within half a block of the circle, thinned evenly in angle, (n, 2)."""
    reach = int(np.ceil(radius)) + 1
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    near = np.abs(np.hypot(dy, dx) - max(radius, 1.0)) <= 0.5
    dy, dx = dy[near], dx[near]
    order = np.argsort(np.arctan2(dy, dx), kind="stable")
    if len(order) > _MAX_NEIGHBOURS:
        order = order[np.arange(_MAX_NEIGHBOURS) * len(order) // _MAX_NEIGHBOURS]
    return np.stack([dy[order], dx[order]], 1).astype(np.int32)


def _neighbours(grid: tuple[int, int], offsets: IntArray) -> IntArray:
    h, w = grid
    y = np.repeat(np.arange(h), w)[:, None] + offsets[None, :, 0]
    x = np.tile(np.arange(w), h)[:, None] + offsets[None, :, 1]
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    return np.ascontiguousarray(np.where(inside, y * w + x, -1).astype(np.int32))


def bin_down(image: FloatArray, step: int, out: FloatArray) -> None:
    """Fill `out` (h, w) with the block means D of `image` (H, W); cut blocks use the pixels they have."""
    kernels.bin_down(image, step, out)


def spread_up(low: FloatArray, step: int, out: FloatArray) -> None:
    """Fill `out` (H, W) with U times `low` (h, w): bilinear between block centres, edges held."""
    kernels.spread_up(low, step, out)


def subtract_spread(low: FloatArray, step: int, image: FloatArray) -> None:
    """Subtract U times `low` (h, w) from `image` (H, W), as `spread_up` would give it."""
    kernels.subtract_spread(low, step, image)


def by_offset(W: FloatArray) -> FloatArray:
    """Return ring weights (P', n) ring offset by ring offset, (n, P'), as `apply_ring` wants them."""
    return np.ascontiguousarray(W.T)


def apply_ring(ring: FloatArray, geometry: RingGeometry, x: FloatArray, out: FloatArray) -> None:
    """Fill `out` (n, P') with the ring's predictions for block values `x` (n, P'); `ring` is W `by_offset`."""
    kernels.apply_ring(ring, geometry.offsets, geometry.grid[1], x, out)


def apply_ring_locally(
    W: FloatArray,
    geometry: RingGeometry,
    rest: FloatArray,
    rows: LongArray,
    blocks: tuple[int, int, int, int],
) -> FloatArray:
    """Return W x (n, hb, wb) of some rows (n,) of `rest` (N, P') on a rectangle of blocks, as `around` gives it."""
    r0, c0, r1, c1 = blocks
    out = np.empty((len(rows), r1 - r0, c1 - c0), np.float32)
    kernels.apply_ring_locally(W, geometry.neighbours, geometry.reach, geometry.grid, rest, rows, r0, c0, out)
    return out


def fold(footprints: Footprints, geometry: RingGeometry) -> SparseRows:
    """Return U' A as K sparse rows: each footprint seen through the spreading of blocks."""
    nnz = 4 * len(footprints.pixels)
    indptr = np.zeros(footprints.n + 1, np.int64)
    bins, values = np.empty(nnz, np.int32), np.empty(nnz, np.float32)
    slot = np.full(geometry.n_bins, -1, np.int32)
    kernels.fold_rows(
        footprints.indptr,
        footprints.pixels,
        footprints.weights,
        geometry.shape[1],
        geometry.grid,
        geometry.step,
        slot,
        indptr,
        bins,
        values,
    )
    return _trim(geometry.n_bins, indptr, bins, values)


def bin_footprints(footprints: Footprints, geometry: RingGeometry) -> SparseRows:
    """Return (D A)' as K sparse rows: the block means of each footprint."""
    nnz = len(footprints.pixels)
    indptr = np.zeros(footprints.n + 1, np.int64)
    bins, values = np.empty(nnz, np.int32), np.empty(nnz, np.float32)
    slot = np.full(geometry.n_bins, -1, np.int32)
    kernels.bin_rows(
        footprints.indptr,
        footprints.pixels,
        footprints.weights,
        geometry.shape,
        geometry.grid,
        geometry.step,
        slot,
        indptr,
        bins,
        values,
    )
    return _trim(geometry.n_bins, indptr, bins, values)


def ring_rows(folded: SparseRows, W: FloatArray, geometry: RingGeometry) -> SparseRows:
    """Return V = (U' A)' W as K sparse rows, so that A' U W x = V x."""
    indptr = np.zeros(len(folded.indptr), np.int64)
    slot = np.full(geometry.n_bins, -1, np.int32)
    bins, values = np.empty(0, np.int32), np.empty(0, np.float32)
    for _ in range(2):  # count, then fill
        kernels.ring_rows(
            folded.indptr,
            folded.bins,
            folded.values,
            W,
            geometry.neighbours,
            slot,
            indptr,
            bins,
            values,
        )
        if not len(bins):
            bins, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    return SparseRows(geometry.n_bins, indptr, bins, values)


def _trim(n_bins: int, indptr: LongArray, bins: IntArray, values: FloatArray) -> SparseRows:
    end = int(indptr[-1])
    return SparseRows(n_bins, indptr, bins[:end].copy(), values[:end].copy())


def ring_mean_weights(b0_binned: FloatArray, geometry: RingGeometry) -> FloatArray:
    """Return the gain-normalised ring mean, b0_p / b0_q / n: the weights of a cold start, (P', n) float32.

    Parameters
    ----------
    b0_binned : ndarray, shape (P',) or (h, w), float32
        Block means of the static background.
    """
    b0 = np.maximum(b0_binned.reshape(-1), 1e-3)
    inside = geometry.neighbours >= 0
    n = np.maximum(inside.sum(1, keepdims=True), 1)
    gain = b0[:, None] / b0[np.maximum(geometry.neighbours, 0)]
    return np.ascontiguousarray(np.where(inside, np.clip(gain, 0.2, 5.0) / n, 0).astype(np.float32))


def fit_ring_rows(
    x: FloatArray,
    geometry: RingGeometry,
    ridge: float,
    prior: FloatArray,
    start: int,
    stop: int,
    W_out: FloatArray,
) -> None:
    """Fill rows start..stop of `W_out` with ring weights fitted to block values without cells.

    Threads can share the rows. Rings of neighbouring blocks ask for the same products: each pair of blocks is
    multiplied once.

    Parameters
    ----------
    x : ndarray, shape (n_frames, P'), float32
        Block values D (y - b0 - A c), centred in time.
    ridge : float
        Ridge relative to the trace of each ring's Gram matrix; 2e-5 for 500 frames or more, 0.05 / n_frames
        for fewer.
    prior : ndarray, shape (P', n), float32
        Weights to shrink to.
    W_out : ndarray, shape (P', n), float32
        The weights.
    """
    apart, pair, forward = _ring_pairs(geometry)
    margin = geometry.reach * (geometry.grid[1] + 1)
    stretch = max(_STRETCH, 4 * margin)
    for begin in range(start, stop, stretch):
        end = min(begin + stretch, stop)
        first, last = max(0, begin - margin), min(geometry.n_bins, end + margin)
        products = np.empty((len(apart), last - first), np.float32)
        kernels.offset_products(x, apart, first, last, products)
        kernels.fit_ring_rows(
            products, first, pair, forward, geometry.neighbours, ridge, prior, begin, end, W_out
        )


def _ring_pairs(geometry: RingGeometry) -> tuple[LongArray, IntArray, BoolArray]:
    """Return how far blocks of one ring are apart, each distance once (D,), flat; which of them lies between two.

    The second and third, (n + 1, n + 1), are that of two members of the ring, the last of them its centre, and
    whether the second of the two comes after the first.
    """
    rows, cols = np.vstack([geometry.offsets, [[0, 0]]]).T.astype(np.int64)
    at = rows * geometry.grid[1] + cols
    between = at[None, :] - at[:, None]
    apart, pair = np.unique(np.abs(between), return_inverse=True)
    return apart, pair.reshape(between.shape).astype(np.int32), between >= 0
