"""Text files beside a video that say when its frames came: Open Ephys' program and PoMiDAQ write such pairs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from streamscope_drivers.stamps import Columns, Stamps, read_stamps, read_table

OPEN_EPHYS = Columns(("hardwaretime",), "framenumber", expected="HardwareTime")
POMIDAQ = Columns(("timestamp",), None, "frame", ";", "timestamp")
VIDEOS = (".avi", ".mkv", ".mp4")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What the files beside a video say."""

    stamps: Stamps
    fps: float | None  # that was asked for, Hz


def sidecar_of(video: Path) -> Sidecar | None:
    """Return what the files beside a video say, None if there are none that are known.

    Parameters
    ----------
    video : Path
        The video.

    Raises
    ------
    SourceError
        If there is one, but it cannot be used.
    """
    if (path := _open_ephys(video)) is not None:
        return Sidecar(read_stamps(path, OPEN_EPHYS), _asked_for(video.with_suffix(".yml")))
    if (path := pomidaq_stamps(video)) is not None:
        return Sidecar(read_stamps(path, POMIDAQ), None)
    return None


def has_sidecar(video: Path) -> bool:
    """Return whether a file beside a video says when its frames came."""
    return _open_ephys(video) is not None or pomidaq_stamps(video) is not None


def pomidaq_stamps(video: Path) -> Path | None:
    """Return the file of time stamps that PoMiDAQ wrote for a video."""
    path = video.with_name(f"{video.stem}_timestamps.csv")
    return path if path.is_file() and "frame" in read_table(path, ";").header else None


def _open_ephys(video: Path) -> Path | None:
    path = video.with_suffix(".csv")
    known = path.is_file() and {"framenumber", "hardwaretime"} <= set(read_table(path).header)
    return path if known else None


def _asked_for(settings: Path) -> float | None:
    """Return the frame rate in the settings of Open Ephys' program, written as Fps20."""
    if not settings.is_file():
        return None
    match = re.search(r"FrameRate:\s*Fps(\d+)", settings.read_text(encoding="utf-8-sig", errors="replace"))
    return float(match[1]) if match else None
