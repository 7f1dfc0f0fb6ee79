"""The way of results from the pipeline into the asyncio loop, and what goes on to the journal from there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeAlias

from streamscope.session.lanes import Adopted, Item
from streamscope.session.queue import BoundedQueue
from streamscope.session.triggering import Decided, Told
from streamscope.types import FrameResult, Health, OutputReport, Tail


@dataclass(frozen=True, slots=True)
class Published:
    """A result, and when it was published."""

    result: FrameResult
    t_publish_ns: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something else that happened, for the journal."""

    kind: str
    frame: int | None
    fields: dict[str, object]


Record: TypeAlias = Published | Adopted | Tail | Health | Note | Told | Decided | OutputReport


class LoopOutlet:
    """Where the pipeline thread leaves results for the asyncio loop; many results may share one wake-up.

    Parameters
    ----------
    queue : BoundedQueue
        Its class says what happens when the loop is behind.
    """

    def __init__(self, queue: BoundedQueue[Item]) -> None:
        self._queue = queue
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._called = False

    def put(self, item: Item) -> bool:
        """Leave an item; called in the pipeline thread."""
        took = self._queue.put(item)
        self._call()
        return took

    def close(self) -> None:
        """Say that nothing follows; called in the pipeline thread."""
        self._queue.close()
        self._call()

    def cancel(self) -> None:
        """Throw away what is there and take nothing more."""
        self._queue.cancel()
        self._call()

    async def take(self) -> list[Item]:
        """Return everything that has come, after waiting for it; nothing at all means the end."""
        while True:
            self._wake.clear()
            items = self._queue.take_all()
            if items or self._queue.ended:
                return items
            await self._wake.wait()

    def _call(self) -> None:
        if not self._called:
            self._called = True
            self._loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        self._called = False
        self._wake.set()
