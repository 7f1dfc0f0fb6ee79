"""Births and the examination of a site, on a buffer of frames whose cells are known."""

import numpy as np
import pytest

from streamscope.config import DetectConfig, EngineConfig
from streamscope.core.births import Births
from streamscope.core.buffer import FrameBuffer
from streamscope.core.candidate import Fit, Rejected, examine, trim
from streamscope.core.crew import Crew
from streamscope.core.detect import Candidate
from streamscope.core.model import Model, unit

SHAPE = (48, 56)
CONFIG = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.5)
N = 80


def gaussian(y, x, sd=2.0, shape=SHAPE):
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / (2 * sd**2))


def events(*starts, height=60.0, n=N):
    """Return a trace of events at these frames, decaying over half a second."""
    c = np.zeros(n)
    for t in starts:
        c[t:] += height * np.exp(-np.arange(n - t) / 10)
    return c


def column(footprint):
    pixels = np.flatnonzero(footprint > 0.05 * footprint.max()).astype(np.int32)
    return unit(pixels, footprint.ravel()[pixels].astype(np.float32))


def residual(seed, *cells, shape=SHAPE, noise=3.0):
    """Return noise with cells (footprint, trace) in it, (n, h, w)."""
    movie = np.random.default_rng(seed).normal(0, noise, (N, *shape))
    return movie + sum(c[:, None, None] * a for a, c in cells)


def world(seed, cells, known=(), noise=3.0):
    """Return a model that knows some cells and a buffer of frames that hold all of them.

    `cells` and `known` are (footprint, trace); the ring predicts nothing.
    """
    model = Model(CONFIG, SHAPE)
    model.take_ring(np.zeros_like(model.W))
    model.b0[:] = model.mean[:] = 80
    for footprint, _ in known:
        model.add(column(footprint), (0.0, 0.0), 0, 3.0, 20.0)
    model.rebuild()
    buffer = FrameBuffer(N, SHAPE, model.geometry.grid)
    buffer.grow(len(known))
    nothing = np.zeros(len(known), np.float32)
    for t, image in enumerate(80 + residual(seed, *cells, *known, noise=noise)):
        blocks = np.zeros(model.geometry.n_bins, np.float32)
        buffer.push(
            image.astype(np.float32),
            (0, *SHAPE[:1], 0, SHAPE[1]),
            t,
            blocks,
            blocks,
            blocks,
            nothing,
            nothing,
            nothing,
            np.array([c[t] * np.linalg.norm(a) for a, c in known], np.float32),
        )
    return model, buffer


def test_a_cell_is_found_at_its_place_with_its_shape():
    cell = gaussian(22.0, 30.5)
    model, buffer = world(1, [(cell, events(20, 50))])
    (birth,) = Births(CONFIG, Crew()).search([Candidate(23, 29, 10)], model, buffer)
    assert birth.centre == pytest.approx((22.0, 30.5), abs=0.4)
    found = np.zeros(cell.size)
    found[birth.column[0]] = birth.column[1]
    assert found @ cell.ravel() / np.linalg.norm(cell) > 0.97
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-4)
    assert birth.sn == pytest.approx(3.0, rel=0.3)
    assert birth.peak_sn > 20


def test_two_sites_of_one_cell_give_one_birth_and_the_second_one_waits():
    model, buffer = world(2, [(gaussian(22, 30), events(20, 50))])
    births = Births(CONFIG, Crew())
    (birth,) = births.search([Candidate(22, 30, 10), Candidate(24, 31, 9)], model, buffer)
    model.add(birth.column, birth.centre, 0, birth.sn, birth.peak_sn)
    model.rebuild()
    buffer.grow(1)
    pixels, weights = birth.column
    buffer.c[:, 0] = events(20, 50) * (gaussian(22, 30).ravel()[pixels] @ weights)
    assert births.search([], model, buffer) == []  # the site that waited is now explained


def test_sites_far_apart_whose_fits_go_to_one_cell_give_one_birth_and_the_second_one_waits():
    cell = gaussian(22.0, 30.0, 2.5)
    model, buffer = world(3, [(cell, events(20, 50))])
    births = Births(CONFIG, Crew())
    found = births.search([Candidate(22, 24.5, 30), Candidate(22, 35.5, 20)], model, buffer)
    assert len(found) == 1
    assert [candidate.x for candidate in births._waiting] == [35.5]


