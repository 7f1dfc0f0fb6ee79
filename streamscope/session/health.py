"""Counts and percentiles of a running session: how fast, how late, how much was lost."""

from __future__ import annotations

import numpy as np

from streamscope.session.machine import State
from streamscope.types import FLAG_LATE, ByteArray, FrameResult, Health, LongArray

WINDOW = 256  # frames over which rate and age are taken


class HealthMeter:
    """Watch the published frames and say how the session stands. Owned by the asyncio loop.

    Parameters
    ----------
    n_frames : int or None
        Frames that are expected, None for a camera.
    window : int
        Published frames over which frame rate and age are taken.
    """

    def __init__(self, n_frames: int | None, window: int = WINDOW) -> None:
        self.n_frames = n_frames
        self.frame = -1
        self.lost = 0
        self.late = 0
        self.cells = 0
        self.provisional = 0
        self.shed = ""  # what overload has switched off
        self.message = ""  # what the session is busy with, in words
        self._epoch = 0
        self._shift = (0.0, 0.0)
        self._published = np.zeros(window, np.int64)  # ns
        self._age = np.zeros(window, np.int64)  # ns
        self.n_published = 0

    def published(self, result: FrameResult, t_publish_ns: int) -> None:
        """Count one published frame; its age is the time from capture to publication."""
        slot = self.n_published % len(self._age)
        self._published[slot] = t_publish_ns
        self._age[slot] = t_publish_ns - result.t_capture_ns
        self.n_published += 1
        self.frame = result.index
        self.lost += result.gap
        self.late += bool(result.flags & FLAG_LATE)
        self._epoch = result.epoch
        self._shift = (float(result.shift.dy), float(result.shift.dx))

    def adopted(self, status: ByteArray) -> None:
        """Count the components of a new epoch; `status` (K,) is 0 for provisional, 1 for confirmed."""
        self.cells = int(np.count_nonzero(status))
        self.provisional = len(status) - self.cells

    def now(self, state: State, queue: int = 0, dropped: int = 0, trouble: str = "") -> Health:
        """Return the health at this moment.

        Parameters
        ----------
        state : State
            Of the session.
        queue, dropped : int
            Frames that wait for the pipeline, and frames that it never got.
        trouble : str
            What does not go as it should, in words.
        """
        n = min(self.n_published, len(self._age))
        p50, p99 = np.percentile(self._age[:n], [50, 99]) / 1e6 if n else (0.0, 0.0)
        return Health(
            state=state.value,
            frame=self.frame,
            n_frames=self.n_frames,
            fps=self._fps(self._published[:n]),
            age_p50_ms=float(p50),
            age_p99_ms=float(p99),
            queue=queue,
            lost=self.lost + dropped,
            late=self.late,
            cells=self.cells,
            provisional=self.provisional,
            epoch=self._epoch,
            shift_px=self._shift,
            shed=self.shed,
            message="; ".join(filter(None, (trouble, self.message))),
        )

    @staticmethod
    def _fps(published_ns: LongArray) -> float:
        if len(published_ns) < 2:
            return 0.0
        span_ns = int(published_ns.max() - published_ns.min())
        return (len(published_ns) - 1) * 1e9 / span_ns if span_ns else 0.0
