"""A device that runs the TTL sketch, in Python, behind a pseudoterminal. POSIX only."""

from __future__ import annotations

import os
import pty
import select
import threading
import time
import tty

WATCHDOG_S = 0.25
LONGEST_UNITS = 10_000


class TtlDevice:
    """Answers as docs/examples/ttl/ttl.ino; `edges` are (monotonic ns, line, level)."""

    def __init__(self, n_lines: int = 4, version: int = 1) -> None:
        self.n_lines, self.version = n_lines, version
        self.mute = False  # hears, and does nothing
        self.edges: list[tuple[int, int, int]] = []
        self.received = bytearray()
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        self._slave = slave  # kept open, so that the pseudoterminal survives its users
        self._widths = [0] * n_lines
        self._until = [0.0] * n_lines  # monotonic s, 0: low
        self._argument: list[int] | None = None
        self._heard = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join(5)
        os.close(self.master)
        os.close(self._slave)

    def levels(self) -> list[bool]:
        return [until > 0 for until in self._until]

    def _run(self) -> None:
        while not self._end.is_set():
            ready, _, _ = select.select([self.master], [], [], 0.001)
            if ready:
                for byte in os.read(self.master, 256):
                    self.received.append(byte)
                    if not self.mute:
                        self._take(byte)
            now = time.monotonic()
            for line, until in enumerate(self._until):
                if until and now >= until:
                    self._lower(line)
            if now - self._heard > WATCHDOG_S:
                high = any(self._until)
                self._lower_all()
                self._argument, self._heard = None, now
                if high and not self.mute:
                    self._say(0x60)

    def _take(self, byte: int) -> None:
        self._heard = time.monotonic()
        if self._argument is not None:
            self._argument.append(byte)
            if len(self._argument) == 3:
                line, units = self._argument[0] & 7, self._argument[1] + 256 * self._argument[2]
                self._argument = None
                fine = line < self.n_lines and units <= LONGEST_UNITS
                if line < self.n_lines:
                    self._widths[line] = units if fine else 0
                self._say((0x20 if fine else 0x78) | line)
        elif byte & 0xF8 == 0x10:
            self._pulse(byte & 7)
        elif byte & 0xF8 == 0x20:
            self._argument = [byte]
        elif byte == 0x3F:
            self._lower_all()
            self._say(ord("S"), self.version, self.n_lines)
        elif byte in (0x40, 0x41):
            if byte == 0x41:
                self._lower_all()
            self._say(byte)

    def _pulse(self, line: int) -> None:
        if line >= self.n_lines or self._until[line] or not self._widths[line]:
            self._say(0x70 | line)
            return
        self._until[line] = time.monotonic() + self._widths[line] / 1e4
        self.edges.append((time.perf_counter_ns(), line, 1))
        self._say(0x10 | line)

    def _lower_all(self) -> None:
        for line in range(self.n_lines):
            self._lower(line)

    def _lower(self, line: int) -> None:
        if self._until[line]:
            self._until[line] = 0.0
            self.edges.append((time.perf_counter_ns(), line, 0))

    def _say(self, *values: int) -> None:
        os.write(self.master, bytes(values))
