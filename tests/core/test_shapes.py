"""The refinement of footprints by itself: frames without ring background, activity that is known."""

import numpy as np
import pytest

from streamscope.config import EngineConfig
from streamscope.core.background import apply_ring
from streamscope.core.buffer import FrameBuffer
from streamscope.core.model import Model, unit
from streamscope.core.shapes import Shapes
from tests.core.kernel_inputs import remember

SHAPE = (48, 56)
CONFIG = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.5)
N = 25


def cell(y, x, sd=2.0):
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    footprint = np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / (2 * sd**2))
    return footprint / np.linalg.norm(footprint)


def column(footprint):
    pixels = np.flatnonzero(footprint > 0.05 * footprint.max()).astype(np.int32)
    return unit(pixels, footprint.ravel()[pixels].astype(np.float32))


def cosine(found, footprint):
    pixels, weights = found
    return float(footprint.ravel()[pixels] @ weights)


class Scene:
    """A model with wrong footprints, its statistics, and frames of the true ones."""

    def __init__(self, truth, start, sn=3.0):
        self.truth = truth
        self.model, self.shapes = Model(CONFIG, SHAPE), Shapes(CONFIG, SHAPE)
        self.model.take_ring(np.zeros_like(self.model.W))
        self.model.b0[:] = 80
        for footprint in start:
            self.model.add(column(footprint), (0.0, 0.0), 0, sn, 20.0)
            self.shapes.add(self.model.columns[-1])
        self.model.rebuild()

    def block(self, activity, seed, fields=((0, SHAPE[0], 0, SHAPE[1]),)):
        """Learn from frames with this activity (N, K), one field after the other; return which footprints changed."""
        rng = np.random.default_rng(seed)
        n_components = activity.shape[1]
        buffer = FrameBuffer(N, SHAPE, self.model.geometry.grid)
        buffer.grow(n_components)
        nothing = np.zeros(n_components, np.float32)
        blocks = np.zeros(self.model.geometry.n_bins, np.float32)
        for t, c in enumerate(activity.astype(np.float32)):
            image = 80 + sum(v * a for v, a in zip(c, self.truth, strict=True)) + rng.normal(0, 3, SHAPE)
            field = fields[t % len(fields)]
            still = (blocks, blocks, blocks, nothing, nothing, nothing)
            remember(buffer, image.astype(np.float32), field, t, *still, c)
        self.shapes.forget()
        self.shapes.observe(self.model, buffer, buffer.order())
        changed = self.shapes.update(self.model, np.arange(n_components))
        self.model.rebuild()
        return changed


def random_activity(seed, n_components):
    rng = np.random.default_rng(seed)
    return 150 * rng.random((N, n_components)) * (rng.random((N, n_components)) < 0.5)


def test_a_footprint_comes_to_the_truth_from_a_wrong_start():
    truth = cell(24, 28)
    scene = Scene([truth], [cell(25.5, 26.5, 1.2)])
    before = cosine(scene.model.columns[0], truth)
    for seed in range(4):
        assert scene.block(random_activity(seed, 1), seed) == [0]
    assert before < 0.8
    assert cosine(scene.model.columns[0], truth) > 0.98


def test_overlapping_cells_are_told_apart_by_their_activity():
    truth = [cell(24, 25), cell(24, 31)]
    scene = Scene(truth, [cell(24, 26, 2.6), cell(24, 30, 2.6)])
    for seed in range(8):
        scene.block(random_activity(seed, 2), seed)
    for k in range(2):
        assert cosine(scene.model.columns[k], truth[k]) > 0.97
        assert cosine(scene.model.columns[k], truth[1 - k]) < float(truth[0].ravel() @ truth[1].ravel()) + 0.1


