import numpy as np
import pytest

from streamscope.core import background as bg
from streamscope.core.system import products
from streamscope.testing import naive
from streamscope.types import Footprints

SHAPE = (37, 42)  # not a multiple of any step


def random_footprints(rng, shape=SHAPE, n=5):
    columns = []
    for _ in range(n):
        cy, cx = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        y, x = np.mgrid[max(cy - 4, 0) : min(cy + 5, shape[0]), max(cx - 4, 0) : min(cx + 5, shape[1])]
        weights = rng.random(y.size).astype(np.float32)
        columns.append(((y * shape[1] + x).ravel().astype(np.int32), weights))
    return Footprints.from_columns(shape, columns)


def fit_ring(x, geometry, ridge, prior=None):
    W = np.full(geometry.neighbours.shape, np.nan, np.float32)
    prior = np.zeros_like(W) if prior is None else prior
    for start, stop in ((0, 5), (5, geometry.n_bins)):  # as threads share them
        bg.fit_ring_rows(x, geometry, ridge, prior, start, stop, W)
    return W


def as_dense(rows):
    out = np.zeros((len(rows.indptr) - 1, rows.n_bins))
    for k in range(len(out)):
        for e in range(rows.indptr[k], rows.indptr[k + 1]):
            out[k, rows.bins[e]] += rows.values[e]
    return out


@pytest.mark.parametrize("step", [2, 3, 4, 5])
def test_bin_down_and_spread_up_equal_their_matrices(step):
    rng = np.random.default_rng(1)
    geometry = bg.RingGeometry.make(SHAPE, 8.0, 1.75, step)
    image = rng.random(SHAPE).astype(np.float32)
    low = np.full(geometry.grid, np.nan, np.float32)
    bg.bin_down(image, step, low)
    assert np.allclose(low.ravel(), naive.block_mean_matrix(SHAPE, step) @ image.ravel(), atol=1e-5)
    up = np.full(SHAPE, np.nan, np.float32)
    bg.spread_up(low, step, up)
    assert np.allclose(up.ravel(), naive.bilinear_matrix(SHAPE, step) @ low.ravel(), atol=1e-5)
    rest = image.copy()
    bg.subtract_spread(low, step, rest)
    assert np.allclose(rest, image - up, atol=1e-5)


@pytest.mark.parametrize("step", [2, 4, 5])
def test_folded_projection_equals_projection_of_the_full_background(step):
    rng = np.random.default_rng(2)
    geometry = bg.RingGeometry.make(SHAPE, 8.0, 1.75, step)
    footprints = random_footprints(rng)
    A = naive.dense(footprints)
    W = rng.standard_normal(geometry.neighbours.shape).astype(np.float32)
    x = rng.standard_normal(geometry.n_bins).astype(np.float32)
    U = naive.bilinear_matrix(SHAPE, step)
    folded = bg.fold(footprints, geometry)
    assert np.allclose(as_dense(folded), (U.T @ A).T, atol=1e-5)
    V = bg.ring_rows(folded, W, geometry)
    out = np.empty(footprints.n, np.float32)
    V.dot(x, out)
    background = U @ (naive.ring_matrix(W, geometry.neighbours) @ x)
    assert np.allclose(out, A.T @ background, rtol=1e-3, atol=1e-3)
    binned = bg.bin_footprints(footprints, geometry)
    DA = naive.block_mean_matrix(SHAPE, step) @ A
    assert np.allclose(as_dense(binned), DA.T, atol=1e-5)
    found = as_dense(products(V, binned, geometry.grid[1]))
    assert np.allclose(found, as_dense(V) @ DA, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [SHAPE, (9, 40), (40, 9)])  # the last two: some rings leave the field
