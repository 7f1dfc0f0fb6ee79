"""The three sockets of a session: opened together, or not at all."""

from __future__ import annotations

import contextlib
import socket as socketlib
from dataclasses import dataclass
from typing import Any, TypeAlias

import zmq
import zmq.asyncio

from streamscope.errors import WireError
from streamscope.wire.auth import ADDRESS, DOMAIN
from streamscope.wire.endpoints import LAST_DATA_PORT, Endpoints, endpoints
from streamscope.wire.keys import Pair
from streamscope.wire.schema import MAX_REQUEST_BYTES, WELCOME

_Socket: TypeAlias = zmq.Socket[Any]

_QUEUED_MESSAGES = 256  # for each subscriber; what comes on top is dropped for that one alone
_QUEUED_RECORDS = 8  # of latest/, whose readers want the newest
_LINGER_MS = 300
_HANDSHAKE_MS = 5_000
_HEARTBEAT_MS = 2_000
_ATTEMPTS = 64  # to find three free neighbouring ports
_ROLES = ("data", "control", "latest")


@dataclass(frozen=True, slots=True)
class Sockets:
    """Open sockets and where they are heard."""

    context: zmq.Context[zmq.Socket[bytes]]
    data: zmq.Socket[bytes]  # XPUB
    router: zmq.asyncio.Socket
    latest: zmq.Socket[bytes]  # PUB
    zap: zmq.asyncio.Socket | None  # REP: where ZeroMQ asks who may connect; None: anybody may
    endpoints: Endpoints

    def close(self) -> None:
        """Close all; waits at most 0.3 s for what is under way."""
        zap = () if self.zap is None else (self.zap,)
        _close(self.context, (self.data, self.router, self.latest, *zap))


def open_sockets(host: str, port: int, pair: Pair | None = None) -> Sockets:
    """Return the sockets bound to `port` and the two above it; port 0 finds three free ones.

    With a pair of keys all connections are encrypted, and `Sockets.zap` is asked about each.

    Raises
    ------
    WireError
        If a port is in use or may not be opened; no socket stays open then.
    """
    if pair is not None and not zmq.has("curve"):
        raise WireError(
            "this ZeroMQ was built without CURVE, so that it has no keys; install pyzmq from its wheel"
        )
    context = zmq.Context()
    awaited = zmq.asyncio.Context.shadow(context)
    data = context.socket(zmq.XPUB)
    router = awaited.socket(zmq.ROUTER)
    latest = context.socket(zmq.PUB)
    zap = None if pair is None else awaited.socket(zmq.REP)
    sockets = (data, router, latest)
    opened = sockets if zap is None else (*sockets, zap)
    try:
        _configure(data, router, latest)
        if zap is not None and pair is not None:
            zap.linger = 0
            zap.bind(ADDRESS)  # before the others: a connection that nobody can judge would be let in
            _lock(sockets, pair)
        port = _bind(sockets, host, port)
    except BaseException:
        _close(context, opened)
        raise
    return Sockets(context, data, router, latest, zap, endpoints(host, port))


def _lock(sockets: tuple[_Socket, ...], pair: Pair) -> None:
    for socket in sockets:
        socket.curve_server = 1
        socket.curve_publickey = pair.public.encode("ascii")
        socket.curve_secretkey = pair.secret.encode("ascii")
        socket.zap_domain = DOMAIN
        socket.handshake_ivl = _HANDSHAKE_MS
        socket.heartbeat_ivl = _HEARTBEAT_MS  # a machine that is gone closes no connection by itself
        socket.heartbeat_timeout = 5 * _HEARTBEAT_MS


def _configure(data: _Socket, router: _Socket, latest: _Socket) -> None:
    for socket in (data, router, latest):
        socket.linger = _LINGER_MS
        socket.sndhwm = _QUEUED_MESSAGES
        socket.maxmsgsize = MAX_REQUEST_BYTES  # of what clients send
    latest.sndhwm = _QUEUED_RECORDS
    data.setsockopt(zmq.XPUB_VERBOSER, 1)
    data.setsockopt(zmq.XPUB_WELCOME_MSG, WELCOME)
    router.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a client that reconnects keeps its routing id


def _bind(sockets: tuple[_Socket, ...], host: str, port: int) -> int:
    if port:
        _bind_at(sockets, host, port)
        return port
    for _ in range(_ATTEMPTS):
        with socketlib.socket() as probe:
            probe.bind((host, 0))
            free = min(int(probe.getsockname()[1]), LAST_DATA_PORT)
        with contextlib.suppress(WireError):  # a neighbour is taken: try elsewhere
            _bind_at(sockets, host, free)
            return free
    raise WireError(f"no three neighbouring free ports were found on {host}; name one with --bind")


def _bind_at(sockets: tuple[_Socket, ...], host: str, port: int) -> None:
    bound: list[tuple[_Socket, str]] = []
    for k, socket in enumerate(sockets):
        address = f"tcp://{host}:{port + k}"
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            for earlier, where in bound:
                earlier.unbind(where)
            raise _bind_error(error, host, port + k, _ROLES[k]) from error
        bound.append((socket, address))


def _bind_error(error: zmq.ZMQError, host: str, port: int, role: str) -> WireError:
    if error.errno == zmq.EADDRINUSE:
        return WireError(
            f"port {port} ({role}) on {host} is in use, probably by another session; stop that one, or try "
            "--bind 127.0.0.1:0"
        )
    return WireError(
        f"port {port} ({role}) on {host} cannot be opened ({error.strerror}); try --bind 127.0.0.1:0"
    )


def _close(context: zmq.Context[zmq.Socket[bytes]], sockets: tuple[_Socket, ...]) -> None:
    for socket in sockets:
        socket.close()
    context.term()
