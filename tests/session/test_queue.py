"""Queues: what happens when they are full, closed, cancelled."""

from __future__ import annotations

import threading

import pytest

from streamscope.errors import StageError
from streamscope.session.queue import BoundedQueue, DropOldest, NeverWait


def in_thread(body):
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread


def test_items_come_out_in_order_and_a_closed_queue_ends():
    queue = BoundedQueue(3)
    for i in range(3):
        assert queue.put(i)
    queue.close()
    assert [queue.get(), queue.get(), queue.get(), queue.get()] == [0, 1, 2, None]
    assert queue.ended


def test_a_waiting_queue_loses_nothing_however_slow_the_reader():
    queue, got = BoundedQueue(2), []

    def fill():
        for i in range(100):
            queue.put(i)
        queue.close()

    writer = in_thread(fill)
    while (item := queue.get()) is not None:
        assert len(queue) <= 2
        got.append(item)
    writer.join(5)
    assert got == list(range(100))
    assert queue.dropped == 0


def test_drop_oldest_keeps_the_newest_and_counts():
    queue = DropOldest(3)
    for i in range(10):
        queue.put(i)
    assert queue.take_all() == [7, 8, 9]
    assert queue.dropped == 7


def test_never_wait_says_who_is_behind():
    queue = NeverWait(2, "journal")
    queue.put(0)
    queue.put(1)
    with pytest.raises(StageError, match="the journal is 2 results behind"):
        queue.put(2)


@pytest.mark.parametrize("end", ["close", "cancel"])
def test_ending_a_queue_wakes_whoever_waits_on_either_side(end):
    empty, full = BoundedQueue(1), BoundedQueue(1)
    full.put(0)
    answers = []
    threads = [
        in_thread(lambda: answers.append(empty.get())),
        in_thread(lambda: answers.append(full.put(1) or None)),
    ]
    getattr(empty, end)()
    getattr(full, end)()
    for thread in threads:
        thread.join(5)
    assert answers == [None, None]


def test_a_cancelled_queue_throws_away_and_refuses():
    queue = BoundedQueue(4)
    queue.put(1)
    queue.cancel()
    assert not queue.put(2)
    assert queue.get() is None


def test_take_all_returns_nothing_when_nothing_comes_in_time():
    assert BoundedQueue(1).take_all(timeout_s=0.001) == []


def test_a_queue_without_room_is_refused():
    with pytest.raises(StageError, match="room for at least one"):
        BoundedQueue(0)