def test_two_cells_far_apart_are_born_in_one_block():
    cells = [(gaussian(14, 14), events(20, 50)), (gaussian(32, 40), events(35, 70))]
    model, buffer = world(3, cells)
    found = Births(CONFIG, Crew()).search([Candidate(14, 14, 10), Candidate(32, 40, 9)], model, buffer)
    assert [tuple(np.round(b.centre)) for b in found] == [(14, 14), (32, 40)]


def test_no_more_are_born_in_a_block_than_allowed_and_the_rest_comes_later():
    config = CONFIG.model_copy(update={"detect": DetectConfig(max_births_per_block=1)})
    cells = [(gaussian(14, 14), events(20, 50)), (gaussian(32, 40), events(35, 70))]
    model, buffer = world(3, cells)
    births = Births(config, Crew())
    (first,) = births.search([Candidate(14, 14, 10), Candidate(32, 40, 9)], model, buffer)
    (second,) = births.search([], model, buffer)
    assert tuple(np.round(first.centre)) == (14, 14)
    assert tuple(np.round(second.centre)) == (32, 40)


def test_a_known_cell_is_not_born_again():
    known = (gaussian(22, 30), events(20, 50))
    model, buffer = world(4, [], [known])
    buffer.c *= 0.4  # its activity was underestimated: most of it is still in the residual
    assert Births(CONFIG, Crew()).search([Candidate(22, 30, 10)], model, buffer) == []


def test_a_neighbour_with_activity_of_its_own_is_born():
    known, other = (gaussian(22, 26), events(10, 40)), (gaussian(22, 33), events(25, 60))
    model, buffer = world(5, [other], [known])
    (birth,) = Births(CONFIG, Crew()).search([Candidate(22, 33, 10)], model, buffer)
    assert birth.centre == pytest.approx((22, 33), abs=0.6)


def test_a_faint_spot_beside_a_cell_that_is_active_only_with_it_is_a_satellite():
    known, spot = (gaussian(22, 22), events(40)), gaussian(22, 31)
    model, buffer = world(6, [(0.3 * spot, events(40))], [known])
    assert Births(CONFIG, Crew()).search([Candidate(22, 31, 10)], model, buffer) == []
    model, buffer = world(6, [(0.3 * spot, events(5, 20))], [known])
    assert len(Births(CONFIG, Crew()).search([Candidate(22, 31, 10)], model, buffer)) == 1


def test_a_cell_cut_by_the_edge_of_the_field_is_not_born():
    model, buffer = world(7, [(gaussian(0.5, 30), events(20, 50))])
    assert Births(CONFIG, Crew()).search([Candidate(1, 30, 10)], model, buffer) == []


def test_a_rejected_site_is_left_alone_until_its_score_rises():
    births = Births(CONFIG, Crew())
    model, buffer = world(8, [(np.ones(SHAPE), events(20, 50))])  # no blob
    assert births.search([Candidate(22, 30, 10)], model, buffer) == []
    model, buffer = world(8, [(gaussian(22, 30), events(20, 50))])
    assert births.search([Candidate(23, 29, 11)], model, buffer) == []
    assert len(births.search([Candidate(23, 29, 12.1)], model, buffer)) == 1


def test_a_rejected_site_is_forgotten_after_a_while():
    births = Births(CONFIG, Crew())
    model, buffer = world(9, [(np.ones(SHAPE), events(20, 50))])
    births.search([Candidate(22, 30, 10)], model, buffer)
    model, buffer = world(9, [(gaussian(22, 30), events(20, 50))])
    for _ in range(8):
        assert births.search([Candidate(22, 30, 10)], model, buffer) == []
    assert len(births.search([Candidate(22, 30, 10)], model, buffer)) == 1


def test_a_site_waits_longer_each_time_it_is_rejected():
    births = Births(CONFIG, Crew())
    model, buffer = world(9, [(np.ones(SHAPE), events(20, 50))])
    tried = []
    births._try = lambda *args: tried.append(births._block) or Rejected("not a blob")
    for _ in range(120):
        births.search([Candidate(22, 30, 10)], model, buffer)
    assert np.diff(tried).tolist() == [9, 13, 19, 28, 41]


def test_where_a_component_turned_out_to_be_no_cell_nothing_is_born_for_a_long_time():
    births = Births(CONFIG, Crew())
    model, buffer = world(9, [(gaussian(22, 30), events(20, 50))])
    births.leave_alone(22.4, 30.4)
    for _ in range(91):
        assert births.search([Candidate(22, 30, 1000)], model, buffer) == []
    assert len(births.search([Candidate(22, 30, 10)], model, buffer)) == 1


