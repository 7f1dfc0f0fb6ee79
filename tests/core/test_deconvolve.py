import numpy as np
import pytest

from streamscope.core import deconvolve as dc
from streamscope.errors import StageError
from streamscope.testing import naive
from streamscope.types import Kinetics


def simulate(rng, n_cells=4, length=120, g=0.9, rise=0.0, noise=0.3):
    s = (rng.random((n_cells, length)) < 0.06) * (1 + rng.random((n_cells, length)))
    c = np.zeros_like(s)
    x = np.zeros(n_cells)
    f = np.zeros(n_cells)
    for t in range(length):
        x = g * x + s[:, t]
        f = rise * f + (1 - rise) * x
        c[:, t] = f
    y = c + noise * rng.standard_normal(c.shape)
    return y.astype(np.float32), c, s


@pytest.mark.parametrize("s_min", [0.0, 0.8])
def test_whole_traces_equal_the_naive_pools(s_min):
    rng = np.random.default_rng(1)
    y, _, _ = simulate(rng)
    elapsed = rng.integers(1, 4, y.shape[1]).astype(np.int32)
    c, s = dc.deconvolve(y, 0.9, s_min, elapsed)
    for k in range(len(y)):
        expected = naive.oasis(y[k], np.cumsum(elapsed), 0.9, s_min)
        assert np.allclose(c[k], expected[0], atol=1e-5)
        assert np.allclose(s[k], expected[1], atol=1e-5)
    assert s.min() >= 0
    assert (s[s > 0] >= s_min - 1e-5).all()


def test_online_equals_whole_traces_after_every_frame_with_gaps():
    rng = np.random.default_rng(2)
    y, _, _ = simulate(rng)
    g, s_min = np.array([0.85, 0.9, 0.93, 0.9]), np.array([0.0, 0.5, 1.0, 0.2])
    elapsed = rng.choice([1, 1, 1, 3], y.shape[1]).astype(np.int32)
    online = dc.OnlineOasis(g, 2, s_min)
    for t in range(y.shape[1]):
        c, s, c_lag, s_lag = online.push(y[:, t].copy(), int(elapsed[t]))
        expected_c, expected_s = dc.deconvolve(y[:, : t + 1], g, s_min, elapsed[: t + 1])
        assert np.allclose(c, expected_c[:, t], atol=1e-4)
        assert np.allclose(s, expected_s[:, t], atol=1e-4)
        assert np.allclose(c_lag, expected_c[:, t - 2] if t >= 2 else 0, atol=1e-4)
        assert np.allclose(s_lag, expected_s[:, t - 2] if t >= 2 else 0, atol=1e-4)
    c_tail, s_tail = online.tail()
    assert np.allclose(c_tail.T, expected_c[:, -2:], atol=1e-4)
    assert np.allclose(s_tail.T, expected_s[:, -2:], atol=1e-4)


def test_remap_keeps_the_cells_that_stay_and_starts_new_ones():
    rng = np.random.default_rng(3)
    y, _, _ = simulate(rng, 3, 60)
    online = dc.OnlineOasis(0.9, 2, 0.3)
    online.remap(np.array([-1, -1]))
    for t in range(30):
        online.push(y[:2, t].copy())
    online.remap(np.array([1, -1]))
    kept, _ = dc.deconvolve(y[1:2], 0.9, 0.3)
    fresh, _ = dc.deconvolve(y[2:, 30:], 0.9, 0.3)
    for t in range(30, 60):
        c, _, c_lag, _ = online.push(y[1:, t].copy())
        assert c.shape == (2,)
        if t == 31:
            assert c_lag[1] == 0  # the new cell was not there two frames ago
    assert np.allclose(c, [kept[0, -1], fresh[0, -1]], atol=1e-5)


def test_saved_and_restored_midway_goes_on_the_same():
    rng = np.random.default_rng(4)
    y, _, _ = simulate(rng, 3, 80)
    straight = dc.Deconvolver(20.0, Kinetics(0.5, 0.05))
    straight.remap(np.full(3, -1))
    for t in range(40):
        straight.push(y[:, t].copy())
    restored = dc.Deconvolver.from_state(straight.state())
    for t in range(40, 80):
        sample = y[:, t].copy()
        for a, b in zip(straight.push(sample), restored.push(sample), strict=True):
            assert np.array_equal(a, b)
        assert np.array_equal(sample, y[:, t])
    assert all(np.array_equal(a, b) for a, b in zip(straight.tail(), restored.tail(), strict=True))


