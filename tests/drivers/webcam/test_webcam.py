"""Webcams on a model: what is delivered, when it came, what is missing, and what happens without a camera."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import cv2
import numpy as np
import pytest

from streamscope.errors import ConfigError, SourceError
from streamscope.testing.firmware import VirtualClock, WebcamModel
from streamscope.testing.firmware.webcam import number_of, numbered
from streamscope.types import CameraInfo, Picture
from streamscope_drivers.miniscope.camera import BACKENDS
from streamscope_drivers.miniscope.startup import Timing
from streamscope_drivers.webcam.capture import Capture
from streamscope_drivers.webcam.gaps import with_gaps
from streamscope_drivers.webcam.link import connect
from streamscope_drivers.webcam.pictures import Form, form_of, jpeg_of, jpeg_shape
from streamscope_drivers.webcam.source import Webcam, open_camera
from streamscope_drivers.webcam.spec import Spec, parse

SHAPE = (48, 64)


class Rig:
    """A webcam on a model, in virtual time and one thread."""

    def __init__(self, spec=Spec("0", SHAPE), **options):
        self.clock = VirtualClock()
        self.model = WebcamModel(**{"sizes": (SHAPE, (96, 128)), "clock": self.clock, **options})
        self.timing = Timing(self.clock, self.clock.sleep, self.clock)
        self.capture = Capture(partial(self._connect, spec), self.timing)
        self.events = []
        self.capture.tell = lambda what, text, fields: self.events.append((what, fields))
        self.capture.open()
        self.link = self.capture._link
        self.capture.begin()

    def _connect(self, spec, shape):
        return connect(spec, 0, BACKENDS[:1], self.model.open, self.timing, shape)

    def run(self, n):
        """Take n pictures and return them as a session would get them."""
        while len(self.capture.ring) < n:
            self.capture.step()
        info = CameraInfo("cam", "webcam:0", self.link.shape, 30.0)
        camera = Webcam(info, self.capture, 90, self.clock)
        self.capture.close()
        return list(camera.pictures(lambda: True))


def bgr(picture):
    return cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("form", ["jpeg", "yuyv", "bgr"])
def test_pictures_come_in_colour_with_their_times_whatever_the_camera_delivers(form):
    rig = Rig(form=form)
    pictures = rig.run(20)
    numbers = [number_of(bgr(p)) for p in pictures]
    assert numbers == list(range(numbers[0], numbers[0] + 20))
    assert [p.t_ns for p in pictures] == [rig.model.sent[n] for n in numbers]
    assert {p.gap for p in pictures} == {0}
    off = bgr(pictures[3]).astype(int) - numbered(numbers[3], SHAPE)
    assert np.abs(off[16:]).mean() < 6
    assert rig.link.fps == pytest.approx(30.0, rel=0.01)
    assert rig.events == []


def test_what_the_camera_compressed_is_kept_byte_for_byte_without_what_stands_behind_it():
    rig = Rig()
    picture = rig.run(1)[0]
    number = number_of(bgr(picture))
    assert picture.jpeg + bytes(64) == rig.model.raw(number, decoded=False).tobytes()


def test_a_cut_picture_is_left_out_said_and_counted_as_missing():
    rig = Rig()
    now = rig.model._number
    rig.model.cut = {now + 10, now + 11}
    pictures = rig.run(30)
    assert [p.gap for p in pictures if p.gap] == [2]
    assert number_of(bgr(pictures[10])) == now + 12
    assert [what for what, _ in rig.events] == ["bad_picture", "lost"]


def test_dropped_pictures_are_inferred_from_the_clock():
    rig = Rig()
    now = rig.model._number
    rig.model.dropped = {now + 12, now + 13, now + 14, now + 20}
    pictures = rig.run(40)
    numbers = [number_of(bgr(p)) for p in pictures]
    assert [p.gap for p in pictures[1:]] == [b - a - 1 for a, b in pairwise(numbers)]
    assert rig.events == [
        ("lost", {"n": 3, "t_ns": rig.model.sent[now + 15]})
    ]  # not more often than once a second


def test_a_rate_that_falls_in_the_dark_loses_nothing():
    rig = Rig()
    rig.model.rates = {rig.model._number + 20: 15.0, rig.model._number + 40: 30.0}
    assert {p.gap for p in rig.run(60)} == {0}


def judged(steps):
    times = np.cumsum([0, *steps])
    return [p.gap for p in with_gaps(Picture(int(t), b"") for t in times)][1:]


def test_a_picture_that_was_only_fetched_late_is_no_loss():
    steady = [33] * 10
    assert sum(judged([*steady, 59, 7, *steady])) == 0
    assert sum(judged([*steady, 59, 33, *steady])) == 1
    assert sum(judged([*steady, 120, 4, 4, 4, *steady])) == 0  # buffers held them
    assert judged([*steady, 153, 4, 4, 4, *steady])[10] == 1
    assert judged([*steady, 3330, *steady])[10] == 100
    assert sum(judged([33, 66, 33])) == 0  # too few to know the rate


def test_a_camera_that_is_unplugged_comes_back_with_its_pictures():
    rig = Rig()
    for _ in range(20):
        rig.capture.step()
    rig.model.unplug()
    rig.clock.later(4.0, rig.model.plug)
    pictures = rig.run(60)
    assert [what for what, _ in rig.events] == ["disconnected", "reconnected", "lost"]
    assert rig.model.n_opened == 2
    away = max(range(1, len(pictures)), key=lambda k: pictures[k].t_ns - pictures[k - 1].t_ns)
    step_ns = pictures[away].t_ns - pictures[away - 1].t_ns
    assert step_ns > 4e9
    assert pictures[away].gap == round(step_ns / (1e9 / 30)) - 1
    assert rig.capture.trouble == ""


def test_a_camera_that_nobody_empties_loses_pictures_and_says_so_once(monkeypatch):
    rig = Rig()
    rig.capture.ring._room = 10
    for _ in range(20):
        rig.capture.step()
    assert (len(rig.capture.ring), rig.capture.lost_in_ring) == (10, 10)
    assert [what for what, _ in rig.events] == ["overrun"]


def test_another_size_than_was_asked_for_is_taken_and_said():
    link = Rig(Spec("0", (50, 50))).link
    assert link.shape == SHAPE
    assert link.doubts == ["pictures are 64x48 px, 50x50 were asked for"]
    assert Rig(Spec("0", (96, 128))).link.shape == (96, 128)
    assert "30 were asked for" not in "".join(Rig(Spec("0", SHAPE, 60.0)).link.doubts)


@pytest.mark.parametrize("state", ["busy", "away"])
def test_a_camera_that_cannot_be_had_is_one_sentence(state):
    clock = VirtualClock()
    model = WebcamModel(clock=clock, busy=state == "busy")
    model.plugged = state != "away"
    with pytest.raises(SourceError, match="camera 97"):
        connect(Spec("97"), 97, BACKENDS[:1], model.open, Timing(clock, clock.sleep, clock))


def test_a_camera_that_gives_no_pictures_is_given_back():
    clock = VirtualClock()
    model = WebcamModel(clock=clock, fps=0.01)
    with pytest.raises(SourceError, match="gave no picture within 3 s"):
        connect(Spec("0"), 0, BACKENDS[:1], model.open, Timing(clock, clock.sleep, clock))
    assert model.camera is None


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("webcam:0", Spec("0")),
        ("webcam:2@1280x720", Spec("2", (720, 1280))),
        ("Webcam:model@320x240@25", Spec("model", (240, 320), 25.0)),
        ("webcam:1@60", Spec("1", fps=60.0)),
    ],
)
def test_a_webcam_is_named_by_index_size_and_rate(text, spec):
    assert parse(text) == spec


@pytest.mark.parametrize(
    "text", ["0", "webcam:", "webcam:x", "webcam:0@1280", "webcam:0@1280x720@", "webcam:0@9x9"]
)
def test_what_names_no_webcam_is_refused(text):
    if text == "webcam:0@1280":  # a rate, if a strange one
        assert parse(text).fps == 1280.0
        return
    with pytest.raises(ConfigError, match="expected webcam:INDEX, with @WIDTHxHEIGHT"):
        open_camera(text, "cam")


def test_the_size_of_a_jpeg_is_in_its_header():
    assert jpeg_shape(bytes(cv2.imencode(".jpg", numbered(1, (30, 70)))[1])) == (30, 70)
    assert jpeg_shape(b"\xff\xd8") is None
    raw = np.zeros((1, 100), np.uint8)
    assert form_of(raw, SHAPE) is None
    with pytest.raises(SourceError, match="cut off"):
        jpeg_of(raw, Form.JPEG, SHAPE, 90)


def test_a_dry_run_needs_no_camera():
    camera = open_camera("webcam:model@640x480@30", "side")
    camera.close()
    assert camera.info.shape == (480, 640)
    assert camera.info.meta["deviceType"] == "WebCam"
