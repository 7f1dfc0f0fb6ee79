"""A session that begins with the cells of another one."""

import numpy as np
import pytest
from scipy import ndimage

from streamscope.config import EngineConfig
from streamscope.core.epoch import CONFIRMED, PROVISIONAL
from streamscope.core.infer import Infer
from streamscope.core.learn import Learner
from streamscope.core.seed import Seed
from streamscope.types import Footprints, Frame

SHAPE = (80, 88)
CELLS = [(24.0, 26.0), (40.0, 60.0), (58.0, 38.0)]
IDS = [7, 12, 30]  # yesterday's
NEXT = 41
SILENT = 2  # position of the cell that does nothing today
CONFIG = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.5)
rows, cols = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]].astype(np.float32)


def spot(y, x):
    return np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / 8)


def still(moved=(0, 0), seed=0):
    rng = np.random.default_rng(seed)
    return np.roll(90 + 16 * ndimage.gaussian_filter(rng.normal(size=SHAPE), 0.7), moved, (0, 1))


def movie(n_frames=200, moved=(0, 0), seed=0, extra=()):
    """Yield today's frames: yesterday's field moved, one of its cells silent, `extra` cells that are new.

    The field shakes: frames of one that does not are interpolated until the template is good, and so have less noise.
    """
    rng = np.random.default_rng(5)
    places = [(y + moved[0], x + moved[1]) for y, x in CELLS] + list(extra)
    phases = rng.integers(0, 40, len(places))
    for t in range(n_frames):
        image = still(moved, seed)
        for k, (y, x) in enumerate(places):
            if k != SILENT:
                image += 60 * np.exp(-((t + phases[k]) % 40) / 10) * spot(y, x)
        shake = rng.uniform(-1, 1, 2) if t else (0, 0)
        image = ndimage.shift(image, shake, order=3, mode="nearest") + rng.normal(0, 3, SHAPE)
        yield Frame(t, np.clip(np.rint(image), 0, 255).astype(np.uint8), 0)


def yesterday(seed=0):
    columns = []
    for y, x in CELLS:
        pixels = np.flatnonzero(spot(y, x) > 0.02)
        columns.append((pixels.astype(np.int32), spot(y, x).ravel()[pixels].astype(np.float32)))
    footprints = Footprints.from_columns(SHAPE, columns)
    return Seed("mouse/day1", still(seed=seed).astype(np.float32), np.array(IDS, np.uint32), footprints, NEXT)


def run(frames, seed, config=CONFIG):
    infer, learner = Infer(config, SHAPE), Learner(config, SHAPE, seed)
    aligned, waiting, results, epochs = np.zeros(SHAPE, np.float32), {}, [], []
    for frame in frames:
        if frame.index in waiting:
            infer.adopt(waiting.pop(frame.index))
        results.append(infer(frame, aligned))
        epoch = learner.consume(aligned, results[-1])
        if epoch is not None:
            waiting[frame.index + learner.lag_frames] = epoch
            epochs.append(epoch)
    return results, epochs


@pytest.fixture(scope="module")
def second_day():
    return run(movie(moved=(6, -4), extra=[(20.0, 64.0)]), yesterday())


def test_the_seed_is_found_in_the_first_block_and_told_once(second_day):
    _, epochs = second_day
    told = [epoch.seeding for epoch in epochs]
    assert told[1:] == [None] * (len(told) - 1)
    report = told[0]
    assert report.placed
    assert (report.dy, report.dx) == pytest.approx((6, -4), abs=0.2)
    assert report.angle_deg == pytest.approx(0, abs=0.2)
    assert report.ids == tuple(IDS)
    assert "3 cells from mouse/day1" in report.text()


def test_seeded_cells_keep_their_ids_and_their_traces_flow_from_the_first_epoch(second_day):
    results, epochs = second_day
    first = next(r for r in results if len(r.ids))
    assert first.index == 49  # one block to learn, one of lag
    assert set(IDS) <= set(first.ids.tolist())
    for k, (y, x) in enumerate(CELLS):
        at = list(epochs[0].ids).index(IDS[k])
        top = np.unravel_index(epochs[0].footprints.dense()[..., at].argmax(), SHAPE)
        assert np.hypot(top[0] - y - 6, top[1] - x + 4) <= 1


