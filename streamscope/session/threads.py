"""Threads that the asyncio loop waits for, and the interpreter tuned for them while a session runs."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import cv2

from streamscope.core.crew import Crew

T = TypeVar("T")

# How long a thread may hold the interpreter while another wants it (Python's default is 5 ms). The pipeline gives
# it up some thirty times a frame, at each kernel, and may wait this long for it each time.
SWITCH_S = 0.0001

NICENESS = 10  # of what may wait: a tenth of the share of others where both want the same core
_BELOW_NORMAL, _ABOVE_NORMAL = -1, 1  # Windows' THREAD_PRIORITY_BELOW_NORMAL and _ABOVE_NORMAL
_CORES_FOR_TWO = 4


def learner_threads(paced: bool) -> int:
    """Return how many threads the learner may use: in real time a second one needs a core that nobody else does."""
    return 1 if paced and (os.cpu_count() or 1) < _CORES_FOR_TWO else 2


class ThreadCrew(Crew):
    """Does pieces of work in `n` threads at a time."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._pool = ThreadPoolExecutor(n, thread_name_prefix="crew")

    def map(self, work: Callable[..., T], *pieces: Iterable[Any]) -> list[T]:
        """Return what `work` gives for each piece, in their order."""
        return list(self._pool.map(work, *pieces))


def as_others() -> None:
    """Leave the calling thread as it is."""


async def in_thread(name: str, body: Callable[[], T], place: Callable[[], None] = as_others) -> T:
    """Run `body` in a thread of its own and return what it returns; cancelling the wait does not stop it.

    `place` is called first, in that thread: `go_first` or `give_way`.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            place()
            value = body()
        except BaseException as error:  # top of a thread: handed on to whoever awaits it
            loop.call_soon_threadsafe(_fail, done, error)
        else:
            loop.call_soon_threadsafe(_succeed, done, value)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.shield(done)


def _fail(done: asyncio.Future[T], error: BaseException) -> None:
    if not done.cancelled():
        done.set_exception(error)


def _succeed(done: asyncio.Future[T], value: T) -> None:
    if not done.cancelled():
        done.set_result(value)


def give_way() -> None:
    """Let others go first where they and the calling thread want the same core. No effect on macOS."""
    _place(_BELOW_NORMAL, NICENESS)


def go_first() -> None:
    """Let the calling thread, and those that it starts, go before others that want the same core.

    Windows always allows it, Linux those who may set a negative niceness (root, or a limit for `nice` in
    limits.conf); elsewhere, and without that right, nothing changes.
    """
    with suppress(PermissionError):
        _place(_ABOVE_NORMAL, -NICENESS)


def _place(on_windows: int, nicer: int) -> None:
    if sys.platform == "win32":
        kernel32 = ctypes.windll.kernel32
        kernel32.SetThreadPriority(kernel32.GetCurrentThread(), on_windows)
    elif sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + nicer)


@contextmanager
def quiet_interpreter() -> Iterator[None]:
    """Switch threads often, leave what exists to no garbage collection, and keep OpenCV to one thread."""
    switch_s, cv2_threads = sys.getswitchinterval(), cv2.getNumThreads()
    sys.setswitchinterval(SWITCH_S)
    cv2.setNumThreads(1)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        cv2.setNumThreads(cv2_threads)
        sys.setswitchinterval(switch_s)
