"""Reading a journal: one that ended well, one whose writer was killed, or one that is being written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.errors import StorageError
from streamscope.storage.epoch_arrays import EpochArraysReader
from streamscope.storage.live import (
    NO_FIELD,
    EpochRecord,
    EventRecord,
    LiveComponents,
    LiveFrames,
    LiveTraces,
)
from streamscope.storage.lives import components_of, epochs_in_use
from streamscope.storage.placement import empty_traces, place_rows, place_tail
from streamscope.storage.schema import check_version
from streamscope.storage.trigger_log import TriggerLog, read_trigger_log
from streamscope.types import ComponentEvent, FloatArray, FrameResult, IdArray, LongArray, Shift, Tail

_REALS = ("dy", "dx", "quality", "time_s")
_WHOLES = ("epoch", "flags", "gap", "IFNULL(hw, -1)", "t_capture_ns", "t_result_ns", "t_publish_ns")
B0_ARRAY = "b0_64ths"  # of an epoch: b0 in 64ths of a gray level
_BLOCK = 2048  # frames whose traces are unpacked at once


class JournalReader:
    """The live part of a session as its journal holds it. Never changes the file.

    Parameters
    ----------
    path : Path
        A journal.sqlite.
    shape : tuple of int
        (H, W) of the frames, for a session in which no epoch says it.

    Raises
    ------
    StorageError
        If there is none, or it is not a journal that this program reads.
    """

    def __init__(self, path: Path, shape: tuple[int, int] = (0, 0)) -> None:
        self.path = path
        self._shape = shape
        self._db = _open(path)
        self._lists: dict[int, IdArray] = {}
        try:
            application_id = int(self._one("PRAGMA application_id"))
            version = int(self._one("PRAGMA user_version"))
            check_version(application_id, version, path.name)
            self._epoch_arrays = EpochArraysReader(self._db, version)
            # One transaction: all that is read belongs to one moment, even if the session still runs.
            self._db.execute("BEGIN")
            self.n_frames: int = int(self._one("SELECT IFNULL(MAX(frame), -1) + 1 FROM frames"))
            self.closed: bool = self._one("SELECT value FROM meta WHERE key='closed'") == "1"
            tables = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'fields'"
            self._has_fields = bool(self._one(tables))  # journals of the first programs have none
            self._longest_lag = int(self._one("SELECT IFNULL(MAX(lag), 0) FROM frames"))
            spans = "SELECT id_list, MIN(frame), MAX(frame) FROM frames GROUP BY id_list"
            self._spans = self._db.execute(spans).fetchall()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise StorageError(
                f"{path} cannot be read as a journal ({error}); is it a copy cut short?"
            ) from error
        except StorageError:
            self._db.close()
            raise

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def results(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[FrameResult, int]]:
        """Yield each frame's result and its t_publish_ns, exactly as they were appended."""
        field, bent = (
            ("gy, gx, field", "LEFT JOIN fields USING (frame) ") if self._has_fields else ("NULL", "")
        )
        query = (
            "SELECT frame, epoch, t_capture_ns, t_result_ns, dy, dx, quality, ok, id_list, traces, lag, "
            f"flags, gap, hw, time_s, t_publish_ns, {field} FROM frames JOIN traces USING (frame) {bent}"
            "WHERE frame >= ? AND frame < ? ORDER BY frame"
        )
        for row in self._db.execute(query, (start, self.n_frames if stop is None else stop)):
            ids = self._ids_of(row[8])
            y, c, s, c_lag, s_lag = np.frombuffer(row[9], "<f4").reshape(5, len(ids))
            shift = Shift(row[4], row[5], row[6], bool(row[7]), _field(*row[16:]))
            head = (*row[:4], shift, ids, y, c, s, c_lag, s_lag)
            yield FrameResult(*head, *row[10:15]), row[15]

    def ids_seen(self) -> IdArray:
        """Return every id that a frame ever carried, rising, (K,)."""
        lists = [np.frombuffer(blob, "<u4") for (blob,) in self._db.execute("SELECT ids FROM id_lists")]
        return np.unique(np.concatenate([*lists, np.zeros(0, np.uint32)])).astype(np.uint32)

    def frames(self) -> LiveFrames:
        """Return the table of frames, T rows."""
        reals = np.full((len(_REALS), self.n_frames), np.nan)
        wholes = np.full((len(_WHOLES), self.n_frames), -1, np.int64)
        rows = self._db.execute(f"SELECT {', '.join((*_REALS, *_WHOLES))}, frame FROM frames ORDER BY frame")
        while block := rows.fetchmany(_BLOCK):
            *columns, at = map(list, zip(*block, strict=True))
            reals[:, at] = columns[: len(_REALS)]
            wholes[:, at] = columns[len(_REALS) :]
        dy, dx, quality, time_s = reals
        epoch, flags, gap, hw, t_capture_ns, t_result_ns, t_publish_ns = wholes
        return LiveFrames(
            epoch=epoch,
            shifts=np.stack([dy, dx], axis=1),
            quality=quality,
            field=self._fields(),
            flags=np.maximum(flags, 0),
            gap=np.maximum(gap, 0),
            hw=hw,
            time_s=time_s,
            t_capture_ns=t_capture_ns,
            t_result_ns=t_result_ns,
            t_publish_ns=t_publish_ns,
        )

    def _fields(self) -> FloatArray:
        """Return the field of each frame, (T, gy, gx, 2); 0 where the motion was rigid."""
        bent = self._has_fields and self._db.execute("SELECT gy, gx FROM fields LIMIT 1").fetchone()
        if not bent:
            return np.zeros((self.n_frames, *NO_FIELD), np.float32)
        out = np.zeros((self.n_frames, *bent, 2), np.float32)
        for frame, *field in self._db.execute("SELECT frame, gy, gx, field FROM fields"):
            out[frame] = _field(*field)
        return out

    def traces(self, ids: IdArray, start: int = 0, stop: int | None = None) -> LiveTraces:
        """Return the traces of `ids` in frames start..stop, placed at the frames that they describe.

        Delayed values that describe frames before an id was first published are left out, and those of the
        last frames come from the tail.

        Parameters
        ----------
        ids : ndarray, shape (K,), uint32
        start, stop : int
            Frames; the whole session by default. An hour of 300 cells is 130 MB per array: go by parts.

        Returns
        -------
        LiveTraces
            (K, stop - start) float32 each.
        """
        stop = self.n_frames if stop is None else stop
        out = empty_traces(len(ids), stop - start)
        avail, _ = self._first_and_last(ids)
        rows = self._db.execute(
            "SELECT id_list, lag, frame, traces FROM frames JOIN traces USING (frame) "
            "WHERE frame >= ? AND frame < ? ORDER BY frame",
            (start, stop + self._longest_lag),
        )
        while block := rows.fetchmany(_BLOCK):
            for (number, lag), part in groupby(block, key=lambda row: (row[0], row[1])):
                listed = self._ids_of(number)
                place_rows(out, ids, avail, start, [row[2:] for row in part], listed, lag)
        for tail in self.tails():
            place_tail(out, ids, avail, start, tail)
        return out

    def tails(self) -> tuple[Tail, ...]:
        """Return the delayed values given out at drain; none if the writer was killed."""
        tails = []
        for first, n, ids, c_lag, s_lag in self._db.execute(
            "SELECT first_frame, n, ids, c_lag, s_lag FROM tail"
        ):
            known = np.frombuffer(ids, "<u4").astype(np.uint32, copy=False)
            shape = (n, len(known))
            c, s = np.frombuffer(c_lag, "<f4").reshape(shape), np.frombuffer(s_lag, "<f4").reshape(shape)
            tails.append(Tail(first, known, c, s))
        return tuple(tails)

    def components(self) -> LiveComponents:
        """Return every component that was ever published, with its last footprint."""
        ids = self.ids_seen()
        first, last = self._first_and_last(ids)
        used = epochs_in_use(self.epochs(), self.n_frames)
        numbers = [epoch.number for epoch in used]
        found = components_of(ids, first, last, numbers, self.epoch_arrays, self.component_events())
        return found if used else replace(found, footprints=replace(found.footprints, shape=self._shape))

    def component_events(self) -> tuple[ComponentEvent, ...]:
        """Return the changes in the life of components, in order."""
        query = (
            'SELECT kind, id, frame, "into", factor, y, x, snr, reason FROM component_events ORDER BY number'
        )
        return tuple(ComponentEvent(*row) for row in self._db.execute(query))

    def events(self) -> tuple[EventRecord, ...]:
        """Return the other events, in order."""
        query = "SELECT kind, frame, fields FROM events ORDER BY number"
        return tuple(EventRecord(kind, frame, json.loads(f)) for kind, frame, f in self._db.execute(query))

    def trigger_log(self) -> TriggerLog:
        """Return what the rules were told, what they decided, and what became of it; empty without rules."""
        return read_trigger_log(self._db)

    def health(self) -> tuple[dict[str, Any], ...]:
        """Return the health records, in order."""
        return tuple(json.loads(f) for (f,) in self._db.execute("SELECT fields FROM health ORDER BY number"))

    def epochs(self) -> tuple[EpochRecord, ...]:
        """Return the epochs, by number."""
        query = "SELECT epoch, learned_frame, adopted_frame FROM epochs ORDER BY epoch"
        return tuple(EpochRecord(*row) for row in self._db.execute(query))

    def epoch_arrays(self, number: int, names: tuple[str, ...] | None = None) -> dict[str, NDArray[Any]]:
        """Return the arrays of one epoch, all of them or those named."""
        return self._epoch_arrays.read(number, names)

    def last_epoch(self) -> dict[str, NDArray[Any]] | None:
        """Return the arrays of the last epoch that a frame was inferred with, None if there was none."""
        used = epochs_in_use(self.epochs(), self.n_frames)
        return self.epoch_arrays(used[-1].number) if used else None

    def static_background(self) -> FloatArray | None:
        """Return b0 (H, W) of the last epoch in use, gray levels; None if there was none."""
        used = epochs_in_use(self.epochs(), self.n_frames)
        if not used:
            return None
        stored = self.epoch_arrays(used[-1].number, (B0_ARRAY,)).get(B0_ARRAY)
        return None if stored is None else np.asarray(stored, np.float32) / np.float32(64)

    def _first_and_last(self, ids: IdArray) -> tuple[LongArray, LongArray]:
        """Return the first and the last frame that carried each id."""
        first = np.full(len(ids), self.n_frames, np.int64)
        last = np.full(len(ids), -1, np.int64)
        for number, low, high in self._spans:
            held = np.isin(ids, self._ids_of(number))
            first[held] = np.minimum(first[held], low)
            last[held] = np.maximum(last[held], high)
        return first, last

    def _ids_of(self, number: int) -> IdArray:
        if number not in self._lists:
            blob = self._one("SELECT ids FROM id_lists WHERE id_list = ?", number)
            self._lists[number] = np.frombuffer(blob, "<u4").astype(np.uint32, copy=False)
        return self._lists[number]

    def _one(self, query: str, *arguments: Any) -> Any:
        return self._db.execute(query, arguments).fetchone()[0]


