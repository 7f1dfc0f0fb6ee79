"""The parts of the refit against plain algebra on small arrays."""

import numpy as np
import pytest

from streamscope.core.background import RingGeometry
from streamscope.core.kernels import seeds, sums
from streamscope.errors import StorageError
from streamscope.offline import accept
from streamscope.offline.project import Background, demix, mixed, project
from streamscope.offline.reshape import grown_masks, layers, reshape
from streamscope.offline.store import SCALE, FrameStore, Scratch
from streamscope.offline.survey import Survey, bin_frames
from streamscope.offline.temporal import Indicator, denoise, event_contrast
from streamscope.testing import naive, naive_refit
from streamscope.types import Footprints, Kinetics

SHAPE = (22, 27)
N_FRAMES = 60


def blob(y, x, sd=2.0):
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * sd**2))
    pixels = np.flatnonzero(image > 0.05).astype(np.int32)
    weights = image.ravel()[pixels]
    return pixels, (weights / np.linalg.norm(weights)).astype(np.float32)


FOOTPRINTS = Footprints.from_columns(SHAPE, [blob(8, 9), blob(12, 13), blob(14, 20)])


@pytest.fixture
def session():
    rng = np.random.default_rng(1)
    words = rng.integers(60 * SCALE, 90 * SCALE, (N_FRAMES, SHAPE[0] * SHAPE[1])).astype(np.uint16)
    geometry = RingGeometry.make(SHAPE, 6.0, 1.5, 2)
    W = (0.02 * rng.random(geometry.neighbours.shape)).astype(np.float32)
    with FrameStore(SHAPE, N_FRAMES, chunk_frames=17) as store:
        for start, stop in store.spans():
            store.write(start, words[start:stop])
        survey = Survey.of(store, geometry, 10.0)
        with survey.scratch:
            yield store, words, Background(geometry, W, survey.mean_image, survey.mean_bins), survey


def test_the_store_gives_back_what_was_written(session):
    store, words, _, _ = session
    assert np.array_equal(store.read(10, 40), words[10:40])
    assert np.array_equal(store.columns(5, 9, np.array([3, 1])), words[[3, 1], 5:9])
    assert store.spans()[-1] == (51, 60)


def test_a_folder_that_does_not_exist_is_one_clear_error(tmp_path):
    with pytest.raises(StorageError, match="cannot make a temporary file in"):
        Scratch(3, 3, np.float32, tmp_path / "missing")


