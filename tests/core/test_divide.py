"""The division of a component that is two cells, on residuals whose cells are known."""

import numpy as np
import pytest

from streamscope.core.candidate import Rejected
from streamscope.core.divide import activities, divide, explained_by

SHAPE = (29, 29)
DIAMETER = 8.0
N = 120
HERE, THERE = (14.0, 12.5), (14.0, 16.5)


def cell(y, x, sd=2.2):
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / (2 * sd**2))
    return (image / np.linalg.norm(image)).astype(np.float32)


def events(*starts, height=120.0):
    c = np.zeros(N, np.float32)
    for t in starts:
        c[t:] += height * np.exp(-np.arange(N - t) / 8)
    return c


def divided(cells, component, trace, seed=1, noise=3.0):
    """Divide a component that holds some cells (footprint, activity); the residual lacks what it explains."""
    movie = np.random.default_rng(seed).normal(0, noise, (N, *SHAPE))
    movie += sum(c[:, None, None] * a for a, c in cells) - trace[:, None, None] * component
    return divide(movie.astype(np.float32), component, trace, DIAMETER)


def mixture_of(a, b, share=0.6):
    image = share * a + (1 - share) * b
    return (image / np.linalg.norm(image)).astype(np.float32)


def test_a_component_that_is_two_overlapping_cells_gives_both_the_one_that_is_more_like_it_first():
    a, b = cell(*HERE), cell(*THERE)
    ca, cb = events(10, 60), events(35, 90)
    mixed = mixture_of(a, b)
    trace = np.tensordot(ca, np.array((a * mixed).sum()), 0) + cb * (b * mixed).sum()
    parts = divided([(a, ca), (b, cb)], mixed, trace.astype(np.float32))
    assert not isinstance(parts, Rejected)
    assert float((a * b).sum()) > 0.4
    assert [float((part.image * truth).sum()) > 0.97 for part, truth in zip(parts, (a, b), strict=True)] == [
        True
    ] * 2
    assert parts[0].likeness > parts[1].likeness
    for part in parts:
        assert np.linalg.norm(part.image) == pytest.approx(1, abs=1e-4)
        assert part.peak_sn > 10
        assert part.blob > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_one_cell_is_not_divided(seed):
    a, c = cell(*HERE), events(10, 35, 60, 90)
    assert isinstance(divided([(a, c)], a, c, seed), Rejected)


def test_a_cell_that_moves_a_little_is_not_divided():
    a, b = cell(14, 13.6), cell(14, 14.4)
    assert divided(
        [(a, events(10, 60)), (b, events(35, 90))], cell(14, 14), events(10, 35, 60, 90)
    ) == Rejected("too close")


def test_two_cells_that_are_always_active_together_are_not_divided():
    a, b, c = cell(*HERE), cell(*THERE), events(10, 35, 60, 90)
    assert isinstance(divided([(a, c), (b, c)], mixture_of(a, b, 0.5), 1.7 * c), Rejected)


def test_one_event_of_a_few_frames_divides_nothing():
    a, c = cell(*HERE), np.zeros(N, np.float32)
    c[50:55] = 100
    assert divided([(a, c)], a, c) == Rejected("too short")


def test_parts_that_do_not_explain_the_component_are_not_its_cells():
    a, b = cell(14, 9), cell(14, 19)
    parts = divided([(a, events(10, 60)), (b, events(35, 90))], cell(14, 14, 1.5), np.zeros(N, np.float32))
    assert parts == Rejected("not its cells")


def test_a_sum_of_two_is_explained_by_them_and_what_they_lack_is_not():
    a, b = cell(*HERE).ravel(), cell(*THERE).ravel()
    W = np.stack([a, b])
    assert explained_by(mixture_of(a, b), W) == pytest.approx(1, abs=1e-4)
    assert explained_by(cell(4, 4).ravel(), W) < 0.1
    assert explained_by(b - 0.5 * a, W) < 0.99


def test_activities_are_the_best_non_negative_ones():
    rng = np.random.default_rng(3)
    W = np.stack([cell(*HERE).ravel(), cell(*THERE).ravel()])
    X = (rng.normal(0, 1, (50, 2)) @ W + rng.normal(0, 0.1, (50, W.shape[1]))).astype(np.float32)
    H = activities(X @ W.T, W)
    error = ((X - H.T @ W) ** 2).sum(1)
    assert (H >= 0).all()
    for step in ((0.02, 0), (-0.02, 0), (0, 0.02), (0, -0.02)):
        other = np.maximum(H.T + np.array(step), 0)
        assert (((X - other @ W) ** 2).sum(1) >= error - 1e-3).all()
