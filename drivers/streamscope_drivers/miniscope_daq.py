"""Folders that Miniscope-DAQ-QT-Software writes: numbered AVIs, timeStamps.csv, metaData.json."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from streamscope.errors import SourceError
from streamscope_drivers.clip import Clip
from streamscope_drivers.metadata import DeviceMetadata, read_device, read_json
from streamscope_drivers.stamps import read_stamps
from streamscope_drivers.timebase import TimeBase, nominal, time_base
from streamscope_drivers.video import VideoMovie, movie_of, numbered, probe_all, without_holes

METADATA = "metaData.json"
TIME_STAMPS = "timeStamps.csv"
MARKS = {"0.avi", "msCam1.avi", "0.mkv", "video.mkv"}  # first files of recordings
LOOKED_INTO = 2000  # folders that are searched for a recording to name
NAMED = 8  # at most so many folders are listed in a message


def open_folder(path: Path, fps: float | None = None, um_per_px: float | None = None) -> VideoMovie:
    """Return the movie of a Miniscope-DAQ-QT session folder or device folder.

    Parameters
    ----------
    path : Path
        The folder of a device (0.avi, 1.avi, ...) or the session folder around it.
    fps : float or None
        The user's frame rate, Hz: replaces the recorded rate and times.
    um_per_px : float or None
        The user's pixel size, um.

    Raises
    ------
    SourceError
        If there is no movie in the folder, more than one, or one that cannot be used.
    """
    folder = path if numbered_avis(path) else _device_folder(path)
    files = without_holes(numbered_avis(folder), folder)
    device = read_device(folder / METADATA)
    clips = probe_all(files)
    clock = _clock(folder, clips, device, fps)
    return movie_of(path, files, clips, clock, device, um_per_px)


def is_recording(folder: Path) -> bool:
    """Return whether a folder is that of a device, or of a session with devices in it."""
    return bool(numbered_avis(folder)) or any(f.is_dir() and numbered_avis(f) for f in folder.iterdir())


def numbered_avis(folder: Path) -> dict[int, Path]:
    """Return the files 0.avi, 1.avi ... of a folder by their numbers."""
    return numbered(folder, r"(\d+)\.avi")


def _device_folder(session: Path) -> Path:
    """Return the one folder of a session that holds a miniscope's movie."""
    inside = sorted(f for f in session.iterdir() if f.is_dir() and numbered_avis(f))
    named = [str(n).replace(" ", "_") for n in read_json(session / METADATA).get("miniscopes", [])]
    scopes = [f for f in inside if f.name in named] or [f for f in inside if _is_miniscope(f)] or inside
    if len(scopes) == 1:
        return scopes[0]
    if scopes:
        raise SourceError(
            f"one miniscope was expected in {session}, but it holds {_list(scopes)}; "
            "name the folder of one of them"
        )
    raise _nothing_in(session)


def _is_miniscope(folder: Path) -> bool:
    return "miniscope" in read_device(folder / METADATA).type.lower()


def _nothing_in(folder: Path) -> SourceError:
    expected = f"a Miniscope-DAQ-QT recording (0.avi, 1.avi ..., timeStamps.csv) was expected in {folder}"
    below = sorted(_recordings_below(folder))
    if below:
        return SourceError(f"{expected}, but recordings are deeper in it: {_list(below)}; name one of them")
    videos = sorted(
        f for f in folder.iterdir() if f.suffix.lower() in (".avi", ".mkv", ".mp4", ".h5", ".npy")
    )
    if videos:
        return SourceError(f"{expected}, but it holds {_list(videos)}; name one of these files")
    if not any(folder.iterdir()):
        return SourceError(f"{expected}, but the folder is empty; check the path")
    return SourceError(f"{expected}, but it holds no movie; check the path")


def _recordings_below(folder: Path) -> Iterator[Path]:
    """Yield folders with a first AVI; looks into so many folders only, in case this is a whole disk."""
    for place, _, files in islice(os.walk(folder), LOOKED_INTO):
        if not MARKS.isdisjoint(files):
            yield Path(place)


def _list(paths: list[Path]) -> str:
    names = ", ".join(str(p) for p in paths[:NAMED])
    return names if len(paths) <= NAMED else f"{names} and {len(paths) - NAMED} more"


def _clock(folder: Path, clips: list[Clip], device: DeviceMetadata, fps: float | None) -> TimeBase:
    """Return times by the stamps where there are some, else by the nominal rate."""
    counts = [clip.n_frames for clip in clips]
    if (folder / TIME_STAMPS).is_file():
        return time_base(read_stamps(folder / TIME_STAMPS), counts, device.fps, fps, device.frames_per_file)
    doubts = [] if fps else [f"there is no {TIME_STAMPS}: frames are taken to be evenly spaced"]
    return nominal(sum(counts), fps or device.fps, *doubts)
