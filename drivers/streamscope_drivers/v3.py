"""Folders of the Miniscope program of the V3 years: msCam1.avi, msCam2.avi ..., timestamp.dat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from streamscope_drivers.metadata import DeviceMetadata
from streamscope_drivers.stamps import Stamps, Table, read_table
from streamscope_drivers.timebase import TimeBase, nominal, time_base
from streamscope_drivers.video import VideoMovie, movie_of, numbered, probe_all, without_holes

TIME_STAMPS = "timestamp.dat"
NOTES = "settings_and_notes.dat"
CAMERA, NUMBER, TIME = "camnum", "framenum", "sysclock"


def ms_cams(folder: Path) -> dict[int, Path]:
    """Return the files msCam1.avi, msCam2.avi ... of a folder by their numbers."""
    return numbered(folder, r"msCam(\d+)\.avi")


def open_v3(path: Path, fps: float | None = None, um_per_px: float | None = None) -> VideoMovie:
    """Return the miniscope's movie of a folder.

    Parameters
    ----------
    path : Path
        The folder.
    fps, um_per_px : float or None
        The user's values; they win.

    Raises
    ------
    SourceError
        If its files cannot be used.
    """
    files = without_holes(ms_cams(path), path, 1)
    clips = probe_all(files)
    clock = _clock(path, [clip.n_frames for clip in clips], fps)
    return movie_of(path, files, clips, clock, DeviceMetadata(settings=_settings(path / NOTES)), um_per_px)


def _clock(folder: Path, counts: Sequence[int], fps: float | None) -> TimeBase:
    if not (folder / TIME_STAMPS).is_file():
        doubts = [] if fps else [f"there is no {TIME_STAMPS}: give the frame rate with --fps"]
        return nominal(sum(counts), fps, *doubts)
    stamps = _stamps(read_table(folder / TIME_STAMPS, "\t"), sum(counts))
    return time_base(stamps, counts, None, fps, counts[0] if counts else None)


def _stamps(table: Table, n_video: int) -> Stamps:
    """Return the rows of the camera that has as many as the miniscope's video, or else the nearest number."""
    for name in (CAMERA, NUMBER, TIME):
        if name not in table.header:
            raise table.lacks({CAMERA: "camNum", NUMBER: "frameNum", TIME: "sysClock"}[name])
    camera, numbers, times = table.whole(CAMERA), table.whole(NUMBER), table.column(TIME)
    known, rows = np.unique(camera, return_counts=True)
    if len(known) == 0:
        return Stamps(TIME_STAMPS, times, None, None, None, table.warnings)
    off = np.abs(rows - n_video)
    nearest = np.flatnonzero(off == off.min())
    chosen = camera == known[nearest[0]]
    said = list(table.warnings)
    if len(nearest) > 1:
        among = " and ".join(str(known[k]) for k in nearest)
        said.append(
            f"cameras {among} of {TIME_STAMPS} both have {rows[nearest[0]]} frames, and nothing says which is "
            f"the miniscope: the times of camera {known[nearest[0]]} are used"
        )
    return Stamps(TIME_STAMPS, times[chosen], None, None, numbers[chosen], tuple(said))


def _settings(path: Path) -> Mapping[str, str]:
    """Return the first two lines of the notes as names and values; {} without them."""
    if not path.is_file():
        return {}
    table = read_table(path, "\t")
    return dict(zip(table.first.split(","), table.rows[0] if table.rows else (), strict=False))