def test_what_came_to_nothing_must_show_more_to_be_looked_at_again_soon():
    births = Births(CONFIG, Crew())
    model, buffer = world(9, [(gaussian(22, 30), events(20, 50))])
    births.give_up(Candidate(22, 30, 10))
    for _ in range(90):
        assert births.search([Candidate(22, 30, 11)], model, buffer) == []
    assert len(births.search([Candidate(22, 30, 12.1)], model, buffer)) == 1


def test_a_birth_lets_its_neighbourhood_be_looked_at_again():
    births = Births(CONFIG, Crew())
    model, buffer = world(9, [(np.ones(SHAPE), events(20, 50))])
    assert births.search([Candidate(22, 30, 90), Candidate(22, 10, 90)], model, buffer) == []
    model, buffer = world(5, [(gaussian(22, 21), events(25, 60)), (gaussian(22, 10), events(35))])
    assert len(births.search([Candidate(22, 21, 10)], model, buffer)) == 1
    model, buffer = world(9, [(gaussian(22, 30), events(20, 50)), (gaussian(22, 10), events(35))])
    assert len(births.search([Candidate(22, 30, 10), Candidate(22, 10, 10)], model, buffer)) == 1


def moved(buffer, slots, field):
    """Let some frames have seen this field only."""
    buffer.rects[slots] = field
    for slot in slots:
        y0, y1, x0, x1 = field
        outside = np.ones(SHAPE, bool)
        outside[y0:y1, x0:x1] = False
        buffer.frames[slot][outside] = 0


def test_frames_that_do_not_show_a_site_say_nothing_of_it():
    model, buffer = world(11, [(gaussian(22, 8), events(20, 50))])
    moved(buffer, np.arange(0, N, 5), (0, SHAPE[0], 9, SHAPE[1]))
    (birth,) = Births(CONFIG, Crew()).search([Candidate(22, 8, 10)], model, buffer)
    found = np.zeros(SHAPE[0] * SHAPE[1])
    found[birth.column[0]] = birth.column[1]
    assert found @ gaussian(22, 8).ravel() / np.linalg.norm(gaussian(22, 8)) > 0.97


def test_what_few_frames_show_is_no_part_of_a_cell():
    strip = np.zeros(SHAPE)
    strip[:, :4] = 1.0
    model, buffer = world(12, [(gaussian(22, 9), events(20, 50)), (strip, events(21, 51, height=200))])
    hidden = np.setdiff1d(np.arange(N), np.r_[20:25, 50:55])
    moved(buffer, hidden, (0, SHAPE[0], 4, SHAPE[1]))
    (birth,) = Births(CONFIG, Crew()).search([Candidate(22, 9, 10)], model, buffer)
    assert (birth.column[0] % SHAPE[1]).min() >= 4


def test_a_site_that_half_of_the_frames_do_not_show_waits():
    births = Births(CONFIG, Crew())
    model, buffer = world(13, [(gaussian(22, 30), events(20, 50))])
    rects = buffer.rects.copy()
    moved(buffer, np.arange(0, N, 2), (0, 20, 0, SHAPE[1]))
    moved(buffer, np.arange(1, N, 2), (24, SHAPE[0], 0, SHAPE[1]))
    assert births.search([Candidate(22, 30, 10)], model, buffer) == []
    model, buffer = world(13, [(gaussian(22, 30), events(20, 50))])
    assert np.array_equal(buffer.rects, rects)
    assert len(births.search([Candidate(22, 30, 10)], model, buffer)) == 1


def test_a_site_that_was_too_short_is_looked_at_again_at_once():
    births = Births(CONFIG, Crew())
    model, buffer = world(10, [], noise=0)
    assert births.search([Candidate(22, 30, 10)], model, buffer) == []
    assert examine(np.zeros((N, 29, 29), np.float32), 14, 14, 8) == Rejected("too short")
    model, buffer = world(10, [(gaussian(22, 30), events(20, 50))])
    assert len(births.search([Candidate(22, 30, 10)], model, buffer)) == 1


BOX = (29, 29)


def look(seed, footprint, trace, at=(14, 14), noise=3.0):
    movie = residual(seed, (footprint, trace), shape=BOX, noise=noise).astype(np.float32)
    return examine(movie, *at, 8.0)


