"""From an index to a device that is started, set and verified, its light still off; and back.

The order is that of the official program. Packets reach the chips only while frames flow, so that waiting here means
grabbing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.clock import clock_ns
from streamscope.errors import SourceError
from streamscope.types import ByteArray
from streamscope_drivers.miniscope.camera import (
    Backend,
    Camera,
    Opens,
    Property,
    kernel_stamp,
    luma,
    why_not,
)
from streamscope_drivers.miniscope.devices import DeviceType, Value, command
from streamscope_drivers.miniscope.extension import ExtensionTunnel
from streamscope_drivers.miniscope.senses import PROBED, NoSenses, Senses, Trial
from streamscope_drivers.miniscope.tunnel import AnyTunnel, Tunnel

_log = logging.getLogger(__name__)

LINK_S = 0.5  # until the two ends of the cable have found each other
FORMAT_S = 0.5  # until another frame size is delivered
CHIPS_S = 0.5  # until the chips are started
REPEAT_S = 1.0  # scopes sometimes forget what they are told in the first second
FIRST_FRAME_S = 2.0
FORWARDED = 2  # frames after which what was sent is seen
WORST_RATE = 0.1  # share by which the measured frame rate may be off
BUFFERS = 4  # frames that the system may hold
_TRIES = 5
_TRY_S = 0.05


@dataclass(frozen=True, slots=True)
class Timing:
    """The clocks of the driver, as arguments: tests run an hour in seconds."""

    clock: Callable[[], int] = clock_ns
    sleep: Callable[[float], None] = time.sleep
    wall: Callable[[], int] = time.time_ns


@dataclass
class Connection:
    """An open device. One thread owns it."""

    kind: DeviceType
    camera: Camera
    backend: Backend
    tunnel: AnyTunnel
    shape: tuple[int, int]
    senses: Senses = field(default_factory=NoSenses)
    abi: int | None = None  # version of the firmware's interface, if it said
    firmware: str = ""  # version of the Open Ephys firmware, if it is that
    fps: float = 0.0  # as it should be, or as measured where nothing is known, Hz
    measured_hz: float = 0.0
    exact_stamps: bool = False
    doubts: list[str] = field(default_factory=list)  # one sentence each, for the user

    def picture(self, raw: NDArray[Any]) -> ByteArray:
        """Return the picture of a raw frame, (H, W)."""
        if not self.kind.daq and raw.ndim == 3 and raw.shape[2] == 3:  # a webcam that the system decodes
            return np.asarray(raw.mean(axis=2, dtype=np.float32), np.uint8)
        return luma(raw, self.shape)

    def stamp(self, now_ns: int) -> int:
        """Return when the grabbed frame came, ns: the kernel's time where there is one, or else now."""
        kernel_ns = kernel_stamp(self.camera, self.backend, now_ns)
        return now_ns if kernel_ns is None else kernel_ns

    def look_for_stamps(self, now_ns: int) -> None:
        """Note whether the kernel stamps frames."""
        self.exact_stamps = kernel_stamp(self.camera, self.backend, now_ns) is not None

    def sync(self, on: bool) -> None:
        """Turn the sync output on or off."""
        self.tunnel.sync(on)

    def shut(self) -> None:
        """Light off, sync output off, camera released. Never raises: this also happens after errors."""
        try:
            self.tunnel.send([command(line) for line in self.kind.dark])
            self._let_packets_out()
            self.sync(False)
        except Exception:
            _log.exception("the light could not be turned off; pull the scope's cable")
        finally:
            self.release()

    def release(self) -> None:
        """Give the camera back."""
        self.tunnel.close()
        self.camera.release()

    def _let_packets_out(self) -> None:
        """Take frames until two have ended since: those that wait in buffers had ended before."""
        failed = 0
        for _ in range(BUFFERS + FORWARDED):
            failed += not self.camera.grab()
            if failed > 1:
                return


def connect(
    kind: DeviceType,
    index: int,
    ways: Sequence[Backend],
    opens: Opens,
    values: Mapping[str, Value],
    timing: Timing,
    shape: tuple[int, int] | None = None,
) -> Connection:
    """Open a device, start it, set it and verify it. Its light is off.

    Parameters
    ----------
    kind : DeviceType
        What it is.
    index : int
        Of the camera, as the system counts.
    ways : sequence of Backend
        To be tried in order.
    opens : callable
        Opens a camera.
    values : mapping
        Settings, checked; lights are left for later.
    timing : Timing
        Clocks.
    shape : tuple of int, optional
        (H, W) that the frames must have; None: that of the type is asked for, and what comes is taken.

    Raises
    ------
    SourceError
        If there is no such camera, no pictures come, or they are not raw.
    """
    problem = SourceError(why_not(index))
    for way in ways:
        camera = opens(index, way)
        if not camera.isOpened():
            camera.release()
            continue
        tunnel = _tunnel(kind, camera, way, index, timing)
        connection = Connection(kind, camera, way, tunnel, shape or kind.shape)
        try:
            _start(connection, values, timing, fixed=shape is not None)
        except SourceError as error:
            problem = error
            connection.shut()
        except BaseException:
            connection.shut()
            raise
        else:
            return connection
    raise problem


def _tunnel(kind: DeviceType, camera: Camera, way: Backend, index: int, timing: Timing) -> AnyTunnel:
    """Return the way of packets: through the extension unit where the firmware has one."""
    extension = way.extension(index) if way.extension is not None and kind.daq else None
    if extension is not None:
        return ExtensionTunnel(extension, timing.sleep)
    return Tunnel(camera, timing.sleep, kind.sync)


