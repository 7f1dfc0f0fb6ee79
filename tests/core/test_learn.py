"""The learner and inference together, on small movies whose cells are known."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from streamscope.config import EngineConfig
from streamscope.core.background import SparseRows
from streamscope.core.births import Birth, Division
from streamscope.core.crew import Crew
from streamscope.core.detect import Candidate
from streamscope.core.epoch import CONFIRMED, PROVISIONAL, Epoch
from streamscope.core.infer import Infer
from streamscope.core.learn import Learner
from streamscope.core.model import unit
from streamscope.types import ComponentEvent, Footprints, Frame, Kinetics

SHAPE = (80, 88)
SITE = Candidate(8.0, 60.0, 9.0)
CELLS = [(24.0, 26.0), (24.0, 33.0), (52.0, 40.0), (58.0, 70.0)]
CONFIG = EngineConfig(cell_diameter_px=8, fps=20, decay_s=0.5)


class Movie:
    """Blinking cells on tissue, with the truth."""

    def __init__(self, n_frames: int, seed: int = 0, cells=CELLS) -> None:
        rng = np.random.default_rng(seed)
        rows, cols = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]].astype(np.float32)
        texture = rng.normal(size=SHAPE)
        self.C = np.zeros((len(cells), n_frames))
        for c in self.C:
            c[rng.integers(20, n_frames, n_frames // 60)] = rng.uniform(40, 80, n_frames // 60)
            for t in range(1, n_frames):
                c[t] += np.exp(-1 / (20 * 0.5)) * c[t - 1]
        self.footprints = [np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / (2 * 2.0**2)) for y, x in cells]
        wave = np.sin(np.arange(n_frames) / 31)
        spatial = np.exp(-((rows - 40) ** 2 + (cols - 44) ** 2) / 2000)
        self.frames = np.empty((n_frames, *SHAPE), np.uint8)
        for t in range(n_frames):
            image = 90 + 6 * texture + 8 * wave[t] * spatial
            image += sum(c[t] * a for c, a in zip(self.C, self.footprints, strict=True))
            self.frames[t] = np.clip(image + rng.normal(0, 4, SHAPE), 0, 255)


def run(movie, config=CONFIG, crew=None):
    """Return the results of all frames and the epochs, adopted a fixed lag after their last frame."""
    infer, learner = Infer(config, SHAPE), Learner(config, SHAPE, crew=crew)
    aligned, waiting, results, epochs = np.zeros(SHAPE, np.float32), {}, [], []
    for index, image in enumerate(movie.frames):
        if index in waiting:
            infer.adopt(waiting.pop(index))
        results.append(infer(Frame(index, image, 0), aligned))
        epoch = learner.consume(aligned, results[-1])
        if epoch is not None:
            waiting[index + learner.lag_frames] = epoch
            epochs.append(epoch)
    return results, epochs, infer


@pytest.fixture(scope="module")
def session():
    movie = Movie(600)
    return movie, *run(movie)


class Threads(Crew):
    """Three threads."""

    n = 3

    def map(self, work, *pieces):
        with ThreadPoolExecutor(self.n) as pool:
            return list(pool.map(work, *pieces))


def test_what_is_learned_does_not_depend_on_the_number_of_threads(session):
    movie, results, epochs, _ = session
    others, other_epochs, _ = run(movie, crew=Threads())
    assert [len(other.c) for other in others] == [len(result.c) for result in results]
    assert all(np.array_equal(other.c, result.c) for other, result in zip(others, results, strict=True))
    for other, epoch in zip(other_epochs, epochs, strict=True):
        mine = epoch.arrays()
        assert [k for k, v in other.arrays().items() if not np.array_equal(v, mine[k])] == []


def position_of(epoch, footprint):
    """Return the position of the component most like a true footprint, and the cosine."""
    dense = epoch.footprints.dense().reshape(-1, epoch.n)
    cosine = (footprint.ravel() @ dense) / (np.linalg.norm(footprint) * np.linalg.norm(dense, axis=0))
    return int(cosine.argmax()), float(cosine.max())


def test_every_cell_is_found_once_and_nothing_else_is_confirmed(session):
    movie, _, epochs, _ = session
    places = [position_of(epochs[-1], a) for a in movie.footprints]
    assert len({k for k, _ in places}) == len(CELLS)
    assert min(cosine for _, cosine in places) > 0.9
    assert int((epochs[-1].status == CONFIRMED).sum()) == len(CELLS)


def test_traces_follow_the_true_activity_once_a_cell_is_known(session):
    movie, results, epochs, _ = session
    for c, footprint in zip(movie.C, movie.footprints, strict=True):
        k, _ = position_of(epochs[-1], footprint)
        number = epochs[-1].ids[k]
        found = [(r.index, float(r.c[r.ids == number][0])) for r in results[300:] if number in r.ids]
        index, trace = np.array(found).T
        assert np.corrcoef(trace, c[index.astype(int)])[0, 1] > 0.95


def test_ids_are_never_reused_and_each_is_announced_by_a_birth(session):
    _, results, epochs, _ = session
    born = [e.id for epoch in epochs for e in epoch.events if e.kind == "born"]
    assert len(born) == len(set(born))
    assert {int(i) for r in results for i in r.ids} <= set(born)


def test_results_are_finite_and_have_one_value_per_id(session):
    _, results, _, _ = session
    for r in results:
        for values in (r.y, r.c, r.s, r.c_lag, r.s_lag):
            assert values.shape == r.ids.shape
            assert values.dtype == np.float32
            assert np.isfinite(values).all()


def test_tail_holds_the_frames_that_no_result_carried(session):
    _, results, _, infer = session
    tail = infer.tail()
    assert tail.first_frame == len(results) - 2
    assert tail.c_lag.shape == (2, len(results[-1].ids))
    assert np.array_equal(tail.c_lag[-1], results[-1].c)


def test_two_runs_give_the_same_bytes():
    movie = Movie(250, seed=3)
    first, _, _ = run(movie)
    second, _, _ = run(movie)
    assert first[-1].ids.size > 0
    for a, b in zip(first, second, strict=True):
        assert a.y.tobytes() == b.y.tobytes()
        assert a.c_lag.tobytes() == b.c_lag.tobytes()


def test_tissue_without_cells_gives_no_component():
    movie = Movie(300, seed=5, cells=[])
    _, epochs, _ = run(movie)
    assert epochs[-1].n <= 1


def test_badly_registered_frames_are_not_learned_from():
    learner = Learner(CONFIG, SHAPE)
    infer, movie = Infer(CONFIG, SHAPE), Movie(60, seed=6)
    aligned = np.zeros(SHAPE, np.float32)
    for index, image in enumerate(movie.frames):
        black = index == 55
        result = infer(Frame(index, np.zeros_like(image) if black else image, 0), aligned)
        before = learner.model.mean.copy()
        learner.consume(aligned, result)
        assert result.shift.ok is not black
        if black:
            assert np.array_equal(learner.model.mean, before)


def test_epoch_survives_its_journal_form_bit_for_bit(session):
    _, _, epochs, _ = session
    epoch = epochs[-1]
    again = Epoch.from_arrays(epoch.arrays())
    aligned_a, aligned_b = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    frame = Frame(0, Movie(1, seed=9).frames[0], 0)
    one, two = Infer(CONFIG, SHAPE), Infer(CONFIG, SHAPE)
    one.adopt(epoch)
    two.adopt(again)
    assert one(frame, aligned_a).y.tobytes() == two(frame, aligned_b).y.tobytes()


def test_signed_traces_solve_the_folded_system():
    """One cell, no ring: y is the least-squares amplitude over the cell's noise."""
    footprint = np.zeros(SHAPE, np.float32)
    footprint[30:35, 40:45] = 0.2  # unit norm
    pixels = np.flatnonzero(footprint).astype(np.int32)
    footprints = Footprints.from_columns(SHAPE, [(pixels, footprint.ravel()[pixels])])
    epoch = Epoch(
        number=1,
        frame=0,
        ids=np.array([7], np.uint32),
        status=np.array([CONFIRMED], np.uint8),
        born_at=np.zeros(1, np.int64),
        snr=np.ones(1, np.float32),
        footprints=footprints,
        V=SparseRows.empty(1, 440),
        step=4,
        solve=SparseRows.identity(1),
        b0=np.full(SHAPE, 50, np.float32),
        sn=np.array([2.0], np.float32),
        kinetics=Kinetics(0.6),
        events=(ComponentEvent("born", 7, 0),),
    )
    infer = Infer(CONFIG, SHAPE)
    infer.adopt(epoch)
    image = np.full(SHAPE, 50, np.uint8)
    image[30:35, 40:45] += 10
    result = infer(Frame(0, image, 0), np.zeros(SHAPE, np.float32))
    assert result.ids.tolist() == [7]
    assert result.y[0] == pytest.approx(10 * 5 / 2)  # 25 px of 10 ADU on a unit-norm footprint of 0.2, sn 2


