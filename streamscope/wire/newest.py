"""The newest frame and nothing else: a client of latest/, for loops that act."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import zmq

from streamscope.clock import clock_ns
from streamscope.errors import WireError
from streamscope.wire.endpoints import DEFAULT_ENDPOINT, parse, parse_endpoint
from streamscope.wire.keys import keys_to_show
from streamscope.wire.latest import LatestRecord, unpack_latest
from streamscope.wire.schema import LATEST, MAX_MESSAGE_BYTES


class Latest:
    """Receives the newest frame of a session, however late it is asked for; older ones are never seen.

    ::

        with Latest("tcp://127.0.0.1:5570", max_age_s=0.1) as latest:
            while (record := latest.recv(timeout_s=1.0)) is not None:
                act_on(record.ids, record.c)

    It connects again by itself when the session begins anew. To be used from one thread.

    Parameters
    ----------
    endpoint : str
        Data socket of the session, as for `Subscriber`.
    max_age_s : float, optional
        Raise WireError instead of handing out a record whose frame is older than this, s. On the same machine only.
    keys : str or Path, optional
        As for `Subscriber`.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        max_age_s: float | None = None,
        keys: str | Path | None = None,
    ) -> None:
        self.endpoint = parse_endpoint(endpoint).latest
        self._keys = keys_to_show(parse(endpoint)[0], None if keys is None else Path(keys))
        self._max_age_s = max_age_s

    def __enter__(self) -> Latest:
        self._context = zmq.Context()
        self._socket = socket = self._context.socket(zmq.SUB)
        socket.linger = 0
        socket.conflate = 1
        socket.maxmsgsize = MAX_MESSAGE_BYTES
        if self._keys is not None:
            self._keys.lock(socket)
        socket.subscribe(LATEST)
        socket.connect(self.endpoint)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._context.term()

    def recv(self, timeout_s: float | None = None) -> LatestRecord | None:
        """Return the newest record that was not handed out yet, None when none came in time.

        Raises
        ------
        WireError
            If it is no record of this version, or older than `max_age_s`.
        """
        if not self._socket.poll(None if timeout_s is None else int(1e3 * timeout_s)):
            return None
        record = unpack_latest(self._socket.recv())
        age_s = (clock_ns() - record.t_capture_ns) / 1e9
        if self._max_age_s is not None and age_s > self._max_age_s:
            raise WireError(
                f"frame {record.frame} is {1e3 * age_s:.0f} ms old, older than the {1e3 * self._max_age_s:.0f} ms "
                "that max_age_s allows: do not act on it"
            )
        return record
