"""Kernels of the detection score, against plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamscope.core.kernels import score
from streamscope.testing import naive
from tests.core.kernel_inputs import few, random_field, seeds, shapes


@pytest.mark.parametrize("shape", [(1, 1), (4, 5), (6, 3)])
@pytest.mark.parametrize("decay", [0.5, 0.85])
def test_the_score_of_every_frame_equals_the_plain_one(shape, decay):
    rng = np.random.default_rng(1)
    n_frames = 60
    residual = rng.normal(0, 1, (n_frames, *shape)).astype(np.float32)
    residual[30:34, 0, 0] += 12
    fields = [
        random_field(rng, shape) if t % 3 == 0 else np.array([0, shape[0], 0, shape[1]])
        for t in range(n_frames)
    ]
    inside = np.array([naive.in_field(shape, field).ravel() for field in fields])
    rate = 1 / np.arange(1, n_frames + 1)
    quantile_rate = np.maximum(0.02, 2 / np.arange(1, n_frames + 1))
    expected, shares = naive.score(residual.reshape(n_frames, -1), inside, decay, rate, quantile_rate)
    planes = np.zeros((7, *shape), np.float32)
    for t in range(n_frames):
        z = np.full(shape, -np.inf, np.float32)
        update(
            residual[t : t + 1],
            planes,
            fields[t : t + 1],
            decay,
            rate[t : t + 1],
            quantile_rate[t : t + 1],
            z,
        )
        assert np.allclose(z.ravel(), expected[t], rtol=5e-3, atol=5e-3)
        assert np.allclose(planes[6].ravel(), shares[t], atol=1e-5)


def update(residuals, planes, fields, decay, rates, quantile_rates, z, counts=None, rows=None):
    """Let frames into the score with the dtypes of the detector."""
    n = len(residuals)
    score.update_score(
        np.ascontiguousarray(residuals, np.float32),
        planes,
        np.array(fields, np.int64),
        np.float32(decay),
        np.asarray(rates, np.float32),
        np.asarray(quantile_rates, np.float32),
        np.ones(n, bool) if counts is None else counts,
        *(rows or (0, z.shape[0])),
        z,
    )


def test_many_frames_in_parts_of_the_rows_give_what_each_frame_by_itself_gives():
    rng, shape, n = np.random.default_rng(5), (7, 6), 12
    residual, rate = rng.normal(0, 1, (n, *shape)), 1 / np.arange(1, n + 1)
    fields = [random_field(rng, shape) for _ in range(n)]
    counts = np.arange(n) >= 4
    one, planes = np.zeros(shape, np.float32), np.zeros((7, *shape), np.float32)
    for t in range(n):
        update(
            residual[t : t + 1],
            planes,
            fields[t : t + 1],
            0.8,
            rate[t : t + 1],
            rate[t : t + 1],
            one,
            counts[t : t + 1],
        )
    many, parts = np.zeros(shape, np.float32), np.zeros((7, *shape), np.float32)
    for rows in ((4, 7), (0, 4)):
        update(residual, parts, fields, 0.8, rate, rate, many, counts, rows)
    assert np.array_equal(parts, planes)
    assert np.array_equal(many, one)
    assert many.max() > 0


def test_the_largest_score_of_a_block_is_kept():
    z, planes = np.full((2, 2), 50, np.float32), np.zeros((7, 2, 2), np.float32)
    z[1] = -50
    update(np.ones((1, 2, 2)), planes, [[0, 2, 0, 2]], 0.8, [0.1], [0.1], z)
    assert (z[0] == 50).all()
    assert (z[1] > 0).all()


@few
@given(seeds, shapes, st.integers(1, 3), st.sampled_from([4, 40]))
def test_maxima_are_the_plain_ones_in_row_order(seed, shape, radius, levels):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, levels, shape).astype(np.float32)  # few levels: many ties
    share = rng.choice([0.5, 1.0], shape).astype(np.float32)
    threshold, least = np.float32(levels / 3), np.float32(0.8)
    out = np.zeros((200, 2), np.int64)
    n = score.local_maxima(z, share, threshold, least, radius, out)
    assert [tuple(site) for site in out[:n]] == naive.local_maxima(z, share, threshold, least, radius)
    few = np.full((n // 2, 2), -1, np.int64)
    assert score.local_maxima(z, share, threshold, least, radius, few) == n // 2
    assert np.array_equal(few, out[: n // 2])
