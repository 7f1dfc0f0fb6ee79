"""timeStamps.csv of Miniscope-DAQ-QT: when each frame came, and how many were lost before it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamscope.errors import SourceError
from streamscope.types import DoubleArray, IntArray, LongArray

TIME = "time stamp (ms)"
COUNTER = "daq frame number"
MISSING = "frames missing"  # StreamScope's own recordings say what is missing before each frame
LATE = 1.5  # an interval longer than this many median intervals has lost frames in it
WRAP = 1 << 16
WILD = 100  # a jump of the counter that the clock must confirm: it is rebased when the device reconnects
LASTING = 3  # frames: a counter that is ahead for fewer was read too early


@dataclass(frozen=True, slots=True)
class Stamps:
    """The columns of a timeStamps.csv, and what was repaired."""

    times_ms: DoubleArray  # (T,) as written
    counter: LongArray | None  # (T,) 16-bit, -1 where it could not be read
    missing: IntArray | None  # (T,) frames missing before each; None: not said, to be found out
    warnings: tuple[str, ...]


def read_stamps(path: Path) -> Stamps:
    """Return the stamps in a timeStamps.csv; a line that was cut off at its end is left out.

    Parameters
    ----------
    path : Path
        The file, with a header line. The columns are found by their names.

    Raises
    ------
    SourceError
        If it cannot be read, has no time stamps, or a line in its middle is no row of numbers.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise SourceError(
            f"time stamps were expected in {path}, but it could not be read ({error})"
        ) from error
    rows = [row for row in csv.reader(text.splitlines()) if row]
    header = [name.strip().lower() for name in rows[0]] if rows else []
    if TIME not in header:
        raise SourceError(
            f"a column 'Time Stamp (ms)' was expected in the first line of {path}, but it is "
            f"{','.join(rows[0]) if rows else 'empty'!r}; repair it, or move it away and give --fps"
        )
    body, warnings = rows[1:], []
    if body and (not text.endswith(("\n", "\r")) or len(body[-1]) < len(header)):
        body.pop()
        warnings.append(f"the last line of {path.name} was cut off and is left out")
    times = _column(body, header.index(TIME), path)
    counter = _column(body, header.index(COUNTER), path) if COUNTER in header else None
    missing = _column(body, header.index(MISSING), path) if MISSING in header else None
    return Stamps(
        times,
        None if counter is None else counter.astype(np.int64),
        None if missing is None else missing.astype(np.int32),
        tuple(warnings),
    )


def since_first(times_ms: DoubleArray) -> tuple[DoubleArray, list[str]]:
    """Return times since the first frame, s, that never go back, and what was repaired.

    The first stamps of a recording are often negative: those frames waited in a buffer when it began.
    """
    steps = np.diff(times_ms)
    back = steps < 0
    warnings = []
    if back.any():
        warnings.append(
            f"the time stamps go back {int(back.sum())} times, first at frame {int(np.argmax(back)) + 1}: "
            "the median interval is used there"
        )
        steps = np.where(back, np.median(steps[~back]) if (~back).any() else 0.0, steps)
    return np.concatenate([[0.0], np.cumsum(steps)]) / 1000.0, warnings


def lost_frames(times_s: DoubleArray, counter: LongArray | None) -> IntArray:
    """Return the number of frames missing before each, by the counter where there is one, else by the clock.

    Parameters
    ----------
    times_s : ndarray, shape (T,)
        Times since the first frame, s.
    counter : ndarray, shape (T,), or None
        Hardware frame counter, 16 bits, -1 where it could not be read.
    """
    by_clock = _lost_by_clock(times_s)
    if counter is None or np.sum(counter >= 0) < 2:
        return by_clock
    return _lost_by_counter(counter, by_clock)


def _lost_by_clock(times_s: DoubleArray) -> IntArray:
    """Return losses where an interval is too long and the next one does not make up for it."""
    steps = np.diff(times_s)
    gap = np.zeros(len(times_s), np.int32)
    median = float(np.median(steps)) if len(steps) else 0.0
    if median <= 0:
        return gap
    both = steps + np.append(steps[1:], median)
    lost = (steps > LATE * median) & (both > (LATE + 1) * median)
    gap[1:][lost] = np.round(steps[lost] / median).astype(np.int32) - 1
    return gap


def _lost_by_counter(counter: LongArray, by_clock: IntArray) -> IntArray:
    """Return losses by which the unwrapped counter runs ahead of the frames, and stays ahead."""
    read = np.flatnonzero(counter >= 0)
    ahead = np.zeros(len(read), np.int64)
    for k in range(1, len(read)):
        before, now = read[k - 1], read[k]
        step = int(counter[now] - counter[before]) % WRAP
        step -= WRAP if step > WRAP // 2 else 0
        lost = step - int(now - before)
        seen = int(by_clock[before + 1 : now + 1].sum())
        ahead[k] = ahead[k - 1] + (lost if abs(lost) <= max(WILD, 2 * seen) else seen)
    gap = np.zeros(len(counter), np.int32)
    most = 0
    for k in range(1, len(read)):
        lasting = int(ahead[k : k + LASTING].min())
        if lasting > most:
            gap[read[k]] = lasting - most
            most = lasting
    return gap


def _column(rows: list[list[str]], index: int, path: Path) -> DoubleArray:
    values = np.empty(len(rows))
    for n, row in enumerate(rows):
        try:
            values[n] = float(row[index])
        except (ValueError, IndexError) as error:
            raise SourceError(
                f"numbers were expected in line {n + 2} of {path}, but it is {','.join(row)!r}; "
                "repair this line"
            ) from error
    if not np.isfinite(values).all():
        line = int(np.argmin(np.isfinite(values))) + 2
        raise SourceError(f"numbers were expected in line {line} of {path}, but one is not finite; repair it")
    return values
