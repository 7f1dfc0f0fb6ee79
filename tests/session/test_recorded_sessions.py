"""Whole sessions with --record: the recording is the session's source, and its failures stay its own."""

from __future__ import annotations

import asyncio
import shutil

import numpy as np
import pytest

from streamscope.config import from_toml
from streamscope.errors import StorageError
from streamscope.session import refitting
from streamscope.session.observer import Observer
from streamscope.session.plan import make_plan
from streamscope.session.queue import BoundedQueue, RefuseNewest
from streamscope.session.refitting import refit_from_source
from streamscope.session.registry import open_movie
from streamscope.session.runner import Session, run_session
from streamscope.storage.journal import JournalReader
from streamscope.storage.recording import Recording
from streamscope.storage.session_folder import open_session
from streamscope.storage.summary import RecordingSummary, summarise
from streamscope.testing.daq_qt import DaqSettings, write_recording
from streamscope.testing.fake_engine import fake_engine
from streamscope.testing.fake_session import fake_refit

N, SHAPE, FPS = 60, (96, 96), 20.0
SIZE = 224 + N * (8 + 96 * 96 + 16) + 8  # bytes: header, frames with their index, head of the index
IMAGES = np.random.default_rng(8).integers(0, 255, (N, *SHAPE)).astype(np.uint8)


@pytest.fixture(autouse=True)
def no_waiting_for_subscribers(monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.0)


@pytest.fixture
def source(tmp_path):
    """Return a Miniscope recording in which frames are missing."""
    settings = DaqSettings(device="My Scope", lost_before={20: 3, 41: 1}, extra={"gain": "High"})
    write_recording(tmp_path / "original", IMAGES, FPS, settings=settings)
    return tmp_path / "original"


@pytest.fixture
def plan(source, tmp_path):
    def make(speed=None, **options):
        given = {"cell_diameter": "8px", "out": str(tmp_path / "out"), "wire.bind": "127.0.0.1:0"}
        config = from_toml(None, given)
        return make_plan(str(source), config, speed, record=True, **{"refit": False, **options})

    return make


def same(movie, original, laps=1):
    for lap in range(laps):
        np.testing.assert_array_equal(movie.read(lap * N, (lap + 1) * N), original.read(0, N))
    np.testing.assert_array_equal(movie.gap, np.tile(original.gap, laps))
    np.testing.assert_array_equal(movie.hw, np.tile(original.hw, laps))
    np.testing.assert_allclose(movie.times_s[:N], original.times_s, rtol=0, atol=2e-9)


@pytest.mark.parametrize("speed", [None, 20.0])
def test_a_recorded_session_replays_as_the_original_did(plan, source, speed):
    outcome = run_session(plan(speed), None, fake_engine())
    assert outcome.recording["complete"]
    original, movie = open_movie(str(source)), open_movie(str(outcome.folder))
    same(movie, original)
    assert summarise(open_session(outcome.folder)).recording == RecordingSummary(
        device="My_Scope", n_frames=N, not_recorded=0, holes=0, stopped="", n_files=1, size=SIZE
    )
    ours, theirs = movie.info, original.info
    assert (ours.fps, ours.um_per_px, ours.device) == (theirs.fps, theirs.um_per_px, theirs.device)
    assert (ours.meta["gain"], ours.meta["deviceType"]) == ("High", "Miniscope_V4_BNO")
    assert ours.warnings == ("4 frames are missing in 2 places, first before frame 20, says the recording",)
    for opened in (movie, original):
        opened.close()


def test_every_lap_of_a_loop_is_recorded_with_times_that_run_on(plan, source):
    outcome = run_session(plan(loop=3), None, fake_engine())
    original, movie = open_movie(str(source)), open_movie(str(outcome.folder))
    assert movie.info.n_frames == outcome.n_frames == 3 * N
    same(movie, original, laps=3)
    lap_s = original.times_s[-1] + 1 / FPS
    np.testing.assert_allclose(movie.times_s[N : 2 * N], lap_s + original.times_s, rtol=0, atol=2e-9)
    for opened in (movie, original):
        opened.close()


