"""The newest frame alone; tables for pandas; clients that outlive a session."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from streamscope import AsyncSubscriber, Latest, Subscriber, components_table, traces_table
from streamscope.errors import WireError
from streamscope.types import ComponentEvent
from streamscope.wire.endpoints import parse
from streamscope.wire.schema import COMPONENTS, EVENTS, TRACES

from .conftest import Running


def test_only_the_newest_record_is_handed_out(running, result):
    with Latest(running.endpoint) as latest:
        frame = 0
        while latest.recv(0.005) is None:  # until the connection is made
            running.do(running.publisher.publish_result, result(frame))
            frame += 1
        for k in range(50):
            running.do(running.publisher.publish_result, result(10_000 + k))
        deadline = time.monotonic() + 10
        got = latest.recv(5.0)
        while got.frame < 10_049:
            assert time.monotonic() < deadline
            got = latest.recv(5.0)
        np.testing.assert_array_equal(got.c, result(10_049).c)
        assert latest.recv(0.01) is None


def test_an_old_record_is_not_handed_out(running, result):
    with Latest(running.endpoint, max_age_s=0.5) as latest:
        old = time.perf_counter_ns() - 700_000_000

        def first():
            for _ in range(2000):
                running.do(running.publisher.publish_result, result(3, t_capture_ns=old))
                if latest.recv(0.005) is not None:
                    return

        with pytest.raises(WireError, match=r"frame 3 is 7\d\d ms old, older than the 500 ms"):
            first()


def test_traces_become_a_table_with_nothing_made_up(running, result, table):
    with Subscriber(running.endpoint, (TRACES, COMPONENTS)) as subscriber:
        publisher = running.publisher
        running.do(publisher.publish_epoch, table(1, [2, 5]), [ComponentEvent("born", 5, 0)], 0)
        for frame, ids in ((0, []), (1, [5, 2]), (3, [5, 7])):
            running.do(publisher.publish_result, result(frame, ids))
        messages = [subscriber.recv(5.0) for _ in range(4)]
        traces = traces_table(messages)
        assert traces.index.tolist() == [0, 1, 3]  # frame 2 was not received
        assert (traces.index.name, traces.columns.name) == ("frame", "id")
        assert traces.columns.tolist() == [2, 5, 7]
        np.testing.assert_array_equal(
            traces.to_numpy(), np.array([[np.nan] * 3, [3, 6, np.nan], [np.nan, 8, 10]], np.float32)
        )
        assert traces_table(messages, "y").loc[1, 5] == -6
        assert traces_table([]).shape == (0, 0)
        with pytest.raises(WireError, match="no 'z', expected one of y, c, s"):
            traces_table(messages, "z")
        cells = components_table(subscriber.components)
        assert cells.loc[[2, 5], "status"].tolist() == [
            "provisional",
            "confirmed",
        ]  # by the snapshot, asked for 7
        assert cells.loc[5, "n_pixels"] == 2


def restarted(first, **options):
    """End a session and begin another one at its address."""
    bind = f"127.0.0.1:{parse(first.endpoint)[1]}"
    first.end()
    second = Running(bind=bind, sid="session-2", **options)
    second.publisher = second.start()
    second.endpoint = second.publisher.endpoints.data
    return second


def test_a_client_may_outlive_the_session_and_go_on_with_the_next(running, result, table):
    with Subscriber(running.endpoint, (TRACES, EVENTS), reconnect=True, timeout_s=20) as subscriber:
        running.do(running.publisher.publish_epoch, table(1, [2]), [], 0)
        running.do(running.publisher.publish_result, result(0, [2]))
        assert [next(subscriber).topic for _ in range(2)] == [EVENTS, TRACES]
        second = restarted(running)
        try:
            assert next(subscriber).name == "closed"
            assert not subscriber.closed
            running_until_heard(second, result, subscriber)
            assert subscriber.sid == "session-2"
            assert subscriber.components == {}
            assert subscriber.ask("mark", text="tone")["ok"]  # a command to the session that is followed now
            assert second.marks == ["tone"]
        finally:
            second.end()


def running_until_heard(session, result, subscriber):
    deadline = time.monotonic() + 20
    frame = 0
    while (message := subscriber.recv(0.02)) is None:
        assert time.monotonic() < deadline
        session.do(session.publisher.publish_result, result(frame, []))
        frame += 1
    assert message.sid == "session-2"


def test_without_that_wish_it_ends_with_the_session(running):
    async def listen():
        async with AsyncSubscriber(running.endpoint, EVENTS, timeout_s=0.2, reconnect=True) as subscriber:
            with pytest.raises(WireError, match="not even its status"):  # silence is an error in either case
                await anext(subscriber)
            await asyncio.to_thread(running.end)
            assert (await anext(subscriber)).name == "closed"
            with pytest.raises(TimeoutError):  # and after a goodbye it is right
                async with asyncio.timeout(0.6):
                    await anext(subscriber)

    with Subscriber(running.endpoint, EVENTS) as subscriber:
        asyncio.run(listen())
        assert [message.name for message in subscriber] == ["closed"]
        assert subscriber.closed
