"""Frames that are no picture of the tissue are told from those that are."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import fourier_shift, gaussian_filter

from streamscope.config import EngineConfig
from streamscope.core.background import SparseRows
from streamscope.core.epoch import CONFIRMED, Epoch
from streamscope.core.infer import Infer
from streamscope.core.kernels import look as kernels
from streamscope.core.motion import Motion
from streamscope.core.quality import LASTING_S, FrameQuality, Look, Looker, band_agreements, strange_shares
from streamscope.testing import naive_frames as naive
from streamscope.types import (
    FLAG_BAD_MOTION,
    FLAG_BROKEN,
    FLAG_FROZEN,
    FLAG_SATURATED,
    Footprints,
    Frame,
    Kinetics,
)

CONFIG = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.6)
SHAPE = (96, 112)


def frames(n, seed=1, sd=3.0):
    rng = np.random.default_rng(seed)
    fine, coarse = (gaussian_filter(rng.normal(size=SHAPE), s) for s in (2, 12))
    image = 90 + 10 * fine / fine.std() + 20 * coarse / coarse.std()
    for dy, dx in rng.uniform(-2, 2, (n, 2)):
        moved = np.fft.ifft2(fourier_shift(np.fft.fft2(image), (dy, dx))).real
        yield np.clip(np.round(moved + rng.normal(0, sd, SHAPE)), 0, 255).astype(np.uint8)


def black(frame, rng):
    return np.zeros_like(frame)


def saturated(frame, rng):
    return np.full_like(frame, 255)


def noise(frame, rng):
    return rng.integers(0, 255, frame.shape).astype(np.uint8)


def dark_rows(frame, rng):
    return np.where(np.arange(len(frame))[:, None] // 20 == 2, 0, frame).astype(np.uint8)


def every_fourth_row_lost(frame, rng):
    return np.where(np.arange(len(frame))[:, None] % 4 == 0, 0, frame).astype(np.uint8)


def rows_of_noise(frame, rng):
    out = frame.copy()
    out[40:64] = rng.integers(0, 255, out[40:64].shape)
    return out


def torn(frame, rng):
    return np.concatenate([frame[:48], frame[:48]])


def lower_part_of_another_place(frame, rng):
    return np.concatenate([frame[:64], frame[8:40]])


def lower_part_shifted(frame, rng):
    return np.concatenate([frame[:60], np.roll(frame[60:], 20, 1)])


def a_block_of_noise(frame, rng):
    out = frame.copy()
    out[30:42, 20:50] = rng.integers(0, 255, (12, 30))
    return out


def a_block_without_light(frame, rng):
    out = frame.copy()
    out[40:56, 20:90] = 30
    return out


def a_few_rows_of_salt(frame, rng):
    out = frame.copy()
    out[50:54] = np.where(rng.random((4, SHAPE[1])) < 0.5, 40, 220)
    return out


EPOCH = Epoch(
    number=1,
    frame=0,
    ids=np.array([1], np.uint32),
    status=np.array([CONFIRMED], np.uint8),
    born_at=np.zeros(1, np.int64),
    snr=np.ones(1, np.float32),
    footprints=Footprints.from_columns(SHAPE, []),
    V=SparseRows.empty(1, 24 * 28),
    step=4,
    solve=SparseRows.identity(1),
    b0=np.full(SHAPE, 90, np.float32),
    sn=np.full(1, 3, np.float32),
    kinetics=Kinetics(0.6),
)
BROKEN = [black, saturated, noise, dark_rows, every_fourth_row_lost, rows_of_noise, torn]
PARTS = [
    *(lower_part_of_another_place, lower_part_shifted),
    *(a_block_of_noise, a_block_without_light, a_few_rows_of_salt),
]


@pytest.mark.parametrize("broken", [*BROKEN, *PARTS])
def test_a_broken_frame_is_flagged_and_those_after_it_are_not(broken):
    rng = np.random.default_rng(2)
    motion = Motion(CONFIG, SHAPE)
    ok = [motion.update(broken(f, rng) if t in (30, 70, 71) else f).ok for t, f in enumerate(frames(80))]
    assert [t for t, good in enumerate(ok) if not good] == [30, 70, 71]


@pytest.mark.parametrize("broken", [black, saturated])
def test_the_first_frame_with_a_picture_is_the_reference(broken):
    rng = np.random.default_rng(3)
    motion = Motion(CONFIG, SHAPE)
    shifts = [motion.update(broken(f, rng) if t < 3 else f) for t, f in enumerate(frames(20))]
    assert [s.ok for s in shifts] == [False] * 3 + [True] * 17
    assert (shifts[3].dy, shifts[3].dx) == (0, 0)


@pytest.mark.parametrize("factor", [0.4, 1.6])
def test_a_change_of_the_led_is_no_broken_frame(factor):
    motion = Motion(CONFIG, SHAPE)
    for t, frame in enumerate(frames(80)):
        lit = np.clip(frame * (factor if t > 40 else 1), 0, 255).astype(np.uint8)
        assert motion.update(lit).ok


def test_bright_events_are_no_broken_frame():
    motion = Motion(CONFIG, SHAPE)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    spots = sum(
        120 * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 18)
        for a, b in ((20, 30), (60, 80), (70, 20), (40, 100))
    )
    for t, frame in enumerate(frames(80)):
        assert motion.update(np.clip(frame + spots * (t > 60), 0, 255).astype(np.uint8)).ok


@pytest.mark.parametrize("broken", PARTS)
def test_a_frame_with_a_broken_part_says_so(broken):
    rng = np.random.default_rng(6)
    motion = Motion(CONFIG, SHAPE)
    flags = [motion.update(broken(f, rng) if t == 30 else f).flags for t, f in enumerate(frames(40))]
    assert flags == [FLAG_BAD_MOTION | FLAG_BROKEN if t == 30 else 0 for t in range(40)]


def test_a_step_of_the_gain_makes_all_tiles_rough_and_no_frame_broken():
    motion = Motion(CONFIG, SHAPE)
    for t, frame in enumerate(frames(80, sd=2.0)):
        dim = 0.25 * frame.astype(np.float32)
        shown = np.clip(np.round(dim * (3.5 if t > 40 else 1)), 0, 255).astype(np.uint8)
        assert motion.update(shown).flags == 0


def test_a_saturated_frame_is_flagged_and_used():
    motion = Motion(CONFIG, SHAPE)
    for t, frame in enumerate(frames(60)):
        shift = motion.update(np.clip(frame * (2.2 if t > 30 else 1.0), 0, 255).astype(np.uint8))
        assert (shift.ok, shift.flags) == (True, FLAG_SATURATED if t > 30 else 0)


def test_a_frame_that_comes_twice_is_flagged_unless_that_is_the_rule():
    infer, aligned = Infer(CONFIG, SHAPE), np.zeros(SHAPE, np.float32)
    movie = list(frames(40))
    movie[30:33] = [movie[29]] * 3
    results = [infer(Frame(t, image, 0), aligned) for t, image in enumerate(movie)]
    frozen = FLAG_BAD_MOTION | FLAG_FROZEN
    assert [r.flags for r in results] == [frozen if 30 <= t < 33 else 0 for t in range(40)]
    assert {(r.shift.dy, r.shift.dx) for r in results[29:33]} == {
        (results[29].shift.dy, results[29].shift.dx)
    }
    still = Infer(CONFIG, SHAPE)
    assert not any(still(Frame(t, movie[0], 0), aligned).flags for t in range(20))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_what_a_frame_looks_like_is_that_of_its_naive_twin(dtype):
    rng = np.random.default_rng(8)
    for shape, tiles in (((17, 22), (2, 4)), ((9, 35), (1, 4)), ((24, 16), (3, 1))):
        image = rng.integers(0, 256, shape).astype(dtype)
        grain, level, rows = (np.zeros(s, np.float32) for s in (tiles, tiles, shape[0]))
        line = np.zeros(shape[1], np.float32)
        full = kernels.look(image, np.float32(200), 8, line, grain, level, rows)
        expected = naive.look(image, 200, 8, *tiles)
        for got, wanted in zip((full, grain, level, rows), expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_agreement_of_bands_is_that_of_its_naive_twin():
    rng = np.random.default_rng(9)
    for height, n in ((25, 12), (40, 12), (13, 5)):
        moved, template = rng.normal(size=(2, height, 15)).astype(np.float32)
        weight = rng.random((height, 15)).astype(np.float32)
        out = np.zeros(n, np.float32)
        kernels.band_agreements(moved, template, weight, out)
        np.testing.assert_allclose(out, naive.band_agreements(moved, template, weight, n), atol=1e-5)


def test_bands_that_are_out_of_view_are_not_judged():
    rng = np.random.default_rng(10)
    image, weight = rng.normal(size=(48, 20)).astype(np.float32), np.ones((48, 20), np.float32)
    bands = band_agreements(image, image, weight, 5.5)
    assert np.isnan(bands).tolist() == [False] * 10 + [True] * 2
    assert np.isnan(band_agreements(image, image, weight, -0.5)).tolist() == [True] + [False] * 11


def test_bands_without_votes_are_not_judged():
    rng = np.random.default_rng(10)
    image, weight = rng.normal(size=(48, 20)).astype(np.float32), np.ones((48, 20), np.float32)
    weight[8:12] = 0
    bands = band_agreements(image, image, weight, 0.0)
    assert np.flatnonzero(np.isnan(bands)).tolist() == [2]
    np.testing.assert_allclose(np.delete(bands, 2), 1, rtol=1e-5)


def test_strange_shares_are_those_of_the_bands():
    moved = np.zeros((48, 20), np.float32)
    moved[8:12] = 3
    shares = strange_shares(moved, 1.0, np.zeros_like(moved), np.ones_like(moved))
    assert shares.tolist() == [0, 0, 1] + [0] * 9


def a_look(jump=1.0):
    return Look(jump, 0.0, np.full((2, 4), 3, np.float32), np.full((2, 4), 90, np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rows_that_differ_from_their_neighbours_make_a_jump(dtype):
    image = np.tile((2 * np.arange(40, 0, -1))[:, None], (1, 30)).astype(
        dtype
    )  # it falls: no unsigned numbers
    look = Looker((40, 30), 4)
    assert look(image).jump == pytest.approx(0, abs=1e-3)
    image[20] += 10
    assert look(image).jump == pytest.approx(20, abs=1e-3)


def test_what_is_usual_survives_its_state():
    quality, bands = FrameQuality(), np.full(12, 0.9, np.float32)
    calm, wild = np.zeros(12, np.float32), np.full(12, 0.5, np.float32)
    for k in range(20):
        quality.remember(0.9 + 0.001 * k, a_look(), bands)
    again = FrameQuality.from_state(quality.state())
    for agreement, jump in ((0.9, 1.0), (0.2, 1.0), (0.9, 30.0), (np.nan, 1.0)):
        said = [q.judge(agreement, a_look(jump), bands, lambda: calm) for q in (quality, again)]
        assert [not flags for flags in said] == [agreement == 0.9 and jump == 1.0] * 2
    assert quality.judge(0.5, a_look(), bands, lambda: wild)  # half the agreement, and strange all over
    assert not quality.judge(0.5, a_look(), bands, lambda: calm)
    bands[3] = 0.2
    assert quality.judge(0.9, a_look(), bands, lambda: wild) == FLAG_BAD_MOTION | FLAG_BROKEN
    assert not quality.judge(0.9, a_look(), bands, lambda: calm)  # a large event


def test_the_filled_edges_of_a_recording_that_was_registered_before_are_no_broken_frames():
    rng = np.random.default_rng(5)
    motion = Motion(CONFIG, SHAPE)
    for frame in frames(60):
        frame[: rng.integers(0, 8)] = 0
        assert motion.update(frame).ok


def test_a_broken_frame_says_nothing_of_the_cells():
    """Its trace is what was measured; the denoised trace decays through it and there is no event."""
    pixels = (np.arange(40, 45)[:, None] * SHAPE[1] + np.arange(50, 55)).ravel().astype(np.int32)
    footprints = Footprints.from_columns(SHAPE, [(pixels, np.full(25, 0.2, np.float32))])
    b0 = np.mean(list(frames(40)), 0).astype(np.float32)
    epoch = replace(EPOCH, footprints=footprints, b0=b0)
    infer, aligned = Infer(CONFIG, SHAPE), np.zeros(SHAPE, np.float32)
    results = []
    for t, frame in enumerate(frames(60)):
        if t == 20:
            infer.adopt(epoch)
        results.append(infer(Frame(t, np.where(t == 40, 255, frame).astype(np.uint8), 0), aligned))
    assert [bool(r.flags & FLAG_BAD_MOTION) for r in results] == [t == 40 for t in range(60)]
    bad, after = results[40], results[41:]
    assert abs(bad.y[0]) > 100
    assert bad.c[0] <= results[39].c[0]
    assert bad.s[0] == 0
    assert max(r.c[0] for r in after) < 5
    assert max(r.s_lag[0] for r in results[40:]) < 5


def halved(frame, rng):
    return np.where(np.arange(len(frame))[:, None] < 48, 8, frame).astype(np.uint8)


def another_view(frame, rng):
    """Return the frame turned by half: as much light and structure, and nothing in common."""
    return np.ascontiguousarray(frame[::-1, ::-1])


def dark(frame, rng):
    """Return what a sensor with a fixed pattern sees without light."""
    pattern = np.random.default_rng(7).normal(4, 1, frame.shape)
    return np.clip(np.round(pattern + rng.normal(0, 1, frame.shape)), 0, 255).astype(np.uint8)


SLOW = CONFIG.model_copy(update={"fps": 10.0})
LASTING = round(LASTING_S * SLOW.fps)


@functools.cache
def scene():
    return tuple(frames(200))


def watch(change, stop=200):
    """Return which frames are good and their shifts when the scene changes from frame 40 to `stop`."""
    rng, motion = np.random.default_rng(4), Motion(SLOW, SHAPE)
    found = [motion.update(change(f, rng) if 40 <= t < stop else f) for t, f in enumerate(scene())]
    return np.array([s.ok for s in found]), np.array([(s.dy, s.dx) for s in found])


@functools.cache
def whole_shifts():
    return watch(lambda frame, rng: frame)[1]


@pytest.mark.parametrize("change", [halved, another_view])
def test_a_scene_that_changes_for_good_is_flagged_for_some_seconds_and_then_registered(change):
    ok, shifts = watch(change)
    assert ok[:40].all()
    assert not ok[40 : 40 + LASTING].any()
    assert ok[40 + LASTING :].all()
    # The edge of the dark half stays where it is, so that only its columns tell of the motion.
    seen = whole_shifts()[100:, 1] * (-1 if change is another_view else 1)
    assert (shifts[100:, 1] - seen).std() < 0.2


def test_half_a_picture_is_registered_to_the_whole_one():
    _, shifts = watch(halved)
    assert np.abs(shifts[100:, 1] - whole_shifts()[100:, 1]).mean() < 0.2


@pytest.mark.parametrize("change", [halved, another_view])
def test_a_scene_that_comes_back_is_known_at_once(change):
    ok, shifts = watch(change, stop=120)
    assert ok[120:].all()
    assert np.abs(shifts[120:] - whole_shifts()[120:]).max() < 0.2


@pytest.mark.parametrize("change", [black, saturated, noise, dark])
def test_what_is_no_picture_never_becomes_the_scene(change):
    ok, _ = watch(change, stop=140)
    assert not ok[40:140].any()
    assert ok[140:].all()


@pytest.mark.parametrize("cut", [70, 95, 130])
def test_a_change_of_the_scene_survives_a_restart(cut):
    whole, rng = Motion(SLOW, SHAPE), np.random.default_rng(4)
    images = [halved(f, rng) if 40 <= t < 120 else f for t, f in enumerate(scene()[:150])]
    for image in images[:cut]:
        whole.update(image)
    again = Motion.from_state(SLOW, SHAPE, whole.state())
    for image in images[cut:]:
        one, other = whole.update(image), again.update(image)
        assert (one.ok, one.dy, one.dx) == (other.ok, other.dy, other.dx)
