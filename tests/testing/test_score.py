"""The score that the demo shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamscope.testing.score import moved, score
from streamscope.testing.synth import PRESETS, Scene
from streamscope.types import Footprints


@pytest.fixture(scope="module")
def truth():
    return Scene(PRESETS["tiny"]).truth


def of(truth, keep):
    columns = [truth.footprints.column(int(k)) for k in keep]
    return Footprints.from_columns(truth.footprints.shape, columns), truth.F[keep]


def test_the_truth_scores_full_marks(truth):
    result = score(truth, truth.footprints, truth.F, truth.shifts)
    assert (result.precision, result.recall, result.f1) == (1.0, 1.0, 1.0)
    assert result.trace_correlation == pytest.approx(1.0)
    assert result.motion_rms_px == 0.0


def test_missed_cells_cost_recall_and_invented_ones_precision(truth):
    targets = np.flatnonzero(truth.target)
    footprints, traces = of(truth, targets[:-2])
    assert score(truth, footprints, traces, truth.shifts).recall == pytest.approx(1 - 2 / len(targets))
    columns = [footprints.column(k) for k in range(footprints.n)]
    corner = (np.arange(3, dtype=np.int32), np.ones(3, np.float32))
    more = Footprints.from_columns(footprints.shape, [*columns, corner])
    result = score(truth, more, np.vstack([traces, traces[:1]]), truth.shifts)
    assert result.precision == pytest.approx(1 - 1 / more.n)


def test_the_same_cell_twice_counts_once(truth):
    target = np.flatnonzero(truth.target)[:1]
    footprints, traces = of(truth, np.repeat(target, 2))
    result = score(truth, footprints, traces, truth.shifts)
    assert result.precision == pytest.approx(0.5)
    assert len(result.pairs) == 1


def test_a_faint_cell_that_is_there_is_no_mistake(truth):
    one = np.flatnonzero(truth.target)[0]
    target = truth.target.copy()
    target[one] = False
    footprints, traces = of(truth, np.array([one]))
    assert score(replace(truth, target=target), footprints, traces, truth.shifts).precision == 1.0


def test_another_reference_frame_changes_nothing(truth):
    elsewhere = moved(truth.footprints, -2.5, 1.25)
    result = score(truth, elsewhere, truth.F, truth.shifts + np.float32([2.5, -1.25]))
    assert result.offset_px == pytest.approx((2.5, -1.25), abs=1e-4)
    assert result.recall > 0.9


def test_moving_by_whole_pixels_keeps_every_weight(truth):
    k = int(np.argmin(np.abs(truth.centres - 48).sum(1)))
    there = moved(truth.footprints, 3.0, -2.0)
    y, x = np.divmod(truth.footprints.column(k)[0], 96)
    inside = (y + 3 < 96) & (x - 2 >= 0)
    np.testing.assert_array_equal(there.column(k)[0], ((y + 3) * 96 + x - 2)[inside])
    np.testing.assert_allclose(there.column(k)[1], truth.footprints.column(k)[1][inside])


def test_a_trace_counts_from_its_first_frame_and_a_hole_after_it_earns_nothing(truth):
    target = np.flatnonzero(truth.target & truth.S[:, 60:].any(1))[:1]
    footprints, traces = of(truth, target)
    late = traces.copy()
    late[:, :50] = np.nan
    first = np.array([50])
    assert score(truth, footprints, late, truth.shifts, first).trace_correlation == pytest.approx(1.0)
    late[:, 120] = np.nan
    assert score(truth, footprints, late, truth.shifts, first).trace_correlation == 0.0


def test_nothing_found_is_a_score_too(truth):
    nothing = Footprints.from_columns(truth.footprints.shape, [])
    result = score(truth, nothing, np.zeros((0, 200), np.float32), truth.shifts)
    assert (result.precision, result.recall, result.f1) == (0.0, 0.0, 0.0)
    assert np.isnan(result.trace_correlation)
