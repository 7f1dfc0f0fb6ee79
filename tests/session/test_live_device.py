"""Whole sessions with a device: the driver on a model of the firmware, and an engine of a few lines."""

from __future__ import annotations

import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest

from streamscope.config import from_toml
from streamscope.errors import ConfigError, StorageError, StreamScopeError
from streamscope.session.plan import make_live_plan
from streamscope.session.refitting import refit_from_source
from streamscope.session.registry import list_devices, open_movie
from streamscope.session.runner import run_session
from streamscope.storage.journal import JournalReader
from streamscope.storage.session_folder import open_session
from streamscope.testing.fake_engine import FakeInfer, fake_engine
from streamscope.wire.client import Subscriber
from tests.session.live_devices import SHAPE, Until, use_model


@pytest.fixture(autouse=True)
def no_waiting_for_subscribers(monkeypatch):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.0)


@pytest.fixture
def made(monkeypatch):
    return use_model(monkeypatch)


@pytest.fixture
def plan(made, tmp_path):
    def make(spec="miniscope:v4-bno", **options):
        given = {"cell_diameter": "8px", "out": str(tmp_path / "out"), "wire.bind": "127.0.0.1:0"}
        given |= {"device.led": 30.0, "fps": 30.0, **options.pop("given", {})}
        return make_live_plan(spec, "0", from_toml(None, given), **{"refit": False, **options})

    return make


def pictures(model):
    return {sent.crc: sent.number for sent in model.sent}


def test_every_frame_that_came_is_recorded_as_the_scope_sent_it_and_the_light_is_off_afterwards(plan, made):
    outcome = run_session(plan(), Until(120), fake_engine())
    ((_, model),) = made
    assert model.light == 0
    assert not model.recording
    assert model._camera is None
    assert outcome.n_frames > 120
    assert outcome.recording["complete"]

    movie = open_movie(str(outcome.folder))
    assert movie.info.n_frames == outcome.recording["n_frames"] == outcome.n_frames
    number = pictures(model)
    seen = [number[zlib.crc32(image)] for image in movie.read(0, movie.info.n_frames)]
    np.testing.assert_array_equal(movie.gap[1:], np.diff(seen) - 1)  # a busy machine may really lose some
    assert outcome.health.lost == movie.gap[1:].sum()
    np.testing.assert_array_equal(movie.hw, seen)
    np.testing.assert_allclose(movie.times_s, (np.array(seen) - seen[0]) * 0.033, atol=0.02)
    meta = movie.info.meta
    assert (meta["deviceType"], meta["gain"], meta["led0"]) == ("Miniscope_V4_BNO", "Low", 30.0)
    movie.close()

    rows = (outcome.folder / "Miniscope" / "headOrientation.csv").read_text().splitlines()
    assert rows[0] == "Time Stamp (ms),qw,qx,qy,qz"
    assert len(rows) == 1 + outcome.n_frames
    assert not (outcome.folder / "notes.csv").exists()
    assert np.linalg.norm([float(v) for v in rows[-1].split(",")[1:]]) == pytest.approx(1, abs=1e-3)


def test_a_request_changes_a_setting_and_is_answered_with_the_frame_that_shows_it(plan, made):
    replies = []

    def act(endpoint):
        with Subscriber(endpoint, "events/") as session:
            replies.append(session.ask("set", values={"led": 60, "focus": 20}))
            for message in session:
                if message.name == "setting":
                    replies.append(message)
                    break
            for values, reason in (({"led": 300}, "expected a number from 0 to 100"), ({}, "expected names")):
                with pytest.raises(StreamScopeError, match=reason):
                    session.ask("set", values=values)
            replies.append("refused")

    outcome = run_session(plan(), Until(200, 30, act), fake_engine())
    reply, event, refused = replies
    assert refused == "refused"
    assert reply["values"] == {"led": 60.0, "focus": 20.0}
    assert (event.frame, event.fields["setting"], event.fields["value"]) == (reply["frame"], "led", 60.0)
    movie = open_movie(str(outcome.folder))
    means = movie.read(0, outcome.n_frames).mean(axis=(1, 2))
    movie.close()
    at = int(reply["frame"])
    assert means[at] > 1.8 * means[at - 4]  # a frame may end while it is sent, and the next one shows it too
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        noted = [(e.frame, e.fields["setting"]) for e in journal.events() if e.kind == "setting"]
    assert noted == [(at, "led"), (at, "focus")]
    header, *rows = (outcome.folder / "notes.csv").read_text().splitlines()
    assert header == "Time Stamp (ms), Note"
    assert [row.split(",", 1)[1] for row in rows] == ["Miniscope,led,60", "Miniscope,focus,20"]
    assert made[0][1].chips[0xEE][8] == 147


