"""Device folders of the Bonsai package UCLAMiniscope: video.mkv or 0.mkv, 1.mkv ..., timestamps.csv."""

from __future__ import annotations

from pathlib import Path

from streamscope_drivers.metadata import read_device
from streamscope_drivers.stamps import Columns, read_stamps
from streamscope_drivers.timebase import time_base
from streamscope_drivers.video import VideoMovie, movie_of, numbered, probe_all, without_holes

TIME_STAMPS = "timestamps.csv"
# The device's clock, the computer's, and the older name.
CLOCKS = ("hardwaretimestamp_ms", "receivetimestamp_ms", "timestamp_ms")
COLUMNS = Columns(CLOCKS, "framenumber", expected="HardwareTimestamp_ms")


def is_recording(folder: Path) -> bool:
    """Return whether a folder is that of a device."""
    return (folder / TIME_STAMPS).is_file() and bool(_videos(folder))


def open_bonsai(path: Path, fps: float | None = None, um_per_px: float | None = None) -> VideoMovie:
    """Return the movie of a device folder.

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
    files = _videos(path)
    clips = probe_all(files)
    device = read_device(path / "metaData.json")
    stamps = read_stamps(path / TIME_STAMPS, COLUMNS)
    clock = time_base(stamps, [clip.n_frames for clip in clips], device.fps, fps)
    return movie_of(path, files, clips, clock, device, um_per_px)


def _videos(folder: Path) -> list[Path]:
    if (folder / "video.mkv").is_file():
        return [folder / "video.mkv"]
    return without_holes(numbered(folder, r"(\d+)\.mkv"), folder)
