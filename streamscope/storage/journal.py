"""The journal: what the session found, appended while it runs, readable after any crash.

SQLite in WAL mode with one commit a second: whatever was committed survives a killed process, and (because
each commit is synced) a power cut. Between two commits nothing is promised: at most that second is lost.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope._version import __version__
from streamscope.errors import StorageError
from streamscope.storage.epoch_code import EpochCoder
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.schema import APPLICATION_ID, SCHEMA_VERSION, TABLES
from streamscope.types import ComponentEvent, Decision, FrameResult, OutputReport, Tail

__all__ = ["Journal", "JournalReader"]

_PAGE_BYTES = 32768  # an epoch is long: with pages of 4 kB SQLite spends as long on their bookkeeping
_FRAME_ROW = "INSERT INTO frames VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"


class Journal:
    """Writer of one session's journal. One thread owns it, from the first append to `close`.

    Nothing is durable before `commit`; the owner calls it about once a second.

    Parameters
    ----------
    path : Path
        The file to make; it must not exist.

    Raises
    ------
    StorageError
        If the file exists or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ids = b""
        self._id_list = 0
        self._epochs = EpochCoder()
        if path.exists():
            raise StorageError(f"{path} exists already and is never overwritten; start a new session folder")
        with self._errors():
            # One thread at a time, but it may be made in one and written in another.
            self._db = sqlite3.connect(path, check_same_thread=False)
            self._db.execute(f"PRAGMA page_size={_PAGE_BYTES}")  # before there is a page
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(f"PRAGMA application_id={APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            self._db.executescript(TABLES)
            self._db.execute("INSERT INTO meta VALUES ('streamscope', ?), ('closed', '0')", (__version__,))
            self._db.execute("INSERT INTO id_lists VALUES (0, ?)", (b"",))
            self._db.commit()

    def append_result(self, result: FrameResult, t_publish_ns: int) -> None:
        """Add the row of one frame; its values are kept as the float32 bytes that they are.

        Raises
        ------
        StorageError
            If the frame is there already, or its arrays have different lengths.
        """
        arrays = (result.y, result.c, result.s, result.c_lag, result.s_lag)
        traces = b"".join([a.astype("<f4", copy=False).tobytes() for a in arrays])
        if len(traces) != 20 * len(result.ids):
            raise StorageError(
                f"frame {result.index} has arrays of {[len(a) for a in arrays]} values for "
                f"{len(result.ids)} ids; expected one value per id"
            )
        shift = result.shift
        row = (
            *(result.index, result.epoch, self._list_of(result), result.t_capture_ns, result.t_result_ns),
            *(t_publish_ns, result.time_s, shift.dy, shift.dx, shift.quality, shift.ok),
            *(result.flags, result.gap, result.hw, result.lag),
        )
        with self._errors():
            self._db.execute(_FRAME_ROW, row)
            self._db.execute("INSERT INTO traces VALUES (?,?)", (result.index, traces))
            if shift.field is not None:
                field = shift.field.astype("<f4", copy=False)
                row = (result.index, *field.shape[:2], field.tobytes())
                self._db.execute("INSERT INTO fields VALUES (?,?,?,?)", row)

    def append_tail(self, tail: Tail) -> None:
        """Add the delayed values of the last frames, which no later frame carries."""
        c_lag = tail.c_lag.astype("<f4", copy=False)
        s_lag = tail.s_lag.astype("<f4", copy=False)
        ids = tail.ids.astype("<u4", copy=False).tobytes()
        row = (tail.first_frame, len(c_lag), ids, c_lag.tobytes(), s_lag.tobytes())
        self._insert("tail", row)

    def append_component(self, event: ComponentEvent) -> None:
        """Add one change in the life of a component."""
        row = (None, event.kind, event.id, event.frame, event.into, event.factor)
        self._insert("component_events", (*row, event.y, event.x, event.snr, event.reason))

    def append_event(self, kind: str, frame: int | None, fields: Mapping[str, Any]) -> None:
        """Add anything else worth knowing later: a gap, a change of shedding, a trigger, a warning.

        Parameters
        ----------
        kind : str
            One word, e.g. ``gap``.
        frame : int or None
            The frame that it belongs to, None if to none.
        fields : mapping
            Plain values (they are stored as JSON).
        """
        self._insert("events", (None, kind, frame, _json(fields)))

    def append_health(self, health: Mapping[str, Any]) -> None:
        """Add one health record (plain values; `frame` is taken from it)."""
        self._insert("health", (None, health.get("frame"), _json(health)))

    def append_trigger_input(self, frame: int, kind: str, fields: Mapping[str, Any]) -> None:
        """Add something that the rules were told before `frame`, in order: what replays their decisions."""
        self._insert("trigger_inputs", (None, frame, kind, _json(fields)))

    def append_decision(self, decision: Decision) -> None:
        """Add a decision; its numbers come back bit for bit."""
        fields = decision.fields()
        head = [fields.pop(name) for name in ("number", "frame", "rule", "outcome", "t_decision_ns")]
        self._insert("decisions", (*head, _json(fields)))

    def append_output(self, report: OutputReport) -> None:
        """Add what became of a decision at an output."""
        row = (report.number, report.output, report.t_written_ns, report.t_acknowledged_ns, report.trouble)
        self._insert("outputs", (None, *row))

    def append_epoch(
        self, number: int, learned_frame: int, adopted_frame: int, arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        """Add an epoch with everything that is needed to infer again, stored as what differs from the one before.

        Parameters
        ----------
        number : int
            The epoch's number.
        learned_frame : int
            Last frame that it was learned from.
        adopted_frame : int
            First frame inferred with it.
        arrays : mapping of str to ndarray
            Numbers, booleans or text; no objects. They are kept until the next epoch and must not change.

        Raises
        ------
        StorageError
            If an array holds objects, or the epoch is there already.
        """
        coded = self._epochs.code(number, arrays)
        for array in coded.stored:
            row = (number, array.name, array.dtype, json.dumps(array.shape), array.base, array.data)
            self._insert("arrays", row)
        for name, holder in coded.held_by.items():
            self._insert("epoch_arrays", (number, name, holder))
        self._insert("epochs", (number, learned_frame, adopted_frame))
        self._epochs.follow(coded)

    def commit(self) -> None:
        """Make everything appended so far survive a crash."""
        with self._errors():
            self._db.commit()

    def close(self) -> None:
        """Commit, mark the journal as ended in good order, and fold it into a single file."""
        with self._errors(), closing(self._db):
            self._db.execute("UPDATE meta SET value='1' WHERE key='closed'")
            self._db.commit()
            # Refused while somebody reads: then the WAL file stays beside it, and nothing is lost.
            with suppress(sqlite3.OperationalError):
                self._db.execute("PRAGMA journal_mode=DELETE")

    def _list_of(self, result: FrameResult) -> int:
        ids = result.ids.astype("<u4", copy=False).tobytes()
        if ids != self._ids:
            self._ids = ids
            self._id_list += 1
            self._insert("id_lists", (self._id_list, ids))
        return self._id_list

    def _insert(self, table: str, row: tuple[Any, ...]) -> None:
        with self._errors():
            self._db.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise StorageError(
                f"{self.path.name} holds this record already ({error}); each frame and epoch is written once"
            ) from error
        except sqlite3.Error as error:
            raise StorageError(
                f"{self.path} cannot be written ({error}); "
                "check the disk's free space and the folder's permissions"
            ) from error


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps(dict(fields), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)
