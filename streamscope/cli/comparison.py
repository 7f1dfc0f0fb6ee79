"""The live and the refitted result of a session beside the truth of its simulated recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamscope.storage.result import ResultReader
from streamscope.storage.session_folder import open_session
from streamscope.testing.score import Score, score
from streamscope.testing.synth import Truth
from streamscope.types import FloatArray, Footprints, LongArray


@dataclass(frozen=True, slots=True)
class Found:
    """What one of the two ways found: K cells, T frames, in the reference frame of the truth."""

    name: str  # live or refit
    footprints: Footprints
    C: FloatArray  # (K, T)
    avail: LongArray  # (K,) first frame of each trace
    score: Score


@dataclass(frozen=True, slots=True)
class Comparison:
    """Truth, what was found, and the picture to draw it on."""

    truth: Truth
    fps: float
    um_per_px: float | None
    found: tuple[Found, ...]  # live, then refit if there is one
    correlation_image: FloatArray | None  # (H, W) in the reference frame of the truth; None without a refit


def compare(folder: Path, recording: Path) -> Comparison:
    """Return the results of a session folder beside the truth of its recording."""
    with np.load(recording / "truth.npz") as arrays:
        truth = Truth.from_arrays(arrays)
    session = open_session(folder)
    with ResultReader(session.result) as reader:
        found = [_live(reader, truth)]
        image = None
        if reader.has_refit:
            refit, image = _refit(reader, truth)
            found.append(refit)
    return Comparison(truth, session.engine.fps, session.engine.um_per_px, tuple(found), image)


def _live(reader: ResultReader, truth: Truth) -> Found:
    components = reader.components()
    cells = components.select(components.has_status("confirmed"))
    C = reader.traces(cells.ids).C
    shifts = reader.frames().shifts.astype(np.float32)
    return Found(
        "live", cells.footprints, C, cells.avail, score(truth, cells.footprints, C, shifts, cells.avail)
    )


def _refit(reader: ResultReader, truth: Truth) -> tuple[Found, FloatArray]:
    refit = reader.refit()
    keep = np.flatnonzero([status == "accepted" for status in refit.status])
    footprints, C = refit.footprints.select(keep), refit.C[keep]
    result = score(truth, footprints, C, refit.shifts)
    return Found("refit", footprints, C, np.zeros(len(keep), np.int64), result), refit.correlation_image
