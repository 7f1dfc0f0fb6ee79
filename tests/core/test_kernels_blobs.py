"""What a footprint looks like, against plain numpy and scipy."""

import numpy as np
import pytest
from hypothesis import given

from streamscope.core.kernels import blobs
from streamscope.testing import naive
from tests.core.kernel_inputs import few, seeds, shapes


def random_image(seed, shape):
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    row, col = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
    return (image + 8 * np.exp(-((y - row) ** 2 + (x - col) ** 2) / 6)).astype(np.float32)


@few
@given(seeds, shapes)
def test_an_image_of_some_pixels_holds_their_values_and_zeros(seed, shape):
    rng, width = np.random.default_rng(seed), shape[1] + 4
    frame = np.zeros((shape[0] + 3, width), np.float32)
    frame[2 : 2 + shape[0], 3 : 3 + shape[1]] = rng.choice([0, 1, 2], shape)
    frame[2, 3] = 5
    pixels = np.flatnonzero(frame).astype(np.int32)
    top, left, bottom, right = blobs.extent(pixels, width)
    rows, cols = np.nonzero(frame)
    assert (top, left, bottom, right) == (rows.min(), cols.min(), rows.max() + 1, cols.max() + 1)
    image = np.full((bottom - top, right - left), np.nan, np.float32)
    blobs.fill_image(pixels, frame.ravel()[pixels], width, top, left, image)
    assert np.array_equal(image, frame[top:bottom, left:right])


@few
@given(seeds, shapes)
def test_the_centre_and_the_best_gaussian_are_the_plain_ones(seed, shape):
    shape_image, image = random_image(seed, shape), np.maximum(random_image(seed + 1, shape), 0)
    centre = naive.centre_above(image, 0.3)
    assert blobs.centre_above(image, np.float32(0.3)) == pytest.approx(centre, abs=1e-4)
    sigmas = np.geomspace(0.5, 5, 6)
    r, which = blobs.best_gaussian(shape_image, image, 4.5, sigmas)
    plain = naive.gaussian_agreement(shape_image, blobs.centre_above(image, np.float32(0.3)), 4.5, sigmas)
    assert r == pytest.approx(plain.max(), abs=1e-5)
    assert plain[which] == pytest.approx(plain.max(), abs=1e-5)


def test_a_round_gaussian_agrees_with_itself():
    y, x = np.mgrid[:21, :23]
    image = np.exp(-((y - 9.7) ** 2 + (x - 11.2) ** 2) / (2 * 2.0**2)).astype(np.float32)
    r, which = blobs.best_gaussian(image, image, 7.0, np.array([1.0, 2.0, 3.0]))
    assert which == 1
    assert r > 0.999


def test_what_is_flat_agrees_with_nothing():
    image = np.ones((9, 9), np.float32)
    assert blobs.best_gaussian(image, image, 3.0, np.array([1.0]))[0] == pytest.approx(0, abs=1e-6)


@few
@given(seeds, shapes)
def test_the_part_that_is_kept_hangs_together_with_the_place_asked_for(seed, shape):
    smooth, image = random_image(seed, shape), random_image(seed + 1, shape)
    y, x = np.unravel_index(int(np.argmax(smooth)), shape)
    expected = naive.connected_part(smooth, image, 0.3, (y, x))
    kept = image.copy()
    blobs.keep_part(smooth.copy(), kept, 0.3, int(y), int(x))
    assert np.array_equal(kept, expected)


@few
@given(seeds, shapes)
def test_the_peak_is_the_largest_nearby_or_else_anywhere(seed, shape):
    image = np.maximum(random_image(seed, shape), 0)
    y, x = 0.4 * shape[0], 0.7 * shape[1]
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    for reach in (0.01, 2.0):
        near = np.hypot(rows - y, cols - x) <= reach
        among = np.where(near, image, -1) if near.any() else image
        assert blobs.peak_near(image, y, x, reach) == np.unravel_index(int(np.argmax(among)), shape)


@few
@given(seeds, shapes)
def test_the_level_of_the_rim_is_its_median(seed, shape):
    values = random_image(seed, shape).ravel()
    pixels, width = np.arange(len(values), dtype=np.int32), shape[1]
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    for inner in (2.0, 30.0):
        rim = (np.hypot(rows - 3.2, cols - 4.1) > inner).ravel()
        expected = np.median(values[rim]) if rim.any() else 0
        assert blobs.rim_level(pixels, width, 3.2, 4.1, inner, values) == pytest.approx(expected, abs=1e-6)
