"""`mqtt:HOST[:PORT][/RIG]`: decisions and the rig's state on an MQTT broker, for those who watch from afar.

Never for the closed loop: MQTT's delays have a long tail. Topics are below ``streamscope/1/RIG/``, see
docs/howto/outputs.md. The connection lives in a thread with an event loop of its own; a broker that is slow, dead or
not there yet costs the session nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import aiomqtt

from streamscope._version import __version__
from streamscope.clock import clock_ns
from streamscope.errors import ConfigError
from streamscope.types import Decision, Output, OutputReport
from streamscope_drivers.outputs.account import Account, plain

LAYOUT = 1
PORT, TLS_PORT = 1883, 8883
QUEUED = 1024
METRICS_S = 2.0
_CONNECT_S = 5.0
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 30.0
_AT_ONCE = 64  # messages under way
_CLOSING_S = 1.0
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to publish."""

    host: str
    port: int
    rig: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: str | None = None  # file with the authority that signed the broker's certificate; "": the system's

    @property
    def root(self) -> str:
        """Return what every topic begins with."""
        return f"streamscope/{LAYOUT}/{self.rig}"


class Mqtt:
    """Publishes decisions; see `open_output`.

    Parameters
    ----------
    account : Account
        Its counts.
    broker : Broker
        Where.
    """

    fast = False

    def __init__(self, account: Account, broker: Broker) -> None:
        self._account = account
        self._broker = broker
        self._armed = False
        self._session = uuid.uuid4().hex
        self._started_s = time.time()
        self._closing = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"output {account.name}", daemon=True)
        self._thread.start()
        self._ready.wait(_CONNECT_S)

    def write(self, decision: Decision) -> bool:
        """Take a decision over; False if too many wait."""
        if self._waiting.qsize() >= QUEUED:
            return self._account.dropped(f"{QUEUED} decisions wait for the broker")
        try:
            self._loop.call_soon_threadsafe(self._waiting.put_nowait, decision)
        except RuntimeError:  # the loop has ended
            return self._account.dropped("it is closed")
        return True

    def alive(self, armed: bool) -> None:
        """Take note of whether any rule is armed, for the metrics."""
        self._armed = armed

    def describe(self) -> Mapping[str, Any]:
        """Return counts and delays; `latency_ms` until MQTT took it, `answer_ms` until the broker acknowledged it."""
        return self._account.describe()

    def close(self) -> None:
        """Publish what waits, for at most a second, say that the rig is offline, and disconnect."""
        try:
            self._loop.call_soon_threadsafe(self._end)
        except RuntimeError:
            return
        self._thread.join(2 * _CLOSING_S)

    def _end(self) -> None:
        self._closing = True
        self._waiting.put_nowait(None)

    def _run(self) -> None:
        # The selector loop also on Windows: MQTT's library needs add_reader.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            self._loop = runner.get_loop()
            runner.run(self._stay_connected())

    async def _stay_connected(self) -> None:
        self._waiting: asyncio.Queue[Decision | None] = asyncio.Queue()
        self._ready.set()
        retry_s = _FIRST_RETRY_S
        while not self._closing:
            try:
                async with self._client() as client:
                    retry_s = _FIRST_RETRY_S
                    self._account.trouble("")
                    await self._say_hello(client)
                    await self._publish(client)
                    async with asyncio.timeout(_CLOSING_S):
                        await self._say_goodbye(client)
            except (aiomqtt.MqttError, TimeoutError, OSError, ValueError) as error:
                at = f"{self._broker.host}:{self._broker.port}"
                self._account.trouble(
                    f"the broker {at} cannot be reached ({error or type(error).__name__}); trying again"
                )
                await self._pause(retry_s)
                retry_s = min(2 * retry_s, _LAST_RETRY_S)

    def _client(self) -> aiomqtt.Client:
        broker = self._broker
        tls = None if broker.ca is None else aiomqtt.TLSParameters(ca_certs=broker.ca or None)
        return aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.user,
            password=broker.password,
            identifier=f"streamscope-{self._session[:12]}",
            will=aiomqtt.Will(f"{broker.root}/status", json.dumps({"online": False}), qos=1, retain=True),
            timeout=_CONNECT_S,
            keepalive=10,
            tls_params=tls,
        )

    async def _say_hello(self, client: aiomqtt.Client) -> None:
        birth = {"online": True, "since_unix_s": self._started_s}
        meta = {"layout": LAYOUT, "streamscope": __version__, "events": ["trigger"], "format": "JSON"}
        session = {"id": self._session, "started_unix_s": self._started_s}
        for name, values in (("status", birth), ("meta", meta), ("session", session)):
            await self._send(client, name, values, qos=1, retain=True)

    async def _say_goodbye(self, client: aiomqtt.Client) -> None:
        await self._send(client, "status", {"online": False}, qos=1, retain=True)
        await client.publish(f"{self._broker.root}/session", None, qos=1, retain=True)  # cleared

    async def _publish(self, client: aiomqtt.Client) -> None:
        """Publish decisions as they come, and the metrics now and then, until closed."""
        metrics_at = time.monotonic()
        while True:
            if time.monotonic() >= metrics_at:
                metrics_at = time.monotonic() + METRICS_S
                await self._send(client, "metrics", self._metrics(), qos=0, retain=False)
            batch = await self._batch(metrics_at - time.monotonic())
            decisions = [decision for decision in batch if decision is not None]
            done = await asyncio.gather(*(self._one(client, d) for d in decisions), return_exceptions=True)
            failed = [(d, error) for d, error in zip(decisions, done, strict=True) if error is not None]
            for decision, _ in failed:  # for the next connection; receivers know events by their number
                self._waiting.put_nowait(decision)
            if failed:
                raise aiomqtt.MqttError(str(failed[0][1]))
            if None in batch or (self._closing and self._waiting.empty()):
                return

    async def _batch(self, wait_s: float) -> list[Decision | None]:
        """Return what waits, after waiting for it a while."""
        try:
            async with asyncio.timeout(max(0.0, wait_s)):
                batch = [await self._waiting.get()]
        except TimeoutError:
            return []
        while len(batch) < _AT_ONCE and not self._waiting.empty():
            batch.append(self._waiting.get_nowait())
        return batch

    async def _one(self, client: aiomqtt.Client, decision: Decision) -> None:
        event = plain(decision) | {"event": f"{self._session}-{decision.number}"}
        written_ns = clock_ns()
        await self._send(client, "event/trigger", event, qos=1, retain=False)
        self._account.wrote(decision, written_ns, clock_ns())

    async def _send(
        self, client: aiomqtt.Client, name: str, values: Mapping[str, Any], qos: int, retain: bool
    ) -> None:
        await client.publish(f"{self._broker.root}/{name}", json.dumps(values), qos=qos, retain=retain)

    def _metrics(self) -> dict[str, Any]:
        told = self._account.describe()
        return {name: told[name] for name in ("written", "dropped", "latency_ms", "answer_ms")} | {
            "armed": self._armed,
            "waiting": self._waiting.qsize(),
        }

    async def _pause(self, seconds: float) -> None:
        """Wait, unless it is closed meanwhile."""
        deadline = time.monotonic() + seconds
        while not self._closing and time.monotonic() < deadline:
            await asyncio.sleep(0.05)


