"""The refit of a session: from its live components and its recording to the second half of session.h5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from streamscope.errors import SourceError, StorageError
from streamscope.session.preparing import prepared_movie, session_frames
from streamscope.session.registry import open_movie
from streamscope.storage.journal import JournalReader
from streamscope.storage.recording import recorded_frames
from streamscope.storage.result import add_refit, write_session
from streamscope.storage.session_folder import SessionFolder
from streamscope.storage.session_record import open_live
from streamscope.types import (
    DoubleArray,
    FloatArray,
    Footprints,
    IdArray,
    ImageArray,
    IntArray,
    LongArray,
    Movie,
    MovieInfo,
    RefitResult,
)

LEAST_FRAMES = 20  # fewer say nothing about noise or decay
Progress: TypeAlias = Callable[[str, float], None]


class RefitStopped(Exception):
    """The user does not want to wait for the refit; raised by a progress callback."""


class FirstFrames:
    """The first frames of a movie, as a movie: what a replay that was stopped has seen.

    Parameters
    ----------
    movie : Movie
        The whole recording.
    n_frames : int
        How many of its frames there are in this one.
    """

    def __init__(self, movie: Movie, n_frames: int) -> None:
        self._movie = movie
        self._n = n_frames

    @property
    def info(self) -> MovieInfo:
        """Return what is known of the recording."""
        return replace(self._movie.info, n_frames=self._n)

    @property
    def times_s(self) -> DoubleArray:
        """Return the recorded time of each frame, (T,), s."""
        return self._movie.times_s[: self._n]

    @property
    def gap(self) -> IntArray:
        """Return the number of frames missing before each frame, (T,)."""
        return self._movie.gap[: self._n]

    @property
    def hw(self) -> LongArray | None:
        """Return the hardware counter of each frame, (T,), if there is one."""
        hw = self._movie.hw
        return None if hw is None else hw[: self._n]

    def read(self, start: int, stop: int) -> ImageArray:
        """Return frames start..stop as (n, H, W), as they were recorded."""
        return self._movie.read(start, min(stop, self._n))

    def close(self) -> None:
        """Release files."""
        self._movie.close()


def write_live(folder: SessionFolder) -> Path:
    """Write session.h5 with what the journal holds and return its path."""
    with JournalReader(folder.journal, folder.shape) as reader:
        return write_session(folder, reader)


def refit_from_source(folder: SessionFolder, progress: Progress | None = None) -> RefitResult:
    """Refit a session from wherever its frames are: its own recording if that is whole, else the original.

    Raises
    ------
    SourceError, StorageError
        As `refit_session`; also if the frames cannot be found, or are not those of the session.
    """
    found, config = folder.find_source(), folder.ours["config"]
    # A recording of the session's own says what the user said, and its times are those of its frames.
    given = (None, None) if found.own else (config["fps"], config["um_per_px"])
    movie = open_movie(found.spec, *given)
    try:
        return refit_session(folder, movie, progress, recorded_frames(folder) if found.own else None)
    finally:
        movie.close()


def refit_session(
    folder: SessionFolder,
    movie: Movie,
    progress: Progress | None = None,
    frames: LongArray | None = None,
) -> RefitResult:
    """Refit a session from its recording, put the result into its session.h5, and return it.

    Parameters
    ----------
    folder : SessionFolder
        The session; its live part is where the refit begins.
    movie : Movie
        The recording; of a replay that was stopped early, only the frames that it played are used.
    progress : callable, optional
        Called with the stage's name and the fraction done; may raise to give up, which leaves the file as
        it was.
    frames : ndarray, optional, shape (T,)
        The frame of the session that each frame of the movie is, rising; None: the same number.

    Raises
    ------
    SourceError
        If the recording is not the one that the session was made from.
    StorageError
        If the session has too few frames for a refit.
    """
    # Half a second, and not needed by a session without refit.
    from streamscope.offline.refit import refit
    from streamscope.offline.rois import refit_rois
    from streamscope.offline.warmup import warm_up_refit

    prepare, source_gap = folder.engine.prepare, movie.gap
    came = movie.info
    if prepare.source_shape in (None, came.shape):
        movie = prepared_movie(movie, prepare)
    if movie.info.shape != folder.shape:
        raise SourceError(
            f"{came.source} has frames of {came.shape}, the session {prepare.source_shape or folder.shape}; "
            "is it the recording that this session was made from?"
        )
    footprints, ids, seen, shifts, gap = _live_start(folder)
    whole = np.arange(movie.info.n_frames)
    frames = whole if frames is None else session_frames(frames, source_gap, prepare, gap)
    frames = frames[: movie.info.n_frames]
    frames = frames[frames < len(shifts)]
    n = len(frames)
    if n < LEAST_FRAMES:
        raise StorageError(
            f"the session has {n} frames, a refit needs {LEAST_FRAMES}; replay more of the recording"
        )
    if progress is not None:
        warm_up_refit(progress, folder.engine.bits)
    played = movie if n == movie.info.n_frames else FirstFrames(movie, n)
    if folder.ours["config"].get("rois") is not None and footprints is not None and ids is not None:
        result = refit_rois(played, folder.engine, footprints, ids, shifts[frames], progress)
    else:
        result = refit(played, folder.engine, footprints, ids, shifts[frames], progress)
    notes = {**result.notes, "missing": _holes(frames)}
    result = replace(result, ids=_never_reused(result.ids, ids, seen), notes=notes)
    add_refit(folder, result)
    return result


def _live_start(
    folder: SessionFolder,
) -> tuple[Footprints | None, IdArray | None, IdArray, FloatArray, LongArray]:
    """Return the components at the end, their ids, every id ever given, and live shifts (T, 2) and losses (T,)."""
    with open_live(folder) as live:
        components, frames = live.components(), live.frames()
    shifts, gap = _carried_on(frames.shifts.astype(np.float32)), frames.gap.astype(np.int64)
    alive = components.select(components.has_status("confirmed") | components.has_status("provisional"))
    if not len(alive.ids):
        return None, None, components.ids, shifts, gap
    return alive.footprints, alive.ids, components.ids, shifts, gap


def _carried_on(shifts: FloatArray) -> FloatArray:
    """Return shifts (T, 2) in which a frame that was never inferred has the shift of the one before."""
    known = np.isfinite(shifts[:, 0])
    last = np.maximum.accumulate(np.where(known, np.arange(len(shifts)), 0))
    return np.nan_to_num(shifts[last])


def _holes(frames: LongArray) -> list[list[int]]:
    """Return [first, number] of each run of frames that are missing between those that there are."""
    steps = np.diff(frames, prepend=-1)
    return [[int(frames[k] - steps[k] + 1), int(steps[k] - 1)] for k in np.flatnonzero(steps > 1)]


def _never_reused(ids: IdArray, alive: IdArray | None, seen: IdArray) -> IdArray:
    """Return the refit's ids, those that it newly gave moved above every id that the session ever gave."""
    known = np.isin(ids, np.zeros(0, np.uint32) if alive is None else alive)
    highest = int(max(seen.max(initial=0), ids[known].max(initial=0)))
    out = ids.copy()
    out[~known] = highest + 1 + np.arange(np.count_nonzero(~known), dtype=np.uint32)
    return out
