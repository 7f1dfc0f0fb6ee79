"""Files that say when each frame came: timeStamps.csv of Miniscope-DAQ-QT and its relatives."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from streamscope.errors import SourceError
from streamscope.types import DoubleArray, LongArray

MISSING = "frames missing"  # StreamScope's own recordings say what is missing before each frame


@dataclass(frozen=True, slots=True)
class Columns:
    """How a program names its columns, in lower case."""

    times: tuple[str, ...]  # ms; the first one whose clock runs
    counter: str | None = None  # of the device
    numbers: str | None = None  # of the frames in the recording
    delimiter: str = ","
    expected: str = "Time Stamp (ms)"  # the first of `times` as the program writes it


MINISCOPE_DAQ = Columns(("time stamp (ms)",), "daq frame number", "frame number")


@dataclass(frozen=True, slots=True)
class Stamps:
    """When frames came, what counted them, and what was repaired."""

    name: str  # of the file
    times_ms: DoubleArray  # (T,) as written
    counter: LongArray | None  # (T,) of the device, -1 where it could not be read
    missing: LongArray | None  # (T,) frames missing before each; None: not said, to be found out
    numbers: LongArray | None  # (T,) of the frames, as written
    warnings: tuple[str, ...]

    def take(self, rows: LongArray) -> Stamps:
        """Return the stamps of some rows (n,); a count of missing frames includes those of rows left out."""
        missing = None
        if self.missing is not None:
            known = np.concatenate([[0], np.cumsum(self.missing + 1)])[rows + 1]  # frames up to each, and it
            missing = np.diff(known, prepend=known[:1] - 1 - self.missing[rows[:1]]) - 1
        counter, numbers = (None if c is None else c[rows] for c in (self.counter, self.numbers))
        return replace(self, times_ms=self.times_ms[rows], counter=counter, missing=missing, numbers=numbers)


def read_stamps(path: Path, columns: Columns = MINISCOPE_DAQ) -> Stamps:
    """Return the stamps in a text file; a line that was cut off at its end is left out.

    Parameters
    ----------
    path : Path
        The file, with a header line. The columns are found by their names.
    columns : Columns
        What the program that wrote it calls them.

    Raises
    ------
    SourceError
        If it cannot be read, has no time stamps, or a line in its middle is no row of numbers.
    """
    table = read_table(path, columns.delimiter)
    there = [name for name in columns.times if name in table.header]
    if not there:
        raise table.lacks(columns.expected)

    def column(name: str | None) -> LongArray | None:
        return table.whole(name) if name in table.header else None

    clocks = [table.column(name) for name in there]
    times = next((t for t in clocks if len(t) == 0 or t.max() > t.min()), clocks[0])
    counter, numbers = column(columns.counter), column(columns.numbers)
    return _once(Stamps(path.name, times, counter, column(MISSING), numbers, table.warnings))


@dataclass(frozen=True, slots=True)
class Table:
    """A text file with a line of names and lines of numbers."""

    path: Path
    first: str  # line, as it was written
    header: list[str]  # names of the columns, in lower case
    rows: list[list[str]]
    warnings: tuple[str, ...]

    def column(self, name: str) -> DoubleArray:
        """Return a column as numbers.

        Raises
        ------
        SourceError
            Naming the first line in which it is none.
        """
        index, values = self.header.index(name), np.empty(len(self.rows))
        for n, row in enumerate(self.rows):
            try:
                values[n] = float(row[index])
            except (ValueError, IndexError) as error:
                raise SourceError(
                    f"numbers were expected in line {n + 2} of {self.path}, but it is {','.join(row)!r}; "
                    "repair this line"
                ) from error
        if not np.isfinite(values).all():
            line = int(np.argmin(np.isfinite(values))) + 2
            raise SourceError(
                f"numbers were expected in line {line} of {self.path}, but one is not finite; repair it"
            )
        return values

    def whole(self, name: str) -> LongArray:
        """Return a column as whole numbers; errors as in `column`."""
        return self.column(name).astype(np.int64)

    def lacks(self, expected: str) -> SourceError:
        """Return the error of a column that is not there."""
        return SourceError(
            f"a column {expected!r} was expected in the first line of {self.path}, but it is "
            f"{self.first or 'empty'!r}; repair it, or move it away and give --fps"
        )


def read_table(path: Path, delimiter: str = ",") -> Table:
    """Return the columns of a text file; a line that was cut off at its end is left out.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    text = _text(path)
    rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    header = [name.strip().lower() for name in rows[0]] if rows else []
    body, warnings = rows[1:], []
    if body and (not text.endswith(("\n", "\r")) or len(body[-1]) < len(header)):
        body.pop()
        warnings.append(f"the last line of {path.name} was cut off and is left out")
    return Table(path, ",".join(rows[0]) if rows else "", header, body, tuple(warnings))


def _text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 if it begins with its mark."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"time stamps were expected in {path}, but it could not be read ({error})"
        ) from error
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return data.decode("utf-16" if wide else "utf-8-sig", errors="replace")


def _once(stamps: Stamps) -> Stamps:
    """Return stamps without lines that were written twice: the same frame, the same time."""
    if stamps.numbers is None or len(stamps.numbers) == 0:
        return stamps
    again = np.zeros(len(stamps.numbers), bool)
    again[1:] = (np.diff(stamps.numbers) == 0) & (np.diff(stamps.times_ms) == 0)
    if not again.any():
        return stamps
    first, n = int(np.argmax(again)), int(again.sum())
    said = (
        f"{stamps.name} has {n} lines twice, first that of frame {stamps.numbers[first]}: one of each is used"
    )
    return replace(stamps.take(np.flatnonzero(~again)), warnings=(*stamps.warnings, said))
