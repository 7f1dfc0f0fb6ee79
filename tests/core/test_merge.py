"""The rules by which two components are one cell."""

import numpy as np
import pytest

from streamscope.config import EngineConfig
from streamscope.core.buffer import TraceWindow
from streamscope.core.merge import agreement, duplicates
from streamscope.core.model import Model, unit

SHAPE = (48, 56)
CONFIG = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.5)
RNG = np.random.default_rng(1)
ONE, OTHER = RNG.random((2, 60))


def model_of(*cells, peaks=None):
    """Return a model of round cells (y, x, sd)."""
    model = Model(CONFIG, SHAPE)
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for k, (y, x, sd) in enumerate(cells):
        footprint = np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / (2 * sd**2))
        pixels = np.flatnonzero(footprint > 0.02).astype(np.int32)
        column = unit(pixels, footprint.ravel()[pixels].astype(np.float32))
        model.add(column, (y, x), 0, 1.0, peaks[k] if peaks else 10.0 + k)
    model.rebuild()
    return model


def window_of(*traces):
    window = TraceWindow(100)
    window.grow(len(traces))
    for values in np.array(traces, np.float32).T:
        window.push(values, values)
    return window


def mixture(r):
    """Return a trace that correlates with ONE by about `r`."""
    u, v = ((x - x.mean()) / x.std() for x in (ONE, OTHER))
    v = v - (u @ v) / (u @ u) * u
    v /= v.std()
    return r * u + np.sqrt(1 - r**2) * v


FAR = [(24.0, 20.0, 2.0), (24.0, 27.0, 2.0)]  # overlap 0.05
BESIDE = [(24.0, 20.0, 2.0), (24.0, 24.0, 2.0)]  # 0.5 diameters apart, overlap 0.37
LARGE = [(24.0, 20.0, 5.0), (24.0, 25.2, 5.0)]  # 0.65 diameters apart, overlap 0.76
ON_TOP = [(24.0, 20.0, 2.0), (24.0, 21.5, 2.0)]  # 0.19 diameters apart, overlap 0.87


@pytest.mark.parametrize(
    ("cells", "r", "one"),
    [
        (LARGE, 0.83, True),  # overlap and activity
        (LARGE, 0.75, False),
        (BESIDE, 0.88, True),  # near, and nearly the same activity
        (BESIDE, 0.82, False),
        (ON_TOP, 0.0, True),  # on top of each other, whatever they do
        (FAR, 1.0, False),  # neither overlap nor near
    ],
)
def test_two_components_are_one_cell_by_overlap_and_activity_by_nearness_or_by_place(cells, r, one):
    pairs = duplicates(model_of(*cells), window_of(ONE, mixture(r)), 8.0)
    assert pairs == ([(0, 1)] if one else [])


def test_the_stronger_one_of_a_pair_stays():
    window = window_of(ONE, ONE)
    assert duplicates(model_of(*ON_TOP, peaks=(30, 5)), window, 8.0) == [(1, 0)]
    assert duplicates(model_of(*ON_TOP, peaks=(5, 30)), window, 8.0) == [(0, 1)]


def test_no_component_is_in_two_pairs():
    cells = [(24.0, 20.0, 2.0), (24.0, 20.5, 2.0), (24.0, 21.0, 2.0)]
    assert duplicates(model_of(*cells), window_of(ONE, ONE, ONE), 8.0) == [(0, 1)]


def test_without_components_there_are_no_pairs():
    assert duplicates(model_of(), TraceWindow(10), 8.0) == []


def test_agreement_is_pearsons_r_and_0_with_a_silent_trace():
    assert agreement(ONE, mixture(0.4)) == pytest.approx(0.4, abs=1e-6)
    assert agreement(ONE, -2 * ONE) == pytest.approx(-1)
    assert agreement(ONE, np.zeros_like(ONE)) == 0
