"""What the two clients share: options, sockets' settings, the mirror of the session, and the sentences said
when something fails. Nothing here waits.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import zmq

from streamscope.clock import clock_ns
from streamscope.errors import WireError
from streamscope.wire.endpoints import DEFAULT_ENDPOINT, parse, parse_endpoint
from streamscope.wire.keys import keys_to_show
from streamscope.wire.mirror import Mirror, checked_topics
from streamscope.wire.schema import (
    COMMANDS,
    COMPONENTS,
    EVENTS,
    MAX_MESSAGE_BYTES,
    STATUS,
    TRACES,
    WELCOME,
    Message,
    TracesMessage,
)
from streamscope.wire.snapshot import Cell

_log = logging.getLogger(__name__)

_ALWAYS = (COMPONENTS, EVENTS, STATUS)  # for the table, the end, and signs of life


class Connection:
    """A client's view of a session; see `Subscriber` for the parameters."""

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        topics: str | Collection[str] = (TRACES,),
        *,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 10.0,
        max_age_s: float | None = None,
        queue: int = 1000,
        keys: str | Path | None = None,
        reconnect: bool = False,
    ) -> None:
        self.endpoints = parse_endpoint(endpoint)
        self._keys = keys_to_show(parse(endpoint)[0], None if keys is None else Path(keys))
        self.info: Mapping[str, Any] = {}  # what hello said: info, clock, endpoints, version
        self.skipped = 0  # messages passed over by recv_latest
        self._clock_offset_ns: int | None = None  # of the session's monotonic clock from ours
        self._topics = checked_topics(topics)
        self._mirror = Mirror(self._topics)
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._max_age_s = max_age_s
        self._queue = queue
        self._reconnect = reconnect

    @property
    def components(self) -> Mapping[int, Cell]:
        """Return every component known so far by id; merged and retired ones stay, with that status."""
        return MappingProxyType(self._mirror.cells)

    @property
    def lost(self) -> Mapping[str, int]:
        """Return the number of messages lost so far, by topic."""
        return MappingProxyType(self._mirror.lost)

    @property
    def sid(self) -> str | None:
        """Return the session that is followed."""
        return self._mirror.sid

    @property
    def shape(self) -> tuple[int, int] | None:
        """Return (H, W) of the reference frame, once there is a component table."""
        return self._mirror.shape

    @property
    def incomplete(self) -> bool:
        """Return whether `components` may lack some: a snapshot was needed and the session did not answer."""
        return self._mirror.incomplete

    @property
    def closed(self) -> bool:
        """Return whether the session said goodbye, and no other one is waited for."""
        return self._mirror.closed and not self._reconnect

    def _connect_data(self, socket: zmq.Socket[Any]) -> None:
        self._lock(socket)
        socket.linger = 0
        socket.rcvhwm = self._queue
        socket.maxmsgsize = MAX_MESSAGE_BYTES
        for topic in (WELCOME, *(topic.encode() for topic in {*_ALWAYS, *self._topics})):
            socket.subscribe(topic)
        socket.connect(self.endpoints.data)

    def _lock(self, socket: zmq.Socket[Any]) -> None:
        if self._keys is not None:
            self._keys.lock(socket)

    def _connect_control(self, socket: zmq.Socket[Any]) -> None:
        self._lock(socket)
        socket.linger = 0
        socket.maxmsgsize = MAX_MESSAGE_BYTES
        socket.routing_id = (
            uuid.uuid4().hex.encode()
        )  # kept over reconnects, so that a repeated request is known
        socket.connect(self.endpoints.control)

    def _greeted(self, hello: Mapping[str, Any]) -> None:
        """Take over what the session says of itself, and how far its clock is from ours."""
        self.info = hello
        clock = hello.get("clock")
        theirs_ns = clock.get("monotonic_ns") if isinstance(clock, dict) else None
        self._clock_offset_ns = theirs_ns - clock_ns() if type(theirs_ns) is int else None

    def _bounds(self, verb: str) -> dict[str, Any]:
        """Return what keeps a command from having an effect on another session, or too late."""
        if verb not in COMMANDS or self._clock_offset_ns is None:
            return {}
        deadline_ns = clock_ns() + int(1e9 * self._connect_timeout_s) + self._clock_offset_ns
        return {"sid": self.sid, "before_ns": deadline_ns}

    def _fresh(self, message: Message) -> Message:
        if self._max_age_s is not None and isinstance(message, TracesMessage):
            age_ms = message.age_ms(clock_ns())
            limit_ms = 1e3 * self._max_age_s
            if age_ms > limit_ms:
                raise WireError(
                    f"frame {message.frame} is {age_ms:.0f} ms old, older than the {limit_ms:.0f} ms that "
                    "max_age_s allows: do not act on it; use recv_latest, or do less per message"
                )
        return message

    def _do_without(self, error: WireError) -> None:
        if not self._mirror.do_without_snapshot():
            raise error
        _log.warning("going on with a component table that may lack some: %s", error)

    @property
    def _between(self) -> bool:
        """Return whether a session said goodbye and the next one is waited for: then silence is right."""
        return self._mirror.closed and self._reconnect

    def _nobody(self) -> WireError:
        return WireError(
            f"nobody publishes at {self.endpoints.data} (waited {self._connect_timeout_s:g} s): is a session "
            "running, is this the address that it printed when it began, and "
            + (
                "is your key let in there (streamscope keys list)?"
                if self._keys
                else "does it ask for keys (--keys)?"
            )
        )

    def _silence(self) -> WireError:
        return WireError(
            f"nothing came from {self.endpoints.data} for {self._timeout_s:g} s, not even its status: "
            "did the session end or hang?"
        )

    def _no_reply(self, verb: str) -> WireError:
        return WireError(
            f"no reply to {verb!r} from {self.endpoints.control} within {self._connect_timeout_s:g} s: "
            "is the session still running?"
        )