def test_a_cell_that_is_new_today_gets_an_id_above_all_that_were_given(second_day):
    _, epochs = second_day
    last = epochs[-1]
    new = [k for k, i in enumerate(last.ids) if i not in IDS]
    confirmed = [k for k in new if last.status[k] == CONFIRMED]
    assert min(last.ids[new]) >= NEXT
    assert len(confirmed) == 1
    y, x = np.unravel_index(last.footprints.dense()[..., confirmed[0]].argmax(), SHAPE)
    assert np.hypot(y - 20, x - 64) < 1.5


def test_a_seeded_cell_is_confirmed_when_it_is_seen_and_stays_provisional_while_it_is_silent(second_day):
    _, epochs = second_day
    status = dict(zip(epochs[-1].ids.tolist(), epochs[-1].status.tolist(), strict=True))
    assert status[IDS[0]] == status[IDS[1]] == CONFIRMED
    assert status[IDS[SILENT]] == PROVISIONAL


def test_a_silent_seeded_cell_is_never_retired():
    config = CONFIG.model_copy(update={"detect": CONFIG.detect.model_copy(update={"give_up_s": 2.0})})
    _, epochs = run(movie(), yesterday(), config)
    assert IDS[SILENT] in epochs[-1].ids


def test_the_noise_of_a_seeded_cell_is_that_of_its_trace(second_day):
    results, _ = second_day
    y = np.array([r.y[list(r.ids).index(IDS[SILENT])] for r in results if IDS[SILENT] in r.ids])
    second = y[2:] - 2 * y[1:-1] + y[:-2]
    assert second.std() / np.sqrt(6) == pytest.approx(1, abs=0.25)


def test_footprints_of_yesterday_are_not_rewritten_by_the_first_event(second_day):
    _, epochs = second_day
    at = list(epochs[-1].ids).index(IDS[0])
    true = spot(CELLS[0][0] + 6, CELLS[0][1] - 4)
    dense = epochs[-1].footprints.dense()[..., at]
    assert (true * dense).sum() / np.linalg.norm(true) / np.linalg.norm(dense) > 0.97


def test_another_field_is_told_after_ten_seconds_and_the_session_learns_by_itself():
    _, epochs = run(movie(220, seed=1), yesterday(seed=0))
    told = [epoch.seeding for epoch in epochs if epoch.seeding is not None]
    assert [report.placed for report in told] == [False]
    assert epochs[7].seeding is told[0]
    assert "does not look like" in told[0].text()
    assert not set(IDS) & set(epochs[-1].ids.tolist())
    assert (epochs[-1].status == CONFIRMED).sum() == 2
    assert epochs[-1].ids.min() >= NEXT


def test_cells_out_of_view_are_named_and_left_out():
    _, epochs = run(movie(60, moved=(-24, 0)), yesterday())
    report = epochs[0].seeding
    assert report.placed
    assert report.outside == (IDS[0],)
    assert report.ids == tuple(IDS[1:])


def test_two_runs_give_the_same_bytes(second_day):
    _, epochs = second_day
    _, again = run(movie(moved=(6, -4), extra=[(20.0, 64.0)]), yesterday())
    for one, other in zip(epochs, again, strict=True):
        for name, array in one.arrays().items():
            assert array.tobytes() == other.arrays()[name].tobytes(), name


def test_a_seed_without_cells_in_view_leaves_an_ordinary_session():
    seed = yesterday()
    empty = Seed(seed.source, seed.image, seed.ids[:0], seed.footprints.select([]), 5)
    _, epochs = run(movie(60), empty)
    assert epochs[0].seeding.placed
    assert epochs[0].seeding.ids == ()


def test_frozen_before_it_is_placed_a_seed_is_placed_after_thawing():
    thaw_at = 20 * 12  # s; the first frames are not remembered any more
    infer, learner = Infer(CONFIG, SHAPE), Learner(CONFIG, SHAPE, yesterday())
    aligned, told = np.zeros(SHAPE, np.float32), []
    learner.freeze()
    for frame in movie(thaw_at + 60):
        if frame.index == thaw_at:
            learner.thaw()
        epoch = learner.consume(aligned, infer(frame, aligned))
        if epoch is not None and epoch.seeding is not None:
            told.append((epoch.frame >= thaw_at, epoch.seeding.placed, tuple(epoch.ids)))
    assert told == [(True, True, tuple(IDS))]
