"""The session's sockets: data (XPUB), control (ROUTER), newest frame (PUB)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zmq
import zmq.asyncio
from numpy.typing import NDArray

from streamscope.clock import clock_ns
from streamscope.types import ComponentEvent, Decision, FloatArray, FrameResult, Health, IntArray, Tail
from streamscope.wire.auth import Authenticator
from streamscope.wire.codec import Arrays, Header, pack_map
from streamscope.wire.commands import CommandHandler, Commands
from streamscope.wire.control import Control, Handler
from streamscope.wire.endpoints import Endpoints, parse
from streamscope.wire.keys import server_keys
from streamscope.wire.latest import pack_latest
from streamscope.wire.messages import (
    encode_component,
    encode_decision,
    encode_event,
    encode_image,
    encode_result,
    encode_status,
    encode_tail,
)
from streamscope.wire.schema import (
    COMMANDS,
    COMPONENTS,
    EVENT_CLOSED,
    EVENT_EPOCH,
    EVENT_FROZEN,
    EVENT_THAWED,
    EVENTS,
    IMAGE,
    STATUS,
    TOPICS,
    TRACES,
    TRIGGERS,
    VERSION,
    EpochLike,
    Stamp,
)
from streamscope.wire.snapshot import snapshot_arrays
from streamscope.wire.sockets import open_sockets

_log = logging.getLogger(__name__)

_WELCOME_MS = 50  # the longest a new subscriber waits for its welcome when nothing is published


class Publisher:
    """Publishes a session. Used from the thread of the asyncio loop only; owns its sockets.

    Sending never waits: for a subscriber that does not read, at most 256 messages are kept, further ones are
    dropped for it, and it sees the hole in `seq`.

    Parameters
    ----------
    bind : str
        ``HOST:PORT`` of the data socket; control is one above, latest two. Port 0 finds three free ones.
    sid : str, optional
        Name of the session in every message; a random one if not given.
    info : mapping, optional
        What hello tells of the session: plain values such as source, shape, fps, um_per_px.
    commands : mapping of str to callable, optional
        Who carries out mark, arm, disarm, freeze, thaw, set and stop; see `Commands`. What has no handler, here or by
        `handle`, is refused.
    keys : Path, optional
        Folder of keys: only those in its allow-list are let in, and only those with that right may command. Beyond
        this machine the default folder is used if none is given.
    clock : callable
        Monotonic time, ns; the clock of `t_capture_ns`.

    Raises
    ------
    WireError
        If the address is wrong, or others could reach it and there are no keys.

    Notes
    -----
    The control socket is served through zmq.asyncio, which needs an event loop with ``add_reader``. The
    default loop on Windows has none: run the session in
    ``asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)``. The data sockets are plain: they are only
    written to, without waiting, and an awaitable send costs more.
    """

    def __init__(
        self,
        bind: str = "127.0.0.1:5570",
        *,
        sid: str | None = None,
        info: Mapping[str, Any] | None = None,
        commands: Mapping[str, CommandHandler] | None = None,
        keys: Path | None = None,
        clock: Callable[[], int] = clock_ns,
    ) -> None:
        self._host, self._port = parse(bind)
        self._keys = server_keys(self._host, keys)
        self._auth = None if self._keys is None else Authenticator(self._keys)
        self.sid = sid or uuid.uuid4().hex
        self._info = dict(info or {})
        pack_map(self._info)  # refused here rather than at the first hello
        self.rules: Mapping[str, Any] = {}  # how each rule stands, for the snapshot
        self._frozen_at: int | None = None
        self._late_replies: set[asyncio.Future[Any]] = set()  # on their way
        self._clock = clock
        self._seq: Counter[str] = Counter()
        self._table: EpochLike | None = None
        self._epoch = 0
        self._frame: int | None = None
        self._subscriptions: Counter[bytes] = Counter()
        self._open = False
        verbs: dict[str, Handler] = {
            "hello": self._hello,
            "snapshot": self._snapshot,
            "ping": self._ping,
        }
        self._commands = Commands(commands)
        self._control = Control(
            self.sid,
            verbs | self._commands.verbs(),
            commands=COMMANDS,
            may_command=None if self._keys is None else self._keys.may_command,
            clock=clock,
        )
        self.dropped = 0  # messages that no socket took

    def bind(self) -> Endpoints:
        """Open the three sockets and return where they are heard.

        Raises
        ------
        WireError
            If a port is in use or may not be opened; no socket stays open then.
        """
        self._sockets = open_sockets(self._host, self._port, None if self._keys is None else self._keys.pair)
        self.endpoints = self._sockets.endpoints
        self._open = True
        _log.info("publishing on %s", self.endpoints.data)
        return self.endpoints

    def handle(self, verb: str, handler: CommandHandler) -> None:
        """Have `handler` carry out the command `verb` from now on; see `Commands`."""
        self._commands.register(verb, handler)

    def publish_result(self, result: FrameResult) -> int:
        """Send a frame's traces/ message and its latest/ record; return t_publish_ns."""
        stamp = self._stamp(TRACES)
        self._send(encode_result(stamp, result))
        self._frame = result.index
        with contextlib.suppress(zmq.Again):
            self._sockets.latest.send(pack_latest(stamp.seq, stamp.t_publish_ns, result), zmq.NOBLOCK)
        return stamp.t_publish_ns

    def publish_tail(self, tail: Tail) -> int:
        """Send the delayed values of the last frames as the event `drained`; return t_publish_ns."""
        stamp = self._stamp(EVENTS)
        self._send(encode_tail(stamp, self._epoch, tail))
        return stamp.t_publish_ns

    def set_components(self, table: EpochLike) -> None:
        """Make `table` what the snapshot answers with; call it just before publishing the table's events."""
        self._table = table
        self._epoch = table.number

    def publish_component(
        self, event: ComponentEvent, footprint: tuple[IntArray, FloatArray] | None = None
    ) -> int:
        """Send one component event, with (pixels, weights) when the shape is new; return t_publish_ns."""
        stamp = self._stamp(COMPONENTS)
        self._send(encode_component(stamp, self._epoch, event, footprint))
        return stamp.t_publish_ns

    def publish_epoch(self, table: EpochLike, events: Iterable[ComponentEvent], frame: int) -> None:
        """Make `table` current and send what changed: its component events, then the event `epoch`.

        To be called before the first result on that epoch, so that subscribers can name every id.

        Parameters
        ----------
        table : EpochLike
            The epoch; `core.epoch.Epoch` is one.
        events : iterable of ComponentEvent
            What changed since the epoch before. Shapes go with born and confirmed.
        frame : int
            First frame whose traces are on this epoch.
        """
        self.set_components(table)
        column_of = {int(i): k for k, i in enumerate(table.ids)}
        for event in events:
            k = column_of.get(event.id) if event.kind in ("born", "confirmed") else None
            self.publish_component(event, None if k is None else table.footprints.column(k))
        self.publish_event(EVENT_EPOCH, frame, epoch=table.number, cells=len(column_of))

    def publish_event(self, name: str, frame: int | None, /, **fields: Any) -> int:
        """Send a named event; fields are plain values or arrays; return t_publish_ns."""
        stamp = self._stamp(EVENTS)
        self._send(encode_event(stamp, name, frame, self._epoch, fields))
        return stamp.t_publish_ns

    def publish_decision(self, decision: Decision) -> int:
        """Send what a rule decided; return t_publish_ns."""
        stamp = self._stamp(TRIGGERS)
        self._send(encode_decision(stamp, self._epoch, decision))
        return stamp.t_publish_ns

    def publish_held(self, frozen: bool, frame: int) -> dict[str, Any]:
        """Send the event `frozen` or `thawed`, and return its fields; `frame` is the first for which it holds."""
        fields = {"cells": 0 if self._table is None else len(self._table.ids)}
        self._frozen_at = frame if frozen else None
        self.publish_event(EVENT_FROZEN if frozen else EVENT_THAWED, frame, **fields)
        return fields

    def publish_status(self, health: Health) -> int:
        """Send how the session stands; return t_publish_ns. Also takes note of who subscribed."""
        self._note_subscriptions()
        stamp = self._stamp(STATUS)
        self._send(encode_status(stamp, health))
        return stamp.t_publish_ns

    def publish_image(self, frame: int, t_capture_ns: int, image: NDArray[np.uint8]) -> int:
        """Send a picture for the live view, (H, W) uint8; return t_publish_ns."""
        stamp = self._stamp(IMAGE)
        self._send(encode_image(stamp, frame, self._epoch, t_capture_ns, image))
        return stamp.t_publish_ns

    def subscribers(self, topic: str) -> int:
        """Return how many subscribe to `topic`, as of the last status or request."""
        return sum(n for prefix, n in self._subscriptions.items() if topic.encode().startswith(prefix))

    @property
    def malformed(self) -> int:
        """Return the number of requests that could not be read."""
        return self._control.malformed

    @property
    def refused(self) -> int:
        """Return the number of connections whose key is not let in."""
        return 0 if self._auth is None else self._auth.refused

    async def serve_control(self) -> None:
        """Welcome subscribers and answer requests until cancelled or closed; only stop ends the session."""
        judging = None if self._auth is None else asyncio.create_task(self._judge(self._auth), name="keys")
        try:
            while self._open:
                waiting = await self._waited(self._sockets.router)
                if not self._open:
                    return
                self._note_subscriptions()  # whoever asks for a snapshot has subscribed before
                if waiting:
                    await self._serve(*await self._received())
        finally:
            if judging is not None:
                judging.cancel()

    async def _judge(self, auth: Authenticator) -> None:
        """Say of each new connection whether it is let in."""
        zap = self._sockets.zap
        while self._open and zap is not None:
            if await self._waited(zap):
                await zap.send_multipart(auth.answer(await zap.recv_multipart(zmq.NOBLOCK)))

    async def _waited(self, socket: zmq.asyncio.Socket) -> bool:
        """Return whether something came within a short time; False, too, when the sockets were closed meanwhile."""
        try:
            return bool(await socket.poll(_WELCOME_MS)) and self._open
        except asyncio.CancelledError:
            if not self._open:  # close() cancels the wait, not the task
                return False
            raise

    async def _received(self) -> tuple[list[bytes], str]:
        """Return the frames of a request, and the name of the key that its client showed."""
        if self._keys is None:
            return await self._sockets.router.recv_multipart(zmq.NOBLOCK), ""
        frames = await self._sockets.router.recv_multipart(zmq.NOBLOCK, copy=False)
        try:
            user = str(frames[-1].get("User-Id"))
        except zmq.ZMQError:  # not let in by `_judge`: nobody
            user = ""
        return [frame.bytes for frame in frames], user

    async def _serve(self, frames: list[bytes], user: str) -> None:
        client, *body = frames
        envelope = [client, b""] if body[:1] == [b""] else [client]

        def send_later(reply: list[bytes]) -> None:
            sent = asyncio.ensure_future(self._sockets.router.send_multipart(envelope + reply))
            self._late_replies.add(sent)
            sent.add_done_callback(self._late_replies.discard)

        reply = self._control.answer(client, body[len(envelope) - 1 :], send_later, user)
        if reply:
            await self._sockets.router.send_multipart(envelope + reply)
        await asyncio.sleep(0)  # a ready socket does not yield: let nobody keep the loop busy with requests

    def close(self) -> None:
        """Say goodbye (event `closed`) and close the sockets; waits at most 0.3 s for what is under way."""
        if self._open:
            self.publish_event(EVENT_CLOSED, self._frame)
            self._open = False
            self._sockets.close()

    def __enter__(self) -> Publisher:
        self.bind()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stamp(self, topic: str) -> Stamp:
        seq = self._seq[topic]
        self._seq[topic] = seq + 1
        return Stamp(self.sid, seq, self._clock())

    def _send(self, parts: list[bytes]) -> None:
        try:
            self._sockets.data.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            self.dropped += 1

    def _note_subscriptions(self) -> None:
        # The socket greets a new subscriber and applies its wishes only while it is being used. Reading until
        # nothing is left does both, also when nothing is published.
        with contextlib.suppress(zmq.Again):
            while True:
                note = self._sockets.data.recv(zmq.NOBLOCK)
                prefix = note[1:]
                if note[:1] in (b"\0", b"\1") and any(topic.encode().startswith(prefix) for topic in TOPICS):
                    self._subscriptions[prefix] += 1 if note[0] else -1

    def _hello(self, request: Header) -> tuple[Mapping[str, Any], Arrays]:
        at = self.endpoints
        return {
            "version": VERSION,
            "topics": TOPICS,
            "endpoints": {"data": at.data, "control": at.control, "latest": at.latest},
            "clock": {"monotonic_ns": self._clock(), "unix_ns": time.time_ns()},
            "frame": self._frame,
            "info": self._info,
        }, {}

    def _snapshot(self, request: Header) -> tuple[Mapping[str, Any], Arrays]:
        arrays: dict[str, NDArray[Any]] = snapshot_arrays(self._table)
        return {
            "epoch": self._epoch,
            "frame": self._frame,
            "shape": None if self._table is None else self._table.footprints.shape,
            "frozen_at": self._frozen_at,
            "rules": self.rules,
            "next_seq": {topic: self._seq[topic] for topic in TOPICS},
        }, arrays

    def _ping(self, request: Header) -> tuple[Mapping[str, Any], Arrays]:
        return {"clock": {"monotonic_ns": self._clock(), "unix_ns": time.time_ns()}, "frame": self._frame}, {}
