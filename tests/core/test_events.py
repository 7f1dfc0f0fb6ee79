import numpy as np
import pytest

from streamscope.core.deconvolve import Deconvolver, deconvolve
from streamscope.core.events import EventWindow, find_events
from streamscope.core.response import Response
from streamscope.testing import naive
from streamscope.types import Kinetics

FPS = 20.0
KINETICS = Kinetics(0.6, 0.06)
RESPONSE = Response.make(FPS, KINETICS)


def simulate(rng, n_cells=4, length=400, response=RESPONSE, noise=1.0):
    s = (rng.random((n_cells, length)) < 0.04) * (15 + 10 * rng.random((n_cells, length)))
    c = np.stack([np.convolve(row, response.taps)[:length] for row in s])
    return (c + noise * rng.standard_normal(c.shape)).astype(np.float32), s


def r(a, b):
    """Return the correlation of (K, T) events in bins of two frames, 100 ms."""
    a, b = (np.asarray(x)[:, : np.shape(x)[1] // 2 * 2].reshape(len(x), -1, 2).sum(2) for x in (a, b))
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_the_response_is_the_mean_over_the_frame_of_the_event_and_that_of_the_exposure():
    rng = np.random.default_rng(0)
    when, seen = rng.random(400_000), rng.random(400_000)
    late = (np.arange(6)[:, None] + seen - when) / FPS
    curve = np.where(late > 0, np.exp(-late / 0.6) - np.exp(-late / 0.06), 0).mean(1)
    assert np.allclose(RESPONSE.taps[:6], curve / curve.max(), atol=0.005)
    lags = np.arange(1, len(RESPONSE.taps))
    slow, log_slow, fast, log_fast = RESPONSE.exponentials
    assert np.allclose(RESPONSE.taps[1:], slow * np.exp(log_slow * lags) - fast * np.exp(log_fast * lags))
    assert RESPONSE.taps.max() == 1


@pytest.mark.parametrize("elapsed", [[1], [1, 1, 1, 4, 1, 15]])
def test_events_equal_the_naive_ones_after_every_frame(elapsed):
    rng = np.random.default_rng(1)
    y, _ = simulate(rng, 2, 50)
    y[1, [0, 20, 21]] = np.nan
    steps = np.resize(elapsed, 50)
    times = np.cumsum(steps)
    window = EventWindow(RESPONSE, 1.5, lag=2, size=10)
    window.remap(np.full(2, -1))
    for t in range(50):
        s_lag = window.push(y[:, t].copy(), int(steps[t]))
        if t >= 2 and (t % 7 == 0 or t == 49):
            expected = [naive.events(row[: t + 1], times, RESPONSE, 1.5, 10, 2) for row in y]
            assert np.allclose(s_lag, [s[t - 2] for s in expected], atol=1e-3)
            assert np.allclose(window.tail(), np.array(expected)[:, -2:].T, atol=1e-3)
    whole, _ = find_events(y, RESPONSE, 1.5, steps.astype(np.int32), size=10)
    assert np.allclose(whole, expected, atol=1e-3)


def test_whole_traces_find_the_events_that_made_them_and_leave_the_noise():
    y, truth = simulate(np.random.default_rng(2))
    S, squares = find_events(y, RESPONSE, 1.5)
    assert r(S, truth) > 0.95
    assert S.min() >= 0
    assert np.allclose(squares / y.shape[1], 1, atol=0.25)
    assert find_events(y[:0], RESPONSE, 1.5)[0].shape == (0, 400)
    assert find_events(y[:, :3], RESPONSE, 1.5)[0].shape == (4, 3)


def test_two_frames_of_delay_find_events_far_better_than_one_exponential_does_with_all():
    y, truth = simulate(np.random.default_rng(3), 6, 800)
    online = Deconvolver(FPS, KINETICS)
    online.remap(np.full(6, -1))
    s_lag = np.stack([online.push(y[:, t].copy())[3] for t in range(800)], 1)[:, 2:]
    _, plain = deconvolve(y, np.exp(-1 / 12), 1.5)
    assert r(s_lag, truth[:, :-2]) > 0.85
    assert r(s_lag, truth[:, :-2]) > r(plain, truth) + 0.3


def test_a_cell_born_in_a_transient_has_no_event_for_what_was_before():
    y = (20 * np.exp(-np.arange(40) / 12)).astype(np.float32)[None]
    S, _ = find_events(y, RESPONSE, 1.5)
    assert S.max() < 0.5


def test_a_new_response_leaves_what_cells_show_and_serves_what_comes():
    other = Kinetics(1.2, 0.15)
    y, truth = simulate(np.random.default_rng(4), 4, 900, Response.make(FPS, other))
    wrong, told = Deconvolver(FPS, KINETICS), Deconvolver(FPS, KINETICS)
    for online in (wrong, told):
        online.remap(np.full(4, -1))
    seen = []
    for t in range(900):
        if t == 300:
            before = told.push(y[:, t].copy())[0]
            told.retune(other)
            wrong.push(y[:, t].copy())
            after = told.tail()[0][-1]
            assert np.allclose(after, before, rtol=1e-3, atol=1e-3)
            continue
        seen.append((wrong.push(y[:, t].copy())[3], told.push(y[:, t].copy())[3]))
    late = np.array(seen[400:]).transpose(1, 2, 0)
    assert r(late[1], truth[:, 399:-2]) > r(late[0], truth[:, 399:-2]) + 0.1


def test_cells_that_stay_go_on_when_others_come_and_go():
    y, _ = simulate(np.random.default_rng(5), 3, 60)
    window, alone = EventWindow(RESPONSE, 1.5), EventWindow(RESPONSE, 1.5)
    window.remap(np.full(2, -1))
    alone.remap(np.full(1, -1))
    for t in range(30):
        window.push(y[:2, t].copy())
        alone.push(y[1:2, t].copy())
    window.remap(np.array([1, -1]))
    for t in range(30, 60):
        assert np.array_equal(window.push(y[1:, t].copy())[:1], alone.push(y[1:2, t].copy()))
    assert EventWindow(RESPONSE, 1.5).tail().shape == (0, 0)
