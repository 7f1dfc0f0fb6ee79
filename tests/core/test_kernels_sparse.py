"""Kernels of footprints and stored frames, against plain numpy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamscope.core.background import apply_ring_locally
from streamscope.core.kernels import ring, sparse, warp
from streamscope.testing import naive
from tests.core.kernel_inputs import Stored, few, random_field, random_footprints, seeds, shapes, steps

n_components = st.integers(0, 4)


@few
@given(seeds, shapes, n_components)
def test_projection_is_the_product_with_the_footprints(seed, shape, n):
    rng = np.random.default_rng(seed)
    A = random_footprints(rng, shape, n)
    image, out = rng.normal(size=shape[0] * shape[1]).astype(np.float32), np.full(n, np.nan, np.float32)
    sparse.project(A.indptr, A.pixels, A.weights, image, out)
    assert np.allclose(out, naive.dense(A).T @ image, atol=1e-4)


@few
@given(seeds, shapes, n_components)
def test_components_are_subtracted_by_their_activity(seed, shape, n):
    rng = np.random.default_rng(seed)
    A = random_footprints(rng, shape, n)
    c = (rng.normal(size=n) * (rng.random(n) < 0.7)).astype(np.float32)
    grid = rng.normal(size=shape[0] * shape[1]).astype(np.float32)
    expected = grid - naive.dense(A) @ c
    sparse.subtract_components(A.indptr, A.pixels, A.weights, c, grid)
    assert np.allclose(grid, expected, atol=1e-4)


def test_a_nan_in_the_image_reaches_only_the_components_that_see_it():
    rng = np.random.default_rng(1)
    A = random_footprints(rng, (5, 6), 4)
    image, out = np.ones(30, np.float32), np.zeros(4, np.float32)
    image[7] = np.nan
    sparse.project(A.indptr, A.pixels, A.weights, image, out)
    assert np.array_equal(np.isnan(out), [7 in A.column(k)[0] for k in range(4)])


@few
@given(seeds, shapes)
def test_stored_frames_are_rounded_and_cut_to_16_bit(seed, shape):
    rng = np.random.default_rng(seed)
    aligned = rng.uniform(-20, 280, shape).astype(np.float32)
    out = np.zeros(shape, np.uint16)
    sparse.encode(aligned, np.float32(256), out)
    assert np.array_equal(out, np.floor(np.clip(aligned * 256.0 + 0.5, 0, 65535)))


@few
@given(seeds, shapes)
def test_a_decoded_frame_is_centred_inside_its_field_and_0_outside(seed, shape):
    rng = np.random.default_rng(seed)
    field = random_field(rng, shape)
    frame = rng.integers(0, 2**16, shape).astype(np.uint16)
    b0, out = rng.uniform(0, 200, shape).astype(np.float32), np.full(shape, np.nan, np.float32)
    sparse.decode_centered(frame, np.float32(1 / 256), b0, *(int(v) for v in field), out)
    expected = np.where(naive.in_field(shape, field), frame / 256.0 - b0, 0)
    assert np.allclose(out, expected, atol=1e-4)


@few
@given(seeds, shapes)
def test_an_aligned_frame_is_centred_inside_its_field_and_0_outside(seed, shape):
    rng = np.random.default_rng(seed)
    field = random_field(rng, shape)
    aligned, b0 = rng.uniform(0, 200, (2, *shape)).astype(np.float32)
    out = np.full(shape, np.nan, np.float32)
    warp.center(aligned, b0, *(int(v) for v in field), out)
    assert np.array_equal(out, np.where(naive.in_field(shape, field), aligned - b0, np.float32(0)))


@few
@given(seeds, shapes, steps, n_components)
def test_stored_frames_are_projected_with_b0_outside_their_field(seed, shape, step, n):
    rng = np.random.default_rng(seed)
    stored, A = Stored(rng, shape, step), random_footprints(rng, shape, n)
    n_frames = int(rng.integers(0, 5))
    out = np.full((n_frames, n), np.nan, np.float32)
    sparse.project_stored(
        stored.frames.reshape(4, -1),
        stored.rects,
        stored.scale,
        stored.b0.reshape(-1),
        shape[1],
        A.indptr,
        A.pixels,
        A.weights,
        out,
    )
    for t in range(n_frames):
        seen = naive.in_field(shape, stored.rects[t])
        y = np.where(seen, stored.frames[t] / 256.0, stored.b0)
        assert np.allclose(out[t], naive.dense(A).T @ y.ravel(), rtol=1e-4, atol=1e-2)


@few
@given(seeds, shapes, steps)
def test_the_residual_of_a_box_is_that_of_the_frame(seed, shape, step):
    rng = np.random.default_rng(seed)
    stored = Stored(rng, shape, step)
    slots = rng.permutation(4)[: rng.integers(1, 5)]
    (top, bottom), (left, right) = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in shape)
    (top, bottom), (left, right) = (int(top), int(bottom)), (int(left), int(right))
    blocks = stored.geometry.around(top, left, bottom, right)
    background = apply_ring_locally(stored.W, stored.geometry, stored.rest, slots, blocks)
    out = np.full((len(slots), bottom - top, right - left), np.nan, np.float32)
    sparse.box_residual(
        stored.frames,
        stored.rects,
        stored.scale,
        stored.b0,
        background,
        *blocks[:2],
        stored.geometry.grid,
        step,
        slots,
        top,
        left,
        out,
    )
    whole = stored.residuals()
    assert np.allclose(out, whole[slots, top:bottom, left:right], atol=1e-2)


@few
@given(seeds, shapes)
def test_the_mean_image_follows_inside_the_field_only_by_the_larger_of_two_rates(seed, shape):
    rng = np.random.default_rng(seed)
    field = random_field(rng, shape)
    aligned, mean = rng.uniform(0, 200, (2, *shape)).astype(np.float32)
    rows, columns = (rng.uniform(0.01, 1, n).astype(np.float32) for n in shape)
    rate = np.maximum.outer(rows, columns)
    expected = np.where(naive.in_field(shape, field), mean + rate * (aligned - mean), mean)
    sparse.follow_mean(aligned, *(int(v) for v in field), rows, columns, mean)
    assert np.allclose(mean, expected, atol=1e-3)


@few
@given(seeds, shapes, n_components)
def test_the_static_background_is_the_mean_without_the_cells_in_steps_of_1_64(seed, shape, n):
    rng = np.random.default_rng(seed)
    A = random_footprints(rng, shape, n)
    mean = rng.uniform(0, 200, shape[0] * shape[1]).astype(np.float32)
    level, out = rng.uniform(-3, 3, n).astype(np.float32), np.full_like(mean, np.nan)
    sparse.static_background(mean, A.indptr, A.pixels, A.weights, level, out)
    assert np.allclose(out, mean - naive.dense(A) @ level, atol=1 / 128 + 1e-3)
    assert np.array_equal(out * 64, np.round(out * 64))


@given(seeds, shapes, n_components)
def test_blocks_without_b0_and_cells_are_a_difference_of_products(seed, shape, n):
    rng = np.random.default_rng(seed)
    A = random_footprints(rng, shape, n)
    n_bins = shape[0] * shape[1]
    c = (rng.normal(size=(3, n)) * (rng.random((3, n)) < 0.7)).astype(np.float32)
    blocks, still = (
        rng.normal(size=(3, n_bins)).astype(np.float32),
        rng.normal(size=n_bins).astype(np.float32),
    )
    out = np.full((3, n_bins), np.nan, np.float32)
    sparse.subtract_model(blocks, still, A.indptr, A.pixels, A.weights, c, out)
    assert np.allclose(out, blocks - still - c @ naive.dense(A).T, atol=1e-4)


@given(seeds, shapes, n_components)
def test_components_are_subtracted_from_the_part_of_them_that_lies_in_a_box(seed, shape, n):
    rng = np.random.default_rng(seed)
    A = random_footprints(rng, shape, n)
    which = np.flatnonzero(rng.random(n) < 0.7)
    c = (rng.normal(size=(5, n)) * (rng.random((5, n)) < 0.7)).astype(np.float32)
    slots = rng.permutation(5)[:3].astype(np.int64)
    top, left = int(rng.integers(shape[0])), int(rng.integers(shape[1]))
    bottom, right = int(rng.integers(top, shape[0])) + 1, int(rng.integers(left, shape[1])) + 1
    out = rng.normal(size=(3, bottom - top, right - left)).astype(np.float32)
    images = (c[np.ix_(slots, which)] @ naive.dense(A)[:, which].T).reshape(3, *shape)
    expected = out - images[:, top:bottom, left:right]
    sparse.subtract_from_box(A.indptr, A.pixels, A.weights, which, c, slots, shape[1], top, left, out)
    assert np.allclose(out, expected, atol=1e-4)


@given(seeds, shapes, n_components)
def test_some_rows_are_multiplied_with_every_image(seed, shape, n):
    rng = np.random.default_rng(seed)
    A = random_footprints(rng, shape, n)
    which = np.flatnonzero(rng.random(n) < 0.7)
    x = rng.normal(size=(3, shape[0] * shape[1])).astype(np.float32)
    out = np.full((3, n), 7, np.float32)
    ring.rows_dot_many(A.indptr, A.pixels, A.weights, which, x, out)
    expected = np.full((3, n), 7, np.float32)
    expected[:, which] = x @ naive.dense(A)[:, which]
    assert np.allclose(out, expected, atol=1e-4)