def test_a_session_that_is_stopped_has_recorded_what_it_played(plan):
    class Watch(Observer):
        def health(self, health):
            if health.frame >= 10:
                session.stop()

    session = Session(plan(5.0), Watch(), fake_engine())
    with asyncio.Runner() as runner:
        outcome = runner.run(session.run())
    assert 10 < outcome.n_frames < N
    assert outcome.recording["n_frames"] == outcome.n_frames
    assert outcome.recording["complete"]
    movie = open_movie(str(outcome.folder))
    np.testing.assert_array_equal(movie.read(0, outcome.n_frames), IMAGES[: outcome.n_frames])
    movie.close()


class Refitted:
    """What stands in for the refit, which has tests of its own."""

    def __init__(self, monkeypatch):
        self.images = self.shifts = None
        monkeypatch.setattr("streamscope.offline.warmup.warm_up_refit", lambda progress, bits: None)
        monkeypatch.setattr("streamscope.offline.refit.refit", self)
        monkeypatch.setattr(refitting, "add_refit", self.keep)

    def __call__(self, movie, config, live, live_ids, shifts, progress):
        self.images, self.shifts = movie.read(0, movie.info.n_frames), shifts
        return fake_refit(movie.info.n_frames)

    def keep(self, folder, result):
        self.notes = result.notes


@pytest.fixture
def refitted(monkeypatch):
    return Refitted(monkeypatch)


def test_the_refit_does_without_the_original(plan, source, refitted):
    outcome = run_session(plan(refit=True), None, fake_engine())
    np.testing.assert_array_equal(refitted.images, IMAGES)
    assert outcome.refit_status is not None
    shutil.rmtree(source)
    refitted.images = None
    refit_from_source(open_session(outcome.folder))
    np.testing.assert_array_equal(refitted.images, IMAGES)
    assert refitted.notes["missing"] == []


def test_when_the_disk_takes_no_more_frames_the_session_goes_on_and_says_so(
    plan, monkeypatch, source, refitted
):
    append, said = Recording.append, []

    def fail(self, frame, waiting=0):
        if frame.index == 25:
            raise StorageError("the disk is full")
        append(self, frame, waiting)

    monkeypatch.setattr(Recording, "append", fail)

    class Watch(Observer):
        def health(self, health):
            said.append(health.message)

    outcome = run_session(plan(10.0, refit=True), Watch(), fake_engine())
    assert outcome.n_frames == N
    assert "recording stopped after 25 frames: the disk is full" in said
    assert outcome.health.message == "recording stopped after 25 frames: the disk is full"
    noted = {name: outcome.recording[name] for name in ("complete", "n_frames", "not_recorded", "stopped")}
    assert noted == {"complete": False, "n_frames": 25, "not_recorded": N - 25, "stopped": "the disk is full"}
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        events = [(event.kind, event.frame, event.fields) for event in journal.events()]
    assert ("recording_stopped", 25, {"recorded": 25, "reason": "the disk is full"}) in events
    np.testing.assert_array_equal(refitted.images, IMAGES)  # from the original, which has them all
    shutil.rmtree(source)
    refit_from_source(open_session(outcome.folder))
    np.testing.assert_array_equal(refitted.images, IMAGES[:25])


def test_holes_in_a_recording_keep_frames_and_shifts_together(plan, monkeypatch, source, refitted):
    def refuse(self, frame):
        if frame.index in (30, 31):
            self.dropped += 1
            return False
        return BoundedQueue.put(self, frame)

    monkeypatch.setattr(RefuseNewest, "put", refuse)
    outcome = run_session(plan(20.0), None, fake_engine())
    assert outcome.recording["not_recorded"] == 2
    shutil.rmtree(source)
    folder = open_session(outcome.folder)
    movie = open_movie(str(outcome.folder))
    assert movie.gap[30] == 2
    movie.close()
    refit_from_source(folder)
    kept = np.delete(np.arange(N), [30, 31])
    np.testing.assert_array_equal(refitted.images, IMAGES[kept])
    assert len(refitted.shifts) == N - 2
    assert refitted.notes["missing"] == [[30, 2]]
    found = summarise(folder).recording
    assert (found.n_frames, found.not_recorded, found.holes) == (N - 2, 2, 1)