def test_what_is_recalled_is_what_would_have_been_observed():
    rng = np.random.default_rng(12)
    truth = [cell(20, 20), cell(20, 26)]
    activity = (60 * (rng.random((N, 2)) < 0.4)).astype(np.float32)
    observed = Scene(truth, truth)
    W = rng.uniform(0, 0.05, observed.model.W.shape) * (observed.model.geometry.neighbours >= 0)
    observed.model.take_ring(W.astype(np.float32))
    recalled = Shapes(CONFIG, SHAPE)
    for footprint in truth:
        recalled.add(column(footprint))
    n_bins = observed.model.geometry.n_bins
    buffer = FrameBuffer(N, SHAPE, observed.model.geometry.grid)
    buffer.grow(2)
    for t, c in enumerate(activity):
        image = rng.normal(80, 5, SHAPE).astype(np.float32)
        rest = rng.normal(0, 5, n_bins).astype(np.float32)
        background = np.empty((1, n_bins), np.float32)
        apply_ring(observed.model.ring, observed.model.geometry, rest[None], background)
        nothing = np.zeros(2, np.float32)
        remember(buffer, image, (1, SHAPE[0], 2, SHAPE[1]), t, rest, rest, background[0], *[nothing] * 3, c)
    observed.shapes.observe(observed.model, buffer, buffer.order())
    recalled.recall(observed.model, buffer, np.arange(2))
    assert np.allclose(recalled.cross, observed.shapes.cross)
    assert observed.shapes.cross[0, 0] > 0
    for one, other in zip(recalled.sums, observed.shapes.sums, strict=True):
        assert np.allclose(one, other, rtol=1e-3, atol=0.5)


def test_silent_cells_are_left_as_they_are():
    scene = Scene([cell(24, 20), cell(24, 40)], [cell(25, 21), cell(25, 41)])
    activity = random_activity(1, 2)
    activity[:, 1] = 0
    pixels, weights = (v.copy() for v in scene.model.columns[1])
    assert scene.block(activity, 1) == [0]
    assert np.array_equal(scene.model.columns[1][0], pixels)
    assert np.array_equal(scene.model.columns[1][1], weights)
    assert not scene.shapes.sums[1].any()


def test_activity_below_three_noise_units_is_no_evidence():
    scene = Scene([cell(24, 28)], [cell(25, 28)])
    assert scene.block(np.full((N, 1), 8.9), 1) == []
    assert scene.shapes.cross.tolist() == [[0]]


def test_a_short_event_is_too_little_to_touch_a_shape():
    scene = Scene([cell(24, 28)], [cell(25, 28)])
    activity = np.zeros((N, 1))
    activity[10] = 40  # (40 / 3)^2 < 200
    assert scene.block(activity, 1) == []
    assert scene.shapes.cross[0, 0] == pytest.approx(1600)
    assert scene.block(3 * activity, 1) == [0]


def test_old_evidence_fades():
    scene = Scene([cell(24, 28)], [cell(25, 28)])
    scene.block(random_activity(1, 1), 1)
    cross, total = scene.shapes.cross.copy(), scene.shapes.sums[0].copy()
    for _ in range(96):  # blocks of 1.25 s: the memory of 120 s
        scene.shapes.forget()
    assert np.allclose(scene.shapes.cross, cross / np.e)
    assert np.allclose(scene.shapes.sums[0], total / np.e, rtol=1e-4, atol=1e-4)


def test_new_footprints_are_tidy():
    scene = Scene([cell(24, 28)], [cell(25, 28)])
    scene.block(random_activity(1, 1), 1)
    pixels, weights = scene.model.columns[0]
    assert pixels.dtype == np.int32
    assert weights.dtype == np.float32
    assert (weights > 0).all()
    assert np.linalg.norm(weights) == pytest.approx(1, abs=1e-4)
    assert np.isin(pixels, scene.shapes.masks[0]).all()


def test_kept_components_take_their_statistics_with_them():
    scene = Scene([cell(24, x) for x in (14, 28, 42)], [cell(25, x) for x in (14, 28, 42)])
    scene.block(random_activity(1, 3), 1)
    shapes = scene.shapes
    masks, sums, cross = list(shapes.masks), list(shapes.sums), shapes.cross
    shapes.keep(np.array([2, 0]))
    assert [m is masks[k] for m, k in zip(shapes.masks, (2, 0), strict=True)] == [True, True]
    assert [s is sums[k] for s, k in zip(shapes.sums, (2, 0), strict=True)] == [True, True]
    assert np.array_equal(shapes.cross, cross[[2, 0]][:, [2, 0]])


@pytest.mark.parametrize("centre", [(0, 0), (0, 28), (47, 55)])
def test_a_mask_ends_at_the_edge_of_the_field(centre):
    shapes = Shapes(CONFIG, SHAPE)
    shapes.add(column(cell(*centre)))
    rows, cols = np.divmod(shapes.masks[0], SHAPE[1])
    assert len(set(shapes.masks[0].tolist())) == len(shapes.masks[0]) == len(shapes.sums[0]) > 50
    assert rows.max() < SHAPE[0]
    assert np.hypot(rows - centre[0], cols - centre[1]).max() < 12