def test_a_component_that_was_never_confirmed_and_stays_silent_is_retired_with_a_reason():
    movie, quiet = Movie(150, seed=3), Movie(175, seed=3, cells=[])
    infer, learner, aligned = Infer(CONFIG, SHAPE), Learner(CONFIG, SHAPE), np.zeros(SHAPE, np.float32)
    epoch = None
    for index, image in enumerate(np.concatenate([movie.frames, quiet.frames[150:]])):
        if index == 150:  # as if one weak event two minutes ago were all that was ever seen of the first
            model = learner.model
            model.status[0], model.peak[0], model.active_at[0] = PROVISIONAL, 5.0, 150 - 121 * CONFIG.fps
            before, site = list(model.ids), learner._sites[model.ids[0]]
        epoch = learner.consume(aligned, infer(Frame(index, image, 0), aligned)) or epoch
    (event,) = (event for event in epoch.events if event.kind == "retired")
    assert (event.id, event.reason) == (before[0], "never confirmed, silent for 120 s")
    assert epoch.ids.tolist() == before[1:]
    assert epoch.footprints.n == len(before) - 1
    again = [Candidate(site.y, site.x, times * site.score) for times in (1.1, 1.3)]
    assert [learner._births._known_bad(candidate) for candidate in again] == [True, False]


