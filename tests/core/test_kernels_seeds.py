"""Kernels of the refit's greedy search, against plain numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import convolve2d

from streamscope.core.kernels import seeds as kernels
from streamscope.testing import naive_refit as naive
from tests.core.kernel_inputs import few, seeds

EVERYTHING = -1e30  # a value below which nothing is cut
grids = st.tuples(st.integers(2, 9), st.integers(2, 9))


def random_movie(rng, grid, length=40):
    """Return noise with one signal that falls off from block to block, (P', T)."""
    n = grid[0] * grid[1]
    signal = 4.0 * (rng.random(length) < 0.2)
    near = np.exp(-naive.distances(grid, int(rng.integers(n))) / 1.5)
    return (rng.normal(0, 0.5, (n, length)) + np.outer(near, signal)).astype(np.float32)


@few
@given(seeds, st.sampled_from([EVERYTHING, 0.0, 0.7]))
def test_pair_correlation_is_pearsons_r_of_what_is_above_the_floor(seed, low):
    a, b = np.random.default_rng(seed).normal(size=(2, 30)).astype(np.float32)
    found = kernels.pair_correlation(a, b, low, low)
    assert found == pytest.approx(
        naive.correlation(np.where(a > low, a, 0), np.where(b > low, b, 0)), abs=1e-4
    )


def test_what_has_its_mean_taken_off_is_what_numpy_gives():
    trace = np.random.default_rng(5).normal(7, 2, 300).astype(np.float32)
    expected = trace - trace.mean(dtype=np.float64)
    kernels.take_mean_off(trace)
    assert np.allclose(trace, expected, atol=1e-5)


def test_a_constant_series_correlates_with_nothing():
    a, b = np.full(9, 3, np.float32), np.arange(9, dtype=np.float32)
    assert kernels.pair_correlation(a, b, EVERYTHING, EVERYTHING) == 0


@few
@given(seeds, grids)
def test_scores_renewed_in_a_box_are_those_of_the_whole_grid(seed, grid):
    rng = np.random.default_rng(seed)
    h, w = grid
    Z, noise = random_movie(rng, grid), rng.uniform(0.3, 0.7, h * w).astype(np.float32)
    right, down, peak, score = (np.zeros(h * w, np.float32) for _ in range(4))
    kernels.score_box(Z, grid, noise, (0, h, 0, w), right, down, peak, score)
    assert np.allclose(score, naive.seed_score(Z, grid, noise), atol=1e-3)
    y, x = int(rng.integers(h)), int(rng.integers(w))
    Z[y * w + x] *= rng.uniform(-1, 3)
    box = (max(y - 1, 0), min(y + 2, h), max(x - 1, 0), min(x + 2, w))
    kernels.score_box(Z, grid, noise, box, right, down, peak, score)
    assert np.allclose(score, naive.seed_score(Z, grid, noise), atol=1e-3)


@few
@given(seeds, grids, st.sampled_from([1.0, 1.6, 2.5]))
def test_core_and_ring_traces_are_means_over_blocks(seed, grid, radius):
    rng = np.random.default_rng(seed)
    X = random_movie(rng, grid)
    at = int(rng.integers(len(X)))
    trace = np.full(X.shape[1], np.nan, np.float32)
    kernels.core_trace(X, grid, at, radius, 0.3, trace)
    assert np.allclose(trace, naive.core_trace(X, grid, at, radius, 0.3), atol=1e-4)
    kernels.ring_trace(X, grid, at, 1.2 * radius, 1.8 * radius, trace)
    assert np.allclose(trace, naive.ring_trace(X, grid, at, 1.2 * radius, 1.8 * radius), atol=1e-4)


@few
@given(seeds, grids, st.integers(1, 3))
def test_regressed_footprints_are_least_squares_next_to_the_surroundings(seed, grid, radius):
    rng = np.random.default_rng(seed)
    X, at = random_movie(rng, grid), int(rng.integers(grid[0] * grid[1]))
    trace, around = rng.normal(size=(2, X.shape[1])).astype(np.float32)
    trace -= trace.mean()
    around -= around.mean()
    out = np.full((2 * radius + 1, 2 * radius + 1), np.nan, np.float32)
    kernels.regress_box(X, grid, at, radius, trace, around, out)
    assert np.allclose(out, naive.regress_box(X, grid, at, radius, trace, around), atol=1e-3)


def test_surroundings_that_do_the_same_as_the_trace_are_left_out_of_the_regression():
    trace = np.sin(np.arange(30)).astype(np.float32)
    trace -= trace.mean()
    X = np.outer(np.arange(9), trace).astype(np.float32)
    out = np.full((3, 3), np.nan, np.float32)
    kernels.regress_box(X, (3, 3), 4, 1, trace, 2 * trace, out)
    assert np.allclose(out, [[0, 1, 0], [3, 4, 5], [0, 7, 0]], atol=1e-4)
    kernels.regress_box(X, (3, 3), 4, 1, 0 * trace, trace, out)
    assert (out == 0).all()


@few
@given(seeds, st.tuples(st.integers(1, 8), st.integers(1, 8)))
def test_what_is_kept_is_connected_with_the_start(seed, shape):
    rng = np.random.default_rng(seed)
    image = rng.random(shape).astype(np.float32)
    start = int(rng.integers(shape[0])), int(rng.integers(shape[1]))
    expected = naive.connected(image, 0.45, start)
    n = kernels.keep_connected(image, 0.45, *start)
    assert np.array_equal(image, expected)
    assert n == (expected > 0).sum()


@few
@given(seeds, grids, st.integers(1, 3), st.integers(0, 2))
def test_a_cell_is_subtracted_from_the_movie_and_blurred_from_its_filtered_version(seed, grid, r, s):
    rng = np.random.default_rng(seed)
    X, Z = random_movie(rng, grid), random_movie(rng, grid)
    at = int(rng.integers(len(X)))
    shape = (rng.random((2 * r + 1, 2 * r + 1)) * (rng.random((2 * r + 1, 2 * r + 1)) < 0.7)).astype(
        np.float32
    )
    stencil = rng.normal(size=(2 * s + 1, 2 * s + 1)).astype(np.float32)
    trace = rng.normal(size=X.shape[1]).astype(np.float32)
    expected_X = X - np.outer(naive.placed(shape, grid, at), trace)
    expected_Z = Z - np.outer(naive.placed(convolve2d(shape, stencil), grid, at), trace)
    kernels.subtract_cell(X, Z, grid, at, shape, stencil, trace)
    assert np.allclose(X, expected_X, atol=1e-4)
    assert np.allclose(Z, expected_Z, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("most", [2, 20])
def test_peeling_equals_the_plain_search_that_scores_everything_anew(seed, most):
    rng = np.random.default_rng(seed)
    grid, length = (11, 13), 80
    X = rng.normal(0, 0.3, (143, length)).astype(np.float32)
    shapes = [np.exp(-(naive.distances(grid, at) ** 2) / 2.5) for at in (7 * 13 + 9, 6 * 13 + 4)]
    torn = np.zeros(grid)  # two parts of one cell: the weaker one is no find
    torn[1:3, 3], torn[1:3, 5] = 1.0, 0.8
    for shape in (*shapes, torn.ravel()):
        events = 4.0 * (rng.random(length) < 0.08)
        X += np.outer(shape, events).astype(np.float32)
    stencil = np.array([[-1, -1, -1], [-1, 17, -1], [-1, -1, -1]], np.float32) / 9
    Z = np.array([convolve2d(x.reshape(grid), stencil, "same").ravel() for x in X.T], np.float32).T.copy()
    noise = np.full(143, 0.5, np.float32)
    expected, shapes = naive.peel(X, Z, grid, noise, stencil, 3.0, 3.0, 1, 3, most)
    right, down, peak, score = (np.zeros(143, np.float32) for _ in range(4))
    kernels.score_box(Z, grid, noise, (0, 11, 0, 13), right, down, peak, score)
    found, shape = np.zeros((most, 3), np.float32), np.zeros((most, 7, 7), np.float32)
    trace = np.zeros((most, length), np.float32)
    n = kernels.peel(X, Z, grid, noise, stencil, 3.0, 3.0, 1, right, down, peak, score, found, shape, trace)
    assert n >= min(most, 3)
    assert found[:n, 0].tolist() == expected
    assert np.allclose(shape[:n], shapes, atol=1e-2)
