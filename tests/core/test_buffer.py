"""What the learner remembers, frame by frame, before and after the rings wrap."""

import numpy as np
import pytest

from streamscope.core.buffer import CoarseHistory, FrameBuffer, TraceWindow
from streamscope.core.crew import Crew
from tests.core.kernel_inputs import remember

SHAPE, GRID = (4, 6), (2, 3)


def filled_buffer(n_frames, n_slots=5, n_components=2):
    buffer = FrameBuffer(n_slots, SHAPE, GRID)
    buffer.grow(n_components)
    for t in range(n_frames):
        traces = np.float32(t) + np.arange(n_components, dtype=np.float32) / 10
        remember(
            buffer,
            np.full(SHAPE, t + 0.25, np.float32),
            (0, 4, 0, t % 6 + 1),
            100 + t,
            np.full(6, t, np.float32),
            np.full(6, -t, np.float32),
            np.full(6, t + 0.5, np.float32),
            traces + 10,
            traces + 15,
            traces + 20,
            traces + 30,
        )
    return buffer


@pytest.mark.parametrize("n_frames", [0, 1, 4, 5, 6, 9, 10, 23])
def test_frames_are_in_order_before_and_after_wrapping(n_frames):
    buffer = filled_buffer(n_frames)
    expected = np.arange(max(0, n_frames - 5), n_frames)
    slots = buffer.order()
    assert buffer.n == len(slots) == len(expected)
    assert buffer.index[slots].tolist() == (100 + expected).tolist()
    assert np.array_equal(buffer.frames[slots, 0, 0] * buffer.scale, expected + 0.25)
    assert np.array_equal(buffer.blocks[slots, 0], expected)
    assert np.array_equal(buffer.rest[slots, 0], -expected)
    assert np.array_equal(buffer.background[slots, 0], expected + 0.5)
    assert np.array_equal(buffer.rects[slots, 3], expected % 6 + 1)
    assert np.allclose(buffer.y[slots, 1], expected + 20.1)
    assert buffer.index[buffer.order(last=2)].tolist() == (100 + expected[-2:]).tolist()


def test_the_median_of_what_was_not_always_in_view_is_that_of_the_frames_that_showed_it():
    buffer = FrameBuffer(9, (5, 7), GRID)
    nothing, blocks = np.zeros(0, np.float32), np.zeros(6, np.float32)
    for t in range(9):
        image = np.full((5, 7), 50 + t, np.float32)
        image[:, 0] = image[4] = 200  # repeats of the edge: not seen
        field = (0, 4, 1, 7)
        if t in (2, 5, 6):
            image[:], field = 10 * t, (0, 5, 0, 7)
        remember(buffer, image, field, t, blocks, blocks, blocks, *[nothing] * 4)
    median = buffer.median(51, Crew())
    assert np.all(median[:4, 1:] == np.median([50, 51, 20, 53, 54, 50, 60, 57, 58]))
    assert np.all(median[4] == 50)
    assert np.all(median[:, 0] == 50)
    assert median.dtype == np.float32


def test_what_never_was_in_view_has_the_median_of_the_repeated_edge():
    buffer = FrameBuffer(3, (4, 6), GRID)
    nothing, blocks = np.zeros(0, np.float32), np.zeros(6, np.float32)
    for t in range(3):
        image = np.full((4, 6), 30 + t, np.float32)
        remember(buffer, image, (0, 4, 0, 5), t, blocks, blocks, blocks, *[nothing] * 4)
    assert np.all(buffer.median(51, Crew()) == 31)


def test_the_view_is_what_most_frames_showed():
    buffer = FrameBuffer(10, SHAPE, GRID)
    buffer.n_seen = 10
    buffer.rects[:] = (0, 8, 1, 9)
    buffer.rects[3:5] = (2, 8, 1, 7)  # two of ten
    assert buffer.view(0.8) == (0, 1, 8, 9)
    buffer.rects[5] = (1, 6, 1, 9)
    assert buffer.view(0.7) == (0, 1, 8, 9)
    assert buffer.view(1.0) == (2, 1, 6, 7)


def test_the_frames_that_showed_a_box_come_oldest_first():
    buffer = FrameBuffer(4, SHAPE, GRID)
    buffer.n_seen = 6  # the oldest is in slot 2
    buffer.rects[:] = (1, 7, 2, 9)
    buffer.rects[3] = (2, 7, 2, 9)
    assert buffer.showing((1, 2, 7, 9)).tolist() == [2, 0, 1]
    assert buffer.showing((2, 2, 7, 9)).tolist() == [2, 3, 0, 1]
    assert buffer.showing((1, 1, 7, 9)).tolist() == []


def test_the_flat_frames_are_the_frames():
    buffer = filled_buffer(7)
    assert np.shares_memory(buffer.flat, buffer.frames)
    assert np.array_equal(buffer.flat[3].reshape(SHAPE), buffer.frames[3])


