"""What a frame comes with besides its picture: counter, device clock, inputs, orientation; and where it is read.

Which of the ways works depends on firmware, system and kernel. None is believed before it was seen to move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamscope_drivers.miniscope.camera import Backend, Camera, Property

Q14 = 16384.0
WORST_NORM = 0.05  # a quaternion whose length is further from 1 is none
PROBED = 10  # frames in which a counter must have moved
_EMBEDDED_PIXELS = 20


@dataclass(frozen=True, slots=True)
class Orientation:
    """Where the head points, a unit quaternion, and whether it is one."""

    w: float
    x: float
    y: float
    z: float

    @property
    def ok(self) -> bool:
        """Return whether this is a direction: all zeros, or another length, is a sensor that did not answer."""
        return abs(math.hypot(self.w, self.x, self.y, self.z) - 1.0) < WORST_NORM


@dataclass(frozen=True, slots=True)
class Sense:
    """What is known of one frame; None is not known."""

    counter: int | None = None
    device_ms: int | None = None
    inputs: int | None = None  # bit 0 is the trigger input
    orientation: Orientation | None = None


class Senses(Protocol):
    """One way to learn what a frame comes with."""

    name: str
    bits: int  # of the counter; 0 if there is none
    exact: bool  # the counter belongs to this very frame, or else it is read a little later
    inputs: int  # trigger inputs whose level is known

    def read(self, raw: NDArray[Any]) -> Sense:
        """Return what is known of the frame that was just grabbed; `raw` is how it came."""


class Embedded:
    """Hidden in the odd bytes of the first pixels, by the firmware of Open Ephys: the same on every system."""

    name, bits, exact, inputs = "frame", 32, True, 2

    def read(self, raw: NDArray[Any]) -> Sense:
        """Return the five words of the frame."""
        odd = np.ascontiguousarray(raw.reshape(-1)[1 : 2 * _EMBEDDED_PIXELS : 2])
        if odd.dtype != np.uint8 or len(odd) < _EMBEDDED_PIXELS:
            return Sense()
        frame, time_ms, inputs, wx, yz = (int(word) for word in odd.view("<u4"))
        return Sense(frame, time_ms, inputs, _orientation(wx, wx >> 16, yz, yz >> 16))


class CameraTerminal:
    """Exposure, pan and tilt of the camera terminal: firmware of 2023 and later, on Linux.

    Parameters
    ----------
    camera : Camera
        Open.
    backend : Backend
        How it was opened.
    oriented : bool
        Whether the scope has a sensor of orientation; each read takes time.
    """

    name, bits, exact, inputs = "camera terminal", 16, False, 0

    def __init__(self, camera: Camera, backend: Backend, oriented: bool) -> None:
        self._camera = camera
        self._failed = backend.failed_read
        self._oriented = oriented

    def read(self, raw: NDArray[Any]) -> Sense:
        """Return what the controls say now."""
        counter = _whole(self._camera.get(Property.EXPOSURE), self._failed)
        if not self._oriented or counter is None:
            return Sense(counter)
        wx, yz = int(self._camera.get(Property.PAN)), int(self._camera.get(Property.TILT))
        return Sense(counter, orientation=_orientation(wx, wx >> 16, yz, yz >> 16))


class ProcessingUnit:
    """Contrast, gamma and others: where a read asks the device (Windows).

    Parameters
    ----------
    camera, oriented
        As of `CameraTerminal`.
    """

    name, bits, exact, inputs = "processing unit", 16, False, 1

    def __init__(self, camera: Camera, oriented: bool) -> None:
        self._camera = camera
        self._oriented = oriented

    def read(self, raw: NDArray[Any]) -> Sense:
        """Return what the controls say now."""
        get = self._camera.get
        counter = _whole(get(Property.CONTRAST), -1.0)
        inputs = _whole(get(Property.GAMMA), -1.0)
        if not self._oriented:
            return Sense(counter, inputs=inputs)
        parts = (Property.SATURATION, Property.HUE, Property.GAIN, Property.BRIGHTNESS)
        return Sense(counter, inputs=inputs, orientation=_orientation(*(int(get(p)) for p in parts)))


class NoSenses:
    """A camera that tells nothing but its pictures."""

    name, bits, exact, inputs = "none", 0, False, 0

    def read(self, raw: NDArray[Any]) -> Sense:
        """Return that nothing is known."""
        return Sense()


class Trial:
    """Finds the way that works, by reading every one of them with some frames.

    Parameters
    ----------
    camera : Camera
        Open.
    backend : Backend
        How it was opened.
    oriented : bool
        Whether the scope has a sensor of orientation.
    """

    def __init__(self, camera: Camera, backend: Backend, oriented: bool) -> None:
        self._ways: list[Senses] = [Embedded(), CameraTerminal(camera, backend, oriented)]
        if backend.fresh_reads:
            self._ways.append(ProcessingUnit(camera, oriented))
        self._seen: list[list[int | None]] = [[] for _ in self._ways]

    def look(self, raw: NDArray[Any]) -> None:
        """Read every way with one frame."""
        for way, seen in zip(self._ways, self._seen, strict=True):
            seen.append(way.read(raw).counter)

    def best(self) -> Senses:
        """Return the first way whose counter moved as frames did."""
        for way, seen in zip(self._ways, self._seen, strict=True):
            if moves(seen, way.bits):
                return way
        return NoSenses()


def moves(counters: Sequence[int | None], bits: int) -> bool:
    """Return whether a counter goes with the frames: never back, about one a frame."""
    known = [c for c in counters if c is not None]
    if len(known) < len(counters) or len(known) < 3:
        return False
    steps = [(b - a) % (1 << bits) for a, b in pairwise(known)]
    return all(step <= PROBED for step in steps) and 0.5 <= sum(steps) / len(steps) <= 2.0


def _whole(value: float, failed: float) -> int | None:
    return None if value == failed and failed < 0 else int(value)


def _orientation(*parts: int) -> Orientation:
    """Return the orientation of four numbers of 16 bits; a system may hand them over with or without sign."""
    return Orientation(*(((part + 0x8000 & 0xFFFF) - 0x8000) / Q14 for part in parts))