def test_a_device_that_is_unplugged_leaves_a_gap_and_the_session_goes_on(plan, made):
    def act(endpoint):
        model = made[0][1]
        model.unplug()
        threading.Timer(0.2, model.plug).start()

    outcome = run_session(plan(), Until(160, 40, act), fake_engine())
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        events = [(e.kind, e.frame, e.fields) for e in journal.events()]
        gaps = journal.frames().gap
    what = [fields["what"] for kind, _, fields in events if kind == "device"]
    assert what[:2] == ["disconnected", "reconnected"]
    assert gaps.max() > 50
    assert outcome.health.lost == gaps.sum()
    assert ("gap", int(gaps.argmax()), {"n": int(gaps.max())}) in events
    movie = open_movie(str(outcome.folder))
    np.testing.assert_array_equal(movie.gap, gaps)
    assert (movie.read(0, outcome.n_frames).mean(axis=(1, 2)) > 10).all()  # the light came back
    movie.close()
    assert made[0][1].light == 0


class Breaks(FakeInfer):
    def __call__(self, frame, aligned):
        if frame.index == 40:
            raise ValueError("a fault of the engine")
        return super().__call__(frame, aligned)


def test_the_light_goes_out_when_the_session_fails(plan, made):
    with pytest.raises(
        StreamScopeError, match="because its pipeline failed: ValueError: a fault of the engine"
    ):
        run_session(plan(), None, fake_engine(Breaks))
    assert made[0][1].light == 0
    assert made[0][1]._camera is None


class Slow(FakeInfer):
    def __call__(self, frame, aligned):
        if frame.index == 20:
            threading.Event().wait(0.6)
        return super().__call__(frame, aligned)


def test_frames_that_the_pipeline_gives_up_are_recorded_and_counted_once(plan, made, monkeypatch):
    monkeypatch.setattr("streamscope.session.live.FRAMES_OF_A_DEVICE", 16)
    outcome = run_session(plan(), Until(450), fake_engine(Slow))
    assert outcome.recording["complete"]
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        frames = journal.frames()
    given_up = np.count_nonzero(frames.epoch < 0)
    assert given_up > 50
    assert outcome.recording["n_frames"] == len(frames.epoch)
    movie = open_movie(str(outcome.folder))
    really_lost = movie.gap.sum()
    movie.close()
    assert outcome.health.lost == frames.gap.sum() == given_up + really_lost


def test_without_a_recording_there_is_nothing_to_refit(plan):
    outcome = run_session(plan(record=False, refit=True), Until(60), fake_engine())
    assert outcome.recording is None
    assert outcome.refit_status is None
    with pytest.raises(StorageError, match="came from the device miniscope:v4-bno and cannot be read again"):
        refit_from_source(open_session(outcome.folder))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fps": 22.0}, "fps is 22.0, expected one of 2, 5, 10, 15, 20, 25, 30 Hz"),
        ({"device.led2": 5.0}, "v4-bno has no setting led2"),
        ({"rois": "grid:999px"}, "--rois is 'grid:999px', expected tiles of 4 to 96 px"),
        ({"device.led": 120.0}, "led is 120.0, expected a number from 0 to 100 %"),
    ],
)
def test_an_impossible_wish_is_refused_before_anything_is_lit(plan, made, given, message):
    with pytest.raises(ConfigError, match=message):
        plan(given=given)
    assert all(model.light == 0 for _, model in made)


def test_the_types_of_device_are_listed():
    assert "miniscope:v4-bno" in list_devices().types


# The program ends by an error while the light is on. What is registered first is called last.
CRASH = """
import atexit, sys
sys.path.insert(0, sys.argv[1])
made = []
atexit.register(lambda: sys.stdout.write(f"light {made[0].light:g}"))
from tests.session.live_devices import model_device
device, model = model_device(values={"led": 30})
made.append(model)
frames = device.frames(lambda: False)
for _ in range(20):
    next(frames)
assert model.light > 0.2
keep = frames
ENDS
"""


@pytest.mark.parametrize("ends", ["raise RuntimeError('crash')", "sys.exit(3)", "import threading"])
def test_the_light_goes_out_with_the_program(ends, request):
    script = CRASH.replace("ENDS", ends)
    command = [sys.executable, "-c", script, str(request.config.rootpath)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "light 0", done.stderr
