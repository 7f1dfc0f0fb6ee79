"""Layout of the journal: tables, version, and how traces are packed into a row."""

from __future__ import annotations

from streamscope.errors import StorageError

APPLICATION_ID = 0x53534A31  # "SSJ1": tells a journal from any other SQLite file
SCHEMA_VERSION = 2
TRACE_NAMES = ("y", "c", "s", "c_lag", "s_lag")  # order within a row of traces

# Fields of frames that moved rigidly have no row.
# Traces stand in a table of their own, so that a look at the frames does not read all of them.
# Ids change a few times a minute and frames thirty times a second: each distinct list of ids is stored once.
# Rules: what they were told beside the frames, what they decided, and when it was written; absent in older journals.
# An array that is that of the epoch before is not stored again, another one as the difference (epoch_code.py).
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE id_lists (id_list INTEGER PRIMARY KEY, ids BLOB NOT NULL);
CREATE TABLE frames (
    frame INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, id_list INTEGER NOT NULL,
    t_capture_ns INTEGER NOT NULL, t_result_ns INTEGER NOT NULL, t_publish_ns INTEGER NOT NULL,
    time_s REAL NOT NULL, dy REAL NOT NULL, dx REAL NOT NULL, quality REAL NOT NULL, ok INTEGER NOT NULL,
    flags INTEGER NOT NULL, gap INTEGER NOT NULL, hw INTEGER, lag INTEGER NOT NULL);
CREATE TABLE fields (frame INTEGER PRIMARY KEY, gy INTEGER NOT NULL, gx INTEGER NOT NULL, field BLOB NOT NULL);
CREATE TABLE traces (frame INTEGER PRIMARY KEY, traces BLOB NOT NULL);
CREATE TABLE tail (
    first_frame INTEGER NOT NULL, n INTEGER NOT NULL, ids BLOB NOT NULL,
    c_lag BLOB NOT NULL, s_lag BLOB NOT NULL);
CREATE TABLE component_events (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id INTEGER NOT NULL, frame INTEGER NOT NULL,
    "into" INTEGER, factor REAL, y REAL, x REAL, snr REAL, reason TEXT NOT NULL);
CREATE TABLE events (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, frame INTEGER, fields TEXT NOT NULL);
CREATE TABLE health (number INTEGER PRIMARY KEY, frame INTEGER, fields TEXT NOT NULL);
CREATE TABLE trigger_inputs (
    number INTEGER PRIMARY KEY, frame INTEGER NOT NULL, kind TEXT NOT NULL, fields TEXT NOT NULL);
CREATE TABLE decisions (
    number INTEGER PRIMARY KEY, frame INTEGER NOT NULL, rule TEXT NOT NULL, outcome TEXT NOT NULL,
    t_decision_ns INTEGER NOT NULL, fields TEXT NOT NULL);
CREATE TABLE outputs (
    number INTEGER PRIMARY KEY, decision INTEGER NOT NULL, output TEXT NOT NULL, t_written_ns INTEGER NOT NULL,
    t_acknowledged_ns INTEGER NOT NULL, trouble TEXT NOT NULL);
CREATE TABLE epochs (
    epoch INTEGER PRIMARY KEY, learned_frame INTEGER NOT NULL, adopted_frame INTEGER NOT NULL);
CREATE TABLE arrays (
    epoch INTEGER NOT NULL, name TEXT NOT NULL, dtype TEXT NOT NULL, shape TEXT NOT NULL,
    base INTEGER, data BLOB NOT NULL, UNIQUE (epoch, name));
CREATE TABLE epoch_arrays (
    epoch INTEGER NOT NULL, name TEXT NOT NULL, held_by INTEGER NOT NULL,
    PRIMARY KEY (epoch, name)) WITHOUT ROWID;
"""


def check_version(application_id: int, version: int, name: str) -> None:
    """Refuse a file that is not a journal, or whose version this program does not know.

    Raises
    ------
    StorageError
        If either number is not one that this program reads.
    """
    if application_id != APPLICATION_ID:
        raise StorageError(
            f"{name} is not a StreamScope journal; name the journal.sqlite of a session folder"
        )
    if not 1 <= version <= SCHEMA_VERSION:
        raise StorageError(
            f"{name} has journal version {version}, this StreamScope reads up to {SCHEMA_VERSION}; "
            "install a newer StreamScope"
        )
