"""What an attacker would try: each is refused, and the session goes on for its friends."""

from __future__ import annotations

import asyncio
import re
import socket as socketlib
import time
from pathlib import Path

import msgpack
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from streamscope import AsyncSubscriber, Subscriber
from streamscope.errors import WireError
from streamscope.wire.auth import Authenticator
from streamscope.wire.codec import decode, unpack_map
from streamscope.wire.control import decode_reply, encode_request
from streamscope.wire.endpoints import parse
from streamscope.wire.keys import Client, ServerKeys, make_pair, write_allowed
from streamscope.wire.mirror import checked_topics
from streamscope.wire.publisher import Publisher
from streamscope.wire.schema import VERSION

from .conftest import Running

WAIT_MS = 10_000
ROOT = Path(__file__).parents[2]


class Keys:
    """Folders with keys: the rig's, a friend's who may watch, a boss' who may command, a stranger's."""

    def __init__(self, root) -> None:
        self.rig = root / "rig"
        make_pair(self.rig, "session")
        clients = {}
        for name in ("friend", "boss", "stranger"):
            pair = make_pair(root / name, name)
            (root / name / "session.key").write_bytes((self.rig / "session.key").read_bytes())
            setattr(self, name, root / name)
            clients[name] = Client(name, pair.public, name == "boss")
        self.clients = {name: client for name, client in clients.items() if name != "stranger"}
        write_allowed(self.rig, self.clients)


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path)


@pytest.fixture
def locked(keys):
    session = Running(sid="session-1", keys=keys.rig)
    session.publisher = session.start()
    session.endpoint = session.publisher.endpoints.data
    yield session
    session.end()


def test_who_may_watch_watches_and_may_not_command(locked, keys, result):
    with Subscriber(locked.endpoint, keys=keys.friend) as friend:
        locked.do(locked.publisher.publish_result, result(0))
        assert friend.recv(5.0).frame == 0
        for verb in ("stop", "freeze", "mark", "arm", "disarm", "set"):
            with pytest.raises(WireError, match=f"refused '{verb}': the key 'friend' may watch, not command"):
                friend.ask(verb)
        assert friend.ask("ping")["ok"]
    assert (locked.stops, locked.holds, locked.marks, locked.wishes) == (0, [], [], [])


def test_who_may_command_does_until_the_right_is_taken_away(locked, keys):
    async def command():
        async with AsyncSubscriber(locked.endpoint, keys=keys.boss / "boss.key_secret") as boss:
            assert (await boss.ask("mark", text="tone"))["frame"] == 41
            write_allowed(keys.rig, {"friend": keys.clients["friend"]})
            with pytest.raises(WireError, match="the key 'boss' may watch, not command"):
                await boss.ask("stop")

    asyncio.run(command())
    assert (locked.marks, locked.stops) == (["tone"], 0)


def curious(context, endpoint, own=None, server=None):
    socket = context.socket(zmq.SUB)
    socket.linger = 0
    if own is not None:
        socket.curve_publickey, socket.curve_secretkey = own
        socket.curve_serverkey = server
    socket.subscribe(b"")
    socket.connect(endpoint)
    return socket


def test_a_stranger_a_plain_client_and_one_with_the_wrong_server_see_nothing(locked, keys, result):
    stranger = ServerKeys(keys.rig).pair.public.encode(), zmq.curve_keypair()
    at = locked.publisher.endpoints
    with zmq.Context() as context, Subscriber(locked.endpoint, keys=keys.friend) as friend:
        server = stranger[0]
        friendly = friend._keys.own
        pair = friendly.public.encode(), friendly.secret.encode()
        sockets = [
            curious(context, endpoint, *how)
            for endpoint in (at.data, at.latest)
            for how in (
                (stranger[1], server),
                (),
                (pair, zmq.curve_keypair()[0]),
                (zmq.curve_keypair(), server),
            )
        ]
        dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.connect(at.control)
        dealer.send_multipart(encode_request(1, "stop"))
        deadline = time.monotonic() + 10
        frame = 0
        while locked.publisher.refused < 4:
            assert time.monotonic() < deadline
            locked.do(locked.publisher.publish_result, result(frame))
            assert friend.recv(5.0).frame == frame
            frame += 1
        locked.do(locked.publisher.publish_result, result(frame))
        assert friend.recv(5.0).frame == frame
        assert not any(socket.poll(20) for socket in (*sockets, dealer))
        for socket in (*sockets, dealer):
            socket.close()
    assert locked.stops == 0


