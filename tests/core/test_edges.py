"""Edges that are fixed to the sensor do not hold registration back."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from streamscope.config import EngineConfig, MotionConfig
from streamscope.core.edges import SensorEdges
from streamscope.core.kernels import edges as kernels
from streamscope.core.motion import Motion
from streamscope.offline.reregister import SessionAligner
from streamscope.offline.store import FrameStore
from streamscope.testing import naive
from streamscope.testing.checks import check_stage
from tests.core.test_motion import noisy, seen, tissue
from tests.offline.refit_movies import ArrayMovie

SHAPE = (96, 112)
N_FRAMES = 200
SETTLED = 100  # frames
CONFIG = EngineConfig(
    cell_diameter_px=8, fps=20, decay_s=0.6, motion=MotionConfig(template_s=12.0, piecewise="off")
)


def disc():
    """Return what a dark disc with a sharp edge lets through."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return gaussian_filter(np.where(np.hypot(y - 50, x - 45) < 26, 0.1, 1.0), 1.0).astype(np.float32)


def movie(light, rng):
    """Return frames of moving tissue behind a picture that stays with the sensor, and the shifts."""
    image = tissue(SHAPE)
    shifts = np.cumsum(rng.normal(0, 0.6, (N_FRAMES, 2)), 0)
    shifts = 3 * np.sin(shifts / 3)
    return [noisy(light * seen(image, *shift), rng, 2.0) for shift in shifts], shifts


@pytest.fixture(scope="module")
def covered():
    return movie(disc(), np.random.default_rng(7))


def error(found, shifts):
    wrong = np.array([(shift.dy, shift.dx) for shift in found])[SETTLED:] - shifts[SETTLED:]
    return float(np.sqrt(((wrong - np.median(wrong, 0)) ** 2).sum(1).mean()))


def live(frames):
    motion = Motion(CONFIG, SHAPE)
    return [motion.update(frame) for frame in frames], motion


def test_an_edge_of_the_sensor_loses_its_vote(covered, monkeypatch):
    frames, shifts = covered
    found, motion = live(frames)
    keep = motion.state()["edges.keep"]
    rows, cols = np.nonzero(keep == 0)
    assert abs(np.median(np.hypot(rows - 50, cols - 45)) - 26) < 3
    monkeypatch.setattr(SensorEdges, "update", lambda *_: False)
    before, _ = live(frames)
    assert error(found, shifts) < 0.4 * error(before, shifts)
    assert error(found, shifts) < 0.1


def test_tissue_keeps_all_of_its_votes(monkeypatch):
    frames, _ = movie(np.ones(SHAPE, np.float32), np.random.default_rng(8))
    found, motion = live(frames)
    assert motion.state()["edges.n_looks"] > 40
    assert not motion.state()["edges.found"]
    monkeypatch.setattr(SensorEdges, "update", lambda *_: False)
    assert live(frames)[0] == found


def test_tissue_that_does_not_move_has_no_edges():
    rng = np.random.default_rng(9)
    image = disc() * tissue(SHAPE)
    _, motion = live([noisy(image, rng) for _ in range(N_FRAMES)])
    assert not motion.state()["edges.found"]


def test_stage_keeps_the_contract(covered):
    frames, _ = covered
    check_stage(
        lambda: Motion(CONFIG, SHAPE),
        [(frame,) for frame in frames[:120]],
        lambda state: Motion.from_state(CONFIG, SHAPE, state),
        dtype=np.float32,
    )


@pytest.mark.parametrize("with_live", [True, False])
def test_the_refit_leaves_edges_out_too(covered, with_live):
    frames, shifts = covered
    recording = ArrayMovie(np.clip(np.round(frames), 0, 255).astype(np.uint8))
    hints = np.array([(s.dy, s.dx) for s in live(frames)[0]], np.float32) if with_live else None
    aligner = SessionAligner(recording, CONFIG, hints)
    with FrameStore(SHAPE, len(frames)) as store:
        found = aligner.run(store)
    wrong = found.shifts - shifts
    assert found.ok.all()
    assert np.sqrt(((wrong - np.median(wrong, 0)) ** 2).sum(1).mean()) < 0.15


def test_running_means_equal_their_naive_twin():
    rng = np.random.default_rng(10)
    image, expected, *means = (rng.normal(1, 1, (7, 9)).astype(np.float32) for _ in range(5))
    for rate in (1.0, 0.5, 0.1):
        want = naive.steadiness(image, expected, 1.3, rate, tuple(means))
        kernels.note_steadiness(image, expected, 1.3, rate, *means)
        for got, value in zip(means, want, strict=True):
            np.testing.assert_allclose(got, value, atol=1e-5)


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (2, -3), (-1, 4), (20, 0), (0, -20)])
def test_votes_follow_the_tissue(dy, dx):
    rng = np.random.default_rng(11)
    weight, template = (rng.random((7, 9)).astype(np.float32) for _ in range(2))
    keep = (rng.random((7, 9)) < 0.5).astype(np.float32)
    kept, votes, equations = np.zeros_like(keep), np.zeros_like(keep), np.zeros(4)
    of_all = np.array([*naive.gradient_sums(template, weight), (weight * template**2).sum()])
    kernels.votes_where(weight, keep, dy, dx, template, of_all, kept, votes, equations)
    want = naive.at_whole_shift(keep, dy, dx)
    np.testing.assert_array_equal(kept, want)
    np.testing.assert_array_equal(votes, weight * want)
    energy = (weight * want * template**2).sum()
    np.testing.assert_allclose(
        equations, [*naive.gradient_sums(template, weight * want), energy], rtol=1e-4, atol=1e-5
    )


def test_a_template_follows_where_it_is_seen():
    rng = np.random.default_rng(12)
    moved, template, variance = (rng.random((7, 9)).astype(np.float32) for _ in range(3))
    kept = (rng.random((7, 9)) < 0.5).astype(np.float32)
    want = naive.followed(moved, 0.8, 0.2 * kept, template, variance)
    kernels.follow_where(moved, np.float32(0.8), np.float32(0.2), kept, template, variance)
    for got, value in zip((template, variance), want, strict=True):
        np.testing.assert_allclose(got, value, atol=1e-6)
