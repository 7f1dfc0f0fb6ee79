"""What neighbours show without each other."""

import numpy as np

from streamscope.config import EngineConfig
from streamscope.core.buffer import FrameBuffer
from streamscope.core.evidence import Evidence
from streamscope.core.model import Model, unit

SHAPE = (48, 56)
CONFIG = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.5)
SN = 3.0


def model_of(*places):
    model = Model(CONFIG, SHAPE)
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for y, x in places:
        footprint = np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / 8)
        pixels = np.flatnonzero(footprint > 0.02).astype(np.int32)
        model.add(unit(pixels, footprint.ravel()[pixels].astype(np.float32)), (y, x), 0, SN, 20.0)
    model.rebuild()
    return model


def buffer_of(model, activity):
    """Return a buffer of black frames with this activity (n, K) in noise units."""
    buffer = FrameBuffer(len(activity), SHAPE, model.geometry.grid)
    buffer.grow(model.n)
    blocks, nothing = np.zeros(model.geometry.n_bins, np.float32), np.zeros(model.n, np.float32)
    for t, c in enumerate(np.array(activity, np.float32) * SN):
        field = (0, SHAPE[0], 0, SHAPE[1])
        buffer.push(np.zeros(SHAPE, np.float32), field, t, *[blocks] * 3, *[nothing] * 3, c)
    return buffer


def evidence_of(model, activity, which=None):
    evidence, buffer = Evidence(CONFIG), buffer_of(model, activity)
    for _ in range(model.n):
        evidence.add()
    evidence.observe(model, buffer, buffer.order(), np.arange(model.n) if which is None else np.array(which))
    return evidence


NEAR = [(24.0, 20.0), (24.0, 25.0)]


def test_an_event_counts_for_the_one_that_has_it_alone():
    alone = evidence_of(model_of(*NEAR), [[10, 0], [10, 6], [10, 4], [0, 8], [9, 9]]).alone
    assert np.allclose(alone, [[0, 100 + 100], [64, 0]])  # the second frame is shared, the third is not


def test_small_activity_is_no_event():
    assert not evidence_of(model_of(*NEAR), [[3.9, 0], [0, 3.5]]).alone.any()


def test_cells_far_apart_are_not_compared():
    assert not evidence_of(model_of((10.0, 10.0), (36.0, 44.0)), [[10, 0], [0, 10]]).alone.any()


def test_only_pairs_with_a_chosen_component_are_counted_in_both_directions():
    alone = evidence_of(model_of(*NEAR, (24.0, 30.0)), [[10, 0, 0], [0, 8, 0], [0, 0, 6]], which=[0]).alone
    assert alone[0, 1] == 100
    assert alone[1, 0] == 64
    assert alone[1, 2] == alone[2, 1] == 0


def test_evidence_fades_and_follows_the_components():
    evidence = evidence_of(model_of(*NEAR), [[10, 0], [0, 8]])
    evidence.forget()
    assert 0 < evidence.alone[0, 1] < 100
    evidence.add()
    evidence.keep(np.array([1, 2]))
    assert evidence.alone.shape == (2, 2)
    assert not evidence.alone.any()


def test_a_component_that_begins_anew_has_no_evidence_for_or_against_it():
    evidence = evidence_of(model_of(*NEAR, (24.0, 30.0)), [[10, 0, 0], [0, 8, 0], [0, 0, 6]])
    evidence.restart(0)
    assert not evidence.alone[0].any()
    assert not evidence.alone[:, 0].any()
    assert evidence.alone[1, 2] == 64


# The middle one lies between two that it hardly overlaps; the last one on top of the first.
BETWEEN = [(24.0, 12.0), (24.0, 20.0), (24.0, 28.0), (24.0, 14.0)]


def outshone(activity, peaks=(20, 20, 20, 20), known=(0, 1, 2, 3)):
    model = model_of(*BETWEEN)
    model.peak[:] = peaks
    watched = np.isin(np.arange(4), known)
    return np.flatnonzero(evidence_of(model, activity).outshone(model, watched)).tolist()


def test_what_is_active_only_while_a_neighbour_beside_it_is_brighter_is_outshone():
    activity = [[12, 8, 0, 0], [0, 9, 12, 0]] * 10
    assert outshone(activity) == [1]
    assert outshone(activity, known=[0, 2, 3]) == []  # not so soon after its birth


def test_a_cell_with_events_of_its_own_is_not_outshone():
    assert outshone([[12, 8, 0, 0], [0, 9, 12, 0]] * 10 + [[0, 9, 5, 0]] * 2) == []


def test_a_neighbour_that_covers_a_cell_shares_its_light_and_says_nothing():
    assert outshone([[12, 0, 0, 30]] * 10) == []


def test_few_events_tell_nothing():
    assert outshone([[12, 8, 0, 0]] * 7) == []


def test_of_two_that_are_about_as_bright_the_weaker_one_goes_and_the_other_is_judged_anew():
    activity = [[11, 10, 0, 0]] * 10
    assert outshone(activity, [20, 18, 20, 20]) == [1]
    assert outshone(activity, [18, 20, 20, 20]) == [0]
    model = model_of(*BETWEEN)
    evidence = evidence_of(model, activity)
    evidence.judge_anew(model, 1)
    assert evidence.whole.tolist() == [0, 1000, 0, 0]


def test_what_was_outshone_fades_follows_the_components_and_begins_anew():
    evidence = evidence_of(model_of(*BETWEEN), [[12, 8, 0, 0]] * 10)
    evidence.keep(np.array([1, 0]))
    assert (evidence.whole.tolist(), evidence.own.tolist()) == ([640, 1440], [0, 1440])
    evidence.forget()
    assert 600 < evidence.whole[0] < 640
    evidence.restart(0)
    assert evidence.whole[0] == 0
    assert evidence.own[1] > 0