def test_a_client_without_the_right_key_is_told_what_may_be_wrong(locked, keys):
    for shown, reason in ((None, "does it ask for keys"), (keys.stranger, "is your key let in there")):
        with (
            pytest.raises(WireError, match=reason),
            Subscriber(locked.endpoint, keys=shown, connect_timeout_s=0.2),
        ):
            pass


def test_a_session_for_others_is_not_even_opened_without_keys(tmp_path, monkeypatch, keys, result):
    monkeypatch.setattr("streamscope.wire.keys.default_folder", lambda: tmp_path / "none")
    with pytest.raises(WireError, match=r"cannot bind to 0\.0\.0\.0"):
        Publisher("0.0.0.0:0")
    session = Running(keys=keys.rig, bind="0.0.0.0:0")
    publisher = session.start()
    try:
        port = parse(publisher.endpoints.data)[1]
        with Subscriber(f"127.0.0.1:{port}", keys=keys.friend) as friend:
            session.do(publisher.publish_result, result(0))
            assert friend.recv(5.0).frame == 0
    finally:
        session.end()


@given(st.lists(st.binary(max_size=40), max_size=9))
def test_questions_that_zeromq_never_asks_let_nobody_in(frames):
    class Nobody:
        def who(self, public):
            raise AssertionError

    assert Authenticator(Nobody(), clock=lambda: 0).answer(frames)[2] == b"400"


@pytest.mark.parametrize("change", [(2, b"other"), (5, b"NULL"), (5, b"PLAIN"), (6, b"short"), (0, b"2.0")])
def test_only_a_curve_key_of_this_domain_is_looked_up(keys, change):
    server = ServerKeys(keys.rig)
    public = z85.decode(keys.clients["boss"].public.encode())
    question = [b"1.0", b"7", b"streamscope", b"10.0.0.9", b"", b"CURVE", public]
    auth = Authenticator(server)
    assert auth.answer(question)[1:5] == [b"7", b"200", b"", b"boss"]
    question[change[0]] = change[1]
    assert auth.answer(question)[2] == b"400"
    assert auth.refused == 1


def raw(address, *parts):
    """Send bytes to a port without speaking ZeroMQ, and hang up."""
    with socketlib.create_connection(parse(address)) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:
                return  # refused already


GREETING = (
    b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0" + b"NULL".ljust(20, b"\0") + b"\0" * 32
)  # ZMTP 3.0, as a client
READY = b"\x04\x26\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0"


@pytest.mark.parametrize(
    "parts",
    [
        (b"GET / HTTP/1.1\r\n\r\n",),
        (b"\xff" * 4096,),
        (GREETING, READY, b"\x02" + (2**62).to_bytes(8, "big")),  # a frame that claims 4 EiB
        (GREETING, READY, b"\x02" + (2**21).to_bytes(8, "big"), bytes(2**21)),
        (GREETING[:20],),
        (GREETING, b"\x04\xff" + b"x" * 255),
    ],
    ids=["http", "rubbish", "claims", "oversized", "cut off", "no handshake"],
)
def test_bytes_that_are_no_zeromq_end_their_own_connection_only(running, result, parts):
    at = running.publisher.endpoints
    with Subscriber(running.endpoint) as friend:
        for address in (at.data, at.control, at.latest):
            raw(address, *parts)
        running.do(running.publisher.publish_result, result(0))
        assert friend.recv(5.0).frame == 0
        assert friend.ask("ping")["ok"]


def packed(**changes):
    return msgpack.packb({"v": VERSION, "id": 1, "verb": "ping", **changes})


