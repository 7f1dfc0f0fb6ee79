"""Frames that are missing: counted exactly, through wraps, resets, late reads and late frames."""

from __future__ import annotations

import numpy as np
import pytest

from streamscope_drivers.miniscope.losses import Losses

PERIOD_S = 0.05


def run(losses, frames):
    """Feed (counter, periods since the start); return what was missing before each."""
    return [losses.before(counter, 10**9 + round(at * PERIOD_S * 1e9)) for counter, at in frames]


def counts(missing):
    return [m.n for m in missing]


@pytest.mark.parametrize("exact", [True, False])
def test_a_counter_that_wraps_loses_nothing(exact):
    losses = Losses(PERIOD_S, 16, exact_counter=exact)
    found = run(losses, [(k & 0xFFFF, k) for k in range(65500, 65600)])
    assert counts(found) == [0] * 100
    assert not any(m.reset or m.duplicate for m in found)


def test_an_exact_counter_says_a_loss_at_once_and_a_duplicate_too():
    losses = Losses(PERIOD_S, 32, exact_counter=True)
    found = run(losses, [(0, 0), (1, 1), (4, 4), (5, 5), (5, 5.1), (6, 6), (9, 9)])
    assert counts(found) == [0, 0, 2, 0, 0, 0, 2]
    assert [m.duplicate for m in found] == [False] * 4 + [True, False, False]
    assert not any(m.inferred for m in found)


def test_a_counter_that_is_read_too_late_once_is_no_loss_but_a_lasting_offset_is():
    losses = Losses(PERIOD_S, 16)
    counters = [0, 1, 3, 3, 4, 5, 7, 8, 9, 10, 11, 12]
    found = run(losses, list(zip(counters, range(12), strict=True)))
    assert counts(found) == [0] * 10 + [1, 0]


def test_the_stamps_of_the_kernel_confirm_a_loss_at_once():
    losses = Losses(PERIOD_S, 16, exact_clock=True)
    found = run(losses, [(0, 0), (1, 1), (3, 2), (3, 3), (6, 6), (7, 7)])
    assert counts(found) == [0, 0, 0, 0, 2, 0]
    assert not any(m.inferred for m in found)


def test_frames_that_were_taken_late_have_a_counter_ahead_that_comes_back():
    losses = Losses(PERIOD_S, 16)
    # The host slept for three frames: it finds them in the buffers, and reads the newest counter each time.
    frames = [(0, 0), (1, 1), (5, 5.2), (5, 5.21), (5, 5.22), (5, 5.23), (6, 6), (7, 7), (8, 8)]
    assert counts(run(losses, frames)) == [0] * 9


def test_a_host_that_is_always_late_loses_nothing_if_the_kernel_stamps_frames():
    losses = Losses(PERIOD_S, 16, exact_clock=True)
    period_ns = round(PERIOD_S * 1e9)
    behind = [0] * 10 + [2] * 20 + [1] * 10 + [3] * 10 + [0] * 5  # frames in the buffers when one is taken
    found = [
        losses.before(k + n, 10**9 + k * period_ns, 10**9 + k * period_ns + n * period_ns + period_ns // 3)
        for k, n in enumerate(behind)
    ]
    assert counts(found) == [0] * len(behind)
    assert not any(m.duplicate or m.reset for m in found)


@pytest.mark.parametrize("exact", [True, False])
def test_a_counter_that_begins_anew_is_a_reset_and_what_was_missed_is_inferred_from_the_clock(exact):
    losses = Losses(PERIOD_S, 16, exact_counter=exact)
    found = run(losses, [(60000 + k, k) for k in range(5)] + [(0, 9), (1, 10), (2, 11)])
    assert counts(found) == [0] * 5 + [4, 0, 0]
    assert [m.reset for m in found] == [False] * 5 + [True, False, False]
    assert found[5].inferred


def test_a_host_that_slept_longer_than_buffers_hold_counts_what_was_lost_and_sees_no_reset():
    losses = Losses(PERIOD_S, 16)
    # Frames 2 to 5 waited in the buffers, 6 to 60 were lost; the counter is always the newest.
    late = [(0, 0), (1, 1), *[(61, 61 + 0.01 * k) for k in range(4)]]
    found = run(losses, [*late, *[(k, k) for k in range(61, 75)]])
    assert sum(counts(found)) == 55
    assert not any(m.reset for m in found)


def test_a_read_that_failed_hides_no_loss():
    losses = Losses(PERIOD_S, 16, exact_counter=True)
    assert counts(run(losses, [(0, 0), (None, 1), (2, 2), (None, 5), (6, 6)])) == [0, 0, 0, 0, 2]


def test_a_camera_that_stood_still_without_losing_a_frame_is_missing_time():
    losses = Losses(PERIOD_S, 16, exact_counter=True)
    found = run(losses, [(0, 0), (1, 1), (2, 42), (3, 43)])
    assert counts(found) == [0, 0, 40, 0]
    assert found[2].inferred


def test_without_a_counter_gaps_are_inferred_from_the_clock_and_marked():
    losses = Losses(PERIOD_S, exact_clock=True)
    found = run(losses, [(None, at) for at in (0, 1, 2, 5, 6, 7, 8, 10, 11)])
    assert counts(found) == [0, 0, 0, 2, 0, 0, 0, 1, 0]
    assert [m.inferred for m in found] == [m.n > 0 for m in found]


def test_without_counter_and_kernel_stamps_a_late_frame_is_no_loss_but_a_lasting_one_is():
    losses = Losses(PERIOD_S)
    late = [0, 1, 2, 4.4, 4.5, 5, 6, 7]
    assert counts(run(losses, [(None, at) for at in late])) == [0] * 8
    found = run(Losses(PERIOD_S), [(None, at) for at in (0, 1, 2, 5, 6, 7, 8, 9)])
    assert sum(counts(found)) == 2


def test_jitter_and_a_rate_that_is_a_little_off_are_no_losses():
    rng = np.random.default_rng(3)
    at = np.arange(5000) * 1.004 + rng.normal(0, 0.15, 5000)
    losses = Losses(PERIOD_S)
    assert sum(counts(run(losses, [(None, t) for t in at]))) == 0


def test_random_losses_are_all_found():
    rng = np.random.default_rng(4)
    kept = np.flatnonzero(rng.random(20000) > 0.02)
    exact = counts(run(Losses(PERIOD_S, 16, exact_counter=True), [(k & 0xFFFF, k) for k in kept]))
    np.testing.assert_array_equal(exact[1:], np.diff(kept) - 1)
    late = counts(run(Losses(PERIOD_S, 16), [(k & 0xFFFF, k) for k in kept]))
    assert abs(sum(late) - sum(exact)) <= 3  # those of the last frames are not said yet