# -- freezing


def frozen_run(movie, freeze_at, thaw_at=None):
    """Return learner and epochs of a run that is frozen after one frame and thawed after another."""
    infer, learner = Infer(CONFIG, SHAPE), Learner(CONFIG, SHAPE)
    aligned, epochs = np.zeros(SHAPE, np.float32), []
    for index, image in enumerate(movie.frames):
        epoch = learner.consume(aligned, infer(Frame(index, image, 0), aligned))
        if epoch is not None:
            epochs.append(epoch)
            infer.adopt(epoch)
        if index == freeze_at:
            learner.freeze()
        if index == thaw_at:
            learner.thaw()
    return learner, epochs


CHANGES = {"number", "b0_64ths"}  # what may differ between the epochs of a frozen learner


def differing(a, b):
    mine, other = a.arrays(), b.arrays()
    return {name for name in mine if mine[name].tobytes() != other[name].tobytes()}


@pytest.fixture(scope="module")
def bleaching():
    """Return a movie whose cells begin one after the other and whose light halves."""
    movie = Movie(500, seed=5)
    light = np.linspace(1, 0.6, 500)[:, None, None]
    movie.frames = (movie.frames * light).astype(np.uint8)
    return movie


def test_frozen_nothing_changes_but_the_static_background(bleaching):
    _, epochs = frozen_run(bleaching, freeze_at=210)
    held = [e for e in epochs if e.frame > 210]
    before = [e for e in epochs if e.frame <= 210][-1]
    assert before.n > 0
    assert len(held) == 12
    for epoch in held:
        assert differing(before, epoch) <= CHANGES
        assert epoch.events == ()
    assert held[-1].b0.mean() < 0.9 * before.b0.mean()  # it follows the light


def test_thawed_it_learns_on(bleaching):
    _, epochs = frozen_run(bleaching, freeze_at=30, thaw_at=210)
    held = [e for e in epochs if 30 < e.frame <= 210]
    assert {e.n for e in held} == {held[0].n}
    assert held[0].n < epochs[-1].n
    found = [position_of(epochs[-1], a)[1] for a in bleaching.footprints]
    assert sum(cosine > 0.9 for cosine in found) >= 3  # of the fourth there is little to see any more
    born = [event.id for epoch in epochs for event in epoch.events if event.kind == "born"]
    assert len(born) == len(set(born))


def test_time_spent_frozen_does_not_count_as_silence(bleaching):
    learner, _ = frozen_run(bleaching, freeze_at=210, thaw_at=400)
    twin, _ = frozen_run(bleaching, freeze_at=210)
    assert learner.model.n
    assert twin.model.active_at.max() <= 210
    assert learner.model.active_at.min() >= twin.model.active_at.min() + 190


def test_a_step_of_the_light_gives_no_component_and_is_in_the_background_at_once():
    movie = Movie(700, seed=4)
    movie.frames[410:] = np.clip(movie.frames[410:] * np.float32(1.5), 0, 255)
    _, epochs, _ = run(movie)
    before, after = (next(e for e in epochs if e.frame > frame) for frame in (380, 440))
    assert np.median(after.b0 / before.b0) == pytest.approx(1.5, abs=0.05)
    late = [e for epoch in epochs for e in epoch.events if e.kind in ("born", "retired") and e.frame > 410]
    assert late == []
    assert int((epochs[-1].status == CONFIRMED).sum()) == len(CELLS)


