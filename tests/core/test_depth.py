"""Pixels with more than 8 bits: the same engine, in the same grey levels, without a rounding."""

import numpy as np

from streamscope.core.infer import Infer
from streamscope.core.kernels._jit import signature_counts
from streamscope.core.preprocess import Preprocess, grey_levels
from streamscope.core.rois import FixedRois
from streamscope.core.warmup import SMALL_CONFIG, small_movie, warm_up_infer
from streamscope.testing.checks import check_stage
from streamscope.types import Footprints, Frame

SHAPE, BITS = (64, 64), 12
DEEP = SMALL_CONFIG.model_copy(update={"bits": BITS})


def test_256_grey_levels_span_every_depth_and_no_value_is_lost():
    for bits in (9, 12, 16):
        counts = np.arange(1 << bits, dtype=np.uint16).reshape(2, -1)
        levels = grey_levels(counts, bits)
        assert levels.dtype == np.float32
        assert levels.max() < 256
        assert np.array_equal(levels * 2.0 ** (bits - 8), counts)
    image = np.zeros((2, 3), np.uint8)
    assert grey_levels(image, 8) is image


def test_a_hot_pixel_is_repaired_in_grey_levels():
    frames = np.random.default_rng(5).integers(1280, 1440, (12, 30, 40)).astype(np.uint16)
    frames[:, 7, 9] = 4095
    preprocess = Preprocess((30, 40), BITS)
    for frame in frames:
        image = preprocess.update(np.asfortranarray(frame))
    assert preprocess.defects.tolist() == [[7, 9]]
    assert image[7, 9] < 95
    expected = frames[-1] / 16
    expected[7, 9] = image[7, 9]
    assert np.array_equal(image, expected)
    assert image.flags.c_contiguous


def test_preprocessing_of_deep_pixels_goes_on_from_its_state():
    frames = np.random.default_rng(6).integers(1280, 1440, (12, 16, 18)).astype(np.uint16)
    frames[:, 7, 9] = 4095
    check_stage(
        lambda: Preprocess((16, 18), BITS),
        [(frame,) for frame in frames],
        Preprocess.from_state,
        update=lambda stage, arguments: stage.update(*arguments).copy(),
        grows=True,  # by the defect that is found
    )


def results(config, movie):
    """Return what the pipeline says of a movie, with an epoch of given regions, and its aligned frames."""
    columns = [
        ((np.add.outer(np.arange(6) * 64, np.arange(6)).ravel() + y * 64 + x).astype(np.int32))
        for y, x in ((18, 18), (38, 28))
    ]
    rois = Footprints.from_columns(SHAPE, [(p, np.full(len(p), 1 / 6, np.float32)) for p in columns])
    infer, rois = Infer(config, SHAPE), FixedRois(config, rois, movie[0])
    infer.adopt(rois.first)
    aligned, out = np.zeros(SHAPE, np.float32), []
    for index, image in enumerate(movie):
        result = infer(Frame(index, image, 0), aligned)
        out.append((result.shift.dy, result.shift.dx, *result.y, *result.c, *aligned[30:34, 30:34].ravel()))
    return np.array(out)


def test_the_same_picture_in_more_bits_gives_the_same_results():
    plain, deep = results(SMALL_CONFIG, small_movie()), results(DEEP, small_movie().astype(np.uint16) << 4)
    assert np.ptp(plain[:, 2:6]) > 5
    np.testing.assert_allclose(deep, plain, rtol=1e-3, atol=2e-3)


def test_no_kernel_of_the_pipeline_gains_a_signature_after_the_warm_up():
    warm_up_infer(lambda *_: None, BITS)
    before = signature_counts()
    infer, aligned = Infer(DEEP, SHAPE), np.zeros(SHAPE, np.float32)
    for index, image in enumerate(small_movie(BITS)[:40]):
        infer(Frame(index, image, 0), aligned)
    assert signature_counts() == before
