"""Rates, ages and counts of a session."""

from __future__ import annotations

import numpy as np
import pytest

from streamscope.session.health import HealthMeter
from streamscope.session.machine import State
from streamscope.types import FLAG_LATE, FrameResult, Shift

NOTHING = np.zeros(0, np.float32)
MS = 1_000_000


def result(index, t_capture_ns, flags=0, gap=0):
    ids = np.zeros(0, np.uint32)
    arrays = (NOTHING,) * 5
    return FrameResult(index, 4, t_capture_ns, 0, Shift(1.0, -2.0), ids, *arrays, flags=flags, gap=gap)


def test_before_the_first_frame_everything_is_nought():
    health = HealthMeter(100).now(State.IDLE)
    assert (health.frame, health.fps, health.age_p50_ms, health.age_p99_ms) == (-1, 0.0, 0.0, 0.0)
    assert health.n_frames == 100


def test_rate_and_age_are_those_of_the_last_frames():
    meter = HealthMeter(None, window=50)
    for i in range(200):
        age_ms = 500 if i < 150 else 4
        meter.published(result(i, i * 20 * MS), i * 20 * MS + age_ms * MS)
    health = meter.now(State.RUNNING, queue=3)
    assert health.fps == pytest.approx(50.0)
    assert health.age_p50_ms == pytest.approx(4.0)
    assert health.age_p99_ms == pytest.approx(4.0)
    assert (health.frame, health.queue, health.state, health.epoch) == (199, 3, "running", 4)
    assert health.shift_px == (1.0, -2.0)


def test_one_slow_frame_shows_in_the_tail_only():
    meter = HealthMeter(None, window=100)
    for i in range(100):
        meter.published(result(i, i * 20 * MS), i * 20 * MS + (90 if i == 40 else 2) * MS)
    health = meter.now(State.RUNNING)
    assert health.age_p50_ms == pytest.approx(2.0)
    assert health.age_p99_ms > 2.0


def test_losses_are_counted_wherever_they_happened():
    meter = HealthMeter(None)
    for i, (gap, flags) in enumerate([(0, 0), (3, FLAG_LATE), (0, FLAG_LATE), (1, 0)]):
        meter.published(result(i, i * MS, flags, gap), i * MS)
    health = meter.now(State.RUNNING, dropped=5)
    assert (health.lost, health.late) == (9, 2)


def test_components_are_counted_by_their_status():
    meter = HealthMeter(None)
    meter.adopted(np.array([1, 0, 1, 1], np.uint8))
    health = meter.now(State.RUNNING)
    assert (health.cells, health.provisional) == (3, 1)
