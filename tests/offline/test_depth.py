"""The refit of pixels with more than 8 bits."""

import numpy as np

from streamscope.core.warmup import SMALL_CONFIG, small_movie
from streamscope.offline.refit import refit
from streamscope.types import MovieInfo


class Recorded:
    """Frames in memory as a recording."""

    hw = None

    def __init__(self, pixels, bits):
        n_frames, height, width = pixels.shape
        self.pixels = pixels
        self.info = MovieInfo("a test", (), (height, width), n_frames, 20.0, bits=bits)
        self.times_s, self.gap = np.arange(n_frames) / 20, np.zeros(n_frames, np.int32)

    def read(self, start, stop):
        return self.pixels[start:stop]


def test_the_same_picture_in_more_bits_gives_the_same_refit():
    deep = SMALL_CONFIG.model_copy(update={"bits": 12})
    movie = small_movie()
    one = refit(Recorded(movie, 8), SMALL_CONFIG, None, None, None)
    two = refit(Recorded(movie.astype(np.uint16) << 4, 12), deep, None, None, None)
    assert one.footprints.n == two.footprints.n > 0
    np.testing.assert_allclose(two.shifts, one.shifts, atol=1e-3)
    np.testing.assert_allclose(two.b0, one.b0, atol=0.05)
    np.testing.assert_allclose(two.C_raw, one.C_raw, rtol=0.01, atol=0.01 * one.C_raw.max())
