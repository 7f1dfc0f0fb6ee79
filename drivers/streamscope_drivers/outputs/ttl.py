"""`serial:PORT?line=N`: pulses on a line of a microcontroller; the protocol is in docs/howto/outputs.md.

One byte makes a pulse, and the device answers every byte when it is carried out. What was not answered bounds what is
written next, so that a device which hangs fills no buffer and nobody waits for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

from streamscope.clock import clock_ns
from streamscope.errors import ConfigError, SourceError
from streamscope.types import Decision, Output, OutputReport
from streamscope_drivers.outputs.account import Account

HELLO, ALIVE, ALL_LOW = 0x3F, 0x40, 0x41
PULSE, WIDTH, REFUSED = 0x10, 0x20, 0x70  # | line
REFUSED_WIDTH = 0x78  # | line
TRIPPED = 0x60  # the watchdog lowered a line
SIGNATURE, VERSION = 0x53, 1
LINES = 8
UNIT_MS = 0.1  # of a width
LONGEST_MS = 6_553.5

_UNANSWERED = 32  # bytes; more are not written
_ALIVE_NS = 40_000_000  # the device's watchdog waits for 250 ms
_ANSWER_NS = 100_000_000
_SILENT_NS = 1_000_000_000
_READ_S = 0.02
_RETRY_S = 1.0
_ASK_S = 0.25
_BOOT_S = 5.0  # a board that restarts when its port is opened
_BAUD = 115_200

Port = Any  # of pyserial


class Ttl:
    """A line of a device that is connected.

    Parameters
    ----------
    account : Account
        Its counts.
    connect : callable
        Returns the port, open, with a device that said hello; raises SourceError.
    line : int
        Which one, from 0.
    """

    fast = True

    def __init__(self, account: Account, connect: Callable[[], Port], line: int) -> None:
        self._account = account
        self._connect = connect
        self._line = line
        self._lock = threading.Lock()  # of everything below; held for microseconds
        self._port: Port | None = connect()
        self._width = 0  # that the device knows, units
        self._unanswered = 0
        self._pending: deque[tuple[Decision, int]] = deque()  # pulses, and when they were written
        self._heard_ns = self._told_ns = clock_ns()  # last answer; last sign of life given
        self._maybe_high = False
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, name=f"output {account.name}", daemon=True)
        self._reader.start()

    def write(self, decision: Decision) -> bool:
        """Make a pulse of the width that is asked for; False if the device does not answer or that is impossible."""
        units = round(decision.width_ms / UNIT_MS)
        if not 1 <= units <= LONGEST_MS / UNIT_MS:
            return self._account.dropped(
                f"a pulse has 0.1 to {LONGEST_MS} ms, {decision.width_ms:g} was asked for"
            )
        with self._lock:
            known = units == self._width
            message = bytes([] if known else [WIDTH | self._line, units & 255, units >> 8])
            if not self._send(message + bytes([PULSE | self._line]), 1 if known else 2):
                return self._account.dropped(
                    "the device does not answer; is it connected and running the sketch?"
                )
            self._width = units
            self._maybe_high = True
            self._pending.append((decision, clock_ns()))
        return True

    def alive(self, armed: bool) -> None:
        """Keep the device's watchdog quiet; False: lines low."""
        with self._lock:
            if not armed:
                if self._maybe_high:
                    self._maybe_high = False
                    self._send(bytes([ALL_LOW]), 1, reserve=_UNANSWERED)
            elif (now := clock_ns()) - self._told_ns >= _ALIVE_NS:
                self._told_ns = now
                self._send(bytes([ALIVE]), 1)

    def describe(self) -> Mapping[str, Any]:
        """Return counts and delays; `answer_ms` is until the device said that the line had risen."""
        return self._account.describe()

    def close(self) -> None:
        """Lines low, and the port closed."""
        with self._lock:
            self._send(bytes([ALL_LOW]), 1, reserve=_UNANSWERED)
        self._closed.set()
        self._reader.join(1.0)
        self._let_go()

    def _send(self, message: bytes, answers: int, reserve: int = 0) -> bool:
        """Write without waiting; the caller holds the lock."""
        if self._port is None or self._unanswered + answers > _UNANSWERED + reserve:
            return False
        if not self._unanswered:
            self._heard_ns = clock_ns()  # silence counts from the first command that waits for an answer
        try:
            written = self._port.write(message)
        except OSError as error:  # pyserial's own errors are
            self._lost(str(error))
            return False
        self._unanswered += answers
        return bool(written == len(message))

    def _read(self) -> None:
        while not self._closed.is_set():
            port = self._port
            if port is None:
                self._reconnect()
                continue
            try:
                data = port.read(max(1, port.in_waiting))
            except (OSError, TypeError) as error:  # TypeError: pyserial's, when it was closed meanwhile
                with self._lock:
                    self._lost(str(error))
                continue
            self._take(data)

    def _take(self, data: bytes) -> None:
        reports: list[tuple[Decision, int, int]] = []
        trouble: str | None = None
        with self._lock:
            now = clock_ns()  # in here, so that no answer comes before its pulse was noted as written
            for byte in data:
                self._heard_ns = now
                self._unanswered = max(0, self._unanswered - 1)
                if byte == TRIPPED:
                    self._unanswered += 1  # is no answer
                    trouble = "its watchdog lowered the line: nothing was heard from the session for 250 ms"
                elif byte == REFUSED_WIDTH | self._line:
                    self._width = 0
                elif byte in (PULSE | self._line, REFUSED | self._line) and self._pending:
                    decision, written = self._pending.popleft()
                    done = byte & 0xF0 == PULSE
                    reports.append((decision, written, now if done else 0))
                    trouble = "" if done else "it refused a pulse: too long, or the line was still high"
            while self._pending and now - self._pending[0][1] > _ANSWER_NS:
                reports.append((*self._pending.popleft(), 0))
                trouble = "the device did not answer within 100 ms"
            silent = self._unanswered > 0 and now - self._heard_ns > _SILENT_NS
            if silent:
                self._lost("it has not answered for a second")
        for decision, written, answered in reports:
            self._account.wrote(decision, written, answered)
        if trouble is not None and not silent:
            self._account.trouble(trouble)

    def _lost(self, why: str) -> None:
        """Let go of a device that failed; the reader looks for it again. The caller holds the lock."""
        port, self._port = self._port, None
        if port is not None:
            with suppress(OSError):
                port.close()
        self._account.trouble(f"the device is gone ({why}); looking for it")

    def _reconnect(self) -> None:
        pending: list[tuple[Decision, int]]
        with self._lock:
            pending = list(self._pending)
            self._pending.clear()
        for decision, written in pending:
            self._account.wrote(decision, written)
        if self._closed.wait(_RETRY_S):
            return
        try:
            port = self._connect()
        except SourceError:
            return
        with self._lock:
            self._port, self._width, self._unanswered, self._heard_ns = port, 0, 0, clock_ns()
        self._account.trouble("")

    def _let_go(self) -> None:
        with self._lock:
            port, self._port = self._port, None
        if port is not None:
            with suppress(OSError):
                port.close()


