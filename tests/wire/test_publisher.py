"""The publisher's sockets, heard by plain ZeroMQ sockets as a stranger's client would."""

from __future__ import annotations

import time

import msgpack
import numpy as np
import pytest
import zmq

from streamscope.errors import WireError
from streamscope.types import ComponentEvent, Health, Tail
from streamscope.wire.codec import decode
from streamscope.wire.control import decode_reply, encode_request
from streamscope.wire.endpoints import parse
from streamscope.wire.latest import unpack_latest
from streamscope.wire.messages import decode_message
from streamscope.wire.publisher import Publisher
from streamscope.wire.schema import COMPONENTS, EVENTS, IMAGE, STATUS, TOPICS, TRACES, WELCOME

WAIT_MS = 10_000
HEALTH = Health("RUNNING", 3, 10, 20.0, 3.5, 9.0, 1, 0, 0, 4, 5, 6, (0.5, -1.0))


@pytest.fixture
def context():
    with zmq.Context() as context:
        yield context


def subscribed(context, endpoint, *topics, **options):
    """Return a SUB socket whose subscriptions are live."""
    socket = context.socket(zmq.SUB)
    socket.linger = 0
    for name, value in options.items():
        setattr(socket, name, value)
    for topic in (WELCOME, *(topic.encode() for topic in topics)):
        socket.subscribe(topic)
    socket.connect(endpoint)
    assert socket.poll(WAIT_MS)
    assert socket.recv_multipart() == [WELCOME]
    return socket


def asked(context, running, kind=zmq.DEALER):
    socket = context.socket(kind)
    socket.linger = 0
    socket.connect(running.publisher.endpoints.control)
    return socket


def reply(socket, request_id):
    assert socket.poll(WAIT_MS)
    return decode_reply(socket.recv_multipart(), request_id)


def wait_for_subscription(running, topic, n=1):
    """Publish status, as a session does, until the publisher knows of the subscription."""
    deadline = time.monotonic() + 10
    while running.publisher.subscribers(topic) < n:
        assert time.monotonic() < deadline
        running.do(running.publisher.publish_status, HEALTH)


def test_every_kind_of_message_goes_out_under_its_topic(context, running, result, table):
    publisher = running.publisher
    with subscribed(context, running.endpoint, *TOPICS) as socket:
        wait_for_subscription(running, TRACES)
        born = ComponentEvent("born", 4, 3, y=0.0, x=4.75)
        running.do(publisher.publish_epoch, table(2, [4, 6]), [born, ComponentEvent("retired", 1, 3)], 3)
        published = running.do(publisher.publish_result, result(3, [4, 6], epoch=2, gap=1, hw=77))
        tail = Tail(2, np.array([4], np.uint32), np.ones((2, 1), np.float32), np.ones((2, 1), np.float32))
        running.do(publisher.publish_tail, tail)
        running.do(publisher.publish_event, "mark", 3, text="lick")
        running.do(publisher.publish_image, 3, 5, np.zeros((4, 5), np.uint8))
        got = []
        while not got or got[-1].topic != IMAGE:
            assert socket.poll(WAIT_MS)
            message = decode_message(socket.recv_multipart())
            if message.topic != STATUS:
                got.append(message)
    assert [message.topic for message in got] == [
        COMPONENTS,
        COMPONENTS,
        EVENTS,
        TRACES,
        EVENTS,
        EVENTS,
        IMAGE,
    ]
    assert [message.seq for message in got] == [0, 1, 0, 0, 1, 2, 0]
    assert {message.sid for message in got} == {"session-1"}
    assert got[0].pixels.tolist() == [4, 5]
    assert got[1].pixels is None
    assert (got[2].name, got[2].fields) == ("epoch", {"epoch": 2, "cells": 2})
    assert (got[3].t_publish_ns, got[3].gap, got[3].hw, got[3].epoch) == (published, 1, 77, 2)
    assert (got[4].name, got[5].fields) == ("drained", {"text": "lick"})


