"""The writer thread: owns the journal, one commit a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from streamscope.clock import clock_ns
from streamscope.session.lanes import Adopted
from streamscope.session.outputs import Note, Published, Record
from streamscope.session.queue import BoundedQueue
from streamscope.session.triggering import Decided, Told
from streamscope.storage.journal import Journal
from streamscope.types import Health, OutputReport, Tail

COMMIT_S = 1.0  # a crash loses at most this much of the journal


class Writer:
    """Write what comes from the loop into the journal; nobody waits for it.

    Parameters
    ----------
    path : Path
        The journal; made in the writer thread, which owns it.
    records : BoundedQueue
        What to write.
    clock : callable
        Monotonic time, ns.
    """

    def __init__(
        self, path: Path, records: BoundedQueue[Record], clock: Callable[[], int] = clock_ns
    ) -> None:
        self._path = path
        self._records = records
        self._clock = clock

    def run(self) -> None:
        """Write until the queue ends; the body of the writer thread."""
        journal = Journal(self._path)
        try:
            committed_ns = self._clock()
            while not self._records.ended:
                write_records(journal, self._records.take_all(timeout_s=COMMIT_S))
                if self._clock() - committed_ns >= COMMIT_S * 1e9:
                    journal.commit()
                    committed_ns = self._clock()
        finally:
            journal.close()


def write_records(journal: Journal, records: Sequence[Record]) -> None:
    """Add records to the journal's open transaction."""
    for record in records:
        match record:
            case Published():
                journal.append_result(record.result, record.t_publish_ns)
            case Adopted():
                _write_epoch(journal, record)
            case Tail():
                journal.append_tail(record)
            case Health():
                journal.append_health(asdict(record))
            case Note():
                journal.append_event(record.kind, record.frame, record.fields)
            case Told():
                journal.append_trigger_input(record.frame, record.kind, record.fields)
            case Decided():
                journal.append_decision(record.decision)
            case OutputReport():
                journal.append_output(record)


def _write_epoch(journal: Journal, adopted: Adopted) -> None:
    epoch = adopted.epoch
    journal.append_epoch(epoch.number, epoch.frame, adopted.frame, epoch.arrays())
    for event in epoch.events:
        journal.append_component(event)
