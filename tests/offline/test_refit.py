import numpy as np
import pytest

from streamscope.core.kernels._jit import signature_counts
from streamscope.core.quality import LASTING_S
from streamscope.offline.refit import refit
from streamscope.offline.warmup import warm_up_refit
from streamscope.types import FLAG_BAD_MOTION, Footprints
from tests.offline.refit_movies import CENTRES, CONFIG, SHAPE, ArrayMovie, match, simulate


@pytest.fixture(scope="module")
def recording():
    return simulate()


@pytest.fixture(scope="module")
def warm():
    """Return what the warm-up said, and the kernels' signatures after it."""
    said = []
    warm_up_refit(lambda *words: said.append(words))
    return said, signature_counts()


@pytest.fixture(scope="module")
def result(recording, warm):
    return refit(recording[0], CONFIG, None, None, None)


def test_every_cell_is_found_without_a_live_start(recording, result):
    _, A, F, _ = recording
    cosine, r, best = match(result, A, F)
    assert cosine.min() > 0.9
    assert r.min() > 0.95
    assert len(set(best)) == len(best)
    assert result.status.count("accepted") == len(best)


def test_no_kernel_gains_a_signature_after_the_warm_up(warm, recording, result):
    movie, A, _, shifts = recording
    refit(movie, CONFIG, live_start(A, [0]), np.array([1], np.uint32), shifts.astype(np.float32))
    said, signatures = warm
    assert set(said) == {("compiling or loading kernels", 0.0)}
    assert signature_counts() == signatures


def test_shifts_agree_with_the_truth(recording, result):
    error = result.shifts - recording[3]
    error -= np.median(error, 0)
    assert np.sqrt((error**2).sum(1).mean()) < 0.2
    assert (result.quality > 0.5).all()


def test_the_result_is_complete_and_finite(result):
    k, t = result.footprints.n, 300
    assert result.C.shape == result.S.shape == result.C_raw.shape == (k, t)
    assert result.C.dtype == result.S.dtype == result.C_raw.dtype == np.float32
    assert result.g.shape == (k, 2)
    assert len(result.status) == len(result.reasons) == len(result.ids) == len(result.snr) == k
    assert all(result.reasons)
    assert len(set(result.ids.tolist())) == k
    for image in (result.b0, result.mean_image, result.correlation_image):
        assert image.shape == SHAPE
        assert np.isfinite(image).all()
    assert np.isfinite(result.C).all()
    assert (result.C >= 0).all()
    assert (result.S >= 0).all()
    assert result.kinetics is not None
    assert result.kinetics.fitted
    assert result.notes["seconds"]["registering"] > 0


def test_two_runs_give_the_same_bytes(recording, result):
    again = refit(recording[0], CONFIG, None, None, None)
    for name in ("C", "S", "C_raw", "sn", "shifts", "b0", "correlation_image", "ids"):
        assert np.array_equal(getattr(again, name), getattr(result, name)), name
    assert np.array_equal(again.footprints.weights, result.footprints.weights)
    assert again.reasons == result.reasons


def live_start(A, chosen, scale=3.0):
    columns = []
    for k in chosen:
        flat = A[..., k].ravel()
        pixels = np.flatnonzero(flat > 0.1).astype(np.int32)
        columns.append((pixels, (scale * flat[pixels]).astype(np.float32)))
    return Footprints.from_columns(SHAPE, columns)


def test_a_cell_keeps_its_live_id_and_a_new_one_gets_a_higher_number(recording):
    movie, A, F, shifts = recording
    live = live_start(A, [0, 3])
    ids = np.array([17, 5], np.uint32)
    stages = []
    result = refit(movie, CONFIG, live, ids, shifts.astype(np.float32), lambda s, d: stages.append((s, d)))
    cosine, _, best = match(result, A, F)
    assert cosine.min() > 0.9
    assert result.ids[best[0]] == 17
    assert result.ids[best[3]] == 5
    assert all(result.ids[best[k]] > 17 for k in (1, 2, 4, 5))
    assert all(0 <= done <= 1 for _, done in stages)
    assert {"registering", "finding cells", "fitting traces"} <= {s for s, _ in stages}


def test_a_live_component_that_is_none_is_rejected_or_gone_with_a_reason(recording):
    movie, A, F, shifts = recording
    y, x = np.mgrid[56:60, 60:64]
    wrong = ((y * SHAPE[1] + x).ravel().astype(np.int32), np.ones(16, np.float32))
    start = live_start(A, [0, 1])
    live = Footprints.from_columns(SHAPE, [start.column(0), start.column(1), wrong])
    result = refit(movie, CONFIG, live, np.array([1, 2, 3], np.uint32), shifts.astype(np.float32))
    kept = dict(zip(result.ids.tolist(), result.status, strict=True))
    assert kept.get(3) == "rejected" or "3" in result.notes["gone"]
    assert match(result, A, F)[0].min() > 0.9


@pytest.mark.parametrize("n_frames", [1, 3, 60])
def test_a_short_recording_gives_a_valid_result(n_frames):
    movie, *_ = simulate(n_frames, moving=False)
    result = refit(movie, CONFIG, None, None, None)
    assert result.C.shape == (result.footprints.n, n_frames)
    assert result.shifts.shape == (n_frames, 2)
    assert np.isfinite(result.mean_image).all()


