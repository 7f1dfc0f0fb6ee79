"""Behaviour cameras beside a scope: the same clock, their own folders, and faults that cost the scope nothing."""

from __future__ import annotations

import json
import threading

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from streamscope.cli.main import app
from streamscope.config import from_toml
from streamscope.errors import ConfigError, SourceError, StorageError
from streamscope.session.cameras import named
from streamscope.session.plan import make_live_plan
from streamscope.session.registry import open_camera, open_movie
from streamscope.session.runner import run_session
from streamscope.storage.camera_recording import CameraRecording
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.session_folder import open_session
from streamscope.testing.fake_engine import fake_engine
from streamscope.testing.firmware import FastClock
from streamscope.testing.firmware.webcam import number_of
from streamscope_drivers.stamps import read_stamps
from streamscope_drivers.webcam.source import Webcam
from tests.session.live_devices import SHAPE, Until, use_model, use_webcams

pytestmark = pytest.mark.slow  # whole sessions

SPEED = 6.0  # times life
FPS = 20.0  # of the cameras: slow enough that even a busy machine takes most pictures


@pytest.fixture
def rig(monkeypatch, tmp_path):
    monkeypatch.setattr("streamscope.session.runner.JOIN_S", 0.0)
    monkeypatch.setattr("streamscope.session.recorder.COMMIT_S", 0.1)
    clock = FastClock(SPEED)
    return Rig(
        use_model(monkeypatch, clock=clock), use_webcams(monkeypatch, clock, fps=FPS), tmp_path / "out"
    )


class Rig:
    def __init__(self, scopes, webcams, out):
        self.scopes, self.webcams, self.out = scopes, webcams, out

    def run(self, last=120, at=None, act=None, cameras=("webcam:0",), **given):
        given |= {
            "cell_diameter": "8px",
            "out": str(self.out),
            "wire.bind": "127.0.0.1:0",
            "cameras": cameras,
        }
        given |= {"device.led": 30.0, "fps": 30.0}
        plan = make_live_plan("miniscope:v4", "0", from_toml(None, given), refit=False)
        outcome = run_session(plan, Until(last, at, act), fake_engine())
        plan.close()
        ((_, scope),) = self.scopes
        assert scope.light == 0
        assert all(model.camera is None for model in self.webcams)
        return outcome


def events(outcome):
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        return [(e.fields["what"], e.fields) for e in journal.events() if e.kind == "camera"]


def numbers_in(folder):
    """Return the numbers of the pictures in the videos of a camera, read by somebody else's reader."""
    numbers = []
    for k in range(len(list(folder.glob("*.avi")))):
        with av.open(str(folder / f"{k}.avi")) as video:
            numbers += [number_of(f.to_ndarray(format="bgr24")) for f in video.decode(video=0)]
    return numbers