def unproven(learner, k):
    learner.model.status[k], learner._shapes.seconds[k] = PROVISIONAL, 241


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda learner: learner._shapes.roundness.__setitem__(1, 0.4), "r 0.40"),
        (lambda learner: learner._shapes.bright.__setitem__(1, (24.0, 2.0)), "border"),
        (lambda learner: unproven(learner, 1), "never confirmed in 240 s"),
        (lambda learner: learner._evidence.own.__setitem__(1, 0.0), "no events but its neighbours'"),
    ],
)
def test_what_proves_to_be_no_cell_is_retired_and_its_site_left_alone(spoil, why):
    infer, learner = Infer(CONFIG, SHAPE), Learner(CONFIG, SHAPE)
    aligned = np.zeros(SHAPE, np.float32)
    for index, image in enumerate(Movie(300, seed=6).frames):
        learner.consume(aligned, infer(Frame(index, image, 0), aligned))
    model = learner.model
    ids, place = list(model.ids), tuple(model.centres[1])
    site = learner._sites[ids[1]]
    assert model.status[1] == CONFIRMED
    learner._shapes.seconds[:] = 61
    spoil(learner)
    learner._retire(300)
    assert model.ids == ids[:1] + ids[2:]
    (event,) = learner._events
    assert (event.kind, event.id) == ("retired", ids[1])
    assert why in event.reason
    assert learner._births._known_bad(Candidate(*place, site.score))
    model.check_invariants()


def test_a_divided_component_goes_on_with_the_rest_of_its_footprint_and_a_new_one_begins():
    movie, (infer, learner) = Movie(300, seed=6), (Infer(CONFIG, SHAPE), Learner(CONFIG, SHAPE))
    aligned = np.zeros(SHAPE, np.float32)
    for index, image in enumerate(movie.frames):
        learner.consume(aligned, infer(Frame(index, image, 0), aligned))
    model, memory = learner.model, learner.memory
    k = int(np.hypot(*(model.centres - CELLS[2]).T).argmin())
    n, others = model.n, [column for i, column in enumerate(model.columns) if i != k]
    pixels, weights = model.columns[k]
    left = pixels % SHAPE[1] < CELLS[2][1]
    halves = [unit(pixels[part], weights[part]) for part in (left, ~left)]
    birth = Birth(halves[1], (52.0, 42.0), SITE, 4.0, 9.0, "divided", Division(k, halves[0], 12.0))
    learner._births.search = lambda *_: [birth]
    divided, n_born = learner._take_in(300)
    learner._rebuild([], divided, n_born, False)
    assert (divided, n_born, model.n) == ([k], 1, n + 1)
    assert model.columns[k] is halves[0]
    assert model.columns[n] is halves[1]
    assert [column for i, column in enumerate(model.columns[:n]) if i != k] == others
    assert model.peak[k] == 12
    model.check_invariants()
    slots = memory.buffer.order()
    together = memory.buffer.y[slots][:, [k, n]].sum(1)
    assert np.corrcoef(together, movie.C[2, -len(slots) :])[0, 1] > 0.9
    assert len(learner._evidence.alone) == n + 1
    (event,) = learner._events
    assert (event.kind, event.reason) == ("born", "divided")


def test_the_rest_of_a_cell_is_merged_and_its_site_must_show_more():
    infer, learner = Infer(CONFIG, SHAPE), Learner(CONFIG, SHAPE)
    aligned = np.zeros(SHAPE, np.float32)
    for index, image in enumerate(Movie(300, seed=6).frames):
        learner.consume(aligned, infer(Frame(index, image, 0), aligned))
    model, memory = learner.model, learner.memory
    bright, weak = (int(np.hypot(*(model.centres - place).T).argmin()) for place in CELLS[:2])
    ids, place = list(model.ids), tuple(model.centres[weak])
    model.peak[weak] = model.peak[bright] / 2
    for store in (memory.window, memory.history):
        store.c[:, weak] = store.c[:, bright] / 3
    learner._evidence.restart(weak)
    score = learner._sites[ids[weak]].score
    learner._merge(300)
    (event,) = learner._events
    assert (event.kind, event.id, event.into) == ("merged", ids[weak], ids[bright])
    again = [Candidate(*place, times * score) for times in (1.1, 1.3)]
    assert [learner._births._known_bad(candidate) for candidate in again] == [True, False]
    assert len(learner._evidence.alone) == model.n


def test_the_ring_is_fitted_to_all_light_but_that_of_confirmed_cells(monkeypatch):
    infer, learner = Infer(CONFIG, SHAPE), Learner(CONFIG, SHAPE)
    aligned, taken = np.zeros(SHAPE, np.float32), []
    for index, image in enumerate(Movie(300, seed=6).frames):
        learner.consume(aligned, infer(Frame(index, image, 0), aligned))
    model, memory = learner.model, learner.memory
    model.status[0] = PROVISIONAL
    assert model.status[1] == CONFIRMED
    subtract = memory._subtract_model
    monkeypatch.setattr(memory, "_subtract_model", lambda *args: taken.append(args[1]) or subtract(*args))
    memory.fit_ring()
    assert not taken[0][:, 0].any()
    assert taken[0][:, 1].any()
    assert np.array_equal(taken[0][:, 1], memory.history.c[: memory.history.n, 1])
