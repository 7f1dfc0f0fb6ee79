"""notes.csv of a session that was recorded: what was set, and when, in the layout of Miniscope-DAQ-QT."""

from __future__ import annotations

import math
from collections.abc import Iterator

from streamscope.errors import StorageError
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.session_folder import SessionFolder

NOTES_NAME = "notes.csv"
HEADER = "Time Stamp (ms), Note"
SETTING_EVENT, MARK_EVENT = "setting", "mark"  # kinds of events that are notes


def write_notes(session: SessionFolder) -> None:
    """Write the notes beside the recording; no file if there are none.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    rows = list(_rows(session))
    if not rows:
        return
    try:
        (session.folder / NOTES_NAME).write_text("\n".join((HEADER, *rows)) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{session.folder / NOTES_NAME} cannot be written ({error.strerror})") from error


def _rows(session: SessionFolder) -> Iterator[str]:
    """Yield `ms,device,property,value` for a setting and `ms,text` for a mark; ms since the first frame."""
    device = (session.recording or {}).get("device", "")
    with JournalReader(session.journal, session.shape) as journal:
        times_s = journal.frames().time_s
        for event in journal.events():
            if event.kind not in (SETTING_EVENT, MARK_EVENT) or event.frame is None or not len(times_s):
                continue
            time_s = float(times_s[min(event.frame, len(times_s) - 1)])
            ms = 0 if math.isnan(time_s) else round(1000 * time_s)
            if event.kind == SETTING_EVENT:
                yield f"{ms},{device},{event.fields['setting']},{_plain(event.fields['value'])}"
            else:
                yield f"{ms},{event.fields.get('text', '')}"


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
