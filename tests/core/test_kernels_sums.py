"""Kernels of the refit's sums over stored frames, against plain numpy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamscope.core.background import RingGeometry, bin_footprints, fold, ring_rows
from streamscope.core.kernels import sums
from streamscope.testing import naive, naive_refit
from tests.core.kernel_inputs import few, random_footprints, seeds, shapes, steps

n_components = st.integers(0, 4)


def random_words(rng, shape, n=10):
    return rng.integers(0, 2**16, (n, shape[0] * shape[1])).astype(np.uint16)


def layers(footprints):
    """Return, one layer per component, the entry of a component at each pixel, -1 if none."""
    out = np.full((footprints.n, footprints.shape[0] * footprints.shape[1]), -1, np.int32)
    for k in range(footprints.n):
        out[k, footprints.column(k)[0]] = np.arange(footprints.indptr[k], footprints.indptr[k + 1])
    return out


@few
@given(seeds, shapes)
def test_words_are_rounded_and_cut_to_16_bit(seed, shape):
    rng = np.random.default_rng(seed)
    image, out = rng.uniform(-20, 600, shape[0] * shape[1]).astype(np.float32), random_words(rng, shape)[0]
    sums.to_words(image, 128.0, out)
    assert np.array_equal(out, np.floor(np.clip(image * 128.0 + 0.5, 0, 65535)))


@few
@given(seeds, shapes, steps)
def test_binned_words_are_block_means(seed, shape, step):
    rng = np.random.default_rng(seed)
    frames, D = random_words(rng, shape, 3), naive.block_mean_matrix(shape, step)
    out = np.full((3, len(D)), np.nan, np.float32)
    sums.bin_words(frames, shape, step, 1 / 128, out)
    assert np.allclose(out, frames / 128 @ D.T, atol=1e-3)


@few
@given(seeds, shapes, st.sampled_from([2, 3]))
def test_the_ring_is_subtracted_within_the_given_blocks_only(seed, shape, step):
    rng = np.random.default_rng(seed)
    geometry = RingGeometry.make(shape, 4.0, 1.5, step)
    W = rng.random(geometry.neighbours.shape).astype(np.float32)
    first, last = np.sort(rng.integers(0, geometry.n_bins + 1, 2))
    x = rng.random((3, last - first)).astype(np.float32)
    within = naive.ring_matrix(W, geometry.neighbours)[first:last, first:last]
    expected = x - x @ within.T
    sums.subtract_ring(W, geometry.neighbours, int(first), int(last), x)
    assert np.allclose(x, expected, atol=1e-3)


@few
@given(seeds, shapes, n_components)
def test_projections_are_products_with_words_less_those_with_blocks(seed, shape, n):
    rng = np.random.default_rng(seed)
    A, frames = random_footprints(rng, shape, n), random_words(rng, shape)
    out = np.full((n, len(frames)), np.nan, np.float32)
    sums.project_words(frames, A.indptr, A.pixels, A.weights, 1 / 128, out)
    expected = naive.dense(A).T @ frames.T / 128
    assert np.allclose(out, expected, rtol=1e-4)
    x = rng.normal(size=frames.shape).astype(np.float32)
    sums.project_bins(A.indptr, A.pixels, A.weights, x, out)
    assert np.allclose(out, expected - naive.dense(A).T @ x.T, rtol=1e-4, atol=1e-2)


@few
@given(seeds, shapes, n_components, st.booleans())
def test_products_with_an_instrument_are_added_on_each_mask(seed, shape, n, blocks):
    rng = np.random.default_rng(seed)
    masks, frames = random_footprints(rng, shape, n), random_words(rng, shape)
    if blocks:
        frames = rng.normal(size=frames.shape).astype(np.float32)
    instrument = (rng.normal(size=(n, 10)) * (rng.random((n, 10)) < 0.5)).astype(np.float32)
    out = rng.random(len(masks.pixels))
    CY = instrument @ frames.astype(float) / 128
    expected = out + np.concatenate([*(CY[k, masks.column(k)[0]] for k in range(n)), []])
    sums.add_products(frames, masks.indptr, masks.pixels, instrument, 1 / 128, out)
    assert np.allclose(out, expected, rtol=1e-4, atol=1e-2)


@few
@given(seeds, shapes)
def test_moments_are_sums_of_frames(seed, shape):
    rng = np.random.default_rng(seed)
    frames, total = random_words(rng, shape), rng.random(shape[0] * shape[1])
    expected = total + frames.sum(0) / 128
    sums.add_moments(frames, 1 / 128, total)
    assert np.allclose(total, expected, rtol=1e-5)


@few
@given(seeds, shapes)
def test_neighbour_moments_are_sums_of_products(seed, shape):
    rng = np.random.default_rng(seed)
    images, moments = rng.normal(size=(3, *shape)).astype(np.float32), np.zeros((4, *shape))
    for z in images:
        sums.add_neighbour_moments(z, moments)
    padded = np.pad(images, ((0, 0), (0, 1), (0, 1)))  # nothing beyond the border
    right, below = padded[:, :-1, 1:], padded[:, 1:, :-1]
    assert np.allclose(moments, [(images * v).sum(0) for v in (1, images, right, below)], atol=1e-4)


@few
@given(seeds, shapes, n_components, st.integers(0, 3))
def test_shape_sweeps_are_coordinate_descent_and_leave_silent_components(seed, shape, n, n_sweeps):
    rng = np.random.default_rng(seed)
    masks = random_footprints(rng, shape, n)
    C = rng.random((n, 20)) * (rng.random((n, 1)) < 0.8)
    CC, CY = C @ C.T, rng.normal(0, 3, len(masks.pixels))
    active = np.flatnonzero(CC.diagonal() > 0)
    dense_CY, support = np.zeros((2, shape[0] * shape[1], n))
    for k in range(n):
        part = slice(masks.indptr[k], masks.indptr[k + 1])
        dense_CY[masks.pixels[part], k], support[masks.pixels[part], k] = CY[part], masks.weights[part]
    weights = masks.weights.astype(np.float64)
    sums.shape_sweeps(masks.indptr, masks.pixels, CY, CC, n_sweeps, layers(masks), weights)
    found = np.zeros_like(support)
    for k in range(n):
        part = slice(masks.indptr[k], masks.indptr[k + 1])
        found[masks.pixels[part], k] = weights[part]
    expected = support.copy()
    expected[:, active] = naive_refit.shapes(
        dense_CY[:, active], CC[np.ix_(active, active)], support[:, active], n_sweeps
    )
    assert np.allclose(found, expected, atol=1e-8)


@few
@given(seeds, shapes, steps, n_components)
def test_the_background_share_is_the_ring_of_block_products_without_cells(seed, shape, step, n):
    rng = np.random.default_rng(seed)
    A = random_footprints(rng, shape, n)
    geometry = RingGeometry.make(shape, 4.0, 1.5, step)
    W = rng.uniform(-0.2, 0.2, geometry.neighbours.shape).astype(np.float32)
    folded, binned = fold(A, geometry), bin_footprints(A, geometry)
    ring = ring_rows(folded, np.ones_like(W), geometry)  # all blocks that a ring reaches
    X, CC = rng.normal(size=(n, geometry.n_bins)), rng.normal(size=(n, n))
    CC[rng.random((n, n)) < 0.4] = 0
    owner = np.repeat(np.arange(n), np.diff(ring.indptr))
    CY = rng.normal(size=len(A.pixels))
    U, D = naive.bilinear_matrix(shape, step), naive.block_mean_matrix(shape, step)
    share = U @ naive.ring_matrix(W, geometry.neighbours) @ (X.T - D @ naive.dense(A) @ CC.T)
    of_pixel = np.repeat(np.arange(n), np.diff(A.indptr))
    expected = CY - share[A.pixels, of_pixel]
    sums.subtract_background(
        A.indptr,
        A.pixels,
        shape[1],
        step,
        geometry.grid,
        folded.indptr,
        folded.bins,
        ring.indptr,
        ring.bins,
        X[owner, ring.bins],
        binned.indptr,
        binned.bins,
        binned.values,
        CC,
        W,
        geometry.neighbours,
        CY,
    )
    assert np.allclose(CY, expected, atol=1e-4)
