"""The webcam's thread: grabs, stamps and hands over, and connects again when the camera was lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamscope.errors import SourceError
from streamscope_drivers.miniscope.capture import BACK_OFF_S, GONE_S, RETRY_S
from streamscope_drivers.miniscope.ring import Ring
from streamscope_drivers.miniscope.startup import Timing
from streamscope_drivers.webcam.link import Link
from streamscope_drivers.webcam.pictures import Form

_log = logging.getLogger(__name__)

ROOM_BYTES = 128 << 20  # of raw pictures that may wait: 1.5 s of 1280x720 at 30 Hz that the system decoded
MOST, LEAST = 256, 16  # pictures that may wait
JOIN_S = 5.0  # a camera may keep its thread that long in one grab

Connect: TypeAlias = Callable[["tuple[int, int] | None"], Link]
Tell: TypeAlias = Callable[[str, str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Raw:
    """A picture as it came."""

    t_ns: int
    data: NDArray[np.uint8]
    form: Form


class Capture:
    """Owns a webcam from its connection until it is given back.

    Until `begin`, pictures are taken and thrown away.

    Parameters
    ----------
    connect : callable
        Connects, with the size that pictures must have; also after an interruption.
    timing : Timing
        Clocks.
    """

    def __init__(self, connect: Connect, timing: Timing) -> None:
        self.trouble = ""
        self.lost_in_ring = 0
        self.tell: Tell = lambda what, text, fields: _log.info("%s", text)
        self._connect = connect
        self._timing = timing
        self._wanted = False
        self._stopped = threading.Event()
        self._connected = threading.Event()
        self._refused: BaseException | None = None
        self._failing_since_ns = self._last_ns = 0
        self._overrun = False
        self._thread = threading.Thread(target=self.run, name="webcam", daemon=True)

    # ---- for other threads

    def start(self) -> Link:
        """Start the thread, wait until the camera is connected, and return the link, to be looked at only.

        Raises
        ------
        SourceError
            If it cannot be connected.
        """
        self._thread.start()
        self._connected.wait()
        if self._refused is not None:
            raise self._refused
        return self._link

    def begin(self) -> None:
        """Hand pictures over from now on."""
        self._wanted = True

    def close(self) -> None:
        """Give the camera back; waits for it. May be called again."""
        self._stopped.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(JOIN_S)

    # ---- the camera's thread

    def run(self) -> None:
        """Connect, take pictures until closed, give the camera back; the body of the thread."""
        try:
            self.open()
        except BaseException as error:  # top of the thread: raised again where the camera is started
            self._refused = error
            return
        finally:
            self._connected.set()
        try:
            while not self._stopped.is_set():
                self.step()
        except Exception as error:  # top of the thread: raised again where pictures are taken
            self.ring.close(error)
        finally:
            self.shut()

    def open(self) -> None:
        """Connect the camera."""
        link = self._link = self._connect(None)
        room = ROOM_BYTES // (link.shape[0] * link.shape[1] * 3)
        self.ring: Ring[Raw] = Ring(min(MOST, max(LEAST, room)))

    def shut(self) -> None:
        """Give the camera back."""
        self._link.release()
        self.ring.close()

    def step(self) -> None:
        """The way of a picture: grab, stamp, fetch, hand over."""
        link = self._link
        if not link.camera.grab():
            self._no_picture()
            return
        t_ns = link.stamp(self._timing.clock())
        ok, raw = link.camera.retrieve()
        if not ok or raw is None:
            self._no_picture()
            return
        self._failing_since_ns, self._last_ns = 0, t_ns
        if self._wanted:
            self._hand_over(Raw(t_ns, raw, link.form))

    def _hand_over(self, raw: Raw) -> None:
        """Put a picture into the ring; if that is full it is lost, which is said once in each episode."""
        if not self.ring.full:
            self._overrun = False
            self.ring.put(raw)
            return
        self.lost_in_ring += 1
        if not self._overrun:
            self._overrun = True
            waiting = len(self.ring)
            self.tell("overrun", f"pictures are lost: {waiting} wait to be written", {"waiting": waiting})

    def _no_picture(self) -> None:
        """Try again for a while; then the camera is gone."""
        now_ns = self._timing.clock()
        self._failing_since_ns = self._failing_since_ns or now_ns
        if now_ns - self._failing_since_ns < GONE_S * 1e9:
            self._timing.sleep(RETRY_S)
            return
        self.tell("disconnected", "the camera was lost: no picture came; trying to connect again", {})
        self._link.release()
        self._reconnect()

    def _reconnect(self) -> None:
        """Connect again, for as long as it takes."""
        self.trouble = "camera lost, trying again"
        attempt = 0
        while True:
            self._wait(BACK_OFF_S[min(attempt, len(BACK_OFF_S) - 1)])
            attempt += 1
            if self._stopped.is_set():
                return
            try:
                self._link = self._connect(self._link.shape)
            except SourceError as error:
                self.trouble = f"camera lost, trying again ({error})"
            else:
                break
        self.trouble, self._failing_since_ns = "", 0
        away_s = (self._timing.clock() - self._last_ns) / 1e9
        self.tell("reconnected", f"the camera is back after {away_s:.1f} s", {"away_s": round(away_s, 3)})

    def _wait(self, seconds: float) -> None:
        until_ns = self._timing.clock() + round(seconds * 1e9)
        while self._timing.clock() < until_ns and not self._stopped.is_set():
            self._timing.sleep(0.1)
