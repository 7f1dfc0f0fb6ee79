"""Steps of the light, on residuals that are made of the structure of the static background."""

import numpy as np
import pytest

from streamscope.core.light import Light, light_change

N = 4000


@pytest.fixture
def structure():
    return np.random.default_rng(1).normal(0, 1, N).astype(np.float32)


def residual(structure, change, seed=2):
    noise = np.random.default_rng(seed).normal(0, 0.3, len(structure))
    return (change * structure + noise).astype(np.float32)


@pytest.mark.parametrize("change", [-0.4, 0.0, 0.1, 0.8])
def test_the_change_is_how_much_of_the_structure_is_in_the_residual(structure, change):
    assert light_change(residual(structure, change), structure) == pytest.approx(change, abs=0.02)


def test_cells_that_are_not_known_do_not_count(structure):
    bright = residual(structure, 0.1)
    bright[:400] += 20 * np.abs(structure[:400])
    assert light_change(bright, structure) == pytest.approx(0.1, abs=0.04)


def test_a_smooth_background_tells_nothing():
    assert light_change(np.ones(9, np.float32), np.zeros(9, np.float32)) == 0


B0 = 20.0


def told(light, structure, fine, whole, seed=3):
    """Return the step that is told when fine structure and the whole field are brighter by these parts."""
    background = np.full(N, whole * B0, np.float32)
    smooth = np.full(N, B0, np.float32)
    return light.step(residual(structure, fine, seed) + background, background, smooth + structure, smooth)


def test_a_step_is_told_once(structure):
    light = Light()
    assert told(light, structure, 0.05, 0.05) == 0
    assert told(light, structure, 0.65, 0.7) == pytest.approx(0.65, abs=0.02)
    assert told(light, structure, 0.0, 0.05) == 0  # the background has been put right
    assert told(light, structure, -0.3, -0.3) == pytest.approx(-0.3, abs=0.02)


def test_slow_changes_are_no_step(structure):
    light = Light()
    assert [told(light, structure, g, g) for g in np.arange(0, 1, 0.1)] == [0] * 10


@pytest.mark.parametrize(("fine", "whole"), [(0.6, 0.0), (0.0, 0.6), (0.6, -0.6)])
def test_structure_and_the_whole_field_must_jump_together(structure, fine, whole):
    light = Light()
    told(light, structure, 0.0, 0.0)
    assert told(light, structure, fine, whole) == 0


def test_no_step_is_believed_to_be_more_than_twofold(structure):
    for change, believed in ((5.0, 1.0), (-0.95, -0.5)):
        light = Light()
        told(light, structure, 0.0, 0.0)
        assert told(light, structure, change, change) == pytest.approx(believed)
