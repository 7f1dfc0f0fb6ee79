"""The rank-one fit of a site, against plain numpy."""

import numpy as np
import pytest

from streamscope.core.kernels import sites
from streamscope.testing import naive

SHAPE = (13, 15)
ENDS = {sites.DONE: "done", sites.TOO_SHORT: "too short", sites.NOTHING: "nothing"}


def site(seed, amplitude, n=60, noise=2.0):
    """Return a residual movie (n, P) with one cell in the middle, its disc and its rim."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    apart = np.hypot(rows - 6, cols - 7)
    trace = amplitude * np.exp(-((np.arange(n) + seed) % 25) / 5)
    movie = rng.normal(0, noise, (n, *SHAPE)) + trace[:, None, None] * np.exp(-(apart**2) / 8)
    return movie.reshape(n, -1).astype(np.float32), apart.ravel() <= 5, (apart.ravel() > 5.5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("amplitude", [0.0, 3.0, 30.0])
@pytest.mark.parametrize("with_rim", [True, False])
def test_a_fit_is_that_of_the_plain_twin(seed, amplitude, with_rim):
    flat, disc, rim = site(seed, amplitude)
    rim &= with_rim
    start = np.where(disc, 1.0, 0.0)
    image = (start / np.linalg.norm(start)).astype(np.float32)
    trace, active = np.empty(len(flat), np.float32), np.empty(len(flat), bool)
    kept = image.astype(float)
    end = sites.fit_site(flat, disc, rim, 3, 3, 3.0, 0.35, image, trace, active)
    expected = naive.fit_site(flat.astype(float), disc, rim, kept, 3, 3, 3.0, 0.35)
    assert ENDS[end] == expected[0]
    if end == sites.DONE:
        assert np.allclose(image, expected[1], atol=1e-4)
        assert np.allclose(trace, expected[2], atol=1e-2)
        assert np.array_equal(active, expected[3])
    if amplitude == 30.0:
        assert end == sites.DONE


def test_a_site_without_light_holds_nothing():
    flat, disc, rim = site(0, 0.0)
    flat[:] = 0
    flat[10:20] = -np.linspace(1, 2, flat.shape[1], dtype=np.float32)  # events that are darker than the rest
    image = np.where(disc, np.float32(-1), np.float32(0))
    trace, active = np.empty(len(flat), np.float32), np.empty(len(flat), bool)
    rim[:] = False
    assert sites.fit_site(flat, disc, rim, 3, 3, 3.0, 0.35, image, trace, active) == sites.NOTHING
