"""The live part of a session folder, from session.h5 where there is one, from the journal otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from streamscope.errors import StorageError
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.live import LiveRecord
from streamscope.storage.result_reader import ResultReader
from streamscope.storage.session_folder import SessionFolder


@contextmanager
def open_live(session: SessionFolder) -> Iterator[LiveRecord]:
    """Give the live record of a session: session.h5 if it was built, else the journal (a crashed session).

    Raises
    ------
    StorageError
        If there is neither.
    """
    reader: ResultReader | JournalReader
    if session.result.is_file():
        reader = ResultReader(session.result)
    elif session.journal.is_file():
        reader = JournalReader(session.journal, session.shape)
    else:
        raise StorageError(
            f"{session.folder} holds neither session.h5 nor journal.sqlite; "
            "expected a session that was recorded, did its replay fail at the start?"
        )
    with reader:
        yield reader
