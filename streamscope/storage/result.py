"""Building session.h5: from the journal, and from the refit. Always written aside and renamed."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamscope._version import __version__
from streamscope.storage.aside import written_aside
from streamscope.storage.journal_reader import JournalReader
from streamscope.storage.layout import (
    FORMAT,
    FORMAT_VERSION,
    LIVE_UNIT,
    REFIT_UNIT,
    make_matrix,
    put,
    put_footprints,
    put_kinetics,
    put_text,
)
from streamscope.storage.live import TRACE_FIELDS
from streamscope.storage.result_reader import ResultReader
from streamscope.storage.session_folder import SessionFolder, open_session
from streamscope.types import IdArray, RefitResult

__all__ = ["ResultReader", "add_refit", "write_session"]

_BLOCK = 4096  # frames of all traces in memory at once: 25 MB for 300 cells
_FRAME_UNITS = {
    "epoch": "number; -1: never inferred",
    "shifts": "px (dy, dx): content at (y, x) of the reference is seen at (y + dy, x + dx)",
    "field": "px (dy, dx) on top of shifts at nodes (gy, gx) that span the frame corner to corner",
    "quality": "correlation with the template",
    "flags": "bits",
    "gap": "frames missing before this one",
    "hw": "hardware counter; -1: none",
    "time_s": "s since the first frame",
    "t_capture_ns": "ns, monotonic clock",
    "t_result_ns": "ns, monotonic clock",
    "t_publish_ns": "ns, monotonic clock",
}


def write_session(
    session: SessionFolder | Path, reader: JournalReader, refit: RefitResult | None = None
) -> Path:
    """Write session.h5 from the journal, and the refit if there is one, and return its path.

    Parameters
    ----------
    session : SessionFolder or Path
        The session; its session.h5 is replaced.
    reader : JournalReader
        The session's journal.
    refit : RefitResult, optional
        Left out of the file when None.

    Raises
    ------
    StorageError
        If it is not a session folder or cannot be written; an older session.h5 stays as it was.
    """
    session = session if isinstance(session, SessionFolder) else open_session(session)
    with written_aside(session.result) as aside, h5py.File(aside, "w") as file:
        _write_head(file, session)
        _write_live(file.create_group("live"), reader, session.engine.um_per_px)
        if refit is not None:
            _write_refit(file.create_group("refit"), refit, session.engine.um_per_px)
    return session.result


def add_refit(session: SessionFolder | Path, refit: RefitResult) -> Path:
    """Put a refit into session.h5, in place of an older one, and return its path.

    A session that has no session.h5 (its program was killed) gets one from its journal.

    Raises
    ------
    StorageError
        If there is neither, or the file cannot be written; the old one stays as it was.
    """
    session = session if isinstance(session, SessionFolder) else open_session(session)
    if not session.result.is_file():
        with JournalReader(session.journal, session.shape) as reader:
            return write_session(session, reader, refit)
    # Built anew rather than changed: HDF5 does not give back the room of what is deleted.
    with ResultReader(session.result) as old, written_aside(session.result) as aside:
        with h5py.File(aside, "w") as file:
            _write_head(file, session)
            old.copy_live(file)
            _write_refit(file.create_group("refit"), refit, session.engine.um_per_px)
        old.close()
    return session.result


def _write_head(file: h5py.File, session: SessionFolder) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["format_version"] = FORMAT_VERSION
    provenance = file.create_group("provenance")
    versions = {
        "streamscope": session.ours["version"],
        "written_by": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "h5py": h5py.__version__,
    }
    parts = {name: dict(session.ours[name]) for name in ("config", "engine", "source")}
    parts["config"].pop("out", None)  # a path of this machine, often with the user's name
    started = session.metadata.get("recordingStartTime")
    for name, value in {"versions": versions, **parts, "recordingStartTime": started}.items():
        provenance.attrs[name] = json.dumps(value)


def _write_live(group: h5py.Group, reader: JournalReader, um_per_px: float | None) -> None:
    components = reader.components()
    put(group, "ids", components.ids)
    put_text(group, "status", components.status)
    put_text(group, "reasons", components.reasons)
    put(group, "avail", components.avail, "first frame whose traces message carried the id")
    put(group, "last", components.last, "last frame whose traces message carried the id")
    put_footprints(group, components.footprints)
    b0 = reader.static_background()
    if b0 is not None:
        put(group, "b0", b0, "gray levels")
    _write_traces(group, reader, components.ids)
    for name, values in asdict(reader.frames()).items():
        put(group, name, values, _FRAME_UNITS[name])
        if name == "shifts":
            _put_um(group, values, um_per_px)
    epochs = [(e.number, e.learned_frame, e.adopted_frame) for e in reader.epochs()]
    columns = "number, last frame it was learned from, first frame inferred with it"
    put(group, "epochs", np.array(epochs, np.int64).reshape(-1, 3), columns)
    put_text(group, "component_events", tuple(json.dumps(asdict(e)) for e in reader.component_events()))
    put_text(group, "events", tuple(json.dumps(_plain(asdict(e))) for e in reader.events()))
    group.attrs["closed"] = reader.closed


def _write_traces(group: h5py.Group, reader: JournalReader, ids: IdArray) -> None:
    shape = (len(ids), reader.n_frames)
    matrices = {name: make_matrix(group, name, shape, LIVE_UNIT) for name in TRACE_FIELDS}
    if not all(shape):
        return
    for start in range(0, reader.n_frames, _BLOCK):
        stop = min(start + _BLOCK, reader.n_frames)
        traces = reader.traces(ids, start, stop)
        for name, matrix in matrices.items():
            matrix[:, start:stop] = getattr(traces, name)


def _put_um(group: h5py.Group, shifts: NDArray[Any], um_per_px: float | None) -> None:
    """Write shifts in um too; where the size of a pixel is not known there are none, rather than guessed ones."""
    if um_per_px is not None:
        put(group, "shifts_um", (shifts * um_per_px).astype(np.float32), "um (dy, dx)")


def _write_refit(group: h5py.Group, refit: RefitResult, um_per_px: float | None) -> None:
    put(group, "ids", refit.ids)
    put_text(group, "status", refit.status)
    put_text(group, "reasons", refit.reasons)
    put_footprints(group, refit.footprints)
    for name in ("C", "S", "C_raw"):
        values = getattr(refit, name)
        matrix = make_matrix(group, name, values.shape, REFIT_UNIT)
        if values.size:
            matrix[:] = values
    put(group, "sn", refit.sn, REFIT_UNIT)
    put(group, "g", refit.g, "AR coefficients per frame")
    put(group, "snr", refit.snr, "peak of C over sn")
    put(group, "shifts", refit.shifts, _FRAME_UNITS["shifts"])
    _put_um(group, refit.shifts, um_per_px)
    put(group, "quality", refit.quality, _FRAME_UNITS["quality"])
    if refit.flags is not None:
        put(group, "flags", refit.flags, _FRAME_UNITS["flags"])
    put(group, "field", refit.field, _FRAME_UNITS["field"])
    for name in ("b0", "mean_image"):
        put(group, name, getattr(refit, name), "gray levels")
    put(group, "correlation_image", refit.correlation_image, "mean correlation with the neighbours")
    if refit.kinetics is not None:
        put_kinetics(group, refit.kinetics)
    group.attrs["notes"] = json.dumps(_plain(dict(refit.notes)))


def _plain(value: Any) -> Any:
    """Return a value made of what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value if isinstance(value, str | int | float | bool | None) else str(value)