def test_the_latest_socket_keeps_only_the_newest_frame(context, running, result):
    socket = context.socket(zmq.SUB)
    socket.linger = 0
    socket.conflate = 1
    socket.subscribe(b"latest/")
    socket.connect(running.publisher.endpoints.latest)
    k = 0
    while not socket.poll(5):  # until the connection is made
        running.do(running.publisher.publish_result, result(k, 3))
        k += 1
        assert k < 2000
    last = result(5000, 3)
    running.do(running.publisher.publish_result, last)
    deadline = time.monotonic() + 10
    frame = -1
    while frame != 5000 and time.monotonic() < deadline:
        if socket.poll(100):
            record = unpack_latest(socket.recv())
            frame = record.frame
    socket.close()
    assert frame == 5000
    np.testing.assert_array_equal(record.c, last.c)


def test_hello_tells_what_a_client_needs(context, running):
    with asked(context, running) as socket:
        socket.send_multipart(encode_request(1, "hello"))
        header, _ = reply(socket, 1)
    assert (header["sid"], header["version"], header["topics"]) == ("session-1", [1, 0], list(TOPICS))
    assert header["endpoints"]["latest"] == running.publisher.endpoints.latest
    assert header["info"] == {"source": "synthetic:test", "fps": 20.0}
    assert header["clock"]["monotonic_ns"] <= time.monotonic_ns()


def test_a_req_socket_is_answered_too(context, running):
    with asked(context, running, zmq.REQ) as socket:
        socket.send_multipart(encode_request("x", "ping"))
        assert reply(socket, "x")[0]["frame"] is None


@pytest.mark.parametrize("kind", [zmq.DEALER, zmq.REQ])
def test_freeze_is_answered_when_it_has_taken_effect(context, running, kind):
    with asked(context, running, kind) as socket:
        socket.send_multipart(encode_request("f", "freeze"))
        deadline = time.monotonic() + 10
        while not running.holds:
            assert time.monotonic() < deadline
        if kind == zmq.DEALER:  # meanwhile others are served, and a repeated request waits too
            socket.send_multipart(encode_request("f", "freeze"))
            socket.send_multipart(encode_request("p", "ping"))
            assert reply(socket, "p")
        ((frozen, later),) = running.holds
        assert frozen
        running.do(later.settle, {"frame": 41})
        assert reply(socket, "f")[0]["frame"] == 41
        assert not socket.poll(20)


def test_freezing_is_an_event_and_part_of_the_snapshot(context, running, table):
    publisher = running.publisher
    with subscribed(context, running.endpoint, EVENTS) as socket, asked(context, running) as dealer:
        running.do(publisher.set_components, table(2, [4, 6]))
        for number, frozen in enumerate((True, False)):
            running.do(publisher.publish_held, frozen, 41 + number)
            assert socket.poll(WAIT_MS)
            event = decode_message(socket.recv_multipart())
            assert (event.name, event.frame) == (("frozen", 41) if frozen else ("thawed", 42))
            assert event.fields == {"cells": 2}
            dealer.send_multipart(encode_request(number, "snapshot"))
            assert reply(dealer, number)[0]["frozen_at"] == (41 if frozen else None)


@pytest.mark.parametrize(
    ("verb", "reason"),
    [
        ("freeze", "nothing is learned"),
        ("stop", "use Ctrl-C where it runs"),
        ("set", "no device"),
        ("arm", "no rules"),
        ("mark", "keeps no marks"),
    ],
)
def test_a_command_that_nobody_carries_out_is_refused_with_the_reason(verb, reason):
    publisher = Publisher("127.0.0.1:0")
    with pytest.raises(WireError, match=reason):
        decode_reply(publisher._control.answer(b"me", encode_request(1, verb)), 1)


def test_stop_is_passed_on_once(context, running):
    with asked(context, running) as socket:
        for _ in range(2):
            socket.send_multipart(encode_request("s", "stop"))
            assert reply(socket, "s")[0]["ok"]
    assert running.stops == 1


def test_a_hello_of_another_major_version_is_refused_with_the_reason(context, running):
    with asked(context, running) as socket:
        socket.send_multipart([b"request/", msgpack.packb({"v": [2, 0], "id": 1, "verb": "hello"})])
        with pytest.raises(WireError, match=r"version 2\.0 is not understood here, which speaks 1\.0"):
            reply(socket, 1)


