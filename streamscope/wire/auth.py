"""Who may connect: answers ZeroMQ's questions about each new connection (ZAP, RFC 27). Sans-IO."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from zmq.utils import z85

from streamscope.clock import clock_ns
from streamscope.wire.keys import ServerKeys

DOMAIN = b"streamscope"
ADDRESS = "inproc://zeromq.zap.01"  # where ZeroMQ asks
_VERSION = b"1.0"
_TELL_EVERY_NS = 1_000_000_000

_log = logging.getLogger(__name__)


class Authenticator:
    """Lets in whose public key is in the list, under the name that it has there; everybody else stays out.

    Parameters
    ----------
    keys : ServerKeys
        The list.
    clock : callable
        Monotonic time, ns.
    """

    def __init__(self, keys: ServerKeys, clock: Callable[[], int] = clock_ns) -> None:
        self._keys = keys
        self._clock = clock
        self._told_ns: int | None = None
        self.refused = 0  # connections

    def answer(self, frames: Sequence[bytes]) -> list[bytes]:
        """Return the reply to one question: whether a connection is let in, and as whom."""
        request_id = frames[1] if len(frames) > 1 else b""
        name = self._name(frames)
        if name is None:
            self._refuse(frames)
            return [_VERSION, request_id, b"400", b"this key is not let in", b"", b""]
        return [_VERSION, request_id, b"200", b"", name.encode("ascii"), b""]

    def _name(self, frames: Sequence[bytes]) -> str | None:
        if len(frames) != 7 or frames[0] != _VERSION or frames[2] != DOMAIN:
            return None
        if frames[5] != b"CURVE" or len(frames[6]) != 32:
            return None
        return self._keys.who(z85.encode(frames[6]).decode("ascii"))

    def _refuse(self, frames: Sequence[bytes]) -> None:
        self.refused += 1
        now_ns = self._clock()
        if self._told_ns is None or now_ns - self._told_ns >= _TELL_EVERY_NS:
            self._told_ns = now_ns
            address = frames[3].decode("ascii", "replace") if len(frames) > 3 else "?"
            _log.warning("a client at %s showed a key that is not let in (%d so far)", address, self.refused)
