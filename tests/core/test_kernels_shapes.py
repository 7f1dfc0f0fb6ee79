"""Kernels of the footprints' refinement, against plain numpy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamscope.core.background import apply_ring, by_offset
from streamscope.core.kernels import shapes as kernels
from streamscope.testing import naive
from tests.core.kernel_inputs import Stored, few, random_footprints, seeds, shapes, steps


@few
@given(seeds, shapes, steps, st.integers(0, 4))
def test_accumulated_sums_are_those_of_background_free_frames(seed, shape, step, n):
    rng = np.random.default_rng(seed)
    stored, masks = Stored(rng, shape, step), random_footprints(rng, shape, n)
    slots = rng.permutation(4)[: rng.integers(0, 5)]
    weight = (rng.random((len(slots), n)) * (rng.random((len(slots), n)) < 0.6)).astype(np.float32)
    background = np.zeros_like(stored.rest)
    apply_ring(by_offset(stored.W), stored.geometry, stored.rest, background)
    before = rng.random(len(masks.pixels)).astype(np.float32)
    sums = before.copy()
    kernels.accumulate(
        stored.frames.reshape(4, -1),
        stored.rects,
        stored.scale,
        stored.b0.reshape(-1),
        shape[1],
        background[slots].reshape(-1, *stored.geometry.grid),
        0,
        0,
        stored.geometry.grid,
        step,
        slots,
        masks.indptr,
        masks.pixels,
        weight,
        sums,
    )
    whole = stored.residuals().reshape(4, -1)
    CY = weight.T @ whole[slots]
    expected = [CY[k, masks.column(k)[0]] for k in range(n)]
    assert np.allclose(sums - before, np.concatenate([*expected, []]), atol=2e-2)


@few
@given(seeds, shapes)
def test_an_overlap_is_subtracted_where_both_footprints_are(seed, shape):
    rng = np.random.default_rng(seed)
    A, factor = random_footprints(rng, shape, 2), rng.normal()
    (pixels, _), other = A.column(0), A.column(1)
    out = rng.random(len(pixels)).astype(np.float32)
    scratch = np.full(shape[0] * shape[1], -1, np.int32)
    expected = out - factor * naive.dense(A)[pixels, 1]
    kernels.subtract_overlap(pixels, scratch, *other, np.float32(factor), out)
    assert np.allclose(out, expected, atol=1e-5)
    assert (scratch == -1).all()