def test_a_black_movie_has_no_cells():
    movie = ArrayMovie(np.zeros((80, *SHAPE), np.uint8))
    result = refit(movie, CONFIG, None, None, None)
    assert "accepted" not in result.status
    assert np.isfinite(result.correlation_image).all()
    assert np.isfinite(result.shifts).all()


def test_missing_frames_are_counted_in_the_decay(recording):
    movie, A, F, shifts = recording
    keep = np.delete(np.arange(300), slice(100, 140))
    gap = np.zeros(260, np.int32)
    gap[100] = 40
    cut = ArrayMovie(movie.frames[keep], gap)
    result = refit(cut, CONFIG, live_start(A, range(6)), np.arange(1, 7, dtype=np.uint32), shifts[keep])
    cosine, r, _ = match(result, A, F[:, keep])
    assert cosine.min() > 0.9
    assert r.min() > 0.95


BROKEN = [40, 41, 120, 121, 122, 123, 200, 260, 299]


@pytest.fixture(scope="module")
def broken(recording):
    """Return the recording with frames that are black, white or of noise, and its live shifts."""
    movie, _, _, shifts = recording
    rng = np.random.default_rng(5)
    frames = movie.frames.copy()
    frames[40], frames[41], frames[120:124], frames[299] = 0, 255, 0, 0
    frames[200] = rng.integers(0, 255, SHAPE)
    frames[260, 20:44] = rng.integers(0, 255, (24, SHAPE[1]))
    live = shifts.astype(np.float32)
    live[BROKEN] += 3  # whatever live made of them
    return ArrayMovie(frames), live


@pytest.fixture(scope="module", params=[False, True], ids=["alone", "after live"])
def repaired(request, broken, recording, warm):
    movie, shifts = broken
    live = (live_start(recording[1], [0, 3]), np.array([1, 2], np.uint32), shifts)
    return refit(movie, CONFIG, *(live if request.param else (None, None, None)))


def test_broken_frames_are_flagged_and_nothing_is_learned_from_them(recording, result, repaired):
    """All but what was in them is found as if they had been good."""
    _, A, F, _ = recording
    assert np.flatnonzero(repaired.flags & FLAG_BAD_MOTION).tolist() == BROKEN
    assert not result.flags.any()
    good = np.delete(np.arange(300), BROKEN)
    cosine, _, best = match(repaired, A, F)
    clean_cosine, _, clean = match(result, A, F)
    assert repaired.status.count("accepted") == len(best)
    assert (cosine > clean_cosine - 0.02).all()
    np.testing.assert_allclose(repaired.sn[best], result.sn[clean], rtol=0.4)
    np.testing.assert_allclose(repaired.mean_image, result.mean_image, atol=1.0)
    for k in range(len(best)):
        r, clean_r = (
            np.corrcoef(C[good], F[k, good])[0, 1] for C in (repaired.C[best[k]], result.C[clean[k]])
        )
        assert r > clean_r - 0.01


def test_traces_decay_through_broken_frames(repaired):
    assert repaired.C.shape == repaired.S.shape == repaired.C_raw.shape == (repaired.footprints.n, 300)
    assert not repaired.S[:, BROKEN].any()
    np.testing.assert_array_equal(repaired.C_raw[:, BROKEN], repaired.C[:, BROKEN])
    g = repaired.g[0, 0]
    for t in BROKEN:
        np.testing.assert_allclose(repaired.C[:, t], g * repaired.C[:, t - 1], rtol=1e-5, atol=1e-6)


def test_the_shift_of_a_broken_frame_lies_between_its_neighbours(repaired):
    shifts = repaired.shifts
    np.testing.assert_allclose(shifts[200], (shifts[199] + shifts[201]) / 2, atol=1e-5)
    np.testing.assert_allclose(
        np.diff(shifts[119:125], axis=0), np.tile((shifts[124] - shifts[119]) / 5, (5, 1)), atol=1e-5
    )
    np.testing.assert_array_equal(shifts[299], shifts[298])


def test_a_recording_whose_first_half_is_dark_is_refitted_from_the_rest(recording):
    movie, A, F, _ = recording
    frames = np.concatenate([np.zeros_like(movie.frames), movie.frames])
    result = refit(ArrayMovie(frames), CONFIG, None, None, None)
    assert (result.flags & FLAG_BAD_MOTION)[:300].all()
    assert not (result.flags & FLAG_BAD_MOTION)[300:].any()
    assert not result.C[:, :300].any()
    cosine, r, _ = match(result, A, np.concatenate([0 * F, F], 1))
    assert cosine.min() > 0.9
    assert r.min() > 0.95


def test_a_change_that_lasts_is_learned_from_after_some_seconds(recording):
    """A cover over a quarter of the field, with an edge right across it."""
    movie, A, F, shifts = recording
    frames = movie.frames.copy()
    frames[200:, :16] = 3
    result = refit(ArrayMovie(frames), CONFIG, None, None, shifts.astype(np.float32))
    bad = (result.flags & FLAG_BAD_MOTION) > 0
    assert np.flatnonzero(bad).tolist() == list(range(200, 200 + round(LASTING_S * CONFIG.fps)))
    cosine, _, best = match(result, A, F)
    below = [k for k, (y, _) in enumerate(CENTRES) if y > 30]
    assert cosine[below].min() > 0.95
    for k in below:
        assert np.corrcoef(result.C[best[k], 250:], F[k, 250:])[0, 1] > 0.95
