"""What a thread may ask of the system, and what it leaves alone."""

import asyncio
import os
import sys
import threading

import pytest

from streamscope.session.threads import NICENESS, give_way, go_first, in_thread


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have their own niceness on Linux only")
def test_a_thread_places_itself_and_no_other():
    async def place():
        return [await in_thread("placed", niceness, at) for at in (give_way, go_first)]

    before = niceness()
    waiting, urgent = asyncio.run(place())
    assert waiting == min(before + NICENESS, 19)
    assert urgent in (before, before - NICENESS)  # the latter needs a right
    assert niceness() == before


def test_going_first_is_given_up_where_it_is_refused(monkeypatch):
    def refuse(*_):
        raise PermissionError

    if hasattr(os, "setpriority"):
        monkeypatch.setattr(os, "setpriority", refuse)
    assert asyncio.run(in_thread("refused", lambda: 7, go_first)) == 7