def test_rubbish_on_any_socket_does_not_end_the_session(context, running, result):
    with asked(context, running) as socket, context.socket(zmq.XSUB) as rude:
        rude.linger = 0
        rude.connect(running.endpoint)
        rude.send(b"\x07rubbish")
        for rubbish in ([b""], [b"", b""], [b"request/", b"\xff" * 100], [b"a"] * 50, [b"x" * 3_000]):
            socket.send_multipart(rubbish)
            assert socket.poll(WAIT_MS)
            assert decode(socket.recv_multipart()[-2:])[1]["ok"] is False
        socket.send_multipart(encode_request(1, "ping"))
        assert reply(socket, 1)[0]["ok"]
    assert running.publisher.malformed == 5
    assert running.do(running.publisher.publish_result, result(0)) > 0


def test_the_snapshot_is_the_present_table_and_the_next_numbers(context, running, result, table):
    running.do(running.publisher.publish_epoch, table(1, [2]), [ComponentEvent("born", 2, 0)], 0)
    running.do(running.publisher.publish_epoch, table(2, [2, 5]), [ComponentEvent("born", 5, 1)], 1)
    running.do(running.publisher.publish_result, result(1, [2, 5]))
    with asked(context, running) as socket:
        socket.send_multipart(encode_request(1, "snapshot"))
        header, arrays = reply(socket, 1)
    assert (header["epoch"], header["frame"], header["shape"]) == (2, 1, [8, 10])
    assert header["next_seq"] == dict.fromkeys(TOPICS, 0) | {TRACES: 1, COMPONENTS: 2, EVENTS: 2}
    assert arrays["ids"].tolist() == [2, 5]
    assert arrays["pixels"].tolist() == [2, 3, 5, 6]


def test_a_stalled_subscriber_neither_delays_the_publisher_nor_other_subscribers(context, running, result):
    sample = result(0, 300)
    n = 3000
    at_once = (
        100  # of 256: up to 128 that were read may still count, however late ZeroMQ's thread gets to run
    )
    with (
        subscribed(context, running.endpoint, TRACES, rcvhwm=1, rcvbuf=4096) as stalled,
        subscribed(context, running.endpoint, TRACES) as reader,
    ):
        wait_for_subscription(running, TRACES, 2)

        def burst():
            start = time.thread_time_ns()
            for _ in range(at_once):
                running.publisher.publish_result(sample)
            return (time.thread_time_ns() - start) / at_once

        spent = []
        for first in range(0, n, at_once):
            spent.append(running.do(burst))
            for k in range(first, first + at_once):
                assert reader.poll(WAIT_MS)
                assert decode_message(reader.recv_multipart()).seq == k
        seqs = []
        while stalled.poll(WAIT_MS if len(seqs) < 200 else 50):
            seqs.append(decode_message(stalled.recv_multipart()).seq)
    assert seqs[:200] == list(range(200))  # the oldest are kept ...
    assert len(seqs) < n  # ... and for this one alone, the rest was dropped
    assert np.median(spent) < 1_000_000  # ns of CPU for one frame, sockets included
    assert running.publisher.dropped == 0


def test_a_port_in_use_is_said_in_one_sentence_and_nothing_stays_open():
    with Publisher("127.0.0.1:0") as first:
        data = first.endpoints.data.removeprefix("tcp://")
        with pytest.raises(WireError, match=r"port \d+ \(data\) on 127.0.0.1 is in use.*--bind 127.0.0.1:0"):
            Publisher(data).bind()
        host, port = parse(data)
        with pytest.raises(WireError, match=rf"port {port} \(latest\) on 127.0.0.1 is in use"):
            Publisher(f"{host}:{port - 2}").bind()
    with Publisher(data) as again:
        assert again.endpoints.data == f"tcp://{data}"


def test_info_that_cannot_be_sent_is_refused_at_once():
    with pytest.raises(WireError, match="cannot be sent"):
        Publisher("127.0.0.1:0", info={"movie": object()})
