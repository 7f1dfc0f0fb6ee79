"""Bounded queues between the threads of a session, one class for each answer to "what if it is full"."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic, TypeVar

from streamscope.errors import StageError

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """Hand items from one thread to another in order; putting waits while the queue is full.

    Parameters
    ----------
    capacity : int
        Largest number of items that may be inside.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise StageError(f"a queue needs room for at least one item, got a capacity of {capacity}")
        self.capacity = capacity
        self.dropped = 0  # items that were given up, by policy
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        """Return the number of items inside."""
        return len(self._items)

    def put(self, item: T) -> bool:
        """Add an item; return False if nobody will ever take it."""
        with self._changed:
            self._make_room()
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self) -> T | None:
        """Return the next item when there is one, None once the queue is closed and empty."""
        with self._changed:
            while not self._items and not self._closed:
                self._changed.wait()
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def take_all(self, timeout_s: float = 0.0) -> list[T]:
        """Return everything inside, after waiting at most `timeout_s` for a first item."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._items and not self._closed:
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not self._changed.wait(remaining):
                    break
            items = list(self._items)
            self._items.clear()
            self._changed.notify_all()
            return items

    @property
    def ended(self) -> bool:
        """Return whether the queue is closed and empty."""
        with self._changed:
            return self._closed and not self._items

    def close(self) -> None:
        """Accept no further items; those inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """Throw away what is inside and let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def _make_room(self) -> None:
        while len(self._items) >= self.capacity and not self._closed:
            self._changed.wait()


class DropOldest(BoundedQueue[T]):
    """A full queue gives up its oldest item, counted in `dropped`: for a camera, which cannot wait."""

    def _make_room(self) -> None:
        while len(self._items) >= self.capacity:
            self._items.popleft()
            self.dropped += 1


class RefuseNewest(BoundedQueue[T]):
    """A full queue takes no further item, counted in `dropped`: for a recording, whose frames stay in order."""

    def put(self, item: T) -> bool:
        """Add an item; return False if there is no room for it, or nobody will ever take it."""
        with self._changed:
            if len(self._items) >= self.capacity:
                self.dropped += 1
                return False
            return super().put(item)


class NeverWait(BoundedQueue[T]):
    """A full queue is an error: for results, which may neither be lost nor hold up the next frame."""

    def __init__(self, capacity: int, name: str) -> None:
        super().__init__(capacity)
        self.name = name

    def _make_room(self) -> None:
        if len(self._items) >= self.capacity and not self._closed:
            raise StageError(
                f"the {self.name} is {self.capacity} results behind, expected to keep up with the camera; "
                "is the disk or the machine overloaded? Close other programs and start again"
            )
