"""Movies in one or several video files, read as one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from streamscope.errors import SourceError
from streamscope.types import ImageArray, MovieInfo
from streamscope_drivers.clip import Clip, ClipReader, probe
from streamscope_drivers.metadata import DeviceMetadata, read_device
from streamscope_drivers.recording import Recording, Timing
from streamscope_drivers.sidecar import sidecar_of
from streamscope_drivers.timebase import TimeBase, nominal, time_base

PLAUSIBLE_HZ = (1.0, 120.0)
FICTION_HZ = 60.0  # Miniscope software writes this into every AVI, whatever the real rate


class VideoMovie(Recording):
    """A movie in video files that follow each other; one of them is open at a time.

    Parameters
    ----------
    info : MovieInfo
        Facts of the movie; may end before the last file does.
    timing : Timing
        One value per frame.
    clips : list of Clip
        The files, in order.
    """

    probed = True

    def __init__(self, info: MovieInfo, timing: Timing, clips: list[Clip]) -> None:
        super().__init__(info, timing, clips[0].dtype if clips else np.uint8)
        self._clips = clips
        self._starts = np.concatenate([[0], np.cumsum([c.n_frames for c in clips])])
        self._reader: ClipReader | None = None

    def _read(self, start: int, stop: int) -> ImageArray:
        out = np.empty((stop - start, *self.info.shape), self.dtype)
        for n in range(start, stop):
            number = int(np.searchsorted(self._starts, n, side="right")) - 1
            out[n - start] = self._reader_of(self._clips[number]).frame(n - int(self._starts[number]))
        return out

    def _reader_of(self, clip: Clip) -> ClipReader:
        if self._reader is None or self._reader.clip is not clip:
            self.close()
            self._reader = ClipReader(clip)
        return self._reader

    def close(self) -> None:
        """Release the open file; reading opens it again."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def numbered(folder: Path, pattern: str) -> dict[int, Path]:
    """Return the files of a folder by the number in their names, the first group of `pattern`, in its order."""
    names = ((re.fullmatch(pattern, file.name, re.IGNORECASE), file) for file in folder.iterdir())
    return dict(sorted((int(match[1]), file) for match, file in names if match))


def without_holes(files: dict[int, Path], folder: Path, first: int = 0) -> list[Path]:
    """Return numbered files in their order.

    Raises
    ------
    SourceError
        If a number is missing: times and frames after it would not belong together.
    """
    before = None
    for expected, (number, file) in enumerate(files.items(), first):
        if number != expected and before is None:
            name = str(first).join(file.name.rsplit(str(number), 1))
            raise SourceError(
                f"{name} was expected in {folder}, but the first file is {file.name}; put back what is missing"
            )
        if number != expected:
            name = str(expected).join(file.name.rsplit(str(number), 1))
            raise SourceError(
                f"{name} was expected in {folder}, but {file.name} follows {before}; without "
                "it times and frames do not belong together: put it back, or move the later files away"
            )
        before = file.name
    return list(files.values())


def probe_all(paths: list[Path]) -> list[Clip]:
    """Return the clips of files that make one recording; empty ones at its end are left out.

    Raises
    ------
    SourceError
        If a file cannot be used, or has frames of another size than the first.
    """
    clips = [probe(path) for path in paths]
    while clips and clips[-1].n_frames == 0:
        clips.pop()
    for clip in clips[1:]:
        if (clip.shape, clip.dtype) != (clips[0].shape, clips[0].dtype):
            was, now = ("x".join(map(str, c.shape)) + c.deep for c in (clips[0], clip))
            raise SourceError(
                f"{clip.path} has frames of {now} px, but {clips[0].path.name} has {was}; was the camera's "
                "resolution changed? Replay the two parts one by one"
            )
    return clips


def movie_of(
    path: Path,
    files: list[Path],
    clips: list[Clip],
    clock: TimeBase,
    device: DeviceMetadata,
    um_per_px: float | None,
) -> VideoMovie:
    """Return the movie in the files of a folder.

    Parameters
    ----------
    path : Path
        The folder, as the user named it.
    files : list of Path
        In order.
    clips : list of Clip
        What `probe_all` found in them.
    clock : TimeBase
        Times of the frames.
    device : DeviceMetadata
        What its own files say.
    um_per_px : float or None
        The user's pixel size, um; it wins.
    """
    doubts = [f"{file.name} holds no whole frame and is left out" for file in files[len(clips) :]]
    info = MovieInfo(
        source=str(path),
        files=tuple(clip.path for clip in clips),
        shape=clips[0].shape if clips else (0, 0),
        n_frames=clock.n_frames,
        fps=clock.fps,
        um_per_px=um_per_px or device.um_per_px,
        device=device.name,
        warnings=(*doubts, *clock.warnings),
        meta=device.settings,
    )
    return VideoMovie(info, clock.timing, clips)


def open_video(path: Path, fps: float | None = None, um_per_px: float | None = None) -> VideoMovie:
    """Return the movie in a single video file.

    Parameters
    ----------
    path : Path
        The file. A file of time stamps beside it, as Open Ephys' program and PoMiDAQ write, tells times; a
        metaData.json, as Miniscope software writes, rate and pixel size.
    fps, um_per_px : float or None
        The user's values; they win.

    Raises
    ------
    SourceError
        If it cannot be read, holds no movie, or is in colour.
    """
    clip = probe(path)
    device = read_device(path.parent / "metaData.json")
    clock = _clock(clip, device, fps)
    return movie_of(path, [path], [clip], clock, device, um_per_px)


def _clock(clip: Clip, device: DeviceMetadata, fps: float | None) -> TimeBase:
    """Return times by the file beside the video if there is one, else by the frame rate."""
    said = sidecar_of(clip.path)
    if said is not None:
        return time_base(said.stamps, [clip.n_frames], said.fps, fps)
    rate, doubts = (fps, []) if fps else _rate(clip, device)
    return nominal(clip.n_frames, rate, *doubts)


def _rate(clip: Clip, device: DeviceMetadata) -> tuple[float | None, list[str]]:
    """Return the frame rate of a single file and what is doubtful about it."""
    if device.fps is not None:
        return device.fps, [
            f"{clip.path.name} is read alone, without time stamps: frames are taken to be evenly spaced at "
            f"the {device.fps:g} fps of metaData.json"
        ]
    header = clip.header_fps
    if header is None or not PLAUSIBLE_HZ[0] <= header <= PLAUSIBLE_HZ[1]:
        return None, [f"the header of {clip.path.name} gives no usable frame rate: give it with --fps"]
    if header == FICTION_HZ and clip.path.suffix.lower() == ".avi":
        return None, [
            f"the header of {clip.path.name} says 60 fps, which Miniscope software writes whatever the real "
            "rate: give it with --fps"
        ]
    return header, [
        f"the frame rate of {clip.path.name} is taken from its header, {header:g} fps: "
        "give --fps if that is wrong"
    ]