def test_pictures_are_recorded_with_times_on_the_clock_of_the_scope(rig):
    outcome = rig.run(cameras=("side=webcam:0", "webcam:2@96x96"))
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        frames = journal.frames()
    start_ns = int(frames.t_capture_ns[0])
    for name, model in zip(("side", "BehavCam_2"), rig.webcams, strict=True):
        folder = outcome.folder / name
        stamps = read_stamps(folder / "timeStamps.csv")
        numbers = numbers_in(folder)
        assert len(numbers) == len(stamps.times_ms) == outcome.cameras[name]["n_frames"] > 40
        sent = [(model.sent[n] - start_ns) / 1e6 for n in numbers]
        np.testing.assert_allclose(stamps.times_ms, sent, atol=1e-5)
        assert stamps.times_ms[0] >= 0
        assert stamps.times_ms[-1] == pytest.approx(1e3 * frames.time_s[-1], abs=400)
        lost = np.diff(numbers) - 1  # a busy machine may lose some
        assert np.abs(stamps.missing[1:] - lost).sum() <= 0.2 * lost.sum()
        np.testing.assert_array_equal(np.diff(stamps.numbers), stamps.missing[1:] + 1)
        meta = json.loads((folder / "metaData.json").read_text())
        assert (meta["deviceName"], meta["deviceType"], meta["compression"]) == (name, "WebCam-96x96", "MJPG")
        assert meta["picturesFrom"] == "camera"
        assert outcome.cameras[name]["start_ns"] == start_ns
    session = open_session(outcome.folder)
    assert session.metadata["cameras"] == ["side", "BehavCam_2"]
    assert session.metadata["miniscopes"] == ["Miniscope"]
    assert session.ours["cameras"]["side"]["source"] == "webcam:0"
    video = cv2.VideoCapture(str(outcome.folder / "side" / "0.avi"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == outcome.cameras["side"]["n_frames"]
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(FPS, rel=0.1)
    video.release()
    screen = " ".join(CliRunner().invoke(app, ["inspect", str(outcome.folder)]).output.split())
    assert f"camera side (webcam:0, 96x96 px): {outcome.cameras['side']['n_frames']} pictures, " in screen
    assert f"frames {outcome.n_frames}, " in screen
    movie = open_movie(str(outcome.folder))  # the session is replayed as before
    assert movie.info.n_frames == outcome.n_frames
    movie.close()


def test_a_camera_that_is_unplugged_costs_the_scope_nothing_and_comes_back(rig):
    def act(endpoint):
        rig.webcams[0].unplug()
        threading.Timer(0.5, rig.webcams[0].plug).start()

    outcome = rig.run(160, 40, act)
    what = [w for w, _ in events(outcome)]
    assert [w for w in what if w != "lost"] == ["disconnected", "reconnected"]
    assert "lost" in what
    stamps = read_stamps(outcome.folder / "BehavCam" / "timeStamps.csv")
    assert stamps.missing.max() > 40
    assert outcome.cameras["BehavCam"]["missing"] == stamps.missing.sum()
    assert outcome.recording["complete"]
    assert outcome.n_frames == outcome.recording["n_frames"]


@pytest.mark.slow
def test_a_camera_that_is_away_at_the_end_holds_nobody_up(rig):
    outcome = rig.run(40, 20, lambda endpoint: rig.webcams[0].unplug())
    assert outcome.recording["complete"]
    assert "disconnected" in dict(events(outcome))
    assert "reconnected" not in dict(events(outcome))
    assert numbers_in(outcome.folder / "BehavCam")


def broken_append(self, *args):
    if self.n_frames == 20:
        raise StorageError("the disk of the camera is full")
    append(self, *args)


append = CameraRecording.append


def broken_camera(self, raw):
    raise ValueError("a fault of the driver")


@pytest.mark.parametrize(
    ("target", "name", "replacement", "reason"),
    [
        (CameraRecording, "append", broken_append, "the disk of the camera is full"),
        pytest.param(*(Webcam, "_picture", broken_camera, "a fault of the driver"), marks=pytest.mark.slow),
    ],
)
def test_whatever_fails_in_a_camera_ends_its_recording_only(
    rig, monkeypatch, target, name, replacement, reason
):
    monkeypatch.setattr(target, name, replacement)
    outcome = rig.run(60)
    assert outcome.recording["complete"]
    assert outcome.n_frames > 60
    fields = dict(events(outcome))["recording_stopped"]
    assert reason in fields["text"]
    assert "BehavCam: not recorded any more: " in outcome.health.message
    assert reason in outcome.cameras["BehavCam"]["stopped"]
    assert len(numbers_in(outcome.folder / "BehavCam")) == outcome.cameras["BehavCam"]["n_frames"]


def test_cameras_record_in_the_stretches_of_the_trigger(rig):
    def act(endpoint):
        scope = rig.scopes[0][1]
        now = scope._number
        scope.trigger_at = {now + 10: True, now + 60: False}

    outcome = rig.run(150, 30, act, record_on_trigger=0)
    with JournalReader(outcome.folder / "journal.sqlite", SHAPE) as journal:
        on_ns, off_ns = (e.fields["t_ns"] for e in journal.events() if e.kind == "recording")
        start_ns = journal.frames().t_capture_ns[0]
    stamps = read_stamps(outcome.folder / "BehavCam" / "timeStamps.csv")
    t_ns = start_ns + 1e6 * stamps.times_ms
    assert on_ns <= t_ns[0] < on_ns + 200e6
    assert off_ns - 200e6 < t_ns[-1] < off_ns
    assert stamps.missing[0] == stamps.numbers[0] > 0


def test_a_camera_that_is_not_there_ends_the_plan_with_the_scope_dark(rig, monkeypatch):
    def nobody(source, name, quality):
        raise SourceError("there is no camera 7")

    monkeypatch.setattr("streamscope.session.cameras.open_camera", nobody)
    with pytest.raises(SourceError, match="no camera 7"):
        rig.run(cameras=("webcam:7",))
    ((_, scope),) = rig.scopes
    assert scope.light == 0
    assert scope._camera is None


def test_cameras_are_named_or_counted():
    sources = ["webcam:0", "from above=webcam:1@640x480", "webcam:2"]
    assert named(sources) == [
        ("BehavCam", "webcam:0"),
        ("from_above", "webcam:1@640x480"),
        ("BehavCam_3", "webcam:2"),
    ]


@pytest.mark.parametrize(
    "sources", [["a=webcam:0", "A=webcam:1"], ["miniscope=webcam:0"], ["CON=webcam:0"], ["a/b=webcam:0"]]
)
def test_names_that_are_none_are_refused(sources):
    with pytest.raises(ConfigError, match=r"cannot be called .*write e.g. side=webcam:0"):
        named(sources, "Miniscope")


def test_a_camera_without_a_recording_makes_no_sense():
    settings = from_toml(None, {"cameras": ("webcam:0",)})
    with pytest.raises(ConfigError, match="--camera and --no-record were both given"):
        make_live_plan("miniscope:v4", "0", settings, record=False)


def test_drivers_of_cameras_are_found_by_name():
    with pytest.raises(
        SourceError, match=r"no driver of behaviour cameras is called 'flir', expected one of"
    ):
        open_camera("flir:0", "cam", 90)
    camera = open_camera("webcam:model", "cam", 90)
    camera.close()
    assert camera.info.shape == (480, 640)


def test_a_settings_file_names_cameras(tmp_path):
    place = tmp_path / "session.toml"
    place.write_text('cameras = ["side=webcam:0@1280x720@30", "webcam:2"]\ncamera_quality = 80\n')
    settings = from_toml(place)
    assert settings.cameras == ("side=webcam:0@1280x720@30", "webcam:2")
    assert settings.camera_quality == 80
