"""A small session to publish, and a publisher that runs in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pytest

from streamscope.types import Footprints, FrameResult, Shift
from streamscope.wire.control import Later
from streamscope.wire.publisher import Publisher
from streamscope.wire.schema import Hold, Mark, Set, Stop

T = TypeVar("T")


@dataclass(frozen=True)
class Table:
    """Stands in for an epoch."""

    number: int
    frame: int
    ids: np.ndarray
    status: np.ndarray
    born_at: np.ndarray
    snr: np.ndarray
    footprints: Footprints


def _result(index: int, ids: list[int] | int = 3, epoch: int = 1, **changes: Any) -> FrameResult:
    """Return a frame's result whose numbers follow from its index."""
    numbers = np.arange(ids) if isinstance(ids, int) else np.array(ids)
    base = numbers.astype(np.float32) + index
    values = {
        "index": index,
        "epoch": epoch,
        "t_capture_ns": time.monotonic_ns(),
        "t_result_ns": time.monotonic_ns(),
        "shift": Shift(0.5, -1.25, 0.75),
        "ids": numbers.astype(np.uint32),
        "y": -base,
        "c": base,
        "s": base / 2,
        "c_lag": base / 4,
        "s_lag": base / 8,
    }
    return FrameResult(**(values | changes))


def _table(number: int, ids: list[int], shape: tuple[int, int] = (8, 10)) -> Table:
    """Return a table in which the footprint of id i is the pixels i and i + 1."""
    columns = [(np.array([i, i + 1], np.int32), np.array([0.25, 0.75], np.float32)) for i in ids]
    k = len(ids)
    return Table(
        number=number,
        frame=10 * number,
        ids=np.array(ids, np.uint32),
        status=(np.arange(k) % 2).astype(np.uint8),
        born_at=np.arange(k, dtype=np.int64) * 7,
        snr=np.linspace(3, 9, k, dtype=np.float32),
        footprints=Footprints.from_columns(shape, columns),
    )


@pytest.fixture
def result() -> Callable[..., FrameResult]:
    return _result


@pytest.fixture
def table() -> Callable[..., Table]:
    return _table


class Running:
    """A publisher on free ports, serving its control socket in the loop of its own thread."""

    def __init__(self, bind: str = "127.0.0.1:0", **options: Any) -> None:
        self._bind = bind
        self._options = options
        self.stops = 0
        self.marks: list[str] = []
        self.holds: list[tuple[bool, Later]] = []
        self.wishes: list[tuple[dict[str, Any], Later]] = []
        self._ready: Future[Publisher] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def start(self) -> Publisher:
        self._thread.start()
        return self._ready.result(10)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        publisher = Publisher(
            self._bind,
            commands={
                "stop": self._note_stop,
                "freeze": self._note_hold,
                "thaw": self._note_hold,
                "set": self._note_wish,
                "mark": self._note_mark,
            },
            **self._options,
        )
        publisher.bind()
        serving = asyncio.create_task(publisher.serve_control())
        self._ready.set_result(publisher)
        await self._end.wait()
        publisher.close()
        await serving

    def _note_stop(self, request: Stop) -> dict[str, Any]:
        self.stops += 1
        return {}

    def _note_hold(self, request: Hold) -> Later:
        self.holds.append((request.frozen, Later()))
        return self.holds[-1][1]

    def _note_wish(self, request: Set) -> Later:
        self.wishes.append((dict(request.values), Later()))
        return self.wishes[-1][1]

    def _note_mark(self, request: Mark) -> dict[str, Any]:
        self.marks.append(request.text)
        return {"frame": 41, "t_ns": 7}

    def do(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call in the loop's thread, as the session does, and return what it returned."""
        done: Future[T] = Future()

        def call() -> None:
            try:
                done.set_result(function(*args, **kwargs))
            except BaseException as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return done.result(20)

    def end(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(10)


@pytest.fixture
def running() -> Iterator[Running]:
    session = Running(sid="session-1", info={"source": "synthetic:test", "fps": 20.0})
    session.publisher = session.start()
    session.endpoint = session.publisher.endpoints.data
    yield session
    session.end()
