"""Requests and replies without sockets."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamscope.errors import WireError
from streamscope.wire.codec import decode
from streamscope.wire.control import Control, Later, decode_reply, encode_request
from streamscope.wire.schema import VERSION


class Counting:
    """A session that counts how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0
        self.control = Control("sid", {"count": self.count, "refuse": self.refuse, "big": self.big})

    def count(self, request):
        self.calls += 1
        return {"calls": self.calls}, {"a": np.arange(3, dtype=np.uint32)}

    def big(self, request):
        self.calls += 1
        return {"calls": self.calls}, {"a": np.zeros(2**20, np.uint32)}

    def refuse(self, request):
        raise WireError("not today")


def test_a_request_is_answered_with_its_id():
    reply = Counting().control.answer(b"me", encode_request(7, "count"))
    header, arrays = decode_reply(reply, 7)
    assert (header["sid"], header["verb"], header["calls"]) == ("sid", "count", 1)
    np.testing.assert_array_equal(arrays["a"], np.arange(3))
    assert decode_reply(reply, 8) is None


def test_a_repeated_id_gets_the_same_reply_and_is_carried_out_once():
    session = Counting()
    first = session.control.answer(b"me", encode_request("a", "count"))
    assert session.control.answer(b"me", encode_request("a", "count")) == first
    assert session.calls == 1


def test_the_same_id_of_another_client_is_another_request():
    session = Counting()
    session.control.answer(b"me", encode_request(1, "count"))
    session.control.answer(b"you", encode_request(1, "count"))
    assert session.calls == 2


def test_an_id_cannot_be_used_for_another_verb():
    session = Counting()
    session.control.answer(b"me", encode_request(1, "count"))
    with pytest.raises(WireError, match="used for count"):
        decode_reply(session.control.answer(b"me", encode_request(1, "refuse")), 1)


def test_remembered_replies_are_bounded():
    session = Counting()
    for k in range(300):
        session.control.answer(b"me", encode_request(k, "count"))
    session.control.answer(b"me", encode_request(0, "count"))
    assert session.calls == 301  # id 0 was forgotten, the newest were not
    session.control.answer(b"me", encode_request(299, "count"))
    assert session.calls == 301
    for k in range(1000, 1010):
        session.control.answer(b"me", encode_request(k, "big"))
    session.control.answer(b"me", encode_request(1001, "big"))
    assert session.calls == 312  # ten replies of 4 MiB are more than is kept


def test_an_unknown_verb_is_refused_with_the_known_ones():
    with pytest.raises(WireError, match="known are count, refuse"):
        decode_reply(Counting().control.answer(b"me", encode_request(1, "format")), 1)


def test_a_refusal_carries_its_reason():
    with pytest.raises(WireError, match="refused 'refuse': not today"):
        decode_reply(Counting().control.answer(b"me", encode_request(1, "refuse")), 1)


def test_another_major_version_is_refused_with_the_reason():
    request = [b"request/", msgpack.packb({"v": [VERSION[0] + 1, 0], "id": 1, "verb": "count"})]
    session = Counting()
    with pytest.raises(WireError, match=r"protocol version 2\.0 is not understood here, which speaks 1\."):
        decode_reply(session.control.answer(b"me", request), 1)
    assert session.calls == 0


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"request/"],
        [b"request/", b"\xc1"],
        [b"other/", msgpack.packb({"v": VERSION, "id": 1, "verb": "count"})],
        [b"request/", msgpack.packb({"v": VERSION, "id": [1], "verb": "count"})],
        [b"request/", msgpack.packb({"v": VERSION, "id": True, "verb": "count"})],
        [b"request/", msgpack.packb({"v": VERSION, "id": "x" * 65, "verb": "count"})],
        [b"request/", msgpack.packb({"v": VERSION, "id": 1, "verb": 3})],
    ],
)
def test_malformed_requests_get_an_error_reply_and_are_counted(parts):
    session = Counting()
    _, header, _ = decode(session.control.answer(b"me", parts))
    assert header["ok"] is False
    assert header["id"] is None
    assert session.control.malformed == 1
    assert session.calls == 0


