"""Addresses: what a user writes, and the three sockets that follow from it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from streamscope.errors import WireError

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5570"
LAST_DATA_PORT = 65_533  # two more above it


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a session is heard: three neighbouring ports of one host."""

    data: str  # XPUB, all topics
    control: str  # ROUTER, port + 1
    latest: str  # PUB, port + 2


def endpoints(host: str, port: int) -> Endpoints:
    """Return the three addresses that belong to the data port `port`."""
    return Endpoints(*(f"tcp://{host}:{port + k}" for k in range(3)))


def parse(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, with or without ``tcp://`` before it.

    Raises
    ------
    WireError
        If it is not such an address, or leaves no room for the two ports above.
    """
    host, colon, port = text.strip().removeprefix("tcp://").rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise WireError(f"address {text!r} is not HOST:PORT; write e.g. 127.0.0.1:5570")
    if int(port) > LAST_DATA_PORT:
        raise WireError(
            f"address {text!r}: the two ports above it are used too, so it is at most {LAST_DATA_PORT}"
        )
    return ("127.0.0.1" if host == "localhost" else host), int(port)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host."""
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False


def parse_endpoint(text: str) -> Endpoints:
    """Return the three addresses of a running session from that of its data socket."""
    host, port = parse(text)
    if port == 0:
        raise WireError("port 0 cannot be listened to; use the port that the session printed when it began")
    return endpoints(host, port)
