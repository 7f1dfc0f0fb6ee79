"""Subscribers against a publisher in another thread or process, over loopback sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import zmq

import streamscope
from streamscope import AsyncSubscriber, Subscriber
from streamscope.errors import WireError
from streamscope.types import ComponentEvent, Health
from streamscope.wire.endpoints import endpoints
from streamscope.wire.messages import encode_result
from streamscope.wire.publisher import Publisher
from streamscope.wire.schema import COMPONENTS, EVENTS, TRACES, Stamp

HEALTH = Health("RUNNING", 3, 10, 20.0, 3.5, 9.0, 1, 0, 0, 4, 5, 6, (0.5, -1.0))


def test_importing_streamscope_does_not_import_sockets():
    code = "import sys, streamscope; print('zmq' in sys.modules, 'numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]
    with pytest.raises(AttributeError, match="no attribute 'Publisher'"):
        _ = streamscope.Publisher


def test_every_frame_is_received_once_in_order_until_the_session_closes(running, result, table):
    running.do(running.publisher.publish_epoch, table(1, list(range(40))), [], 0)
    with Subscriber(running.endpoint) as subscriber:
        for k in range(300):
            running.do(running.publisher.publish_result, result(k, 40))
        running.end()
        got = list(subscriber)
        assert [message.frame for message in got] == list(range(300))
        assert subscriber.closed
        assert subscriber.lost == {}
        assert subscriber.recv(1.0) is None
        assert not subscriber.incomplete
    expected = result(299, 40)
    for name in ("ids", "y", "c", "s", "c_lag", "s_lag"):
        np.testing.assert_array_equal(getattr(got[299], name), getattr(expected, name))
    assert got[299].age_ms(time.monotonic_ns()) > 0


def test_what_is_left_of_an_ended_session_is_read_without_its_names(running, result, caplog):
    with Subscriber(running.endpoint, connect_timeout_s=0.3) as subscriber:
        for k in range(5):
            running.do(running.publisher.publish_result, result(k, [k]))
        running.end()
        assert [message.frame for message in subscriber] == list(range(5))
        assert subscriber.incomplete
    assert caplog.text.count("may lack some: no reply to 'snapshot'") == 1


def test_an_async_subscriber_receives_the_same(running, result):
    async def listen():
        ticks = 0

        async def other():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async with AsyncSubscriber(running.endpoint, (TRACES, EVENTS)) as subscriber:
            for k in range(100):
                running.do(running.publisher.publish_result, result(k, 40))
            assert (await subscriber.recv(5.0)).frame == 0
            beside = asyncio.create_task(other())
            frames = [message.frame async for message in _first(subscriber, 49)]
            beside.cancel()
            await asyncio.sleep(0.05)
            newest = await subscriber.recv_latest(5.0)
            skipped = subscriber.skipped
            assert (await subscriber.ask("ping"))["frame"] == 99
            nothing = await subscriber.recv(0.01)
            await asyncio.to_thread(running.end)
            end = [message.name async for message in subscriber]
            return frames, newest.frame, skipped, nothing, end, ticks

    frames, newest, skipped, nothing, end, ticks = asyncio.run(listen())
    assert frames == list(range(1, 50))
    assert (newest, skipped, nothing, end) == (99, 49, None, ["closed"])
    assert ticks >= 49  # a busy stream leaves room for other tasks


async def _first(subscriber, n):
    for _ in range(n):
        yield await anext(subscriber)


def test_a_late_joiner_can_name_every_id_that_it_sees(running, result, table):
    stop = threading.Event()

    def play():
        """Publish epochs that bear one cell and retire the oldest, a frame or two on each."""
        alive: list[int] = []
        frame = 0
        for epoch in itertools.count(1):
            alive.append(epoch)
            events = [ComponentEvent("born", epoch, frame)]
            if len(alive) > 5:
                events.append(ComponentEvent("retired", alive.pop(0), frame))
            now = table(epoch, alive, shape=(100, 100))
            running.do(running.publisher.publish_epoch, now, events, frame)
            for _ in range(2):
                running.do(running.publisher.publish_result, result(frame, list(alive), epoch=epoch))
                frame += 1
            if stop.is_set():
                return

    player = threading.Thread(target=play)
    player.start()
    try:
        for _ in range(5):
            with Subscriber(running.endpoint) as subscriber:
                for message in itertools.islice(subscriber, 60):
                    assert set(message.ids.tolist()) <= subscriber.components.keys()
                    newest = subscriber.components[int(message.ids[-1])]
                    assert newest.status in ("provisional", "confirmed")
                assert subscriber.lost == {}
    finally:
        stop.set()
        player.join()


def test_a_joiner_knows_the_shapes_and_follows_the_changes(running, result, table):
    publisher = running.publisher
    running.do(publisher.publish_epoch, table(1, [2, 5]), [ComponentEvent("born", 2, 0)], 0)
    with Subscriber(running.endpoint, (COMPONENTS, TRACES)) as subscriber:
        assert subscriber.components[5].pixels.tolist() == [5, 6]
        assert (subscriber.shape, subscriber.sid) == ((8, 10), "session-1")
        assert subscriber.info["info"]["fps"] == 20.0
        running.do(publisher.publish_epoch, table(2, [5, 9]), [ComponentEvent("merged", 2, 1, into=5)], 1)
        assert subscriber.recv(5.0).event.into == 5
        assert (subscriber.components[2].status, subscriber.components[2].into) == ("merged", 5)
        running.do(publisher.publish_result, result(1, [5, 9]))  # 9 was never announced
        assert subscriber.recv(5.0).ids.tolist() == [5, 9]
        assert subscriber.components[9].pixels.tolist() == [9, 10]


def test_lost_messages_are_noticed_and_a_lost_component_is_asked_for(running, result, table):
    publisher = running.publisher
    with Subscriber(running.endpoint) as subscriber:
        running.do(publisher.publish_result, result(0))
        assert subscriber.recv(5.0).missed == 0
        running.do(publisher.set_components, table(3, [0, 1, 2, 40]))
        running.do(_skip, publisher, TRACES, 4)
        running.do(_skip, publisher, COMPONENTS, 1)
        running.do(publisher.publish_component, ComponentEvent("retired", 1, 5))
        running.do(publisher.publish_result, result(5))
        assert subscriber.recv(5.0).missed == 4
        assert subscriber.lost == {TRACES: 4, COMPONENTS: 1}
        assert subscriber.components[40].status == "confirmed"


def _skip(publisher, topic, n):
    for _ in range(n):
        publisher._stamp(topic)


def test_recv_latest_passes_over_what_is_old(running, result):
    with Subscriber(running.endpoint) as subscriber:
        for k in range(50):
            running.do(running.publisher.publish_result, result(k))
        running.do(running.publisher.publish_status, HEALTH)
        deadline = time.monotonic() + 5
        frame = subscriber.recv_latest(5.0).frame
        while frame < 49 and time.monotonic() < deadline:
            frame = subscriber.recv_latest(1.0).frame
        assert frame == 49
        assert 0 < subscriber.skipped <= 49
        assert subscriber.recv_latest(0.01) is None


def test_a_message_older_than_the_limit_is_not_handed_out(running, result):
    with Subscriber(running.endpoint, max_age_s=0.5) as subscriber:
        old = time.monotonic_ns() - 700_000_000
        running.do(running.publisher.publish_result, result(0, t_capture_ns=old))
        running.do(running.publisher.publish_result, result(1))
        with pytest.raises(WireError, match=r"frame 0 is 7\d\d ms old, older than the 500 ms"):
            subscriber.recv(5.0)
        assert subscriber.recv(5.0).frame == 1


def test_nobody_at_the_address_is_said_in_one_sentence():
    with Publisher("127.0.0.1:0") as gone:
        address = gone.endpoints.data
    with (
        pytest.raises(WireError, match=f"nobody publishes at {address}"),
        Subscriber(address, connect_timeout_s=0.1),
    ):
        pass

    async def listen():
        async with AsyncSubscriber(address, connect_timeout_s=0.1):
            pass

    with pytest.raises(WireError, match=f"nobody publishes at {address}"):
        asyncio.run(listen())


def test_silence_is_not_mistaken_for_the_end(running):
    with Subscriber(running.endpoint, timeout_s=0.1) as subscriber:
        with pytest.raises(WireError, match="not even its status"):
            next(subscriber)
        assert not subscriber.closed


def test_status_is_a_sign_of_life(running, result):
    with Subscriber(running.endpoint, timeout_s=5.0) as subscriber:
        running.do(running.publisher.publish_status, HEALTH)
        running.do(running.publisher.publish_result, result(0))
        assert next(subscriber).frame == 0


def test_a_client_of_another_major_version_is_told_so(running, monkeypatch):
    monkeypatch.setattr("streamscope.wire.control.VERSION", (2, 0))
    with (
        pytest.raises(WireError, match=r"refused 'hello': protocol version 2\.0 is not understood"),
        Subscriber(running.endpoint),
    ):
        pass


def test_a_session_that_does_not_answer_is_said_in_one_sentence():
    with zmq.Context() as context, context.socket(zmq.XPUB) as mute:
        mute.linger = 0
        mute.setsockopt(zmq.XPUB_WELCOME_MSG, b"welcome/")
        port = mute.bind_to_random_port("tcp://127.0.0.1")
        joining = threading.Thread(target=lambda: [mute.poll(100) for _ in range(10)])
        joining.start()
        with (
            pytest.raises(
                WireError, match=f"no reply to 'hello' from {endpoints('127.0.0.1', port).control}"
            ),
            Subscriber(f"127.0.0.1:{port}", connect_timeout_s=0.5),
        ):
            pass
        joining.join()


def test_a_foreign_message_is_refused_and_the_next_is_read(running, result):
    with Subscriber(running.endpoint) as subscriber:
        running.do(running.publisher._send, [b"traces/", b"\xc1"])
        running.do(running.publisher._send, encode_result(Stamp("session-1", 0, 0), result(7)))
        with pytest.raises(WireError, match="not msgpack"):
            subscriber.recv(5.0)
        assert subscriber.recv(5.0).frame == 7


def test_a_subscriber_in_another_process_gets_every_frame(running, result):
    code = (
        "import sys, json\n"
        "from streamscope import Subscriber\n"
        "with Subscriber(sys.argv[1]) as subscriber:\n"
        "    print('ready', flush=True)\n"
        "    print(json.dumps([[m.frame, float(m.c[2])] for m in subscriber]))\n"
    )
    command = [sys.executable, "-c", code, running.endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        for k in range(200):
            running.do(running.publisher.publish_result, result(k))
        running.end()
        got = json.loads(process.stdout.read())
    assert got == [[k, k + 2.0] for k in range(200)]
