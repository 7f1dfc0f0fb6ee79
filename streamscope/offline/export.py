"""Export a session to one .npz file that any Python reads without StreamScope."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.errors import StorageError
from streamscope.storage.aside import written_aside
from streamscope.storage.live import seeded_among
from streamscope.storage.result_reader import ResultReader
from streamscope.storage.session_folder import SessionFolder, open_session
from streamscope.storage.session_record import open_live
from streamscope.types import Footprints


def export_session(session: Path, out: Path, which: str = "live", everything: bool = False) -> dict[str, Any]:
    """Write the live or the refitted result of a session to a .npz, aside first, and return a summary.

    Parameters
    ----------
    session : Path
        Session folder.
    out : Path
        File to write; ``.npz`` is added where it is missing.
    which : str
        ``live``: the confirmed components alive at the end, their values bit for bit as published.
        ``refit``: the accepted ones of the refit.
    everything : bool
        Also the provisional, merged and retired ones, or the rejected ones; `status` tells them apart.

    Returns
    -------
    dict
        path, which, components, frames, size (bytes).

    Raises
    ------
    StorageError
        If it is not a session, was not refitted, `which` is neither, or `out` cannot be written.
    """
    if which not in ("live", "refit"):
        raise StorageError(f"--which {which} is not known; write --which live or --which refit")
    folder = open_session(session)
    out = out if out.suffix == ".npz" else out.with_name(out.name + ".npz")
    if out.is_dir() or not out.parent.is_dir():
        raise StorageError(f"{out} cannot be written; name a file in a folder that exists, e.g. traces.npz")
    arrays = live_arrays(folder, everything) if which == "live" else refit_arrays(folder, everything)
    _write_npz(out, arrays)
    components, frames = arrays["C"].shape
    return {
        "path": out,
        "which": which,
        "components": int(components),
        "frames": int(frames),
        "size": out.stat().st_size,
    }


def live_arrays(session: SessionFolder, everything: bool) -> dict[str, NDArray[Any]]:
    """Return what `export --which live` writes, from session.h5 or, after a crash, from the journal."""
    with open_live(session) as live:
        components = live.components()
        if not everything:
            components = components.select(components.has_status("confirmed"))
        traces, frames = live.traces(components.ids), live.frames()
        return {
            "A": _in_field(components.footprints, session).dense(),
            "C": traces.C,
            "S": traces.S,
            "C_causal": traces.C_causal,
            "S_causal": traces.S_causal,
            "C_raw": traces.C_raw,
            "ids": components.ids,
            "avail": components.avail,
            **_motion(frames.shifts, frames.field, components.footprints.shape, session),
            "quality": frames.quality.astype(np.float32),
            "flags": frames.flags,
            "status": _text(components.status),
            "reasons": _text(components.reasons),
            "seeded": seeded_among(components.ids, live.events()),
            **_image(live.static_background(), session),
        }


def refit_arrays(session: SessionFolder, everything: bool) -> dict[str, NDArray[Any]]:
    """Return what `export --which refit` writes."""
    if not session.result.is_file():
        raise StorageError(
            f"{session.folder} has no refit yet; make it with: streamscope refit {session.folder}"
        )
    with ResultReader(session.result) as reader:
        refit, events = reader.refit(), reader.events()
    keep = np.array([everything or status == "accepted" for status in refit.status], dtype=bool)
    rows = np.flatnonzero(keep)
    return {
        "A": _in_field(refit.footprints.select(rows), session).dense(),
        "C": refit.C[rows],
        "S": refit.S[rows],
        "C_raw": refit.C_raw[rows],
        "ids": refit.ids[rows],
        "avail": np.zeros(len(rows), np.int64),
        **_motion(refit.shifts, refit.field, refit.footprints.shape, session),
        "quality": refit.quality.astype(np.float32),
        "flags": np.zeros(len(refit.quality), np.int64) if refit.flags is None else refit.flags,
        "status": _text(tuple(refit.status[k] for k in rows)),
        "reasons": _text(tuple(refit.reasons[k] for k in rows)),
        "seeded": seeded_among(refit.ids[rows], events),
        **_image(refit.b0, session),
    }


def _in_field(footprints: Footprints, session: SessionFolder) -> Footprints:
    """Return footprints in the whole field of the source, so that they lie on its frames, cropped or not."""
    return footprints.placed(*session.engine.prepare.place(footprints.shape))


def _motion(
    shifts: NDArray[Any], field: NDArray[np.float32], shape: tuple[int, int], session: SessionFolder
) -> dict[str, NDArray[Any]]:
    """Return shifts and fields, and the row and column of the fields' nodes, px; shifts in um where that is known.

    With them goes what was done to the frames: the part of the source that was used, and how many pixels and frames
    went into a mean.
    """
    height, width = shape
    engine = session.engine
    um_per_px, prepare = engine.um_per_px, engine.prepare
    top, left, _ = prepare.place(shape)
    um = {} if um_per_px is None else {"shifts_um": (shifts * um_per_px).astype(np.float32)}
    return um | {
        "shifts": shifts.astype(np.float32),
        "field": field,
        "field_y": top + np.linspace(0, height - 1, field.shape[1]),
        "field_x": left + np.linspace(0, width - 1, field.shape[2]),
        "crop": np.array(prepare.window(prepare.source_shape or shape), np.int64),
        "bin": np.array([prepare.bin, prepare.bin_frames], np.int64),
    }


def _image(b0: NDArray[np.float32] | None, session: SessionFolder) -> dict[str, NDArray[Any]]:
    """Return the still image, by which another session finds this field; a session without epochs has none.

    It is of the whole field; what was cut off has the values at the edge.
    """
    if b0 is None:
        return {}
    (height, width), (top, left, field) = b0.shape, session.engine.prepare.place((b0.shape[0], b0.shape[1]))
    around = (top, field[0] - top - height), (left, field[1] - left - width)
    return {"b0": np.pad(b0.astype(np.float32), around, "edge")}


def _text(lines: tuple[str, ...]) -> NDArray[np.str_]:
    return np.array(lines, dtype=np.str_)


def _write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write as numpy.savez_compressed does, but at the lightest level; equal arrays give equal bytes."""
    with (
        written_aside(path) as aside,
        zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as npz,
    ):
        for name, array in arrays.items():
            with npz.open(name + ".npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
