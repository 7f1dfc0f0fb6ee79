"""Rows of the tables beside a recording, written whole or not at all."""

from __future__ import annotations

import errno
from contextlib import suppress
from io import FileIO


def write_whole(file: FileIO, row: bytes) -> None:
    """Append a row, or nothing of it."""
    start = file.tell()
    try:
        if file.write(row) != len(row):
            raise OSError(errno.ENOSPC, "no space left on device")
    except OSError:
        with suppress(OSError):
            file.truncate(start)
        raise


def milliseconds(time_s: float) -> str:
    """Return whole milliseconds as Miniscope software writes them, others to the nanosecond."""
    return f"{1000 * time_s:.6f}".rstrip("0").rstrip(".")