def test_a_blob_with_events_is_a_fit_with_its_trace():
    trace = events(20, 50)
    fit = look(1, gaussian(14, 14, shape=BOX), trace)
    assert isinstance(fit, Fit)
    assert np.corrcoef(fit.trace, trace)[0, 1] > 0.98
    assert fit.active[[20, 50]].all()
    assert not fit.active[:18].any()


def test_a_fit_moves_to_the_centre_of_what_it_finds():
    fit = look(2, gaussian(16, 12, shape=BOX), events(20, 50))
    assert isinstance(fit, Fit)
    assert np.unravel_index(fit.image.argmax(), BOX) == pytest.approx((16, 12), abs=1)


@pytest.mark.parametrize(
    ("footprint", "trace", "reasons"),
    [
        (gaussian(14, 14, shape=BOX), np.zeros(N), {"too short", "not reproducible"}),
        (np.ones(BOX), events(20, 50), {"not reproducible", "not a blob", "nothing there"}),
        (gaussian(14, 14, 0.7, BOX), events(20, 50), {"wrong size", "not a blob"}),
        (np.exp(-((np.mgrid[:29, :29][0] - 14) ** 2) / 2), events(20, 50), {"not a blob", "wrong size"}),
    ],
    ids=["noise", "a flat glow", "a single bright pixel", "a line"],
)
def test_what_is_no_cell_is_rejected_with_a_reason(footprint, trace, reasons):
    outcome = look(3, footprint, trace)
    assert isinstance(outcome, Rejected)
    assert outcome.reason in reasons


def test_trimming_keeps_the_part_that_holds_the_seed_at_unit_norm():
    image = (gaussian(8, 8, 1.5, BOX) + gaussian(20, 20, 1.5, BOX)).astype(np.float32)
    kept = trim(image, (8, 8))
    assert np.linalg.norm(kept) == pytest.approx(1, abs=1e-5)
    assert (kept[:13, :13] > 0).any()
    assert (kept[15:, 15:] == 0).all()


def test_trimming_darkness_gives_darkness():
    assert not trim(np.zeros(BOX, np.float32), (3, 3)).any()


def two_in_one(seed, share=0.6):
    """Return a model that knows two overlapping cells as one component, and their frames; the cells come along."""
    cells = [(gaussian(22, 28), events(10, 50)), (gaussian(22, 32.2), events(30, 68))]
    mixed = share * cells[0][0] + (1 - share) * cells[1][0]
    model, buffer = world(seed, cells, known=[(mixed, np.zeros(N))])
    pixels, weights = model.columns[0]
    buffer.c[:, 0] = sum(c * float(a.ravel()[pixels] @ weights) for a, c in cells)
    return model, buffer, cells


def cosine(column, footprint):
    pixels, weights = column
    return float(footprint.ravel()[pixels] @ weights) / np.linalg.norm(footprint)


def test_a_component_that_is_two_cells_is_divided_when_the_residual_beside_it_is_no_cell():
    model, buffer, (one, other) = two_in_one(20)
    (birth,) = Births(CONFIG, Crew()).search([Candidate(22, 33, 10)], model, buffer)
    assert cosine(birth.column, other[0]) > 0.95
    assert birth.division is not None
    assert birth.division.k == 0
    assert cosine(birth.division.column, one[0]) > 0.95
    assert birth.division.peak_sn > 8
    assert birth.reason.startswith(f"divided from {model.ids[0]}")


def test_a_component_is_divided_once_in_a_block():
    model, buffer, _ = two_in_one(21, share=0.5)
    births = Births(CONFIG, Crew())
    found = births.search([Candidate(22, 34, 10), Candidate(22, 26, 9)], model, buffer)
    assert len(found) == 1
    assert model.n == 1


def test_a_component_far_from_the_site_is_not_divided():
    model, buffer, _ = two_in_one(22)
    assert Births(CONFIG, Crew()).search([Candidate(22, 41, 10)], model, buffer) == []


def test_a_part_that_another_component_has_already_is_not_born():
    model, buffer, (_, other) = two_in_one(23)
    model.add(column(other[0]), (22.0, 32.2), 0, 3.0, 20.0)
    model.rebuild()
    buffer.grow(2)
    found = Births(CONFIG, Crew()).search([Candidate(22, 27, 10)], model, buffer)
    assert all(cosine(birth.column, other[0]) < 0.75 for birth in found)
