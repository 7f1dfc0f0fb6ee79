"""A listener with a thread of its own: what it is given waits in a bounded queue, and nobody waits for it."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from streamscope.clock import clock_ns
from streamscope.types import Decision, OutputReport
from streamscope_drivers.outputs.account import Account

QUEUED = 1024  # decisions that wait for a slow listener
CLOSING_S = 1.0


class Worker(ABC):
    """An output that is written in a thread of its own; `start` it when it is open.

    Parameters
    ----------
    spec, name, tell
        As `open_output` gets them.
    """

    fast = False

    def __init__(self, spec: str, name: str, tell: Callable[[OutputReport], None]) -> None:
        self.account = Account(spec, name, tell)
        self._queue: queue.Queue[Decision | None] = queue.Queue(QUEUED)
        self._thread = threading.Thread(target=self._run, name=f"output {name}", daemon=True)

    def start(self) -> None:
        """Begin to write what comes."""
        self._thread.start()

    def write(self, decision: Decision) -> bool:
        """Take a decision over; False if too many wait."""
        try:
            self._queue.put_nowait(decision)
        except queue.Full:
            return self.account.dropped(f"it is too slow: {QUEUED} decisions wait for it")
        return True

    def alive(self, armed: bool) -> None:  # noqa: B027
        """Do nothing: no line hangs on a listener."""

    def describe(self) -> Mapping[str, Any]:
        """Return counts and delays."""
        return self.account.describe()

    def close(self) -> None:
        """Write what waits, for at most a second, and release everything."""
        try:
            self._queue.put(None, timeout=CLOSING_S)
        except queue.Full:
            return  # it hangs; its thread ends with the process
        self._thread.join(CLOSING_S)

    def _run(self) -> None:
        try:
            while (decision := self._queue.get()) is not None:
                self._one(decision)
                if self._queue.empty():
                    self._pause()
        finally:
            self._end()

    def _one(self, decision: Decision) -> None:
        try:
            self._put(decision)
        except Exception as error:  # top of the thread: a listener that fails costs the session nothing
            self.account.dropped(f"{type(error).__name__}: {error}")
            return
        self.account.trouble("")
        self.account.wrote(decision, clock_ns())

    @abstractmethod
    def _put(self, decision: Decision) -> None:
        """Write one decision; may wait."""

    def _pause(self) -> None:  # noqa: B027 - most need none
        """Do what is due when nothing waits."""

    @abstractmethod
    def _end(self) -> None:
        """Release everything."""