def open_output(spec: str, name: str, tell: Callable[[OutputReport], None]) -> Output:
    """Return the line in `serial:PORT?line=N`, connected.

    Raises
    ------
    ConfigError
        If it is not such a text, or the package pyserial is missing.
    SourceError
        If there is no device that runs the sketch.
    """
    address, _, rest = spec.partition(":")[2].partition("?")
    options = dict(parse_qsl(rest, keep_blank_values=True))
    line = options.pop("line", "0")
    if not address or options or not line.isdecimal() or int(line) >= LINES:
        raise ConfigError(
            f"{spec!r:.80} is no line of a device, expected serial:PORT?line=N with N from 0 to {LINES - 1}, "
            "e.g. serial:/dev/ttyACM0?line=0 or serial:COM3"
        )
    try:
        import serial
    except ImportError as error:
        raise ConfigError(
            "serial ports need the package pyserial: pip install 'streamscope[serial]'"
        ) from error

    def connect() -> Port:
        try:
            port = serial.Serial(address, _BAUD, timeout=_READ_S, write_timeout=0)
        except (OSError, ValueError) as error:
            raise SourceError(
                f"the serial port {address} cannot be opened ({error}); is the device connected, and no other "
                "program using it?"
            ) from error
        try:
            _greet(port, address, int(line))
        except BaseException:
            port.close()
            raise
        return port

    return Ttl(Account(spec, name, tell), connect, int(line))


def _greet(port: Port, address: str, line: int) -> None:
    """Raise SourceError unless a device that runs the sketch answers."""
    deadline = time.monotonic() + _BOOT_S
    ask_at, heard = 0.0, b""
    while (now := time.monotonic()) < deadline:
        try:
            if now >= ask_at:  # a board that still boots does not hear the first ones
                ask_at = now + _ASK_S
                port.write(bytes([HELLO]))
            heard = (heard + port.read(3))[-64:]
        except OSError as error:
            raise SourceError(
                f"the serial port {address} failed ({error}); is the device connected?"
            ) from error
        at = heard.find(SIGNATURE)
        if at >= 0 and len(heard) >= at + 3:
            version, lines = heard[at + 1 : at + 3]
            if version != VERSION or line >= lines:
                raise SourceError(
                    f"the device at {address} speaks version {version} and has {lines} lines, expected version "
                    f"{VERSION} and line {line}; load the sketch of this StreamScope onto it"
                )
            port.reset_input_buffer()
            return
    raise SourceError(
        f"nothing at {address} answers as the sketch does; load docs/examples/ttl/ttl.ino onto the board"
    )
