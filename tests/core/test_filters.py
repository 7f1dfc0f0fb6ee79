"""The kernels that repair, filter, register and read out a frame, against plain twins."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamscope.config import EngineConfig
from streamscope.core.background import SparseRows
from streamscope.core.demix import Demix
from streamscope.core.epoch import Epoch
from streamscope.core.kernels import filters, readout, repair, warp
from streamscope.core.motion import BandPass, Correlation
from streamscope.core.preprocess import Preprocess
from streamscope.core.readout import Readout
from streamscope.testing import naive
from streamscope.testing.checks import check_stage
from streamscope.types import Kinetics, Shift
from tests.core.kernel_inputs import few, random_field, random_footprints, seeds, shapes, steps

TAPS = np.array([0.3, 0.2, 0.1, 0.04, 0.01], np.float32)
dtypes = st.sampled_from([np.uint8, np.float32])


@pytest.mark.parametrize(
    ("i", "n", "want"), [(-1, 5, 1), (5, 5, 3), (-6, 3, 2), (9, 4, 3), (4, 1, 0), (2, 5, 2)]
)
def test_a_position_outside_is_mirrored_without_repeating_the_border(i, n, want):
    assert filters.mirrored(i, n) == want


@few
@given(seeds, shapes, dtypes)
def test_an_image_is_halved_with_its_odd_row_and_column(seed, shape, dtype):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, shape).astype(dtype)
    want = naive.halved(image)
    out = np.full((want.shape[0] + 2, want.shape[1] + 2), -1, np.float32)
    filters.halve(image, 0, np.zeros(shape[1], np.float32), 1, out)
    assert np.allclose(out[1:-1, 1:-1], want, rtol=1e-6)
    assert (out[0] == -1).all()
    assert (out[:, -1] == -1).all()


@few
@given(seeds, shapes)
def test_a_blur_is_that_of_its_twin(seed, shape):
    rng = np.random.default_rng(seed)
    image, out = rng.normal(size=shape).astype(np.float32), np.full(shape, np.nan, np.float32)
    padded = np.zeros((shape[0] + 8, shape[1] + 8), np.float32)
    filters.as_float(image, 4, padded)
    filters.pad(padded, 4)
    filters.blur(padded, TAPS, np.zeros(2 * filters.STRIP * padded.shape[1], np.float32), out)
    assert np.allclose(out, naive.blurred(image, TAPS), atol=1e-5)


@few
@given(seeds, shapes)
def test_an_image_of_half_the_size_is_subtracted_smoothly(seed, shape):
    rng = np.random.default_rng(seed)
    small = rng.normal(size=(-(-shape[0] // 2), -(-shape[1] // 2))).astype(np.float32)
    image = rng.normal(size=shape).astype(np.float32)
    out = image.copy()
    filters.subtract_doubled(small, np.zeros(shape[1] + 2, np.float32), out)
    assert np.allclose(out, image - naive.doubled(small, shape), atol=1e-5)


def test_a_tall_blur_is_the_same_in_every_strip():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(53, 20)).astype(np.float32)
    padded, out = np.pad(image, 4, mode="reflect"), np.empty_like(image)
    filters.blur(padded, TAPS, np.zeros(2 * filters.STRIP * padded.shape[1], np.float32), out)
    assert np.allclose(out, naive.blurred(image, TAPS), atol=1e-5)


@pytest.mark.parametrize(("shape", "factor"), [((90, 101), 1), ((340, 331), 2)])
def test_the_band_pass_is_the_difference_of_two_blurs(shape, factor):
    rng = np.random.default_rng(2)
    image = rng.integers(0, 255, shape).astype(np.uint8)
    band_pass = BandPass(EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.6), shape)
    assert band_pass.factor == factor
    h, w = band_pass.shape
    base = image.astype(np.float32)[: factor * h, : factor * w]
    base = naive.halved(base).astype(np.float32) if factor == 2 else base
    small = naive.halved(base).astype(np.float32)
    wide = naive.doubled(naive.blurred(small, band_pass._outer), (h, w))
    want = naive.blurred(base, band_pass._inner) - wide
    assert np.allclose(band_pass(image), want, atol=2e-3)
    assert np.array_equal(band_pass(image.astype(np.float32)), band_pass(image))


def test_the_correlation_peaks_at_the_lag_of_a_rolled_image():
    rng = np.random.default_rng(3)
    for shape in ((97, 110), (230, 260)):
        image = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), 3)
        correlation = Correlation(shape)
        spectrum = correlation.spectrum_of(image)
        f = correlation.factor
        seen = np.roll(image, (3 * f, -2 * f), (0, 1))
        window = correlation.at_lags(seen, spectrum, 5)
        assert window.shape == (11, 11)
        assert np.unravel_index(window.argmax(), window.shape) == (8, 3)


@few
@given(seeds, shapes)
def test_the_normal_equations_are_those_of_the_twin(seed, shape):
    rng = np.random.default_rng(seed)
    moved, template = rng.normal(size=(2, *shape)).astype(np.float32)
    weight, clip = rng.uniform(0.1, 2, (2, *shape)).astype(np.float32)
    information, push = naive.block_normal(moved, 0.8 * template, weight, clip, 100)
    b, a, sums = np.empty(2), np.empty(4), np.empty(2)
    warp.drive(moved, template, 0.8, weight, clip, b)
    assert np.allclose(0.8 * b, push.reshape(2), atol=1e-4)
    warp.hessian(template, weight, a[:3])
    assert np.allclose(0.64 * a[:3], information.reshape(3), atol=1e-4)
    warp.agreement(moved, template, weight, sums)
    assert np.allclose(sums, [(weight * moved * template).sum(), (weight * moved**2).sum()], atol=1e-3)


def test_votes_and_clip_levels_follow_the_residual_variance():
    rng = np.random.default_rng(4)
    variance, window, template = rng.uniform(0.5, 3, (3, 9, 12)).astype(np.float32)
    weight, clip, weighted = (np.empty_like(variance) for _ in range(3))
    warp.settle_weights(variance, window, template, 0.2, 2.0, weight, clip, weighted)
    level = variance.mean()
    assert np.allclose(weight, window * level / (variance + 0.2 * level), rtol=1e-5)
    assert np.allclose(clip, 2 * np.sqrt(variance), rtol=1e-6)
    assert np.allclose(weighted, weight * template, rtol=1e-6)


@few
@given(seeds, shapes)
def test_defects_are_replaced_by_the_median_around_them(seed, shape):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, shape).astype(np.uint8)
    defects = np.argwhere(rng.random(shape) < 0.2)
    out = image.copy()
    repair.repair(defects, out)
    assert np.array_equal(out, naive.repaired(image, defects))


def test_a_hot_pixel_is_found_and_repaired_whatever_the_layout_of_the_frame():
    rng = np.random.default_rng(5)
    frames = rng.integers(80, 90, (12, 30, 40)).astype(np.uint8)
    frames[:, 7, 9] = 255
    preprocess = Preprocess((30, 40))
    for frame in frames:
        image = preprocess.update(np.asfortranarray(frame))
    assert preprocess.defects.tolist() == [[7, 9]]
    assert image[7, 9] < 95
    assert image.flags.c_contiguous


def test_preprocessing_goes_on_from_its_state():
    rng = np.random.default_rng(6)
    frames = rng.integers(80, 90, (12, 16, 18)).astype(np.uint8)
    frames[:, 7, 9] = 255
    check_stage(
        lambda: Preprocess((16, 18)),
        [(frame,) for frame in frames],
        Preprocess.from_state,
        update=lambda stage, arguments: stage.update(*arguments).copy(),
        grows=True,  # by the defect that is found
    )


def epoch_of(rng, shape, step, n):
    """Return an epoch of scattered footprints with a background seen by each."""
    grid = -(-shape[0] // step), -(-shape[1] // step)
    bins = rng.integers(0, grid[0] * grid[1], 5 * n).astype(np.int32)
    return Epoch(
        number=1,
        frame=0,
        ids=np.arange(n, dtype=np.uint32),
        status=np.ones(n, np.uint8),
        born_at=np.zeros(n, np.int64),
        snr=np.ones(n, np.float32),
        footprints=random_footprints(rng, shape, n),
        V=SparseRows(
            grid[0] * grid[1], 5 * np.arange(n + 1), bins, rng.normal(size=5 * n).astype(np.float32)
        ),
        step=step,
        solve=SparseRows(
            n,
            n * np.arange(n + 1),
            np.tile(np.arange(n, dtype=np.int32), n),
            rng.normal(size=n * n).astype(np.float32),
        ),
        b0=rng.uniform(50, 90, shape).astype(np.float32),
        sn=rng.uniform(1, 2, n).astype(np.float32),
        kinetics=Kinetics(0.5),
    )


@few
@given(seeds, st.tuples(st.integers(4, 40), st.integers(4, 40)), steps, st.integers(1, 4), st.booleans())
def test_traces_are_those_of_a_centred_frame(seed, shape, step, n, bent):
    rng = np.random.default_rng(seed)
    epoch = epoch_of(rng, shape, step, n)
    image = rng.integers(0, 255, shape).astype(np.uint8)
    field = rng.uniform(-0.4, 0.4, (2, 2, 2)).astype(np.float32) if bent else None
    shift = Shift(*rng.uniform(-3, 3, 2), field=field)
    aligned = np.full(shape, np.nan, np.float32)
    found = Readout(epoch)(image, shift, aligned)
    demix = Demix(shape, step)
    demix.center(aligned, epoch.b0, shift)
    want = demix.solve(epoch.footprints, epoch.V, epoch.solve) / epoch.sn
    scale = np.abs(epoch.solve.values).reshape(n, n).sum(1).max() * 40
    assert np.allclose(found, want, atol=1e-4 * scale)
    if not bent:
        moved = np.empty(shape, np.float32)
        warp.translate(image, shift.dy, shift.dx, np.zeros(shape[1] + 3, np.float32), moved)
        inside = demix.x != 0
        assert np.array_equal(aligned[inside], moved[inside])
    assert np.array_equal(aligned[demix.x == 0], epoch.b0[demix.x == 0])


@few
@given(seeds, shapes, steps)
def test_blocks_are_means_with_the_background_outside_the_field(seed, shape, step):
    rng = np.random.default_rng(seed)
    aligned, b0 = rng.uniform(0, 200, (2, *shape)).astype(np.float32)
    field = tuple(int(v) for v in random_field(rng, shape))
    want = np.where(naive.in_field(shape, field), aligned, b0)
    blocks = np.full((-(-shape[0] // step), -(-shape[1] // step)), np.nan, np.float32)
    readout.hold_and_bin(b0, field, step, np.zeros(shape[1] + 3, np.float32), aligned, blocks)
    assert np.array_equal(aligned, want)
    assert np.allclose(blocks.ravel(), naive.block_mean_matrix(shape, step) @ want.ravel(), rtol=1e-5)
