"""Addresses that users write."""

from __future__ import annotations

import pytest

from streamscope.errors import WireError
from streamscope.wire.endpoints import Endpoints, is_loopback, parse, parse_endpoint


@pytest.mark.parametrize(
    "text", ["127.0.0.1:5570", "tcp://127.0.0.1:5570", "localhost:5570", " tcp://localhost:5570 "]
)
def test_an_address_may_be_written_with_or_without_tcp(text):
    assert parse(text) == ("127.0.0.1", 5570)


def test_control_and_latest_are_the_two_ports_above():
    assert parse_endpoint("tcp://127.0.0.1:5570") == Endpoints(
        "tcp://127.0.0.1:5570", "tcp://127.0.0.1:5571", "tcp://127.0.0.1:5572"
    )


@pytest.mark.parametrize(
    "text", ["", "5570", "127.0.0.1", "127.0.0.1:", ":5570", "127.0.0.1:x", "127.0.0.1:-1"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(WireError, match="is not HOST:PORT"):
        parse(text)


def test_a_port_without_room_above_it_is_refused():
    assert parse("127.0.0.1:65533")[1] == 65533
    with pytest.raises(WireError, match="at most 65533"):
        parse("127.0.0.1:65534")


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "*", "192.168.1.5", "rig-3", "eth0", "[::1]", "127.0.0.1.example.org"]
)
def test_others_can_reach_every_host_but_this_machine(host):
    assert not is_loopback(host)
    assert is_loopback("127.0.0.1")


def test_port_0_cannot_be_listened_to():
    with pytest.raises(WireError, match="port that the session printed"):
        parse_endpoint("127.0.0.1:0")