def open_output(spec: str, name: str, tell: Callable[[OutputReport], None]) -> Output:
    """Return the broker in `mqtt:HOST[:PORT][/RIG][?user=NAME&password=FILE&tls=FILE]`; it may come up later.

    Raises
    ------
    ConfigError
        If it is not such a text, or a file that it names cannot be read.
    """
    return Mqtt(Account(spec, name, tell), read_broker(spec))


def read_broker(spec: str) -> Broker:
    """Return where `spec` says to publish."""
    where, _, query = spec.partition(":")[2].partition("?")
    address, _, rig = where.partition("/")
    host, _, port = address.partition(":")
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = options.keys() - {"user", "password", "tls"}
    tls = options.get("tls")
    number = port or str(PORT if tls is None else TLS_PORT)
    if not host or unknown or not number.isdecimal() or not 0 < int(number) < 65_536:
        raise ConfigError(
            f"{spec!r:.80} is no broker, expected mqtt:HOST[:PORT][/RIG][?user=NAME&password=FILE&tls=FILE], "
            "e.g. mqtt:localhost/rig-3"
        )
    name = rig or re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname().split(".")[0]) or "rig"
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r:.80} cannot be the name of a rig in topics, expected letters, digits, _, - and . (not "
            "the first)"
        )
    if tls and not Path(tls).is_file():
        raise ConfigError(
            f"tls={tls} is no file, expected the authority that signed the broker's certificate"
        )
    return Broker(host, int(number), name, options.get("user"), _password(options.get("password")), tls)


def _password(path: str | None) -> str | None:
    """Return the first line of a file: what is in `spec` is shown and stored, so that no password may be in it."""
    if path is None:
        return None
    try:
        return Path(path).read_text("utf-8").splitlines()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"password={path} must name a file whose first line is the password ({error})"
        ) from error
