"""Recordings of PoMiDAQ in slices: NAME_1.mkv, NAME_2.mkv ..., each with its NAME_1_timestamps.csv."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from streamscope.errors import SourceError
from streamscope.types import MovieInfo
from streamscope_drivers.clip import Clip
from streamscope_drivers.sidecar import POMIDAQ, VIDEOS, pomidaq_stamps
from streamscope_drivers.stamps import Stamps, read_stamps
from streamscope_drivers.timebase import time_base
from streamscope_drivers.video import VideoMovie, numbered, probe_all, without_holes


def slices_in(folder: Path) -> list[Path]:
    """Return the slices of a recording, in order; none if the folder holds anything else with stamps.

    Raises
    ------
    SourceError
        If a slice is missing.
    """
    videos = [f for f in folder.iterdir() if f.suffix.lower() in VIDEOS and pomidaq_stamps(f) is not None]
    names = {re.sub(r"_\d+$", "", f.stem) for f in videos}
    if len(videos) < 2 or len(names) > 1:
        return []
    pattern = rf"{re.escape(names.pop())}_(\d+)\{videos[0].suffix}"
    files = numbered(folder, pattern)
    return without_holes(files, folder, 1) if len(files) == len(videos) else []


def open_slices(
    path: Path, files: list[Path], fps: float | None = None, um_per_px: float | None = None
) -> VideoMovie:
    """Return the movie in the slices of a recording.

    Parameters
    ----------
    path : Path
        The folder.
    files : list of Path
        What `slices_in` returned for it.
    fps, um_per_px : float or None
        The user's values; they win.

    Raises
    ------
    SourceError
        If the files cannot be used.
    """
    clips, stamps, said = [], [], []
    for file in files:
        clip, one, doubts = _slice(file)
        clips.append(clip)
        stamps.append(one)
        said += doubts
    times = np.concatenate([one.times_ms for one in stamps])
    clock = time_base(
        Stamps("*_timestamps.csv", times, None, None, None, ()), [c.n_frames for c in clips], None, fps
    )
    info = MovieInfo(
        source=str(path),
        files=tuple(files),
        shape=clips[0].shape,
        n_frames=clock.n_frames,
        fps=clock.fps,
        um_per_px=um_per_px,
        warnings=(*said, *clock.warnings),
    )
    return VideoMovie(info, clock.timing, clips)


def _slice(file: Path) -> tuple[Clip, Stamps, list[str]]:
    """Return a slice and its stamps, both as long as the shorter of them."""
    stamps_file = pomidaq_stamps(file)
    clips = probe_all([file])
    if stamps_file is None or not clips:
        raise SourceError(f"{file} holds no whole frame; leave the slice out, or copy it again")
    stamps = read_stamps(stamps_file, POMIDAQ)
    n_rows, n_frames = len(stamps.times_ms), clips[0].n_frames
    used, said = min(n_rows, n_frames), list(stamps.warnings)
    if n_rows != n_frames:
        said.append(
            f"{stamps_file.name} has {n_rows} frames and the video {n_frames}: the first {used} are used"
        )
    return _cut(clips[0], used), stamps.take(np.arange(used)), said


def _cut(clip: Clip, n_frames: int) -> Clip:
    stamps = None if clip.stamps is None else clip.stamps[:n_frames]
    return replace(clip, n_frames=n_frames, stamps=stamps)
