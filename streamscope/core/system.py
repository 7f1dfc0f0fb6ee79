"""The system M c = u of the signed traces: its matrix, and its inverse near each component.

M = A'A - V D A says what of a component's light each projection holds; only neighbours share any. Its inverse falls
off with distance as well, so that it is found tile by tile, from the components in and around each tile: the work
grows with the number of components, not with its cube.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streamscope.core.background import SparseRows
from streamscope.core.crew import Crew
from streamscope.core.kernels import sparse
from streamscope.types import DoubleArray, FloatArray, Footprints, IntArray, LongArray

FULL_AT_MOST = 200  # components; fewer are solved as one
_TILE_DIAMETERS = 12.0
_AROUND_DIAMETERS = 6.0  # what lies farther changes a trace by less than 0.01 noise units


def overlaps(footprints: Footprints) -> SparseRows:
    """Return A'A of neighbours, K sparse rows of K."""
    height, width = footprints.shape
    A = SparseRows(height * width, footprints.indptr, footprints.pixels, footprints.weights)
    return products(A, A, width)


def products(rows: SparseRows, others: SparseRows, width: int) -> SparseRows:
    """Return the products of K rows and K2 others on a grid that is `width` wide, as K sparse rows of K2.

    Those whose extents do not meet are left out.
    """
    boxes = np.empty((len(rows.indptr) - 1, 4), np.int64), np.empty((len(others.indptr) - 1, 4), np.int64)
    for some, box in zip((rows, others), boxes, strict=True):
        sparse.boxes(some.indptr, some.bins, width, box)
    indptr, near = np.zeros(len(rows.indptr), np.int64), np.empty(0, np.int32)
    near = np.empty(sparse.find_near(*boxes, indptr, near), np.int32)
    sparse.find_near(*boxes, indptr, near)
    values = np.empty(len(near), np.float32)
    sparse.near_products(
        rows.indptr,
        rows.bins,
        rows.values,
        others.indptr,
        others.bins,
        others.values,
        indptr,
        near,
        np.zeros(rows.n_bins, np.float32),
        values,
    )
    return SparseRows(len(others.indptr) - 1, indptr, near, values)


def inverse_of(
    AtA: SparseRows, VDA: SparseRows, centres: DoubleArray, diameter: float, crew: Crew | None = None
) -> SparseRows:
    """Return the inverse of A'A - V D A, K sparse rows of K.

    Parameters
    ----------
    AtA, VDA : SparseRows
        Both terms, as `products` gives them.
    centres : ndarray, shape (K, 2), float64
        y, x of the components, px.
    diameter : float
        Of a cell, px.
    crew : Crew, optional
        Shares the tiles.
    """
    n = len(centres)
    if not n:
        return SparseRows.empty(0, 0)
    at: list[IntArray] = [np.zeros(0, np.int32)] * n
    values: list[FloatArray] = [np.zeros(0, np.float32)] * n

    def invert(tiles: list[tuple[LongArray, LongArray]]) -> None:
        for own, which in tiles:
            place = np.full(n, -1, np.int32)
            place[which] = np.arange(len(which))
            M = np.zeros((len(which), len(which)))
            sparse.add_submatrix(AtA.indptr, AtA.bins, AtA.values, 1.0, which, place, M)
            sparse.add_submatrix(VDA.indptr, VDA.bins, VDA.values, -1.0, which, place, M)
            inverse, near = np.linalg.inv(M).astype(np.float32), which.astype(np.int32)
            for k in own:
                at[k], values[k] = near, inverse[place[k]]

    crew, tiles = crew or Crew(), list(_tiles(centres, diameter))
    crew.map(invert, [tiles[first:last] for first, last in crew.share(0, len(tiles))])
    indptr = np.zeros(n + 1, np.int64)
    np.cumsum([len(row) for row in at], out=indptr[1:])
    return SparseRows(n, indptr, np.concatenate(at), np.concatenate(values))


def _tiles(centres: DoubleArray, diameter: float) -> Iterator[tuple[LongArray, LongArray]]:
    """Yield the components in each tile, and those in and around it; few components are one tile."""
    n = len(centres)
    if n <= FULL_AT_MOST:
        yield np.arange(n), np.arange(n)
        return
    side = _TILE_DIAMETERS * diameter
    tiles = np.floor(centres / side)
    for tile in np.unique(tiles, axis=0):
        apart = np.abs(centres - (tile + 0.5) * side).max(1)
        yield (
            np.flatnonzero((tiles == tile).all(1)),
            np.flatnonzero(apart <= side / 2 + _AROUND_DIAMETERS * diameter),
        )
