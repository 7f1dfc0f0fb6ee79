"""Ten minutes of a webcam with faults: every picture that is missing is said, at the picture that follows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from streamscope.testing.firmware import VirtualClock, WebcamModel
from streamscope.testing.firmware.webcam import number_of
from streamscope.types import CameraInfo
from streamscope_drivers.miniscope.camera import BACKENDS
from streamscope_drivers.miniscope.startup import Timing
from streamscope_drivers.webcam.capture import Capture
from streamscope_drivers.webcam.link import connect
from streamscope_drivers.webcam.source import Webcam
from streamscope_drivers.webcam.spec import Spec

N, SHAPE, EVERY, PULLED = 18_000, (32, 64), 150, (3_000, 7_000, 12_000)  # pictures
AWAY = 50  # pictures; no run of faults is as long


class Host(Capture):
    """A camera whose thread is this one: a step is made whenever nothing waits. The machine is busy now and then."""

    def __init__(self, model, clock, seed):
        timing = Timing(clock, clock.sleep, clock)
        way = BACKENDS[:1]
        super().__init__(lambda shape: connect(Spec("0", SHAPE), 0, way, model.open, timing, shape), timing)
        self.model, self.clock, self.rng = model, clock, np.random.default_rng(seed)
        self.open()

    def stopped_after(self, last):
        while not len(self.ring):
            if self.rng.random() < 0.01:
                self.clock.sleep(self.rng.uniform(0.01, 0.11))  # the system holds four pictures meanwhile
            self.step()
        return self.model._number > last

    def close(self):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("stamped", [True, False], ids=["kernel's stamps", "stamps of the host"])
def test_nothing_is_lost_that_is_not_said_and_nothing_said_that_was_not_lost(stamped):
    rng = np.random.default_rng(11)
    clock = VirtualClock()
    model = WebcamModel(sizes=(SHAPE,), clock=clock, stamped=stamped)
    host = Host(model, clock, 12)
    first = model._number
    for at in range(first + EVERY, first + N, EVERY):
        faults = model.cut if rng.random() < 0.3 else model.dropped
        faults.update(range(at, at + int(rng.integers(1, 8))))
    camera = Webcam(CameraInfo("cam", "webcam:0", SHAPE, 30.0), host, 90, clock)
    numbers, gaps = [], []
    for picture in camera.pictures(lambda: host.stopped_after(first + N)):
        numbers.append(number_of(cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)))
        gaps.append(picture.gap)
        if len(numbers) in PULLED:
            model.unplug()
            clock.later(rng.uniform(2, 9), model.plug)
    lost, said = np.diff(numbers) - 1, np.array(gaps[1:])
    assert len(numbers) > 0.9 * N
    assert lost.sum() > 3 * N // EVERY
    assert np.count_nonzero(said > AWAY) == len(PULLED)  # the model's numbers stand still while it is away
    there = said <= AWAY
    np.testing.assert_array_equal(said[there], lost[there])
