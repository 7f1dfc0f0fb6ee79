"""The system of the signed traces: products of neighbours, and the inverse near each component."""

import numpy as np
import pytest

from streamscope.core.background import SparseRows
from streamscope.core.system import FULL_AT_MOST, inverse_of, overlaps, products
from streamscope.types import Footprints

DIAMETER = 8.0


def dense(rows):
    out = np.zeros((len(rows.indptr) - 1, rows.n_bins))
    for k in range(len(out)):
        part = slice(rows.indptr[k], rows.indptr[k + 1])
        np.add.at(out[k], rows.bins[part], rows.values[part])
    return out


def cells(n, side, seed=0):
    """Return n discs at random places, unit norm, and where they are."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:side, :side]
    centres, columns = rng.uniform(4, side - 4, (n, 2)), []
    for y, x in centres:
        pixels = np.flatnonzero(np.hypot(rows - y, cols - x).ravel() <= DIAMETER / 2).astype(np.int32)
        weights = rng.uniform(0.5, 1, len(pixels)).astype(np.float32)
        columns.append((pixels, weights / np.linalg.norm(weights)))
    return Footprints.from_columns((side, side), columns), centres


def test_overlaps_are_products_of_columns():
    A, _ = cells(40, 60)
    full = A.dense().reshape(-1, 40) / np.linalg.norm(A.dense().reshape(-1, 40), axis=0)
    assert np.allclose(dense(overlaps(A)), full.T @ full, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_products_are_those_of_dense_rows(seed):
    rng = np.random.default_rng(seed)

    def some(n):
        full = np.zeros((n, 7, 9), np.float32)
        for k in range(n):
            y, x = rng.integers(0, 5), rng.integers(0, 6)
            full[k, y : y + 2, x : x + 3] = rng.normal(size=(2, 3))
        at = [np.flatnonzero(image) for image in full.reshape(n, -1)]
        indptr = np.concatenate([[0], np.cumsum([len(a) for a in at])])
        values = np.concatenate([full.reshape(n, -1)[k, a] for k, a in enumerate(at)])
        return full.reshape(n, -1), SparseRows(63, indptr, np.concatenate(at).astype(np.int32), values)

    (a, rows), (b, others) = some(6), some(4)
    assert np.allclose(dense(products(rows, others, 9)), a @ b.T, atol=1e-5)


@pytest.mark.parametrize(("n", "side"), [(0, 40), (1, 40), (60, 100), (FULL_AT_MOST + 100, 330)])
def test_the_inverse_solves_the_system(n, side):
    A, centres = cells(n, side)
    AtA = overlaps(A)
    VDA = SparseRows(n, AtA.indptr, AtA.bins, np.float32(0.2) * AtA.values)
    inverse = inverse_of(AtA, VDA, centres, DIAMETER)
    M = dense(AtA) - dense(VDA)
    c = np.random.default_rng(1).uniform(0, 30, (n, 5)).astype(np.float32)
    assert np.allclose(inverse.times((M @ c).astype(np.float32)), c, atol=0.02)
    if n > FULL_AT_MOST:
        assert len(inverse.values) < 0.7 * n**2