def test_long_traces_need_bounded_memory_and_stay_exact():
    rng = np.random.default_rng(5)
    y, _, _ = simulate(rng, 2, 1500, noise=0.6)
    online = dc.OnlineOasis(0.8, 2, 0.0)
    online.remap(np.full(2, -1))
    size = sum(value.nbytes for value in online.state().values())
    expected, _ = dc.deconvolve(y, 0.8, 0.0)
    for t in range(y.shape[1]):
        c, *_ = online.push(y[:, t].copy())
    assert np.allclose(c, expected[:, -1], atol=1e-3)
    assert sum(value.nbytes for value in online.state().values()) == size


def test_no_cells_are_fine_and_a_wrong_count_is_an_error():
    online = dc.OnlineOasis(0.9)
    assert all(a.shape == (0,) for a in online.push(np.zeros(0, np.float32)))
    with pytest.raises(StageError, match="expected 0 traces"):
        online.push(np.zeros(1, np.float32))
    assert dc.OnlineOasis(0.9).tail()[0].shape == (0, 0)


def test_a_nan_sample_says_nothing_and_the_trace_decays_through_it():
    y = np.array([[np.nan, 1, np.nan, np.nan, 2]], np.float32)
    c, s = dc.deconvolve(y, 0.9)
    assert np.allclose(c, [[0, 1, 0.9, 0.81, 2]])
    assert np.allclose(s, [[0, 0, 0, 0, 2 - 0.729]])
    online = dc.OnlineOasis(np.array([0.9]))
    assert np.allclose([online.push(y[:, t].copy())[0] for t in range(5)], c.T)


def test_another_decay_after_hours_of_silence_leaves_a_finite_trace():
    online = dc.OnlineOasis(0.9, 2, 1.5)
    online.remap(np.full(2, -1))
    online.push(np.array([5, 5], np.float32))
    online.push(np.array([0, 1], np.float32), 500_000)
    with np.errstate(all="raise", under="ignore"):
        online.retune(0.8, 1.5)
        c, s, *_ = online.push(np.array([0, 0], np.float32))
    assert np.allclose([c, s], 0, atol=1e-6)
    c, s, *_ = online.push(np.array([6, 0], np.float32))
    assert np.allclose([c, s], [[6, 0], [6, 0]], atol=1e-6)


def test_removing_the_rise_finds_events_better():
    rng = np.random.default_rng(6)
    y, _, truth = simulate(rng, 4, 600, g=0.92, rise=0.45, noise=0.06)
    noise = dc.noise_sd(y)
    y = (y / noise[:, None]).astype(np.float32)
    _, plain = dc.deconvolve(y, 0.92, 1.5)
    _, sharp = dc.deconvolve(dc.remove_rise(y, 0.45), 0.92, 2 * dc.rise_noise_factor(0.45))
    assert (
        np.corrcoef(sharp.ravel(), truth.ravel())[0, 1]
        > np.corrcoef(plain.ravel(), truth.ravel())[0, 1] + 0.1
    )


def test_remove_rise_inverts_the_rise_across_gaps():
    x = np.random.default_rng(7).random((2, 50)).astype(np.float32)
    elapsed = np.ones(50, np.int32)
    elapsed[20] = 3
    f = x.copy()
    for t in range(1, 50):
        part = 0.4 ** elapsed[t]
        f[:, t] = part * f[:, t - 1] + (1 - part) * x[:, t]
    assert np.allclose(dc.remove_rise(f, 0.4, elapsed), x, atol=1e-5)


def test_noise_and_baseline_are_recovered_from_a_simulation():
    rng = np.random.default_rng(8)
    y, _, _ = simulate(rng, 8, 2000, g=np.exp(-1 / 12), noise=0.25)
    assert np.allclose(dc.noise_sd(y), 0.25, rtol=0.25)
    drift = np.linspace(5, 9, 2000).astype(np.float32)
    quiet = (rng.random((3, 2000)) < 0.1) * 4 + 0.2 * rng.standard_normal((3, 2000)) + drift
    assert np.abs(dc.mode_baseline(quiet.astype(np.float32), 400) - drift).mean() < 0.2
