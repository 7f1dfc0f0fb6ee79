"""The ring between the camera's thread and whoever takes its frames: putting never waits."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

ROOM = 256  # frames; at least 128, 8 s at 30 fps


class Ring(Generic[T]):
    """Hands frames from the camera's thread to one other, in order.

    Parameters
    ----------
    room : int
        Frames that may wait.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._frames: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def __len__(self) -> int:
        """Return the number of frames that wait."""
        return len(self._frames)

    @property
    def full(self) -> bool:
        """Return whether there is no room; only taking makes some."""
        return len(self._frames) >= self._room

    def put(self, frame: T) -> None:
        """Add a frame; called in the camera's thread, when the ring is not full."""
        with self._changed:
            self._frames.append(frame)
            self._changed.notify()

    def clear(self) -> None:
        """Throw away what waits; called in the camera's thread."""
        with self._changed:
            self._frames.clear()

    def take(self, timeout_s: float) -> T | None:
        """Return the next frame, None if none came in this time or none will come.

        Raises
        ------
        Exception
            What the camera's thread ended with, after its last frame.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed, timeout_s)
            if self._frames:
                return self._frames.popleft()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            return None

    @property
    def ended(self) -> bool:
        """Return whether no further frame will come, and none waits."""
        with self._changed:
            return self._closed and not self._frames and self._error is None

    def close(self, error: BaseException | None = None) -> None:
        """Say that no further frame will come, and why if it is an error."""
        with self._changed:
            self._closed = True
            self._error = error or self._error
            self._changed.notify_all()
