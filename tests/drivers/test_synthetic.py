"""Simulated recordings, named as sources."""

import numpy as np
import pytest

from streamscope.errors import SourceError
from streamscope_drivers.replay import open_movie


def test_a_simulation_is_opened_by_name_and_reads_the_same_in_any_order():
    movie = open_movie("synthetic:tiny")
    assert movie.info.shape == (96, 96)
    assert movie.info.n_frames == 200
    assert movie.info.fps == 20.0
    assert movie.info.um_per_px == pytest.approx(1.655)
    block = movie.read(50, 60)
    assert np.array_equal(movie.read(55, 56)[0], block[5])
    assert np.array_equal(open_movie("synthetic:tiny").read(52, 54), block[2:4])


def test_the_users_rate_sets_the_times():
    movie = open_movie("synthetic:tiny", fps=30)
    assert movie.info.fps == 30
    assert movie.times_s[3] == pytest.approx(0.1)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(SourceError, match=r"'tinny'.*tiny, small, medium, demo, large"):
        open_movie("synthetic:tinny")
