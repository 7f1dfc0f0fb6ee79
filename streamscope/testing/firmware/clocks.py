"""Clocks for a model: the machine's, a faster one, and one that stands still but for waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from streamscope.clock import clock_ns


class Clock(Protocol):
    """Monotonic time, and waiting."""

    def __call__(self) -> int:
        """Return the time, ns."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class RealClock:
    """The machine's clock."""

    def __call__(self) -> int:
        """Return the time, ns."""
        return clock_ns()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(max(0.0, seconds))


class FastClock:
    """The machine's clock, so many times faster: for whole sessions in a second.

    Parameters
    ----------
    speed : float
        How many times.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._start_ns = clock_ns()

    def __call__(self) -> int:
        """Return the time, ns."""
        return self._start_ns + round((clock_ns() - self._start_ns) * self._speed)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(max(0.0, seconds / self._speed))


class VirtualClock:
    """A clock that stands still but for sleeping, for tests in one thread."""

    def __init__(self, start_ns: int = 1_000_000_000) -> None:
        self.now_ns = start_ns
        self._planned: list[tuple[int, Callable[[], None]]] = []

    def __call__(self) -> int:
        """Return the time, ns."""
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once, and what was planned happen."""
        self.now_ns += max(0, round(seconds * 1e9))
        due = [action for at_ns, action in self._planned if at_ns <= self.now_ns]
        self._planned = [plan for plan in self._planned if plan[0] > self.now_ns]
        for action in due:
            action()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Plan something."""
        self._planned.append((self.now_ns + round(seconds * 1e9), action))
