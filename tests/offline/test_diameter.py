"""The measured cell diameter: right at every size and frame rate, and silent where there are no cells."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamscope.offline.diameter import DiameterEstimate, _judge, estimate_diameter
from streamscope.testing.synth import PRESETS, Scene, SynthConfig
from streamscope.types import MovieInfo

SMALL = replace(PRESETS["small"], height=160, width=160, n_frames=420, n_near=20, n_far=4, n_deep=8)


class Recording:
    """Frames that are made when they are read; notes which were."""

    def __init__(self, n_frames, shape, fps, make):
        self.info = MovieInfo("made up", (Path("made up"),), shape, n_frames, fps)
        self.make = make
        self.read_frames = []

    def read(self, start, stop):
        self.read_frames += range(start, stop)
        return self.make(start, stop)


def simulated(config: SynthConfig):
    scene = Scene(config)
    return Recording(config.n_frames, scene.shape, config.fps, scene.frames)


def estimate(movie) -> DiameterEstimate:
    return estimate_diameter(movie, movie.info.fps)


@pytest.fixture(scope="module")
def frames():
    """A simulated recording of cells of 8 px, in memory."""
    return Scene(SMALL).frames(0, SMALL.n_frames)


@pytest.fixture(scope="module")
def found(frames):
    return estimate(of(frames))


def of(frames):
    return Recording(len(frames), frames.shape[1:], SMALL.fps, lambda start, stop: frames[start:stop])


@pytest.mark.parametrize(("size_px", "fps", "side", "n_frames"), [(13, 10.0, 210, 300), (21, 30.0, 280, 420)])
def test_cells_are_measured_within_15_percent(size_px, fps, side, n_frames):
    config = replace(SMALL, um_per_px=13 / size_px, fps=fps, height=side, width=side, n_frames=n_frames)
    assert estimate(simulated(config)).diameter_px == pytest.approx(size_px, rel=0.15)


def test_the_estimate_says_how_sure_it_is(found):
    assert found.diameter_px == pytest.approx(SMALL.soma_px, rel=0.15)
    assert found.confidence > 0.8
    assert found.n_sites >= 8
    assert found.reason == ""


def test_a_dim_recording_is_measured_too():
    found = estimate(simulated(replace(SMALL, mean_adu=30.0, peak_adu=(6.0, 36.0))))
    assert found.diameter_px == pytest.approx(SMALL.soma_px, rel=0.15)


def test_a_movie_at_twice_the_size_has_cells_of_twice_the_size(frames, found):
    large = np.stack([cv2.resize(image, (320, 320)) for image in frames])
    assert estimate(of(large)).diameter_px == pytest.approx(2 * found.diameter_px, rel=0.07)


def test_the_same_recording_gives_the_same_estimate(frames, found):
    assert estimate(of(frames.copy())) == found


def test_tissue_without_cells_cannot_be_told():
    found = estimate(simulated(replace(SMALL, n_near=0, n_far=0)))
    assert found.diameter_px is None
    assert "flash as cells do" in found.reason


def test_noise_cannot_be_told():
    def noise(start, stop):
        return np.random.default_rng(start).poisson(80, (stop - start, 96, 96)).astype(np.uint8)

    assert estimate(Recording(400, (96, 96), 20.0, noise)).diameter_px is None


def test_black_frames_cannot_be_told():
    movie = Recording(400, (96, 96), 20.0, lambda start, stop: np.zeros((stop - start, 96, 96), np.uint8))
    assert estimate(movie).diameter_px is None


def test_thirty_frames_are_too_few_and_are_not_read():
    movie = simulated(replace(SMALL, n_frames=30))
    found = estimate(movie)
    assert found.diameter_px is None
    assert found.reason == "it has 30 frames, expected at least 126"
    assert movie.read_frames == []


def test_a_long_recording_is_sampled_from_its_start_to_its_end():
    movie = Recording(
        200_000, (96, 96), 30.0, lambda start, stop: np.full((stop - start, 96, 96), 80, np.uint8)
    )
    estimate(movie)
    assert len(movie.read_frames) <= 600
    assert movie.read_frames[0] == 0
    assert movie.read_frames[-1] == 199_999
    assert np.diff(movie.read_frames).max() < 5000


def test_the_cells_in_focus_count_not_the_blurred_ones():
    depth = np.linspace(0, 3, 400)  # uniform, in units in which the blur of 1 doubles the area
    sizes = 8 * np.sqrt(1 + depth**2) * np.random.default_rng(3).normal(1, 0.06, 400)
    assert _judge(sizes, 0).diameter_px == pytest.approx(8, rel=0.12)


def test_sizes_that_do_not_agree_cannot_be_told():
    sizes = np.geomspace(5, 30, 12)
    found = _judge(sizes, 0)
    assert found.diameter_px is None
    assert found.reason == "the sizes of the 12 spots that flash do not agree"


def test_spots_that_go_dark_as_often_as_bright_are_not_cells():
    sizes = np.full(30, 9.0)
    assert _judge(sizes, 0).diameter_px == 9.0
    assert _judge(sizes, 6).confidence == pytest.approx(0.8)
    assert _judge(sizes, 20).diameter_px is None
    assert "20 go dark" in _judge(sizes, 20).reason
