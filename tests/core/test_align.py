"""One still image found in another, and footprints carried along."""

import cv2
import numpy as np
import pytest

from streamscope.core.align import Placement, align, carry
from streamscope.core.model import centre_of, unit

SHAPE = (120, 140)


def tissue(seed=0):
    """Return an image with structure of the size of cells and vessels, larger than the field."""
    rng = np.random.default_rng(seed)
    image = sum(60 * s * cv2.GaussianBlur(rng.normal(size=(200, 220)), (0, 0), s) for s in (2.5, 6.0))
    return np.asarray(image + 100, np.float32)


def view(image, placement=Placement(0, 0, 0, 1), noise=2.0, seed=1):
    """Return the field at the middle of `image`, its content moved as `placement` says."""
    matrix = placement.matrix(image.shape)
    moved = cv2.warpAffine(image, matrix, image.shape[::-1], flags=cv2.INTER_CUBIC)
    seen = moved[40 : 40 + SHAPE[0], 40 : 40 + SHAPE[1]]
    return np.asarray(seen + np.random.default_rng(seed).normal(0, noise, SHAPE), np.float32)


@pytest.mark.parametrize(("dy", "dx", "angle"), [(0, 0, 0), (5, -3, 1.5), (-14.3, 20.6, -3.2)])
def test_a_shift_and_a_turn_are_found_to_a_fraction_of_a_pixel(dy, dx, angle):
    image = tissue()
    found = align(view(image), view(image, Placement(dy, dx, angle, 1), seed=2), 8.0)
    assert found.angle_deg == pytest.approx(angle, abs=0.15)
    assert (found.dy, found.dx) == pytest.approx((dy, dx), abs=0.2)
    assert found.agreement > 0.9


def test_another_field_does_not_agree():
    found = align(view(tissue(0)), view(tissue(7)), 8.0)
    assert found.agreement < 0.4


def test_black_images_do_not_agree():
    black = np.zeros(SHAPE, np.float32)
    assert align(black, black, 8.0).agreement < 0.1


def test_a_footprint_goes_where_its_place_in_the_image_goes():
    rows, cols = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    spot = np.exp(-((rows - 30) ** 2 + (cols - 50) ** 2) / 8)
    pixels = np.flatnonzero(spot > 0.01)
    placement = Placement(4.0, -6.0, 5.0, 1.0)
    column, part = carry(unit(pixels, spot.ravel()[pixels]), placement, SHAPE, 8.0)
    x, y = placement.matrix(SHAPE) @ (50, 30, 1)
    assert centre_of(column, SHAPE[1]) == pytest.approx((y, x), abs=0.05)
    assert np.linalg.norm(column[1]) == pytest.approx(1, abs=1e-5)
    assert part == pytest.approx(1)


def test_a_footprint_that_leaves_the_field_says_how_much_of_it_is_left():
    rows, cols = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    spot = np.exp(-((rows - 30) ** 2 + (cols - 12) ** 2) / 8)
    pixels = np.flatnonzero(spot > 0.01)
    column = unit(pixels, spot.ravel()[pixels])
    half, part = carry(column, Placement(0, -12.5, 0, 1), SHAPE, 8.0)
    assert part == pytest.approx(0.5, abs=0.08)
    assert half[0].min() >= 0
    assert (half[0] % SHAPE[1] < 8).all()
    assert carry(column, Placement(0, -40, 0, 1), SHAPE, 8.0) == (None, 0.0)
