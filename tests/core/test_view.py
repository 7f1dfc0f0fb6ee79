"""The numbers of a preview: sharpness is that of the tissue, whatever light and noise are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from streamscope.core.view import view_of

RNG = np.random.default_rng(5)
SCENE = cv2.GaussianBlur(RNG.normal(size=(200, 240)), (0, 0), 2.0)
SCENE = 80 + 12 * SCENE / SCENE.std()


def picture(blur_px=0.0, light=1.0, noise=2.0):
    scene = cv2.GaussianBlur(SCENE, (0, 0), blur_px) if blur_px else SCENE
    return np.clip(light * scene + RNG.normal(0, noise, SCENE.shape), 0, 255).astype(np.uint8)


def sharpness(**how):
    return view_of(picture(**how), picture(**how)).sharpness


def test_sharpness_falls_with_every_step_out_of_focus():
    values = [sharpness(blur_px=blur) for blur in (0, 1, 2, 3, 5)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 1.5 * values[2] > 3 * values[4]


@pytest.mark.parametrize("how", [{"noise": 20.0}, {"noise": 0.0}, {"light": 0.4}, {"light": 2.0}])
def test_neither_noise_nor_light_make_a_picture_seem_sharper(how):
    assert sharpness(**how) == pytest.approx(sharpness(), rel=0.06)


def test_noise_alone_has_no_sharpness():
    flat = [np.clip(RNG.normal(80, 10, SCENE.shape), 0, 255).astype(np.uint8) for _ in range(2)]
    assert view_of(*flat).sharpness < 0.1 * sharpness()


def test_brightness_is_counted_in_levels_of_the_camera():
    image = np.full((100, 100), 40, np.uint8)
    image[:, :20], image[:, 20:30] = 255, 0
    view = view_of(image, image)
    assert (view.saturated, view.dark, view.mean) == (20.0, 10.0, pytest.approx(40 * 0.7 + 51))
    assert (view.low, view.high) == (0, 255)
    assert view.histogram.sum() == 2500
    assert (view.histogram[0], view.histogram[10], view.histogram[63]) == (250, 1750, 500)
    deep = view_of(image.astype(np.uint16) * 16 + 15, image.astype(np.uint16) * 16, 4095)
    assert (deep.saturated, deep.histogram[63]) == (20.0, 500)


def test_a_black_picture_is_no_trouble():
    black = np.zeros((30, 20), np.uint8)
    view = view_of(black, black)
    assert (view.sharpness, view.mean, view.dark) == (0, 0, 100)
