"""The recorder thread: every frame that comes is kept, whatever becomes of it in the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from streamscope.clock import clock_ns
from streamscope.errors import StreamScopeError
from streamscope.session.queue import BoundedQueue, RefuseNewest
from streamscope.session.tapped import Tapped
from streamscope.storage.room import Room
from streamscope.types import Frame, Source
from streamscope.wire.schema import EVENT_DISK, EVENT_NOT_RECORDED, EVENT_RECORDING_STOPPED

COMMIT_S = 1.0  # a crash loses at most this much of the recording
WAITING_BYTES = 256 << 20  # of frames that may wait for a disk that stalls: 23 s of 608x608 at 30 fps
WAITING_BYTES_AT_FULL_SPEED = 16 << 20  # there the source waits


class Keeps(Protocol):
    """What the recorder needs of a recording."""

    shape: tuple[int, int]
    n_frames: int

    def append(self, frame: Frame, waiting: int) -> None:
        """Add a frame, with the number of frames that wait behind it."""

    def commit(self) -> Room:
        """Make everything so far survive a power cut, and return the room that is left."""

    def close(self) -> None:
        """Finish the files."""


class Recorder:
    """Hands the frames of a source on, and to the recording first.

    The source never waits for the disk in real time: frames wait in memory, and when that is full, the newest are
    not recorded, which is said at once. At full speed the source waits. A recording that fails ends alone: the
    session goes on, and it is said at once too.

    Parameters
    ----------
    recording : Keeps
        Owned by the recorder thread from here on.
    paced : bool
        Whether the source may not wait.
    tell : callable
        Called in any thread with an event's name, the frame from which it holds, and its fields.
    clock : callable
        Monotonic time, ns.
    """

    def __init__(
        self,
        recording: Keeps,
        paced: bool,
        tell: Callable[[str, int, dict[str, object]], None],
        clock: Callable[[], int] = clock_ns,
    ) -> None:
        self.received = 0  # frames that came
        self.stopped = ""  # why nothing is recorded any more
        self._recording = recording
        self._tell = tell
        self._clock = clock
        self._missing = 0  # frames that were not recorded since the last that was
        self._told_ns: int | None = None  # when it was last said that frames are not recorded
        self._next = 0  # the first frame that is not recorded yet
        self._warned: Room | None = None  # when it was last said that the disk is nearly full
        height, width = recording.shape
        room = WAITING_BYTES if paced else WAITING_BYTES_AT_FULL_SPEED
        kind = RefuseNewest if paced else BoundedQueue
        self._frames: BoundedQueue[Frame] = kind(max(8, room // (height * width)))

    @property
    def trouble(self) -> str:
        """Return what is wrong with the recording, in words; empty if nothing is."""
        if self.stopped:
            return f"recording stopped after {self._recording.n_frames} frames: {self.stopped}"
        lost, room = self._frames.dropped, self._warned
        told = [f"{lost} frames not recorded: the disk cannot keep up"] if lost else []
        return "; ".join(told if room is None else [*told, room.warning()])

    def tap(self, source: Source) -> Source:
        """Return a source that gives each frame to the recorder before it hands it on."""
        return Tapped(source, self.put, self.close)

    def put(self, frame: Frame) -> None:
        """Have a frame recorded; called in the driver thread."""
        self.received += 1
        if self._frames.put(replace(frame, gap=frame.gap + self._missing) if self._missing else frame):
            self._missing = 0
            return
        if not self._missing and not self.stopped:
            self._say_not_recorded(frame.index)
        self._missing += 1 + frame.gap

    def close(self) -> None:
        """Say that no frame follows; called in the driver thread."""
        self._frames.close()

    def run(self) -> None:
        """Record every frame until the source ends; the body of the recorder thread."""
        try:
            self._record()
            self._recording.close()
        except Exception as error:  # top of the thread: the recording ends, and the session goes on
            self._stop(error)

    def _record(self) -> None:
        committed_ns = self._clock()
        while (frame := self._frames.get()) is not None:
            self._next = frame.index
            self._recording.append(frame, len(self._frames))
            self._next += 1
            if self._clock() - committed_ns >= COMMIT_S * 1e9:
                self._look_at(self._recording.commit())
                committed_ns = self._clock()

    def _look_at(self, room: Room) -> None:
        """Say it when the disk becomes nearly full, and again whenever half of that is left."""
        before = self._warned
        if not room.low:
            self._warned = None
        elif before is None or before.free is None or 2 * (room.free or 0) <= before.free:
            self._warned = room
            fields: dict[str, object] = {
                "free_bytes": room.free,
                "lasts_s": round(room.lasts_s, 1),
                "text": room.warning(),
            }
            self._tell(EVENT_DISK, self._next, fields)

    def _say_not_recorded(self, frame: int) -> None:
        """Say it where a hole begins, but not more than once a second."""
        now_ns = self._clock()
        if self._told_ns is None or now_ns - self._told_ns >= COMMIT_S * 1e9:
            self._told_ns = now_ns
            self._tell(EVENT_NOT_RECORDED, frame, {"waiting": len(self._frames)})

    def _stop(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, StreamScopeError) else f"{type(error).__name__}: {error}"
        self.stopped = reason
        self._frames.cancel()
        fields = {"recorded": self._recording.n_frames, "reason": reason}
        self._tell(EVENT_RECORDING_STOPPED, self._next, fields)
        with suppress(StreamScopeError):  # the same disk; what was written can be read all the same
            self._recording.close()