def _start(c: Connection, values: Mapping[str, Value], timing: Timing, fixed: bool) -> None:
    """Carry out the start of a device, step by step."""
    _identify(c, timing)
    c.tunnel.send([command(line) for line in c.kind.link])
    timing.sleep(LINK_S if c.kind.link else 0.0)
    _ask_for_size(c, timing)
    _see_first_frame(c, timing, fixed)
    c.tunnel.send([command(line) for line in (*c.kind.start, *c.kind.dark)])
    _flow(c, timing, CHIPS_S)
    dark = {name: value for name, value in values.items() if name not in c.kind.lights}
    c.tunnel.send(c.kind.commands(dark))
    _flow(c, timing, REPEAT_S)
    c.tunnel.send(c.kind.commands(dark))
    _flow(c, timing, 0.0, FORWARDED + 2)
    _verify(c, values, timing)


def _identify(c: Connection, timing: Timing) -> None:
    """Ask for the version of the firmware, and complete what another program may have left half sent."""
    if not c.kind.daq or c.kind.legacy:
        return
    if isinstance(c.tunnel, ExtensionTunnel):
        c.firmware = c.tunnel.version()
        return
    c.tunnel.write(Property.SATURATION, 2)
    for _ in range(_TRIES):
        answer = c.camera.get(Property.HUE)
        if answer > 0:
            c.abi = int(answer)
            break
        timing.sleep(_TRY_S)
    c.tunnel.write(Property.SATURATION, 0)
    c.tunnel.forget_halves()


def _ask_for_size(c: Connection, timing: Timing) -> None:
    height, width = c.shape
    c.camera.set(Property.FOURCC, int.from_bytes(c.backend.fourcc, "little"))
    c.camera.set(Property.FRAME_WIDTH, width)
    c.camera.set(Property.FRAME_HEIGHT, height)
    c.camera.set(Property.CONVERT_RGB, 0)
    c.camera.set(Property.BUFFERSIZE, BUFFERS)
    timing.sleep(FORMAT_S)


def _see_first_frame(c: Connection, timing: Timing, fixed: bool) -> None:
    """Wait for a frame, and take its size if it is another than asked for, unless it is `fixed`."""
    raw = _next(c, timing, FIRST_FRAME_S)
    if raw is None:
        raise SourceError(
            f"no picture came within {FIRST_FRAME_S:g} s, expected {c.shape[1]}x{c.shape[0]} px of a {c.kind.name}; "
            "is the scope plugged into the box, its cable whole, and --device its type?"
        )
    if (
        not c.kind.daq and raw.size != 2 * c.shape[0] * c.shape[1]
    ):  # a webcam that compresses: have it decoded
        c.camera.set(Property.CONVERT_RGB, 1)
        raw = _next(c, timing, FIRST_FRAME_S)
        if raw is None:
            raise SourceError("the webcam stopped when raw frames were not to be had; try another size")
    got = (int(c.camera.get(Property.FRAME_HEIGHT)), int(c.camera.get(Property.FRAME_WIDTH)))
    if (
        not fixed
        and got != c.shape
        and raw.size in (got[0] * got[1] * 2, got[0] * got[1] * 3)
        and min(got) > 16
    ):
        c.doubts.append(
            f"frames are {got[1]}x{got[0]} px, expected {c.shape[1]}x{c.shape[0]} of a {c.kind.name}; "
            "is --device the right type?"
        )
        c.shape = got
    c.picture(raw)


def _verify(c: Connection, values: Mapping[str, Value], timing: Timing) -> None:
    """Measure the frame rate, and find the way to what frames come with."""
    trial = Trial(c.camera, c.backend, c.kind.orientation)
    stamps: list[int] = []
    while len(stamps) <= PROBED:
        raw = _next(c, timing, FIRST_FRAME_S)
        if raw is None:
            raise SourceError(
                f"frames stopped for {FIRST_FRAME_S:g} s while the device was started, expected a steady stream; "
                "check the cables, and turn the box off and on"
            )
        stamps.append(c.stamp(timing.clock()))
        trial.look(raw)
    c.measured_hz = 1e9 / float(np.median(np.diff(stamps)))
    c.look_for_stamps(timing.clock())
    wanted = c.kind.rate_hz(values)
    c.fps = wanted or c.measured_hz
    if abs(c.measured_hz / c.fps - 1.0) > WORST_RATE:
        c.doubts.append(
            f"frames come at {c.measured_hz:.1f} Hz, expected {c.fps:.1f}; the scope does not follow its settings: "
            "is --device the right type, and the cable whole?"
        )
        c.fps = c.measured_hz
    if not c.kind.daq:
        return
    c.senses = trial.best()
    if c.senses.bits == 0 and not c.kind.legacy:
        c.doubts.append(
            "the frame counter cannot be read here (the system keeps old values), so that lost frames are "
            "inferred from the clock"
        )


def _flow(c: Connection, timing: Timing, seconds: float, frames: int = 1) -> None:
    """Take frames for a time, and at least some."""
    until_ns = timing.clock() + round(seconds * 1e9)
    while frames > 0 or timing.clock() < until_ns:
        if _next(c, timing, FIRST_FRAME_S) is None:
            raise SourceError(
                f"frames stopped for {FIRST_FRAME_S:g} s while the device was started, expected a steady stream; "
                "check the cables, and turn the box off and on"
            )
        frames -= 1


def _next(c: Connection, timing: Timing, within_s: float) -> NDArray[Any] | None:
    """Return the next raw frame, None if none comes in this time."""
    until_ns = timing.clock() + round(within_s * 1e9)
    while True:
        if c.camera.grab():
            ok, raw = c.camera.retrieve()
            if ok and raw is not None:
                return raw
        if timing.clock() >= until_ns:
            return None
        timing.sleep(0.005)
