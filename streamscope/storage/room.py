"""Room on the disk: what a recording needs of it, how long it lasts, and when it is too little."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from streamscope.errors import StorageError
from streamscope.storage.avi import frame_bytes

LOW_BYTES = 5_000_000_000  # free; with less, it is said before the start and while the session runs
LEAST_BYTES = 500_000_000  # free; with less, nothing is recorded, so that journal and results find room
RESULTS_BYTES_S = 300_000  # journal and session.h5 of some hundred cells: 1 GB an hour
ROW_BYTES = 48  # of a frame in timeStamps.csv


@dataclass(frozen=True, slots=True)
class Room:
    """How much of a disk is free, and how fast a session takes it."""

    folder: Path
    free: int | None  # bytes; None where the system does not say
    bytes_per_s: float  # that the session needs

    @property
    def low(self) -> bool:
        """Return whether so little is free that it must be said."""
        return self.free is not None and self.free < LOW_BYTES

    @property
    def too_little(self) -> bool:
        """Return whether nothing may be recorded."""
        return self.free is not None and self.free < LEAST_BYTES

    @property
    def lasts_s(self) -> float:
        """Return how long can be recorded until too little is free, s."""
        return float("inf") if self.free is None else max(0, self.free - LEAST_BYTES) / self.bytes_per_s

    def text(self) -> str:
        """Return what the session takes, and how long the disk lasts, in words."""
        if self.free is None:
            return f"{gigabytes(3600 * self.bytes_per_s)} an hour; the system does not say what is free"
        return (
            f"{gigabytes(3600 * self.bytes_per_s)} an hour; {gigabytes(self.free)} are free, "
            f"enough for {duration(self.lasts_s)}"
        )

    def warning(self) -> str:
        """Return what to say of a disk that is nearly full; empty if it is not."""
        if not self.low or self.free is None:
            return ""
        return (
            f"disk nearly full: {gigabytes(self.free)} free, the recording ends in {duration(self.lasts_s)}"
        )


def room_for(folder: Path, shape: tuple[int, int], fps: float) -> Room:
    """Return the room for a session in `folder` that records frames of (H, W) px at `fps` Hz."""
    return Room(folder, free_bytes(folder), fps * (frame_bytes(shape) + ROW_BYTES) + RESULTS_BYTES_S)


def free_bytes(folder: Path) -> int | None:
    """Return what is free on the disk of `folder`, None where the system does not say."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def check_room(room: Room, seconds: float | None = None) -> None:
    """Raise StorageError if too little is free to record, or less than `seconds` of recording need.

    Parameters
    ----------
    room : Room
        Of the session.
    seconds : float, optional
        Length of the recording, where it is known before.
    """
    if room.too_little and room.free is not None:
        raise StorageError(
            f"{room.folder} has {gigabytes(room.free)} free, expected at least {gigabytes(LEAST_BYTES)} to record; "
            "make room, give a folder on another disk with --out, or leave the recording out"
        )
    if seconds is not None and room.free is not None and room.lasts_s < seconds:
        raise StorageError(
            f"this recording needs {gigabytes(seconds * room.bytes_per_s)} and {gigabytes(LEAST_BYTES)} that stay "
            f"free, but {room.folder} has {gigabytes(room.free)} free; make room, give a folder on another disk "
            "with --out, or leave out --record"
        )


def gigabytes(size: float) -> str:
    """Return a size as people read it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{int(size / 1e6)} MB"


def duration(seconds: float) -> str:
    """Return a duration as people read it, never longer than it is."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            number = seconds / size
            return f"{int(number)} {unit}" if number >= 10 else f"{int(10 * number) / 10:g} {unit}"
    return f"{int(seconds)} s"
