"""Given regions on small movies: traces from frame 0, around zero, of the region's own light."""

import numpy as np
import pytest

from streamscope.config import EngineConfig
from streamscope.core.epoch import CONFIRMED
from streamscope.core.infer import Infer
from streamscope.core.rois import FixedRois, image_noise, level_now
from streamscope.types import Footprints, Frame

SHAPE, SIDE, NOISE = (64, 72), 16, 3.0
CONFIG = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.5)


def squares(*corners):
    """Return one uniform square of unit norm for each upper left corner."""
    columns = []
    for y, x in corners:
        pixels = np.add.outer(np.arange(y, y + SIDE) * SHAPE[1], np.arange(x, x + SIDE)).ravel()
        columns.append((pixels.astype(np.int32), np.full(len(pixels), 1 / SIDE, np.float32)))
    return Footprints.from_columns(SHAPE, columns)


def movie(n, signal, light=None, seed=0):
    """Return frames of still tissue whose first square (8, 8) brightens by `signal` (n,) ADU."""
    rng = np.random.default_rng(seed)
    tissue = 100 + 8 * rng.normal(size=SHAPE)
    frames = tissue * (np.ones(n) if light is None else light)[:, None, None]
    frames[:, 8 : 8 + SIDE, 8 : 8 + SIDE] += signal[:, None, None]
    return np.clip(frames + rng.normal(0, NOISE, frames.shape), 0, 255).astype(np.uint8)


def run(frames, rois, freeze_at=None):
    """Return traces (T, K) in ADU, and the epochs; each is adopted a fixed lag after its last frame."""
    infer, learner = Infer(CONFIG, SHAPE), FixedRois(CONFIG, rois, frames[0])
    infer.adopt(learner.first)
    epochs, waiting, sn, traces = [learner.first], {}, learner.first.sn, []
    aligned = np.zeros(SHAPE, np.float32)
    for index, image in enumerate(frames):
        if index == freeze_at:
            learner.freeze()
        if index in waiting:
            infer.adopt(waiting[index])
            sn = waiting[index].sn
        result = infer(Frame(index, image, 0), aligned)
        traces.append(result.y * sn)
        epoch = learner.consume(aligned, result)
        if epoch is not None:
            waiting[index + learner.lag_frames] = epoch
            epochs.append(epoch)
    return np.array(traces), epochs


@pytest.fixture(scope="module")
def session():
    signal = np.zeros(500)
    signal[300:320] = 5.0
    return run(movie(500, signal), squares((8, 8), (32, 40)))


def test_traces_flow_from_frame_0_and_lie_around_zero(session):
    traces, epochs = session
    assert traces.shape == (500, 2)
    assert np.isfinite(traces).all()
    assert np.abs(np.median(traces[50:300], 0)).max() < NOISE / 2
    assert list(epochs[0].ids) == [1, 2]
    assert [e.kind for e in epochs[0].events] == ["born", "confirmed"] * 2


def test_a_region_shows_all_its_own_light(session):
    traces, _ = session
    assert traces[302:318, 0].mean() == pytest.approx(
        5.0 * SIDE, rel=0.05
    )  # unit norm: its side times the mean
    assert abs(traces[302:318, 1].mean()) < NOISE


def test_only_background_and_once_the_noise_scale_change(session):
    _, epochs = session
    scales = {tuple(e.sn) for e in epochs}
    assert len(scales) == 2
    assert epochs[-1].sn == pytest.approx(NOISE, rel=0.3)
    rescaled = [e for epoch in epochs for e in epoch.events if e.kind == "rescaled"]
    assert [e.id for e in rescaled] == [1, 2]
    assert rescaled[0].factor == pytest.approx(epochs[0].sn[0] / epochs[-1].sn[0])
    for epoch in epochs:
        assert (epoch.status == CONFIRMED).all()
        np.testing.assert_array_equal(epoch.footprints.pixels, epochs[0].footprints.pixels)


def test_traces_stay_around_zero_while_the_light_bleaches():
    n = 1200
    light = np.exp(-np.arange(n) / 6000)  # 18 % in a minute
    traces, _ = run(movie(n, np.zeros(n), light), squares((32, 40)))
    whole = 100 * SIDE * (light[100] - light[-1])
    assert np.abs(np.median(traces[900:].reshape(10, -1), 1)).max() < 0.1 * whole
    with_trend, level = np.array([[0.0], [1.0]]) * np.arange(-59, 1), np.zeros(2)
    assert level_now(with_trend.T.astype(np.float32), 20) == pytest.approx(level, abs=0.1)


def test_frozen_it_keeps_the_noise_scale_and_follows_the_light():
    _, epochs = run(movie(300, np.zeros(300)), squares((8, 8)), freeze_at=20)
    assert len({tuple(e.sn) for e in epochs}) == 1
    assert len({e.b0.tobytes() for e in epochs}) > 2


def test_regions_that_overlap_each_show_what_is_in_them():
    signal = np.zeros(300)
    signal[200:210] = 6.0
    traces, _ = run(movie(300, signal), squares((8, 8), (8, 8), (8, 16)))
    high = traces[202:208].mean(0)
    assert high[0] == pytest.approx(high[1], rel=1e-3)
    assert high[2] == pytest.approx(high[0] / 2, rel=0.15)


def test_the_noise_of_one_image_is_that_of_its_pixels():
    rng = np.random.default_rng(1)
    smooth = 100 + 20 * np.sin(np.add.outer(np.arange(120), np.arange(100)) / 15)
    assert image_noise(np.round(smooth + rng.normal(0, 4, smooth.shape)).astype(np.uint8)) == pytest.approx(
        4, rel=0.1
    )
    assert image_noise(np.zeros((2, 50), np.uint8)) == 0
