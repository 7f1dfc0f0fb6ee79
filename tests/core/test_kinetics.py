import numpy as np
import pytest

from streamscope.config import EngineConfig
from streamscope.core.buffer import TraceWindow
from streamscope.core.kinetics import SessionKinetics, fit_kinetics
from streamscope.core.response import Response
from streamscope.types import Kinetics


def bursts(rng, fps, kinetics, n_cells=8, seconds=120):
    """Return traces of cells that fire in bursts, as far apart as chance has it, noise 1."""
    length = round(seconds * fps)
    active = np.zeros(n_cells, bool)
    s = np.zeros((n_cells, length))
    for t in range(length):
        active = np.where(active, rng.random(n_cells) > 5 / fps, rng.random(n_cells) < 0.15 / fps)
        s[:, t] = active * rng.poisson(40 / fps, n_cells)
    response = Response.make(fps, kinetics).taps
    c = np.stack([np.convolve(row, response)[:length] for row in s])
    return (3 * c + rng.standard_normal(c.shape)).astype(np.float32)


TRUTHS = [
    (20, Kinetics(0.6, 0.06)),
    (20, Kinetics(1.2, 0.15)),
    (30, Kinetics(0.3, 0.04)),
    (10, Kinetics(1.2, 0.18)),
]
STARTS = [(*truth, 0.5) for truth in TRUTHS] + [(*truth, 2.0) for truth in TRUTHS[::3]]
MORE = [(*truth, 1.0) for truth in TRUTHS] + [(*truth, 2.0) for truth in TRUTHS[1:3]]


@pytest.mark.parametrize(
    ("fps", "truth", "factor"),
    STARTS + [pytest.param(*values, marks=pytest.mark.slow) for values in MORE],
)
def test_decay_and_rise_of_bursting_cells_are_found_from_a_wrong_indicator(fps, truth, factor):
    y = bursts(np.random.default_rng(1), fps, truth)
    found = fit_kinetics(y, np.ones(len(y), np.float32), fps, Kinetics(truth.decay_s * factor))
    assert found.fitted
    assert found.decay_s == pytest.approx(truth.decay_s, rel=0.1)
    assert found.rise_s == pytest.approx(truth.rise_s, rel=0.5)  # a burst looks a little like a slow rise
    assert found.confidence > 0.7


def test_too_little_activity_leaves_what_was_given():
    noise = np.random.default_rng(2).standard_normal((20, 1200)).astype(np.float32)
    given = Kinetics(0.6)
    assert fit_kinetics(noise, np.ones(20, np.float32), 20, given) == given
    assert fit_kinetics(noise[:0], np.ones(0, np.float32), 20, given) == given
    assert fit_kinetics(noise[:, :0], np.ones(20, np.float32), 20, given) == given


def test_no_fit_leaves_the_given_decay_by_more_than_a_factor_of_three():
    y = bursts(np.random.default_rng(3), 20, Kinetics(2.0, 0.1))
    found = fit_kinetics(y, np.ones(len(y), np.float32), 20, Kinetics(0.3))
    assert 0.75 < found.decay_s <= 0.9 + 1e-9


def test_a_live_session_fits_at_few_moments_and_then_stays():
    config = EngineConfig(cell_diameter_px=8, fps=20, decay_s=1.2)
    y = bursts(np.random.default_rng(4), 20, Kinetics(0.6, 0.06), n_cells=12, seconds=150)
    window = TraceWindow(config.frames(30))
    window.grow(len(y))
    kinetics, changes = SessionKinetics(config), []
    for t in range(y.shape[1]):
        window.push(y[:, t], y[:, t])
        if (t + 1) % 25 == 0:
            before = kinetics.present
            found = kinetics.update(t + 1, window, np.ones(len(y), np.float32))
            if (found.decay_s, found.rise_s) != (before.decay_s, before.rise_s):
                changes.append(t + 1)
    assert changes[0] <= 500
    assert len(changes) <= 2
    assert found.fitted
    assert found.decay_s == pytest.approx(0.6, rel=0.15)
