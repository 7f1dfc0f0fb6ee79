"""Counter, inputs and orientation: each way is believed only where it moves."""

from __future__ import annotations

import numpy as np
import pytest

from streamscope.testing.firmware import Model, VirtualClock, embed
from streamscope_drivers.miniscope.camera import BACKENDS
from streamscope_drivers.miniscope.senses import Embedded, Orientation, Trial, moves

BACKEND = {backend.name: backend for backend in BACKENDS}
SHAPE = (24, 64)


def found(api, backend, **options):
    model = Model(shape=SHAPE, api=api, clock=VirtualClock(), **options)
    camera = model.open()
    trial = Trial(camera, BACKEND[backend], oriented=False)
    for _ in range(11):
        assert camera.grab()
        trial.look(camera.retrieve()[1])
    return trial.best().name


@pytest.mark.parametrize(
    ("api", "backend", "options", "expected"),
    [
        ("oe", "V4L2", {}, "frame"),
        ("v4l2-abi2", "V4L2", {}, "camera terminal"),
        ("v4l2-abi2", "V4L2", {"stale_terminal": True}, "none"),
        ("v4l2-abi2", "V4L2", {"abi": 1}, "none"),
        ("v4l2-cached", "V4L2", {}, "none"),
        ("windows", "MSMF", {}, "processing unit"),
        ("windows", "DSHOW", {}, "processing unit"),
    ],
)
def test_the_way_that_works_is_found(api, backend, options, expected):
    assert found(api, backend, **options) == expected


def test_a_counter_moves_or_is_none():
    assert moves([65534, 65535, 0, 1, 1, 3], 16)
    assert not moves([7] * 10, 16)
    assert not moves([0x03C0, 0x04EE, 0x03C0], 16)  # words that were written last
    assert not moves([None, 1, 2, 3], 16)
    assert not moves([5, 4, 3, 2], 16)


def test_the_hidden_words_are_read_with_their_signs():
    raw = np.full((*SHAPE, 2), 90, np.uint8)
    w, x, y, z = -8192, 8192, -8192, 8192
    embed(raw, (70000, 123456, 2, (w & 0xFFFF) | x << 16, (y & 0xFFFF) | z << 16))
    sense = Embedded().read(raw.reshape(1, -1))
    assert (sense.counter, sense.device_ms, sense.inputs) == (70000, 123456, 2)
    assert sense.orientation == Orientation(-0.5, 0.5, -0.5, 0.5)
    assert sense.orientation.ok


@pytest.mark.parametrize(
    ("parts", "ok"),
    [((0, 0, 0, 0), False), ((1, 0, 0, 0), True), ((0.94, 0, 0, 0), False), ((0.6, 0, 0.8, 0.1), True)],
)
def test_an_orientation_of_another_length_is_none(parts, ok):
    assert Orientation(*parts).ok is ok
