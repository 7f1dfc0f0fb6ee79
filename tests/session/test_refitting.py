"""The refit of a session: what it is given, and what becomes of its ids."""

from __future__ import annotations

import numpy as np
import pytest

from streamscope.config import from_toml
from streamscope.errors import SourceError, StorageError
from streamscope.session import refitting
from streamscope.session.plan import make_plan
from streamscope.session.refitting import FirstFrames, refit_session
from streamscope.session.registry import open_movie
from streamscope.session.runner import run_session
from streamscope.storage.result import ResultReader
from streamscope.storage.session_folder import open_session
from streamscope.testing.fake_engine import fake_engine
from streamscope.types import Footprints, RefitResult

N, SHAPE = 60, (96, 96)


@pytest.fixture
def movie(tmp_path):
    np.save(tmp_path / "movie.npy", np.random.default_rng(5).integers(0, 255, (N, *SHAPE)).astype(np.uint8))
    return open_movie(str(tmp_path / "movie.npy"), fps=20.0)


@pytest.fixture
def session(movie, tmp_path, monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.0)
    given = {"cell_diameter": "8px", "fps": 20.0, "out": str(tmp_path / "out"), "wire.bind": "127.0.0.1:0"}
    plan = make_plan(str(tmp_path / "movie.npy"), from_toml(None, given), None, refit=False)
    return open_session(run_session(plan, None, fake_engine()).folder)


def result_of(ids, n_frames=N):
    k = len(ids)
    columns = [(np.array([3 * i], np.int32), np.ones(1, np.float32)) for i in range(k)]
    traces = np.zeros((k, n_frames), np.float32)
    image = np.zeros(SHAPE, np.float32)
    return RefitResult(
        footprints=Footprints.from_columns(SHAPE, columns),
        ids=np.array(ids, np.uint32),
        **dict.fromkeys(("C", "S", "C_raw"), traces),
        **dict.fromkeys(("sn", "snr"), np.ones(k, np.float32)),
        g=np.zeros((k, 2), np.float32),
        status=("accepted",) * k,
        reasons=("",) * k,
        shifts=np.zeros((n_frames, 2), np.float32),
        quality=np.ones(n_frames, np.float32),
        field=np.zeros((n_frames, 2, 2, 2), np.float32),
        **dict.fromkeys(("b0", "mean_image", "correlation_image"), image),
    )


@pytest.fixture
def asked(monkeypatch):
    """Stand in for the refit; notes what it was asked."""
    calls = []

    def refit(movie, config, live, live_ids, shifts, progress):
        calls.append((movie, config, live, live_ids, shifts))
        return result_of([1, 2, 900])

    monkeypatch.setattr(
        "streamscope.offline.warmup.warm_up_refit", lambda progress, bits: progress("compiling", 0.0)
    )
    monkeypatch.setattr("streamscope.offline.refit.refit", refit)
    return calls


def test_the_refit_begins_where_the_session_ended(session, movie, asked):
    refit_session(session, movie)
    given, config, live, live_ids, shifts = asked[0]
    assert given is movie
    assert config == session.engine
    np.testing.assert_array_equal(live_ids, [1, 2])
    assert live.n == 2
    np.testing.assert_array_equal(shifts, np.tile(np.float32([0.5, -0.25]), (N, 1)))


def test_new_ids_come_right_after_all_that_the_session_ever_gave(session, movie, asked):
    assert refit_session(session, movie).ids.tolist() == [1, 2, 3]
    with ResultReader(session.result) as reader:
        assert reader.refit().ids.tolist() == [1, 2, 3]
        assert reader.n_frames == N


def test_only_the_frames_that_were_played_are_refitted(session, tmp_path, asked):
    longer = np.random.default_rng(5).integers(0, 255, (N + 40, *SHAPE)).astype(np.uint8)
    np.save(tmp_path / "longer.npy", longer)
    refit_session(session, open_movie(str(tmp_path / "longer.npy"), fps=20.0))
    part = asked[0][0]
    assert part.info.n_frames == len(part.times_s) == len(part.gap) == N
    np.testing.assert_array_equal(part.read(N - 2, N + 2), longer[N - 2 : N])


def test_a_part_of_a_movie_passes_the_rest_on(movie):
    part = FirstFrames(movie, 7)
    assert part.hw is None
    assert part.info.shape == SHAPE
    part.close()


def test_a_refit_says_that_it_compiles_before_it_begins(session, movie, asked):
    said = []
    refit_session(session, movie, lambda *words: said.append((*words, len(asked))))
    assert said[0] == ("compiling", 0.0, 0)


def test_another_recording_is_refused(session, tmp_path, asked):
    np.save(tmp_path / "other.npy", np.zeros((N, 64, 64), np.uint8))
    with pytest.raises(SourceError, match="is it the recording that this session was made from"):
        refit_session(session, open_movie(str(tmp_path / "other.npy"), fps=20.0))
    assert not asked


def test_too_few_frames_are_refused(session, movie, asked, monkeypatch):
    monkeypatch.setattr(refitting, "LEAST_FRAMES", N + 1)
    with pytest.raises(StorageError, match="a refit needs"):
        refit_session(session, movie)
    assert not asked
