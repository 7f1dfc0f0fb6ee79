"""A device of the driver on a model of the firmware, twenty times faster than life."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

from streamscope.session.observer import Observer
from streamscope.testing.firmware import FastClock, Model, WebcamModel
from streamscope.wire.client import Subscriber
from streamscope_drivers.miniscope.camera import BACKENDS
from streamscope_drivers.miniscope.capture import Capture
from streamscope_drivers.miniscope.devices import device_type
from streamscope_drivers.miniscope.source import Miniscope
from streamscope_drivers.miniscope.startup import Timing, connect
from streamscope_drivers.webcam.link import connect as connect_webcam
from streamscope_drivers.webcam.source import webcam
from streamscope_drivers.webcam.spec import parse

SHAPE = (96, 96)
SPEED = 20.0
V4L2 = BACKENDS[0]


def model_device(kind="v4", values=None, speed=SPEED, pictures=None, roi=None, clock=None):
    """Return a connected device, and the model that it is connected to."""
    kind = replace(device_type(kind), shape=SHAPE)
    clock = clock or FastClock(speed)
    model = Model("v4", SHAPE, "oe", bno=kind.orientation, clock=clock, pictures=pictures)
    timing = Timing(clock, clock.sleep, clock)
    wanted = {**kind.defaults, **kind.check(values or {})}

    def reconnect(settings, shape):
        return connect(kind, 0, [V4L2], model.open, settings, timing, shape)

    capture = Capture(kind, wanted, reconnect, timing)
    connection = capture.start()
    capture.crop(roi)
    return Miniscope(f"miniscope:{kind.name}", "0", capture, connection, None), model


def opens(made, options, spec, index, values, um_per_px, roi=None):
    """Stand in for `registry.open_device`; `made` gets what was made."""
    device, model = model_device(spec.removeprefix("miniscope:"), values, roi=roi, **options)
    made.append((device, model))
    return device


def use_model(monkeypatch, **options):
    """Let sessions open a model (options: `pictures`, `clock`); return the list in which (device, model) will be."""
    made = []
    monkeypatch.setattr("streamscope.session.plan.open_device", partial(opens, made, options))
    return made


def use_webcams(monkeypatch, clock, **options):
    """Let sessions open models of webcams by the clock of the scope; return the list in which these will be."""
    made = []
    timing = Timing(clock, clock.sleep, clock)

    def opens(source, name, quality):
        model = WebcamModel(**{"sizes": (SHAPE,), "clock": clock, **options})
        made.append(model)
        connector = partial(connect_webcam, parse(source), 0, BACKENDS[:1], model.open, timing)
        return webcam(source, name, parse(source), connector, quality, timing)

    monkeypatch.setattr("streamscope.session.cameras.open_camera", opens)
    return made


class Until(Observer):
    """Acts at a frame, then stops the session by its control socket at another."""

    def __init__(self, last, at=None, act=None):
        self.last, self.at, self.act = last, at, act
        self.asked = False

    def bound(self, endpoints):
        self.endpoint = endpoints.data

    def health(self, health):
        if self.act is not None and health.frame >= self.at:
            act, self.act = self.act, None
            threading.Thread(target=act, args=(self.endpoint,), daemon=True).start()
            self.last = max(self.last, health.frame + 150)  # what was done needs frames to be seen
        if health.frame >= self.last and not self.asked:
            self.asked = True
            threading.Thread(target=self._stop, daemon=True).start()

    def _stop(self):
        with Subscriber(self.endpoint, "status/") as session:
            session.ask("stop")