def nested(levels):
    return b"\x84\xa1v\x92\x01\x00\xa2id\x01\xa4verb\xa4ping\xa1x" + b"\x91" * levels + b"\x00"


HOSTILE = {
    "array of 2**32 - 1": b"\xdd\xff\xff\xff\xff",
    "map of 2**32 - 1": b"\xdf\xff\xff\xff\xff",
    "text of 2**32 - 1": b"\xdb\xff\xff\xff\xff",
    "nested 9 deep": nested(9),
    "nested 60000 deep": nested(60_000),
    "an extension": packed(x=msgpack.ExtType(5, b"x")),
    "a time": packed(x=msgpack.Timestamp(1)),
    "no text key": b"\x84\xa1v\x92\x01\x00\xa2id\x01\xa4verb\xa4ping\x01\x02",
    "no UTF-8": b"\x84\xa1v\x92\x01\x00\xa2id\x01\xa4verb\xa4ping\xa1x\xa2\xff\xff",
    "more behind it": packed() + b"\x00",
    "65 KiB": packed(x=["x" * 1000] * 66),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_hostile_msgpack_is_refused_by_both_sides(running, hostile):
    with pytest.raises(WireError, match="header"):
        unpack_map(hostile)
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(running.publisher.endpoints.control)
        dealer.send_multipart([b"request/", hostile])
        assert dealer.poll(WAIT_MS)
        assert decode(dealer.recv_multipart())[1]["ok"] is False
        dealer.send_multipart(encode_request(2, "ping"))
        assert dealer.poll(WAIT_MS)
        assert decode_reply(dealer.recv_multipart(), 2)
    assert running.publisher.malformed == 1


def test_a_command_that_is_replayed_has_its_effect_once_and_none_when_it_is_late(running):
    with zmq.Context() as context:

        def send(request):
            with context.socket(zmq.DEALER) as dealer:
                dealer.linger = 0
                dealer.routing_id = b"rig-client"
                dealer.connect(running.publisher.endpoints.control)
                dealer.send_multipart(request)
                assert dealer.poll(WAIT_MS)
                return dealer.recv_multipart()

        soon = time.perf_counter_ns() + 60_000_000_000
        caught = encode_request("a", "mark", text="reward", sid="session-1", before_ns=soon)
        replies = {tuple(send(caught)) for _ in range(3)}  # three connections, the same bytes
        assert len(replies) == 1
        late = encode_request("b", "stop", sid="session-1", before_ns=time.perf_counter_ns() - 1)
        with pytest.raises(WireError, match="too late"):
            decode_reply(send(late), "b")
        with pytest.raises(WireError, match="meant for session"):
            decode_reply(send(encode_request("c", "stop", sid="session-0", before_ns=soon)), "c")
    assert (running.marks, running.stops) == (["reward"], 0)


@pytest.mark.parametrize(
    "topic", ["#", "+/", "*", "traces", "tra ces/", "../traces/", "traces/\0/", "/", "a//b/"]
)
def test_wildcards_and_paths_are_no_topics(topic):
    with pytest.raises(WireError, match="topic"):
        checked_topics(topic)


OWN_PIPE = "streamscope/session/learner_process.py"  # to a process that the session started itself
UNPICKLES = re.compile(
    r"^\s*(import|from)\s+(pickle|marshal|shelve|dill|cloudpickle|joblib|yaml)\b"
    r"|(?<![\w.])(eval|exec|__import__)\(|recv_pyobj|allow_pickle=(?!False)",
    re.MULTILINE,
)


def test_nothing_that_could_run_code_is_made_of_bytes_from_outside():
    assert UNPICKLES.search("x = np.load(path, allow_pickle=True)")
    found = {
        path.relative_to(ROOT).as_posix()
        for top in ("streamscope", "drivers")
        for path in (ROOT / top).rglob("*.py")
        if UNPICKLES.search(path.read_text(encoding="utf-8"))
    }
    assert found == {OWN_PIPE}
