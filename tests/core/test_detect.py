"""The detector by itself: residuals made of noise and of what is put into it."""

import numpy as np
import pytest

from streamscope.config import EngineConfig
from streamscope.core.background import RingGeometry
from streamscope.core.detect import Detector

CONFIG = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.5)
GRID = RingGeometry.make((60, 72), 8.0, 1.75, 2)  # 30 x 36 blocks
FIELD = (0, 60, 0, 72)


@pytest.fixture
def detector():
    return Detector(CONFIG, GRID)


def blob(row, col, height):
    """Return a cell on the grid of blocks."""
    y, x = np.mgrid[: GRID.grid[0], : GRID.grid[1]]
    return (height * np.exp(-((y - row) ** 2 + (x - col) ** 2) / 2)).astype(np.float32)


def settle(detector, rng, extra=0.0, field=FIELD):
    """Let the score learn its noise; what noise alone brings up in the first frames is dropped."""
    watch(detector, 60, rng, extra, field)
    detector.candidates()


def watch(detector, n_frames, rng, extra=0.0, field=FIELD):
    for _ in range(n_frames):
        noise = rng.normal(0, 1, GRID.grid).astype(np.float32)
        detector.update((noise + np.float32(extra))[None], np.array([field]))


def flash(detector, rng, *blobs, n_frames=8, field=FIELD):
    watch(detector, n_frames, rng, sum(blobs), field)
    return detector.candidates()


def test_a_flash_rises_above_the_threshold_at_its_place(detector):
    rng = np.random.default_rng(1)
    settle(detector, rng)
    watch(detector, 60, rng)
    assert detector.candidates() == []
    (found,) = flash(detector, rng, blob(12, 20, 4))
    assert (found.y, found.x) == pytest.approx((24.5, 40.5), abs=2)  # centre of block (12, 20), px
    assert found.score > CONFIG.detect.threshold


def test_the_strongest_of_two_flashes_comes_first(detector):
    rng = np.random.default_rng(2)
    settle(detector, rng)
    first, second = flash(detector, rng, blob(8, 9, 4), blob(22, 27, 8))
    assert (first.y, first.x) == pytest.approx((44.5, 54.5), abs=2)
    assert first.score > second.score


def test_a_steady_bright_spot_is_no_candidate_once_it_is_known(detector):
    rng = np.random.default_rng(3)
    spot = blob(12, 20, 2)
    watch(detector, 1500, rng, spot)
    assert max(c.score for c in detector.candidates()) > CONFIG.detect.threshold  # as long as it was new
    watch(detector, 100, rng, spot)
    assert detector.candidates() == []


def test_a_dark_flash_is_no_candidate(detector):
    rng = np.random.default_rng(4)
    settle(detector, rng)
    assert flash(detector, rng, blob(12, 20, -6)) == []


def test_each_block_begins_anew(detector):
    rng = np.random.default_rng(5)
    settle(detector, rng)
    assert len(flash(detector, rng, blob(12, 20, 4))) == 1
    assert detector.candidates() == []


def test_a_flash_beyond_the_border_of_the_seen_field_is_left_out(detector):
    rng = np.random.default_rng(6)
    seen = (0, 60, 20, 72)  # the first ten columns of blocks were never in the field
    settle(detector, rng, field=seen)
    (found,) = flash(detector, rng, blob(12, 5, 8), blob(12, 24, 4), field=seen)
    assert found.x == pytest.approx(48.5, abs=2)


def test_a_part_of_the_field_counts_once_it_was_seen_in_most_frames(detector):
    rng = np.random.default_rng(7)
    settle(detector, rng, field=(0, 60, 20, 72))
    watch(detector, 400, rng)
    detector.candidates()
    (found,) = flash(detector, rng, blob(12, 5, 6))
    assert found.x == pytest.approx(10.5, abs=2)


def test_the_first_frames_give_no_candidate(detector):
    rng = np.random.default_rng(8)
    assert flash(detector, rng, blob(12, 20, 20), n_frames=7) == []


def test_restart_forgets_everything(detector):
    rng = np.random.default_rng(9)
    watch(detector, 60, rng, blob(12, 20, 6))
    detector.restart()
    assert detector.candidates() == []
    fresh = Detector(CONFIG, GRID)
    for d in (detector, fresh):
        watch(d, 30, np.random.default_rng(10))
        watch(d, 8, np.random.default_rng(11), blob(8, 9, 8))
    assert np.array_equal(detector.planes, fresh.planes)
    assert detector.candidates() == fresh.candidates() != []


def test_the_strongest_are_kept_when_there_are_too_many(detector, monkeypatch):
    monkeypatch.setattr("streamscope.core.detect._MAX_CANDIDATES", 1)
    rng = np.random.default_rng(12)
    settle(detector, rng)
    (found,) = flash(detector, rng, blob(8, 9, 4), blob(22, 27, 8))
    assert (found.y, found.x) == pytest.approx((44.5, 54.5), abs=2)