def test_buffered_traces_of_kept_components_stay_and_new_ones_are_0():
    buffer = filled_buffer(7, n_components=3)
    stores = ("u", "seen", "y", "c")
    before = [getattr(buffer, name).copy() for name in stores]
    buffer.keep(np.array([2, 0]))
    buffer.grow(3)
    for name, old in zip(stores, before, strict=True):
        now = getattr(buffer, name)
        assert np.array_equal(now, np.column_stack([old[:, 2], old[:, 0], np.zeros(5)]))
        assert now.dtype == np.float32


def filled_history(n_frames, n_slots=6, stride=4):
    history = CoarseHistory(n_slots, 6, stride)
    history.grow(1)
    for t in range(n_frames):
        history.offer(t, np.full(6, t, np.float32), np.array([t + 0.5], np.float32))
    return history


def test_the_history_takes_every_frame_until_it_is_full_and_one_in_a_stride_after():
    assert filled_history(6).index.tolist() == [0, 1, 2, 3, 4, 5]
    history = filled_history(16)
    assert history.n == 6
    assert sorted(history.index.tolist()) == [3, 4, 5, 7, 11, 15]
    assert np.array_equal(history.blocks[:, 0], history.index)
    assert np.array_equal(history.c[:, 0], history.index + 0.5)


def test_a_short_history_says_how_much_it_holds():
    history = filled_history(2)
    assert history.n == 2
    assert history.index.tolist() == [0, 1, -1, -1, -1, -1]


def test_the_history_takes_in_the_past_of_a_new_component_where_it_remembers_the_frame():
    history = filled_history(16)  # frames 3, 4, 5, 7, 11, 15
    history.grow(2)
    history.fill(1, np.array([15, 14, 13, 12, 11, 10]), np.arange(6, dtype=np.float32) + 1)
    filled = dict(zip(history.index.tolist(), history.c[:, 1].tolist(), strict=True))
    assert filled == {3: 0, 4: 0, 5: 0, 7: 0, 11: 5, 15: 1}
    history.keep(np.array([1]))
    assert history.c[:, 0].tolist() == [filled[t] for t in history.index.tolist()]


def window_of(y):
    window = TraceWindow(len(y))
    window.grow(y.shape[1])
    for row in y.astype(np.float32):
        window.push(row, np.maximum(row, 0))
    return window


@pytest.mark.parametrize("n_frames", [3, 8, 11])
def test_the_newest_traces_come_oldest_first(n_frames):
    window = TraceWindow(8)
    window.grow(1)
    for t in range(n_frames):
        window.push(np.array([t], np.float32), np.array([-t], np.float32))
    expected = list(range(n_frames))[-5:]
    assert window.y[window.newest(5), 0].tolist() == expected
    assert window.c[window.newest(5), 0].tolist() == [-t for t in expected]
    assert len(window.newest(100)) == window.n == min(n_frames, 8)


def test_a_restarted_window_holds_the_given_traces_and_nothing_else():
    window = window_of(np.ones((30, 2)))
    y = np.arange(50, dtype=np.float32).reshape(25, 2)
    window.restart(y)
    assert window.n == 25
    assert np.array_equal(window.y[window.newest(25)], y)
    assert np.isnan(window.y[25:]).all()
    window.push(y[0], y[0])
    assert np.array_equal(window.y[25], y[0])


def test_the_baseline_is_the_mode_and_not_moved_by_events():
    rng = np.random.default_rng(1)
    y = rng.normal([5.0, -3.0], 1.0, (400, 2))
    y[::3] += 40  # a third of the frames hold an event
    assert np.allclose(window_of(y).baselines(), [5, -3], atol=0.5)
    assert (np.median(y, axis=0) > [5.4, -2.6]).all()


def test_the_baseline_is_the_mean_of_the_narrowest_interval():
    y = np.r_[np.linspace(0, 1, 7), np.linspace(50, 90, 13)][:, None]  # 35 % of 20 frames
    assert window_of(y).baselines()[0] == pytest.approx(0.5)


def test_a_trace_of_few_frames_has_baseline_0_and_frames_before_birth_do_not_count():
    y = np.full((60, 2), 7.0)
    y[:41, 0], y[:40, 1] = np.nan, np.nan
    assert window_of(y).baselines().tolist() == [0, 7]  # 19 and 20 frames


def test_window_traces_of_kept_components_stay_and_new_ones_are_unknown():
    window = window_of(np.arange(60.0).reshape(20, 3))
    window.keep(np.array([2, 1]))
    window.grow(3)
    assert np.array_equal(window.y[:, :2], np.arange(60.0).reshape(20, 3)[:, [2, 1]])
    assert np.isnan(window.y[:, 2]).all()
    assert (window.c[:, 2] == 0).all()