def test_the_survey_is_the_movie_in_blocks_without_its_mean(session):
    _, words, background, survey = session
    Y = words / SCALE
    assert np.allclose(survey.mean_image, Y.mean(0), atol=1e-3)
    D = naive.block_mean_matrix(SHAPE, 2)
    expected = (Y @ D.T).reshape(N_FRAMES // 2, 2, -1).mean(1) - Y.mean(0) @ D.T
    assert np.allclose(survey.band(0, background.geometry.n_bins), expected, atol=1e-2)
    assert np.allclose(bin_frames(words[:3], background.geometry), Y[:3] @ D.T, atol=1e-3)


def test_traces_solve_the_folded_system(session):
    store, words, background, _ = session
    Y = words / SCALE - background.mean_image
    A = naive.dense(FOOTPRINTS)
    D, U = naive.block_mean_matrix(SHAPE, 2), naive.bilinear_matrix(SHAPE, 2)
    V = A.T @ U @ naive.ring_matrix(background.W, background.geometry.neighbours)
    u = (A.T - V @ D) @ Y.T
    found = project(store, FOOTPRINTS, background)
    assert np.allclose(found, u, atol=0.05)
    expected = np.linalg.solve(A.T @ A - V @ D @ A, u)
    assert np.allclose(demix(found, FOOTPRINTS, background), expected, atol=0.1)


def test_merged_rows_need_no_second_reading(session):
    import scipy.sparse as sp

    store, _, background, _ = session
    mix = sp.csr_matrix(np.array([[0.6, 0.8, 0], [0, 0, 1.0]]))
    direct = project(store, mixed(FOOTPRINTS, mix), background)
    assert np.allclose(mix @ project(store, FOOTPRINTS, background), direct, atol=0.05)


def test_footprints_are_fitted_with_the_background_taken_out_by_linearity(session):
    store, words, background, _ = session
    rng = np.random.default_rng(2)
    C = (np.maximum(rng.standard_normal((3, N_FRAMES)), 0) * 40).astype(np.float32)
    Y = words / SCALE - background.mean_image
    A, centred = naive.dense(FOOTPRINTS), C - C.mean(1, keepdims=True)
    D, U = naive.block_mean_matrix(SHAPE, 2), naive.bilinear_matrix(SHAPE, 2)
    ring = naive.ring_matrix(background.W, background.geometry.neighbours)
    B = (Y @ D.T - centred.T @ A.T @ D.T) @ ring.T @ U.T
    masks = grown_masks(FOOTPRINTS, 6.0)
    support = np.zeros_like(A)
    for k in range(3):
        support[masks.column(k)[0], k] = 1
    CY = ((Y - B).T @ centred.T) * support
    expected = naive_refit.shapes(CY, centred @ centred.T, np.where(support > 0, A, 0) + 1e-9 * support, 8)
    found = naive.dense(reshape(store, FOOTPRINTS, C, background, 6.0))
    for k in range(3):
        kept = found[:, k] > 0  # `reshape` also drops faint and detached pixels
        assert kept.any()
        same = expected[kept, k] / np.linalg.norm(expected[kept, k])
        assert np.allclose(found[kept, k], same, atol=0.02)


def test_layers_hold_every_entry_once():
    entries = layers(FOOTPRINTS)
    assert sorted(entries[entries >= 0].tolist()) == list(range(len(FOOTPRINTS.pixels)))
    layer, pixel = np.nonzero(entries >= 0)
    assert np.array_equal(FOOTPRINTS.pixels[entries[layer, pixel]], pixel)


def test_seed_scores_equal_the_plain_ones():
    rng = np.random.default_rng(3)
    grid = (7, 9)
    Z = rng.standard_normal((63, 80)).astype(np.float32)
    Z[20:24] += 3 * (rng.random(80) < 0.1)
    noise = np.full(63, 0.8, np.float32)
    right, down, peak, score = (np.zeros(63, np.float32) for _ in range(4))
    seeds.score_box(Z, grid, noise, (0, 7, 0, 9), right, down, peak, score)
    assert np.allclose(score, naive_refit.seed_score(Z, grid, noise), atol=1e-3)


def test_peeling_finds_each_cell_once_and_leaves_noise():
    rng = np.random.default_rng(4)
    grid, length = (20, 24), 200
    X = 0.3 * rng.standard_normal((480, length)).astype(np.float32)
    yy, xx = np.divmod(np.arange(480), 24)
    for y, x in ((6, 6), (12, 16)):
        events = 5 * (rng.random(length) < 0.06)
        X += np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 2.5)[:, None] * events.astype(np.float32)
    Z = (X - X.mean(1, keepdims=True)).copy()
    stencil = np.zeros((3, 3), np.float32)
    stencil[1, 1] = 1
    noise = np.full(480, 0.3, np.float32)
    right, down, peak, score = (np.zeros(480, np.float32) for _ in range(4))
    seeds.score_box(Z, grid, noise, (0, 20, 0, 24), right, down, peak, score)
    found, shape = np.zeros((9, 3), np.float32), np.zeros((9, 9, 9), np.float32)
    trace = np.zeros((9, length), np.float32)
    n = seeds.peel(X, Z, grid, noise, stencil, 4.0, 4.0, 1, right, down, peak, score, found, shape, trace)
    assert {divmod(int(p), 24) for p in found[:n, 0]} == {(6, 6), (12, 16)}
    assert Z.max() < 2.5


def test_subtracting_the_ring_equals_the_matrix():
    rng = np.random.default_rng(5)
    geometry = RingGeometry.make(SHAPE, 6.0, 1.5, 2)
    W = rng.random(geometry.neighbours.shape).astype(np.float32)
    x = rng.random((4, geometry.n_bins)).astype(np.float32)
    expected = x - x @ naive.ring_matrix(W, geometry.neighbours).T
    sums.subtract_ring(W, geometry.neighbours, 0, geometry.n_bins, x)
    assert np.allclose(x, expected, atol=1e-3)


def test_contrast_is_high_for_events_and_low_for_single_bad_frames():
    rng = np.random.default_rng(6)
    y = rng.standard_normal((2, 400)).astype(np.float32)
    y[0, 200:230] += 20 * np.exp(-np.arange(30) / 10)
    y[1, 200] += 20
    contrast = event_contrast(y, np.ones(2, np.float32), 10)
    assert contrast[0] > 15
    assert contrast[1] < 8


def test_pieces_of_one_cell_are_merged_and_lone_cells_are_not():
    rng = np.random.default_rng(7)
    C = np.maximum(rng.standard_normal((3, 300)), 0).astype(np.float32)
    C[1] = 0.5 * C[0]
    assert accept.merge_plan(FOOTPRINTS, C, 8.0).tolist() == [0, 0, 2]
    C[1] = np.roll(C[0], 50)
    assert accept.merge_plan(FOOTPRINTS, C, 8.0).tolist() == [0, 1, 2]


