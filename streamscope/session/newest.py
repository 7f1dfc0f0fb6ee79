"""The newest frames of a device, between its thread and another that looks now and then."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from streamscope.types import Frame

STEADY = 90  # frames over which rate and jitter are taken


class Newest:
    """The newest two frames in a row, and how steadily they come; between the driver's thread and another."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pair: tuple[Frame, Frame] | None = None
        self._last: Frame | None = None
        self._steps_ns: deque[float] = deque(maxlen=STEADY)
        self._lost = 0
        self._closed = False

    def put(self, frame: Frame) -> None:
        """Take note of a frame; never waits."""
        with self._changed:
            before, self._last = self._last, frame
            self._lost += frame.gap
            if before is not None:
                self._steps_ns.append((frame.t_capture_ns - before.t_capture_ns) / (1 + frame.gap))
                self._pair = (before, frame)
            self._changed.notify_all()

    def take(self) -> tuple[Frame, Frame] | None:
        """Return the newest frame and the one before it, once each; None when no further will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._pair is not None or self._closed)
            pair, self._pair = self._pair, None
            return None if self._closed else pair

    def steadiness(self) -> tuple[float, float, int]:
        """Return the rate (Hz), its jitter (ms) and the number of frames lost."""
        with self._changed:
            steps, lost = np.array(self._steps_ns), self._lost
        if not len(steps):
            return 0.0, 0.0, lost
        usual = float(np.median(steps))
        return 1e9 / max(usual, 1.0), float(np.percentile(np.abs(steps - usual), 99)) / 1e6, lost

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
