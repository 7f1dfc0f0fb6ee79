"""What is worth telling about a device while it runs, each episode once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from streamscope.types import ByteArray
from streamscope_drivers.miniscope.devices import Value
from streamscope_drivers.miniscope.losses import Missing
from streamscope_drivers.miniscope.senses import Sense
from streamscope_drivers.miniscope.startup import Timing

_log = logging.getLogger(__name__)

DEVICE, SETTING, INPUT = "device", "setting", "input"  # names of events
SILENT = 2  # frames in a row without an orientation before it is said
JUMP_NS = 1_000_000_000  # of the wall clock against the monotonic one

Tell: TypeAlias = Callable[[str, int, dict[str, Any]], None]


class Watch:
    """Turns what comes with frames into events; used in the camera's thread.

    Parameters
    ----------
    timing : Timing
        Clocks.
    """

    def __init__(self, timing: Timing) -> None:
        self.tell: Tell = _log_only
        self._timing = timing
        self._inputs: int | None = None
        self._silent = 0
        self._duplicates = False
        self._overrun = False
        self._picture: ByteArray | None = None
        self._still = 0  # pictures in a row that equal the one before
        self._wall_ahead_ns = timing.wall() - timing.clock()

    def frame(self, index: int, t_ns: int, sense: Sense, missing: Missing, oriented: bool) -> None:
        """Look at what a frame came with."""
        self._edges(index, t_ns, sense.inputs)
        if missing.reset:
            self.device("counter_reset", index, "the device's frame counter began anew", missed=missing.n)
        if missing.duplicate and not self._duplicates:
            self.device("duplicate", index, "a frame came twice")
        self._duplicates = missing.duplicate
        if oriented and sense.orientation is not None:
            self._orientation(index, sense.orientation.ok)
        self._clocks(index)

    def picture(self, index: int, image: ByteArray, duplicate: bool) -> None:
        """Say once when the picture stands still while frames are counted on; a sensor's noise never repeats."""
        before, self._picture = self._picture, image
        if duplicate or before is None or not _same(before, image):
            self._still = 0
            return
        self._still += 1
        if self._still == 1:
            self.device("frozen", index, "a frame shows exactly the picture of the one before")

    def setting(self, index: int, name: str, value: Value) -> None:
        """Say that a setting was changed, and from which frame it is seen."""
        self.tell(SETTING, index, {"setting": name, "value": value})

    def overrun(self, index: int, waiting: int) -> None:
        """Say once that frames are lost because nobody takes them."""
        if not self._overrun:
            self._overrun = True
            self.device("overrun", index, f"frames are lost: {waiting} wait to be taken", waiting=waiting)

    def overrun_is_over(self) -> None:
        """Be ready to say it again."""
        self._overrun = False

    def device(self, what: str, index: int, text: str, **fields: Any) -> None:
        """Say that something happened to the device."""
        _log.info("frame %d: %s", index, text)
        self.tell(DEVICE, index, {"what": what, "text": text, **fields})

    def _edges(self, index: int, t_ns: int, inputs: int | None) -> None:
        """Tell each edge of the inputs; the first reading only says where they stand."""
        before, self._inputs = self._inputs, inputs
        if inputs is None or before is None:
            return
        for k in range(2):
            if (inputs ^ before) >> k & 1:
                self.tell(INPUT, index, {"input": k, "level": inputs >> k & 1, "t_ns": t_ns})

    def _orientation(self, index: int, ok: bool) -> None:
        self._silent = 0 if ok else self._silent + 1
        if self._silent == SILENT:
            self.device("no_orientation", index, "the sensor of orientation gives no direction")

    def _clocks(self, index: int) -> None:
        ahead_ns = self._timing.wall() - self._timing.clock()
        jump_ns, self._wall_ahead_ns = ahead_ns - self._wall_ahead_ns, ahead_ns
        if abs(jump_ns) > JUMP_NS:
            text = f"the wall clock moved by {jump_ns / 1e9:+.1f} s: it was set, or the machine slept"
            self.device("clock", index, text, seconds=jump_ns / 1e9)


def _same(a: ByteArray, b: ByteArray) -> bool:
    """Return whether two pictures are the same in every pixel, and show anything."""
    if a.shape != b.shape or not np.array_equal(a[::32], b[::32]):
        return False
    return bool(np.array_equal(a, b)) and bool(a.min() < a.max())


def _log_only(name: str, frame: int, fields: dict[str, Any]) -> None:
    _log.info("frame %d: %s %s", frame, name, fields)