def test_apply_ring_is_the_product_with_its_matrix_in_full_and_on_part_of_the_blocks(shape):
    rng = np.random.default_rng(3)
    geometry = bg.RingGeometry.make(shape, 8.0, 1.75)
    inside = geometry.neighbours >= 0
    W = (inside * rng.random(inside.shape)).astype(np.float32)
    x = rng.random((5, geometry.n_bins)).astype(np.float32)
    out = np.full_like(x, np.nan)
    bg.apply_ring(bg.by_offset(W), geometry, x, out)
    expected = x @ naive.ring_matrix(W, geometry.neighbours).T
    assert np.allclose(out, expected, atol=1e-4)
    rows, blocks = np.array([3, 0, 4]), geometry.around(2, 3, 7, 8)
    some = bg.apply_ring_locally(W, geometry, x, rows, blocks)
    r0, c0, r1, c1 = blocks
    assert np.allclose(some, expected.reshape(5, *geometry.grid)[rows, r0:r1, c0:c1], atol=1e-4)


def _background_of(W, geometry, x):
    """Return W x of one frame's blocks (P',)."""
    out = np.empty((1, geometry.n_bins), np.float32)
    bg.apply_ring(bg.by_offset(W), geometry, x.astype(np.float32)[None], out)
    return out[0]


def test_fit_equals_least_squares_and_is_the_same_in_slices():
    rng = np.random.default_rng(4)
    geometry = bg.RingGeometry.make((32, 36), 8.0, 1.5)
    x = rng.standard_normal((90, geometry.n_bins)).astype(np.float32)
    x -= x.mean(0)
    x[:, 7] = 0
    prior = bg.ring_mean_weights(rng.random(geometry.n_bins).astype(np.float32) + 1, geometry)
    W = fit_ring(x, geometry, 1e-3, prior)
    expected = naive.ring_fit(x.astype(float), geometry.neighbours, 1e-3, prior)
    assert np.allclose(W, expected, atol=1e-3)
    sliced = np.zeros_like(W)
    for start in range(0, geometry.n_bins, 11):
        stop = min(start + 11, geometry.n_bins)
        bg.fit_ring_rows(x, geometry, 1e-3, prior, start, stop, sliced)
    assert np.array_equal(sliced, W)


def test_a_black_movie_keeps_the_prior():
    geometry = bg.RingGeometry.make((32, 36), 8.0, 1.5)
    prior = bg.ring_mean_weights(np.ones(geometry.n_bins, np.float32), geometry)
    W = fit_ring(np.zeros((10, geometry.n_bins), np.float32), geometry, 1e-3, prior)
    assert np.array_equal(W, prior)


def test_ring_mean_of_a_flat_background_predicts_it_exactly():
    geometry = bg.RingGeometry.make(SHAPE, 8.0, 1.75)
    W = bg.ring_mean_weights(np.full(geometry.n_bins, 80, np.float32), geometry)
    assert np.allclose(_background_of(W, geometry, np.full(geometry.n_bins, 3)), 3, atol=1e-5)


def test_the_fitted_ring_recovers_a_smooth_fluctuating_background():
    rng = np.random.default_rng(5)
    geometry = bg.RingGeometry.make((64, 64), 8.0, 1.75)
    y, x = np.mgrid[:16, :16] / 16
    maps = np.stack([np.ones_like(y), y, x, np.sin(3 * y) * x]).reshape(4, -1)
    truth = rng.standard_normal((400, 4)) @ maps
    seen = truth + 0.05 * rng.standard_normal(truth.shape)
    W = fit_ring(seen.astype(np.float32), geometry, 2e-5)
    assert np.abs(_background_of(W, geometry, seen[17]) - truth[17]).mean() < 0.05


def test_geometry_clamps_its_step_and_thins_large_rings():
    assert bg.RingGeometry.make((100, 100), 4.0, 1.5).step == 2
    assert bg.RingGeometry.make((100, 100), 30.0, 1.5).step == 8
    large = bg.RingGeometry.make((100, 120), 25.0, 2.0, 2)
    assert len(large.offsets) == 48
    assert large.neighbours.dtype == np.int32
    assert large.neighbours.max() < large.n_bins


def test_no_components_give_empty_rows():
    geometry = bg.RingGeometry.make(SHAPE, 8.0, 1.75)
    nothing = Footprints.from_columns(SHAPE, [])
    W = np.zeros(geometry.neighbours.shape, np.float32)
    V = bg.ring_rows(bg.fold(nothing, geometry), W, geometry)
    assert as_dense(products(V, bg.bin_footprints(nothing, geometry), geometry.grid[1])).shape == (0, 0)
