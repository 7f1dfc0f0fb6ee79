"""The forward model: its truth is what its frames show."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from streamscope.testing.synth import PRESETS, Scene, SynthConfig, Truth
from streamscope.testing.synth.motion import move, trajectory

QUIET = replace(
    PRESETS["tiny"],
    n_frames=160,
    fluctuation=0.0,
    bleach=0.0,
    n_deep=0,
    n_near=10,
    n_far=4,
    adu_per_e=1e-4,
    read_noise_e=0.0,
)
STILL = replace(QUIET, drift_px=0.0, jitter_px=0.0, jerks_per_min=0.0)


@pytest.fixture(scope="module")
def tiny():
    return Scene(PRESETS["tiny"])


def test_a_frame_is_the_same_whatever_was_read_before(tiny):
    block = tiny.frames(20, 30)
    assert np.array_equal(tiny.frame(27), block[7])
    assert np.array_equal(Scene(PRESETS["tiny"]).frame(29), block[9])
    assert block.dtype == np.uint8
    assert block.shape == (10, 96, 96)


def test_another_seed_is_another_recording(tiny):
    other = Scene(replace(PRESETS["tiny"], seed=77))
    assert not np.array_equal(other.frame(0), tiny.frame(0))
    assert not np.array_equal(other.shifts, tiny.shifts)


def test_without_motion_and_background_the_frames_are_footprints_times_fluorescence():
    scene = Scene(STILL)
    truth = scene.truth
    movie = scene.frames(0, 160).astype(np.float32)
    made = np.einsum("hwk,kt->thw", truth.footprints.dense(), truth.F - truth.F[:, :1])
    error = (movie - movie[0]) - made
    assert np.abs(error).max() < 1.6  # two roundings, and footprint values under the floor
    assert np.sqrt(np.mean(error**2)) < 0.5
    assert made.max() > 20


def test_content_of_the_reference_is_seen_where_the_shifts_say():
    scene = Scene(replace(QUIET, drift_px=4.0, jitter_px=0.4, n_near=0, n_far=0))
    assert np.abs(scene.shifts).max() > 2
    reference = _tissue(scene, 0)
    for n in (40, 90, 159):
        dy, dx = scene.shifts[n]
        back = np.float32([[1, 0, dx], [0, 1, dy]])
        seen = _tissue(scene, n)
        undone = cv2.warpAffine(seen, back, (96, 96), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        inner = np.s_[12:-12, 12:-12]
        error = np.std(undone[inner] - reference[inner])
        assert error < 0.5
        assert np.std(seen[inner] - reference[inner]) > 2 * error


def _tissue(scene, index):
    """Return a frame with what does not move taken out."""
    return ((scene.frame(index) - scene._stray) / scene._falloff).astype(np.float32)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.7), (2.0, 1.5), (-3.26, 0.01)])
def test_a_picture_is_moved_by_exactly_the_shift(shift):
    y, x = np.mgrid[0:60, 0:70].astype(np.float64)

    def picture(y, x):
        return np.sin(y / 3.0) + np.cos(x / 4.0) + 0.01 * x

    moved = move(picture(y, x).astype(np.float32), np.array(shift), 10, (40, 50))
    seen = picture(y[10:50, 10:60] - shift[0], x[10:50, 10:60] - shift[1])
    assert np.abs(moved - seen).max() < 1e-3


def test_motion_starts_at_zero_and_holds_drift_jitter_and_jerks():
    config = replace(PRESETS["medium"], jerks_per_min=20.0)
    shifts = trajectory(config, np.random.default_rng(4))
    calm = trajectory(replace(config, jerks_per_min=0.0), np.random.default_rng(4))
    assert shifts.shape == (3000, 2)
    assert np.all(shifts[0] == 0)
    assert np.abs(calm).max() <= config.drift_px + 8 * config.jitter_px
    assert np.hypot(*(shifts - calm).T).max() > config.jerk_px[0]


def test_late_cells_are_silent_until_the_middle_and_every_cell_fires():
    truth = Scene(replace(PRESETS["small"], n_frames=600)).truth
    assert 2 <= truth.late.sum() <= 20
    assert np.all(truth.S[truth.late, : int(0.4 * 600)] == 0)
    assert np.all(truth.S.sum(1) >= 3)
    assert np.allclose(truth.C.max(1), 1)


def test_calcium_decays_as_the_indicator_does():
    truth = Scene(
        replace(PRESETS["tiny"], n_frames=600, burst_hz=0.0, single_hz=0.0, late_fraction=0.0)
    ).truth
    trace = truth.C[0]
    peak = int(np.argmax(trace))
    fall = trace[peak + 6] / trace[peak + 18]
    assert fall == pytest.approx(np.exp(12 / 20 / 0.6), rel=0.02)


def test_demo_has_the_difficulty_that_it_promises():
    config = PRESETS["demo"]
    scene = Scene(config)
    truth = scene.truth
    target, peaks = truth.target, truth.F.max(1) - truth.F.min(1)
    movie = scene.frames(300, 312)
    assert (config.height, config.width, config.n_frames, config.fps) == (608, 608, 1200, 20.0)
    assert (target & (truth.blur_px < 2)).sum() >= 60
    assert (target & (truth.blur_px >= 2)).sum() >= 20
    assert (target & truth.late).sum() >= 10
    assert 10 < np.percentile(peaks[target], 10) < np.percentile(peaks[target], 90) < 70
    assert 70 < movie.mean() < 90
    assert (movie == 255).mean() < 1e-4
    area = np.array([np.sum(truth.footprints.column(k)[1] > 0.5) for k in np.flatnonzero(target)])
    diameter = 2 * np.sqrt(area / np.pi)
    assert 6 < np.percentile(diameter, 10) < np.percentile(diameter, 90) < 14


def test_background_moves_more_light_than_the_cells():
    scene = Scene(replace(PRESETS["small"], n_frames=400))
    still = Scene(replace(PRESETS["small"], n_frames=400, peak_adu=(1e-6, 2e-6)))
    with_cells = np.stack([scene.frame(n) for n in range(0, 400, 8)]).astype(np.float32)
    without = np.stack([still.frame(n) for n in range(0, 400, 8)]).astype(np.float32)
    assert without.var(0).mean() > 0.85 * with_cells.var(0).mean()


def test_noise_grows_with_light_as_photons_do():
    config = SynthConfig(height=96, width=96, n_frames=40, n_near=0, n_far=0, n_deep=0, seed=2)
    config = replace(config, drift_px=0.0, jitter_px=0.0, jerks_per_min=0.0, fluctuation=0.0, bleach=0.0)
    movie = Scene(config).frames(0, 40).astype(np.float32)
    mean, variance = movie.mean(0), movie.var(0, ddof=1)
    expected = config.adu_per_e * mean + (config.adu_per_e * config.read_noise_e) ** 2 + 1 / 12
    assert variance.mean() == pytest.approx(expected.mean(), rel=0.03)
    neighbours = np.corrcoef(
        movie[:-1].ravel() - np.tile(mean.ravel(), 39), movie[1:].ravel() - np.tile(mean.ravel(), 39)
    )
    assert abs(neighbours[0, 1]) < 0.04


def test_truth_survives_being_stored(tmp_path, tiny):
    truth = tiny.truth
    np.savez_compressed(tmp_path / "truth.npz", **truth.arrays())
    with np.load(tmp_path / "truth.npz") as stored:
        again = Truth.from_arrays(stored)
    assert np.array_equal(again.footprints.dense(), truth.footprints.dense())
    for name in ("C", "F", "S", "shifts", "centres", "target", "late"):
        assert np.array_equal(getattr(again, name), getattr(truth, name))
