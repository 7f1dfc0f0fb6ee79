"""The rules by which two components are one cell."""

import numpy as np
import pytest

from streamscope.config import EngineConfig
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


def pairs_of(model, *traces, longer=None, alone=None):
    """Return (weaker, stronger, remainder) of the pairs, given traces (K, n) and what each showed alone."""
    recent = np.array(traces, np.float32).T
    longer = recent if longer is None else np.array(longer, np.float32).T
    alone = np.zeros((model.n, model.n)) if alone is None else np.array(alone, float)
    return [(p.weaker, p.stronger, p.remainder) for p in duplicates(model, recent, longer, alone, 8.0)]


def mixture(r):
    """Return a trace that correlates with ONE by about `r`."""
    u, v = ((x - x.mean()) / x.std() for x in (ONE, OTHER))
    v = v - (u @ v) / (u @ u) * u
    v /= v.std()
    return r * u + np.sqrt(1 - r**2) * v


FAR = [(24.0, 20.0, 2.0), (24.0, 30.0, 2.0)]  # 1.25 diameters apart
CRESCENT = [(24.0, 20.0, 2.0), (24.0, 27.0, 2.0)]  # 0.88 diameters apart, overlap 0.05
BESIDE = [(24.0, 20.0, 2.0), (24.0, 23.8, 2.0)]  # 0.48 diameters apart, overlap 0.4
LARGE = [(24.0, 20.0, 5.0), (24.0, 25.2, 5.0)]  # 0.65 diameters apart, overlap 0.76
ON_TOP = [(24.0, 20.0, 2.0), (24.0, 21.5, 2.0)]  # 0.19 diameters apart, overlap 0.87


@pytest.mark.parametrize(
    ("cells", "r", "pairs"),
    [
        (LARGE, 0.83, [(0, 1, False)]),  # overlap and activity
        (LARGE, 0.75, []),
        (BESIDE, 0.88, [(0, 1, False)]),  # near, and nearly the same activity
        (BESIDE, 0.82, []),
        (ON_TOP, 0.0, [(0, 1, False)]),  # on top of each other, whatever they do
        (CRESCENT, 0.9, [(0, 1, True)]),  # beside each other, one always with the other
        (CRESCENT, 0.8, []),
        (FAR, 1.0, []),  # neither overlap nor near
    ],
)
def test_two_components_are_one_cell_by_overlap_and_activity_by_nearness_or_by_place(cells, r, pairs):
    assert pairs_of(model_of(*cells), ONE, mixture(r)) == pairs


@pytest.mark.parametrize(("cells", "r"), [(LARGE, 0.9), (BESIDE, 0.95), (ON_TOP, 0.0)])
def test_two_that_both_had_events_without_the_other_are_two_cells(cells, r):
    model, traces = model_of(*cells), (ONE, mixture(r))
    assert pairs_of(model, *traces, alone=[[0, 150], [150, 0]]) == []
    assert len(pairs_of(model, *traces, alone=[[0, 150], [50, 0]])) == 1
    assert len(pairs_of(model, *traces, alone=[[0, 50], [150, 0]])) == 1


def test_what_follows_a_brighter_neighbour_is_its_remainder_unless_it_had_events_without_it():
    model, traces = model_of(*CRESCENT, peaks=(10, 40)), (ONE, ONE)
    assert pairs_of(model, *traces, alone=[[0, 20], [5000, 0]]) == [(0, 1, True)]
    assert pairs_of(model, *traces, alone=[[0, 120], [5000, 0]]) == []
    assert pairs_of(model, *traces, longer=(ONE, mixture(0.5))) == []  # over a minute it does not


def test_the_stronger_one_of_a_pair_stays():
    assert pairs_of(model_of(*ON_TOP, peaks=(30, 5)), ONE, ONE) == [(1, 0, False)]
    assert pairs_of(model_of(*ON_TOP, peaks=(5, 30)), ONE, ONE) == [(0, 1, False)]
    assert pairs_of(model_of(*ON_TOP, peaks=(5, 5)), ONE, ONE) == [(1, 0, False)]


def test_no_component_is_in_two_pairs():
    cells = [(24.0, 20.0, 2.0), (24.0, 20.5, 2.0), (24.0, 21.0, 2.0)]
    assert len(pairs_of(model_of(*cells), ONE, ONE, ONE)) == 1


def test_without_components_there_are_no_pairs():
    assert duplicates(model_of(), np.zeros((10, 0)), np.zeros((10, 0)), np.zeros((0, 0)), 8.0) == []


def test_agreement_is_pearsons_r_and_0_with_a_silent_trace():
    assert agreement(ONE, mixture(0.4)) == pytest.approx(0.4, abs=1e-6)
    assert agreement(ONE, -2 * ONE) == pytest.approx(-1)
    assert agreement(ONE, np.zeros_like(ONE)) == 0