def _field(gy: int | None = None, gx: int = 0, data: bytes = b"") -> FloatArray | None:
    return None if gy is None else np.frombuffer(data, "<f4").reshape(gy, gx, 2)


def _open(path: Path) -> sqlite3.Connection:
    """Open read-only; a finished journal on a medium that cannot be written is opened as immutable."""
    if not path.is_file():
        raise StorageError(f"there is no journal at {path}; name a session folder that holds journal.sqlite")
    uri = path.resolve().as_uri() + "?mode=ro"
    if not uri.startswith("file:///"):  # a Windows share: SQLite wants its server in the path
        uri = uri.replace("file://", "file:////", 1)
    wal = path.with_name(path.name + "-wal")
    alternatives = [uri] if wal.exists() else [uri, uri + "&immutable=1"]
    problem: sqlite3.Error | None = None
    for alternative in alternatives:
        db = sqlite3.connect(alternative, uri=True, isolation_level=None)
        try:
            with closing(db.execute("SELECT COUNT(*) FROM sqlite_master")) as rows:
                rows.fetchone()
            return db
        except sqlite3.Error as error:
            db.close()
            problem = error
    raise StorageError(
        f"{path} cannot be opened as a journal ({problem}); "
        "if its folder cannot be written, copy the session to one that can"
    ) from problem