class Guarded:
    """A session with a command, a question, a clock, and keys: `boss` may command."""

    def __init__(self) -> None:
        self.done = []
        self.now_ns = 1_000
        self.control = Control(
            "sid",
            {"act": self.act, "look": lambda request: ({}, {})},
            commands=("act",),
            may_command=lambda user: user == "boss",
            clock=lambda: self.now_ns,
        )

    def act(self, request):
        self.done.append(request["id"])
        return {"n": len(self.done)}, {}

    def ask(self, request_id, verb="act", user="boss", client=b"me", **fields):
        return self.control.answer(client, encode_request(request_id, verb, **fields), user=user)


def test_a_command_that_comes_too_late_or_for_another_session_has_no_effect():
    session = Guarded()
    assert decode_reply(session.ask(1, sid="sid", before_ns=1_000), 1)[0]["n"] == 1
    with pytest.raises(WireError, match="0 ms too late"):
        decode_reply(session.ask(2, sid="sid", before_ns=999), 2)
    with pytest.raises(WireError, match="meant for session 'yesterday', this is sid"):
        decode_reply(session.ask(3, sid="yesterday"), 3)
    with pytest.raises(WireError, match="before_ns must be a time in ns"):
        decode_reply(session.ask(4, before_ns="soon"), 4)
    session.now_ns = 2_000
    assert decode_reply(session.ask(1, sid="sid", before_ns=1_000), 1)[0]["n"] == 1  # known: the same reply
    assert session.done == [1]


def test_who_may_watch_may_not_command_and_gets_no_reply_of_another():
    session = Guarded()
    with pytest.raises(WireError, match=r"key 'guest' may watch, not command.*streamscope keys allow guest"):
        decode_reply(session.ask(1, user="guest"), 1)
    assert decode_reply(session.ask(2, "look", user="guest"), 2)[0]["ok"]
    assert decode_reply(session.ask(3), 3)[0]["n"] == 1
    with pytest.raises(WireError, match="may watch, not command"):  # same routing id, same request id
        decode_reply(session.ask(3, user="guest"), 3)
    assert session.done == [3]


def test_many_questions_do_not_make_a_command_be_forgotten():
    session = Guarded()
    first = session.ask("once")
    for k in range(1000):
        session.ask(k, "look")
    assert session.ask("once") == first
    assert session.done == ["once"]


class Patient:
    """A session that answers when it can."""

    def __init__(self) -> None:
        self.waiting = []
        self.sent = []
        self.control = Control("sid", {"wait": self.wait, "other": self.wait})

    def wait(self, request):
        self.waiting.append(Later())
        return self.waiting[-1]

    def ask(self, request_id, verb="wait"):
        return self.control.answer(b"me", encode_request(request_id, verb), self.sent.append)


def test_a_reply_may_come_later_and_a_repeated_request_waits_for_the_same_one():
    session = Patient()
    assert session.ask("a") == []
    assert session.ask("a") == []
    assert len(session.waiting) == 1
    session.waiting[0].settle({"frame": 41})
    (reply,) = session.sent
    header, _ = decode_reply(reply, "a")
    assert (header["verb"], header["frame"]) == ("wait", 41)
    assert session.ask("a") == reply  # from memory
    assert len(session.waiting) == len(session.sent) == 1


def test_a_later_reply_may_be_a_refusal():
    session = Patient()
    session.ask(1)
    session.waiting[0].settle(WireError("not today"))
    with pytest.raises(WireError, match="refused 'wait': not today"):
        decode_reply(session.sent[0], 1)


def test_a_later_reply_that_is_known_already_is_sent_at_once():
    known = Later()
    known.settle({"frame": 7})
    sent = []
    Control("sid", {"wait": lambda request: known}).answer(b"me", encode_request(1, "wait"), sent.append)
    assert decode_reply(sent[0], 1)[0]["frame"] == 7


def test_the_id_of_a_request_under_way_cannot_be_used_for_another_verb():
    session = Patient()
    session.ask(1)
    with pytest.raises(WireError, match="used for wait"):
        decode_reply(session.ask(1, "other"), 1)


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_random_requests_are_always_answered(parts):
    _, header, _ = decode(Counting().control.answer(b"me", parts))
    assert header["ok"] is False


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_random_replies_raise_nothing_but_wire_errors(parts):
    with pytest.raises(WireError):
        decode_reply(parts, 1)
