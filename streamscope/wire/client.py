"""Clients of a running session: one that waits in the caller's thread, one for asyncio."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import zmq
import zmq.asyncio

from streamscope.errors import WireError
from streamscope.wire.codec import Arrays, Header
from streamscope.wire.connection import Connection
from streamscope.wire.control import decode_reply, encode_request
from streamscope.wire.schema import Message
from streamscope.wire.snapshot import read_snapshot

CLIENT = "streamscope python"  # what hello says of us
_REPEAT_S = 1.0  # a request without a reply is sent again, with the same id


class Subscriber(Connection):
    """Receives a session's messages in the caller's thread.

    ::

        with Subscriber("tcp://127.0.0.1:5570") as subscriber:
            for message in subscriber:
                print(message.frame, dict(zip(message.ids, message.c)))

    Iteration ends when the session does. To be used from one thread.

    Parameters
    ----------
    endpoint : str
        Data socket of the session, ``tcp://HOST:PORT`` or ``HOST:PORT``.
    topics : str or collection of str
        What to hand out: traces/ components/ events/ status/ image/. The component table is kept in any case.
    timeout_s : float
        Iteration raises WireError when nothing at all, status included, came for so long, s.
    connect_timeout_s : float
        How long to wait for the publisher and for each reply, s.
    max_age_s : float, optional
        Raise WireError instead of handing out a traces/ message older than this, s. For closed loops on the
        same machine, since it compares with this machine's monotonic clock.
    queue : int
        Messages kept while the caller is busy; later ones are lost, and counted in `lost`.
    keys : str or Path, optional
        Folder with ``session.key`` and one secret key, or a ``.key_secret`` file beside the former, for a session
        that asks for keys. At an address of another machine the default folder is looked into.
    reconnect : bool
        When a session says goodbye, wait for the next one at this address, however long, and go on with it: `sid`
        changes, `components` begins anew. Without it, iteration ends. Silence without a goodbye is an error in
        either case, after which iteration may be taken up again.
    """

    def connect(self) -> None:
        """Wait for the publisher, say hello, and take the snapshot.

        Raises
        ------
        WireError
            If nobody publishes there, or the versions do not agree.
        """
        self._context = zmq.Context()
        self._data = self._context.socket(zmq.SUB)
        self._dealer = self._context.socket(zmq.DEALER)
        try:
            self._connect_data(self._data)
            self._connect_control(self._dealer)
            if self._receive(self._connect_timeout_s) is None:
                raise self._nobody()
            self.refresh()
        except BaseException:
            self.close()
            raise

    def recv(self, timeout_s: float | None = None) -> Message | None:
        """Return the next message of the chosen topics.

        Parameters
        ----------
        timeout_s : float, optional
            How long to wait, s; None: for ever.

        Returns
        -------
        message : Message or None
            None when none came in time, or the session is over (`closed`).
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.closed:
            parts = self._receive(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if parts is None:
                return None
            message = self._accept(parts)
            if message is not None:
                return self._fresh(message)
        return None

    def recv_latest(self, timeout_s: float | None = None) -> Message | None:
        """Return the newest message that has arrived, passing over older ones, or wait for the next."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        newest = None
        while not self.closed:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            parts = self._receive(wait if newest is None else 0.0)
            if parts is None:
                break
            message = self._accept(parts)
            if message is not None:
                self.skipped += newest is not None
                newest = message
        return None if newest is None else self._fresh(newest)

    def refresh(self) -> None:
        """Take the snapshot again, e.g. for the present shapes."""
        if self._mirror.elsewhere:
            self._greeted(self._ask("hello", client=CLIENT)[0])
        self._mirror.take_snapshot(read_snapshot(*self._ask("snapshot")))

    def ask(self, verb: str, **fields: Any) -> Mapping[str, Any]:
        """Return the reply to a request such as ping, mark or stop.

        A command is carried out once, by the session that is followed, within the time that is waited for the reply,
        or not at all.

        Raises
        ------
        WireError
            With the reason when it was refused, or when no reply came.
        """
        return self._ask(verb, **fields)[0]

    def close(self) -> None:
        """Close the sockets."""
        self._data.close()
        self._dealer.close()
        self._context.term()

    def __enter__(self) -> Subscriber:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Subscriber:
        return self

    def __next__(self) -> Message:
        while not self.closed:
            parts = self._receive(self._timeout_s)
            if parts is None and self._between:
                continue
            if parts is None:
                raise self._silence()
            message = self._accept(parts)
            if message is not None:
                return self._fresh(message)
        raise StopIteration

    def _accept(self, parts: list[bytes]) -> Message | None:
        message = self._mirror.feed(parts)
        if self._mirror.needs_snapshot:
            try:
                self.refresh()
            except WireError as error:
                self._do_without(error)
        return message

    def _receive(self, timeout_s: float | None) -> list[bytes] | None:
        if not self._data.poll(None if timeout_s is None else int(1e3 * timeout_s)):
            return None
        return self._data.recv_multipart()

    def _ask(self, verb: str, **fields: Any) -> tuple[Header, Arrays]:
        request_id = uuid.uuid4().hex
        deadline = time.monotonic() + self._connect_timeout_s
        fields |= self._bounds(verb)
        while time.monotonic() < deadline:
            self._dealer.send_multipart(encode_request(request_id, verb, **fields))
            repeat_at = min(deadline, time.monotonic() + _REPEAT_S)
            while (wait := repeat_at - time.monotonic()) > 0:
                if self._dealer.poll(int(1e3 * wait)):
                    reply = decode_reply(self._dealer.recv_multipart(), request_id)
                    if reply is not None:
                        return reply
        raise self._no_reply(verb)


class AsyncSubscriber(Connection):
    """Receives a session's messages in an asyncio loop; parameters and meaning as in `Subscriber`.

    ::

        async with AsyncSubscriber("tcp://127.0.0.1:5570") as subscriber:
            async for message in subscriber:
                ...

    Notes
    -----
    zmq.asyncio needs an event loop with ``add_reader``: on Windows an ``asyncio.SelectorEventLoop``. Give
    `recv` its `timeout_s` rather than cancelling it from outside, which can lose the message under way.
    """

    async def connect(self) -> None:
        """Wait for the publisher, say hello, and take the snapshot; errors as `Subscriber.connect`."""
        self._context = zmq.asyncio.Context()
        self._data = self._context.socket(zmq.SUB)
        self._dealer = self._context.socket(zmq.DEALER)
        try:
            self._connect_data(self._data)
            self._connect_control(self._dealer)
            if await self._receive(self._connect_timeout_s) is None:
                raise self._nobody()
            await self.refresh()
        except BaseException:
            self.close()
            raise

    async def recv(self, timeout_s: float | None = None) -> Message | None:
        """Return the next message of the chosen topics, as `Subscriber.recv`."""
        await asyncio.sleep(0)  # a ready socket does not yield: let other tasks run
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.closed:
            parts = await self._receive(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if parts is None:
                return None
            message = await self._accept(parts)
            if message is not None:
                return self._fresh(message)
        return None

    async def recv_latest(self, timeout_s: float | None = None) -> Message | None:
        """Return the newest message that has arrived, as `Subscriber.recv_latest`."""
        await asyncio.sleep(0)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        newest = None
        while not self.closed:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            parts = await self._receive(wait if newest is None else 0.0)
            if parts is None:
                break
            message = await self._accept(parts)
            if message is not None:
                self.skipped += newest is not None
                newest = message
        return None if newest is None else self._fresh(newest)

    async def refresh(self) -> None:
        """Take the snapshot again, e.g. for the present shapes."""
        if self._mirror.elsewhere:
            self._greeted((await self._ask("hello", client=CLIENT))[0])
        self._mirror.take_snapshot(read_snapshot(*await self._ask("snapshot")))

    async def ask(self, verb: str, **fields: Any) -> Mapping[str, Any]:
        """Return the reply to a request such as ping or stop, as `Subscriber.ask`."""
        return (await self._ask(verb, **fields))[0]

    def close(self) -> None:
        """Close the sockets."""
        self._data.close()
        self._dealer.close()
        self._context.term()

    async def __aenter__(self) -> AsyncSubscriber:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> AsyncSubscriber:
        return self

    async def __anext__(self) -> Message:
        await asyncio.sleep(0)
        while not self.closed:
            parts = await self._receive(self._timeout_s)
            if parts is None and self._between:
                continue
            if parts is None:
                raise self._silence()
            message = await self._accept(parts)
            if message is not None:
                return self._fresh(message)
        raise StopAsyncIteration

    async def _accept(self, parts: list[bytes]) -> Message | None:
        message = self._mirror.feed(parts)
        if self._mirror.needs_snapshot:
            try:
                await self.refresh()
            except WireError as error:
                self._do_without(error)
        return message

    async def _receive(self, timeout_s: float | None) -> list[bytes] | None:
        # Wait for readiness and read without waiting: a cancelled read could lose the message.
        if not await self._data.poll(None if timeout_s is None else int(1e3 * timeout_s)):
            return None
        return await self._data.recv_multipart(zmq.NOBLOCK)

    async def _ask(self, verb: str, **fields: Any) -> tuple[Header, Arrays]:
        request_id = uuid.uuid4().hex
        deadline = time.monotonic() + self._connect_timeout_s
        fields |= self._bounds(verb)
        while time.monotonic() < deadline:
            await self._dealer.send_multipart(encode_request(request_id, verb, **fields))
            repeat_at = min(deadline, time.monotonic() + _REPEAT_S)
            while (wait := repeat_at - time.monotonic()) > 0:
                if await self._dealer.poll(int(1e3 * wait)):
                    reply = decode_reply(await self._dealer.recv_multipart(zmq.NOBLOCK), request_id)
                    if reply is not None:
                        return reply
        raise self._no_reply(verb)