def test_a_ring_of_light_is_told_from_a_cell():
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    ring = np.exp(-((np.hypot(rows - 24, cols - 40) - 6) ** 2) / 2)
    scene = Scene([cell(24, 18), ring / np.linalg.norm(ring)], [cell(24, 18), cell(24, 40)])
    assert scene.shapes.roundness.tolist() == [1, 1]  # nothing is known yet
    scene.block(random_activity(0, 2), 0)
    assert scene.shapes.roundness[1] > 0.65  # one estimate is not enough
    for seed in range(1, 6):
        scene.block(random_activity(seed, 2), seed)
    assert scene.shapes.roundness[0] > 0.9
    assert scene.shapes.roundness[1] < 0.65


def test_the_bright_part_of_a_strip_at_the_border_lies_at_the_border():
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    strip = (cols < 3) * np.exp(-((rows - 24) ** 2) / 18)
    truth = strip + 0.2 * cell(24, 7, 2.5) / cell(24, 7, 2.5).max()
    scene = Scene([truth / np.linalg.norm(truth)], [cell(24, 6)])
    assert scene.shapes.bright[0] == pytest.approx((24, 6), abs=0.2)
    for seed in range(3):
        scene.block(random_activity(seed, 1), seed)
    assert scene.shapes.bright[0, 1] < 2
    assert scene.shapes.bright[0, 0] == pytest.approx(24, abs=0.5)


def test_frames_that_show_a_part_of_a_cell_do_not_cut_its_footprint():
    truth = cell(24, 9)
    scene = Scene([truth], [truth])
    whole, part = (0, SHAPE[0], 0, SHAPE[1]), (0, SHAPE[0], 9, SHAPE[1])
    for seed in range(4):
        activity = random_activity(seed, 1)
        activity[5::6] = 400  # its largest events are seen in part only
        scene.block(activity, seed, [whole] * 5 + [part])
    assert cosine(scene.model.columns[0], truth) > 0.98


def test_frames_in_which_neighbours_are_brighter_say_nothing_of_a_cell():
    truth = [cell(24, 25), cell(24, 28)]
    scene = Scene(truth, truth)
    activity = np.zeros((N, 2))
    activity[:10] = (60, 120)  # the second one is brighter
    activity[10:20] = (60, 20)
    scene.block(activity, 1)
    assert scene.shapes.cross[0, 0] == pytest.approx(10 * 60**2)
    assert scene.shapes.cross[1, 1] == pytest.approx(10 * 120**2)


def test_a_settled_footprint_does_not_walk_to_another_cell():
    truth, elsewhere = cell(24, 26), cell(24, 31.5)
    scene = Scene([truth], [truth])
    for seed in range(3):
        scene.block(random_activity(seed, 1), seed)
    assert scene.shapes.settled[0] is not None
    scene.truth = [elsewhere]  # all that is seen with its events from now on
    for seed in range(3, 40):
        scene.block(random_activity(seed, 1), seed)
    assert cosine(scene.model.columns[0], truth) > 0.75
    assert cosine(scene.model.columns[0], elsewhere) < 0.8


def test_a_footprint_that_is_known_for_the_whole_memory_settles_with_little_energy():
    scene = Scene([cell(24, 26)], [cell(24, 26)])
    weak = 0.2 * random_activity(1, 1)
    scene.block(weak, 1)
    assert 200 * 9 < scene.shapes.cross[0, 0] < 500 * 9
    assert scene.shapes.settled[0] is None
    scene.shapes.seconds[:] = 120
    scene.block(weak, 2)
    assert scene.shapes.settled[0] is not None


def test_what_is_not_round_does_not_settle():
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    ring = np.exp(-((np.hypot(rows - 24, cols - 28) - 6) ** 2) / 2)
    ring /= np.linalg.norm(ring)
    scene = Scene([ring], [ring])
    for seed in range(3):
        scene.block(random_activity(seed, 1), seed)
    assert scene.shapes.settled[0] is None


def test_a_component_that_begins_anew_forgets_what_it_was():
    truth = [cell(24, 25), cell(24, 31)]
    scene = Scene(truth, truth)
    for seed in range(3):
        scene.block(random_activity(seed, 2), seed)
    part = column(cell(24, 23))
    scene.shapes.restart(0, part)
    assert not scene.shapes.sums[0].any()
    assert not scene.shapes.cross[0].any()
    assert scene.shapes.settled[0] is part
    assert scene.shapes.cross[1, 1] > 0
    assert len(scene.shapes.sums[0]) == len(scene.shapes.masks[0])
