"""A disk that fills up while a session runs: it is said, the recording ends well, and traces go on."""

from __future__ import annotations

import zlib
from itertools import count

import numpy as np
import pytest

from streamscope.cli.progress import outcome_lines
from streamscope.config import from_toml
from streamscope.errors import StorageError
from streamscope.session.plan import make_live_plan, make_plan
from streamscope.session.registry import open_movie
from streamscope.session.runner import run_session
from streamscope.session.writing import write_records
from streamscope.storage import avi, room
from streamscope.storage.journal import JournalReader
from streamscope.testing.fake_engine import fake_engine
from tests.session.live_devices import SHAPE, Until, use_model
from tests.storage.test_recording import SmallDisk

pytestmark = pytest.mark.slow  # whole sessions


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.0)
    monkeypatch.setattr("streamscope.session.recorder.COMMIT_S", 0.02)


@pytest.fixture
def made(monkeypatch):
    return use_model(monkeypatch)


@pytest.fixture
def plan(made, tmp_path):
    given = {"cell_diameter": "8px", "out": str(tmp_path / "out"), "wire.bind": "127.0.0.1:0"}
    given |= {"device.led": 30.0, "wire.status_hz": 50.0}
    return lambda: make_live_plan("miniscope:v4", "0", from_toml(None, given), refit=False)


def free(monkeypatch, *gigabytes):
    """Let that much be free at each look, the last value for ever."""
    looks = count()
    monkeypatch.setattr(
        room, "free_bytes", lambda folder: round(1e9 * gigabytes[min(next(looks), len(gigabytes) - 1)])
    )


class Messages(Until):
    """Notes what the status says, and stops the session 100 frames after it has said something."""

    def __init__(self, wanted):
        super().__init__(10**9)
        self.wanted, self.messages = wanted, set()

    def health(self, health):
        self.messages.add(health.message)
        if self.wanted in health.message and self.last == 10**9:
            self.last = health.frame + 100
        super().health(health)


def events_of(outcome):
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        return [(e.kind, e.frame, e.fields) for e in journal.events()], journal.n_frames


def same_pictures(outcome, model):
    """Return how many frames the recording holds, after checking each against what the scope sent."""
    sent = {s.crc for s in model.sent}
    movie = open_movie(str(outcome.folder))
    images = movie.read(0, movie.info.n_frames)
    movie.close()
    assert {zlib.crc32(image) for image in images} <= sent
    return len(images)


def test_a_disk_that_fills_up_is_said_and_the_recording_ends_while_traces_go_on(plan, made, monkeypatch):
    free(monkeypatch, 6, *[4.9] * 10, *[2.4] * 2, 0.4)
    watch, ready = Messages("recording stopped"), plan()
    assert not ready.room.low
    outcome = run_session(ready, watch, fake_engine())
    events, n_frames = events_of(outcome)
    assert [fields["free_bytes"] for kind, _, fields in events if kind == "disk"] == [4.9e9, 2.4e9]
    ((at, fields),) = [(at, fields) for kind, at, fields in events if kind == "recording_stopped"]
    assert "has 400 MB free, expected at least 500 MB" in fields["reason"]
    assert outcome.n_frames == n_frames > at + 50
    assert outcome.recording["n_frames"] == at == same_pictures(outcome, made[0][1])
    assert not outcome.recording["complete"]
    assert any(m.startswith("disk nearly full: 4.9 GB free, the recording ends in") for m in watch.messages)
    assert any(m.startswith(f"recording stopped after {at} frames") for m in watch.messages)
    assert made[0][1].light == 0


def test_a_disk_that_is_full_stops_recording_and_results_but_not_the_traces(plan, made, monkeypatch):
    monkeypatch.setattr(avi, "FileIO", SmallDisk)
    SmallDisk.room = 40 * (SHAPE[0] * SHAPE[1] + 8) + 1000

    def full(journal, records):
        for record in records:
            if getattr(getattr(record, "result", None), "index", 0) >= 60:
                journal.commit()
                raise StorageError("journal.sqlite cannot be written (database or disk is full)")
            write_records(journal, [record])

    monkeypatch.setattr("streamscope.session.writing.write_records", full)
    watch = Messages("results are NOT kept")
    outcome = run_session(plan(), watch, fake_engine())
    assert "No space left on device" in outcome.recording["stopped"]
    assert same_pictures(outcome, made[0][1]) == outcome.recording["n_frames"]
    assert 0 < outcome.recording["n_frames"] <= 40
    assert any("results are NOT kept from about frame" in message for message in watch.messages)
    _, n_frames = events_of(outcome)
    assert n_frames == 60 < outcome.n_frames - 50
    assert outcome.result.is_file()
    assert any("results are NOT kept" in line for line in outcome_lines(outcome))


def test_a_disk_without_room_for_the_results_says_how_to_get_them_later(plan, made, monkeypatch):
    def full(folder):
        raise StorageError("session.h5 cannot be written (No space left on device)")

    monkeypatch.setattr("streamscope.session.runner.write_live", full)
    with pytest.raises(
        StorageError, match=r"No space left .*; nothing that was kept is lost: make room, and then: str"
    ):
        run_session(plan(), Until(60), fake_engine())
    assert made[0][1].light == 0


def test_a_live_session_is_warned_and_refused_before_anything_begins(plan, made, monkeypatch, tmp_path):
    free(monkeypatch, 4.0)
    ready = plan()
    assert ready.room.warning().startswith("disk nearly full: 4.0 GB free, the recording ends in")
    ready.close()
    free(monkeypatch, 0.4)
    with pytest.raises(StorageError, match="has 400 MB free, expected at least 500 MB to record; make room"):
        plan()
    assert all(model.light == 0 and model._camera is None for _, model in made)
    assert not (tmp_path / "out").exists()


def test_a_replay_that_is_recorded_has_the_same_rules(monkeypatch, tmp_path):
    np.save(tmp_path / "movie.npy", np.zeros((60, *SHAPE), np.uint8))
    given = {"fps": 20.0, "cell_diameter": "8px", "out": str(tmp_path / "out")}

    def plan(record=True):
        return make_plan(
            str(tmp_path / "movie.npy"), from_toml(None, given), None, refit=False, record=record
        )

    free(monkeypatch, 4.0)
    ready = plan()
    assert ready.room.low
    ready.close()
    free(monkeypatch, 0.4)
    with pytest.raises(StorageError, match="has 400 MB free, expected at least 500 MB to record"):
        plan()
    assert not (tmp_path / "out").exists()
    plan(record=False).close()
