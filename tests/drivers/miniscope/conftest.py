"""A driver on a model of the firmware, in virtual time and one thread."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from streamscope.testing.firmware import Model, VirtualClock
from streamscope_drivers.miniscope.camera import BACKENDS
from streamscope_drivers.miniscope.capture import Capture
from streamscope_drivers.miniscope.devices import device_type
from streamscope_drivers.miniscope.startup import Timing, connect

BACKEND = {backend.name: backend for backend in BACKENDS}
SHAPE = (24, 64)
# How a system hands on what the firmware says: model's variant, way to open it, what of the counter can be read.
WAYS = {
    "linux": ("v4l2-abi2", "V4L2"),
    "linux, old firmware": ("v4l2-cached", "V4L2"),
    "linux, open ephys": ("oe", "V4L2"),
    "linux, extension unit": ("oe", "V4L2"),
    "windows": ("windows", "MSMF"),
}


class Rig:
    """A capture on a model; `frames` holds what was handed over, `events` what was told."""

    def __init__(self, kind="v4", way="linux", room=256, values=None, wall=None, shape=SHAPE, **options):
        api, backend = WAYS[way]
        self.kind = replace(device_type(kind), shape=SHAPE)  # small pictures
        self.clock = VirtualClock()
        sensor = {"v3": "v3", "v3-legacy": "v3-legacy", "minicam": "mt9p031"}.get(kind, "v4")
        options = {"bno": self.kind.orientation, **options}
        self.model = Model(sensor, shape, api, clock=self.clock, **options)
        self.wall_ns = 0
        self.timing = Timing(self.clock, self.clock.sleep, lambda: self.clock() + self.wall_ns)
        self.values = {**self.kind.defaults, **self.kind.check(values or {})}
        by_extension = way == "linux, extension unit"
        self.model.controls_carry = not by_extension
        extension = self.model.open_extension if by_extension else None
        self.connect = partial(self._connect, replace(BACKEND[backend], extension=extension))
        self.capture = Capture(self.kind, self.values, self.connect, self.timing, room)
        self.events = []
        self.capture.listen(lambda name, frame, fields: self.events.append((name, frame, fields)))
        self.frames = []

    def _connect(self, backend, values, shape):
        return connect(self.kind, 0, [backend], self.model.open, values, self.timing, shape)

    def open(self):
        self.capture.open()
        self.connection = self.capture._connection
        return self

    def run(self, n, take=True):
        """Step until `n` more frames were taken, or that many steps were made if none are."""
        self.capture.begin()
        goal = len(self.frames) + n
        for _ in range(1000 * n):
            self.capture.step()
            while take and (frame := self.capture.ring.take(0)) is not None:
                self.frames.append(frame)
            n -= 1
            if len(self.frames) >= goal if take else n <= 0:
                return self.frames
        raise AssertionError("no frames came")

    def told(self, what):
        return [(frame, fields) for name, frame, fields in self.events if what in (name, fields.get("what"))]


@pytest.fixture
def rig():
    return lambda *args, **options: Rig(*args, **options).open()