def test_a_rejected_component_says_why():
    line = np.arange(30, 60, dtype=np.int32)
    columns = [*[FOOTPRINTS.column(k) for k in range(3)], (line, np.ones(30, np.float32))]
    footprints = Footprints.from_columns(SHAPE, columns)
    rng = np.random.default_rng(8)
    events = (rng.random((4, 400)) < 0.02) * 30.0
    events[2] = 0
    y = np.array([np.convolve(e, np.exp(-np.arange(40) / 6))[:400] for e in events])
    indicator = Indicator(10.0, Kinetics(0.6), 1.5)
    activity = denoise((y + rng.standard_normal(y.shape)).astype(np.float32), indicator)
    reasons = accept.verdicts(footprints, activity, indicator.span, 6.0, 12.0)
    assert reasons[0] == reasons[1] == ""
    assert "rises" in reasons[2]
    assert "long axis" in reasons[3] or "shape" in reasons[3]


def test_an_event_that_begins_with_the_recording_counts():
    rng = np.random.default_rng(9)
    y = rng.standard_normal((1, 300)).astype(np.float32)
    y[0, :30] += 20 * np.exp(-np.arange(30) / 10)
    assert event_contrast(y, np.ones(1, np.float32), 10)[0] > 15


def cells_of(where, events, seed=10):
    """Return round footprints at `where` (y, x) and the activity with these events (K, T)."""
    y, x = np.divmod(np.arange(SHAPE[0] * SHAPE[1]), SHAPE[1])
    columns = []
    for cy, cx in where:
        spot = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.5**2))
        pixels = np.flatnonzero(spot > 0.1).astype(np.int32)
        columns.append((pixels, (spot[pixels] / np.linalg.norm(spot[pixels])).astype(np.float32)))
    traces = np.array([np.convolve(e, np.exp(-np.arange(40) / 6))[: len(e)] for e in events])
    noise = np.random.default_rng(seed).standard_normal(traces.shape)
    indicator = Indicator(10.0, Kinetics(0.6), 1.5)
    activity = denoise((traces + noise).astype(np.float32), indicator)
    return Footprints.from_columns(SHAPE, columns), activity, indicator.span


def test_a_component_that_is_the_sum_of_two_cells_is_told_from_cells_that_are_active_together():
    rng = np.random.default_rng(11)
    first, second, own, lone = (rng.random((4, 400)) < 0.02) * 40.0
    where = [(8, 6), (8, 8), (8, 10), (8, 17)]
    together = (first, 0.6 * first + 0.7 * second, second, lone)
    found = accept.sums_of_others(*cells_of(where, together), 6.0, 12.0)
    assert {k: parts.tolist() for k, parts in found.items()} == {1: [0, 2]}
    friends = (first, 0.6 * first + 0.7 * second + own, second, lone)
    assert accept.sums_of_others(*cells_of(where, friends), 6.0, 12.0) == {}
    piece = (first, 0.8 * first, second, lone)
    assert accept.sums_of_others(*cells_of(where, piece), 6.0, 12.0) == {}


@pytest.mark.parametrize(
    ("row", "size", "said"), [(1, 60, "quarter"), (2, 60, ""), (2, 14, "half a cell"), (6, 14, "")]
)
def test_a_cell_near_the_border_needs_larger_events(row, size, said):
    events = np.zeros((1, 400))
    events[0, [100, 200, 300]] = size
    footprints, activity, span = cells_of([(row, 10)], events)
    reason = accept.verdicts(footprints, activity, span, 6.0, 12.0)[0]
    assert said in reason
    assert bool(reason) == bool(said)


@pytest.mark.parametrize(("own", "is_piece"), [(0.0, True), (0.25, True), (1.2, False)])
def test_a_cell_that_shares_light_with_its_neighbour_is_one_if_its_own_events_are_clear(own, is_piece):
    rng = np.random.default_rng(12)
    first, second = (rng.random((2, 400)) < 0.02) * 50.0
    second[100] = 50.0
    footprints, activity, span = cells_of([(11, 11), (11, 14)], (first, 0.6 * first + own * second * 0.6))
    reasons = accept.verdicts(footprints, activity, span, 6.0, 12.0)
    assert reasons[0] == ""
    assert ("a piece of it" in reasons[1]) == is_piece


def test_noise_in_a_footprint_is_no_shape():
    rng = np.random.default_rng(13)
    y, x = np.mgrid[:61, :61]

    def roundness_of(image, blur):
        pixels = np.flatnonzero(image > 0).astype(np.int32)
        column = (pixels, image.ravel()[pixels].astype(np.float32))
        return accept.roundness(Footprints.from_columns((61, 61), [column]), 0, 20.0, blur)

    disc = np.hypot(y - 30, x - 30) < 22
    spot = np.exp(-((y - 30) ** 2 + (x - 30) ** 2) / (2 * 6.0**2)) * disc
    noisy = np.maximum(spot + 0.4 * rng.standard_normal(spot.shape) * disc, 0)
    two = np.exp(-((y - 30) ** 2 + (abs(x - 30) - 14) ** 2) / (2 * 4.0**2)) * disc
    assert roundness_of(noisy, 0.0) < 0.7
    assert roundness_of(noisy, 0.1) > 0.85
    assert roundness_of(two, 0.1) < 0.85
