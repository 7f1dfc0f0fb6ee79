"""What every recorded movie has in common: its facts, its clock, and checked random access."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from streamscope.errors import SourceError
from streamscope.types import DoubleArray, ImageArray, IntArray, LongArray, MovieInfo

MAX_FRAME_PX = 64 << 20
MAX_FRAMES = 50_000_000  # three weeks at 30 Hz
MAX_CHUNK_BYTES = 512 << 20  # unpacked at once
DEPTH_FRAMES = 32  # that are looked at to find out how many bits a 16-bit recording uses


@dataclass(frozen=True, slots=True)
class Timing:
    """When the frames of a recording were taken, and what was lost before each."""

    times_s: DoubleArray  # (T,) since the first frame, s; NaN where the frame rate is not known
    gap: IntArray  # (T,) frames missing before each
    hw: LongArray | None = None  # (T,) hardware counter as recorded, -1 where it could not be read


def regular(n_frames: int, fps: float | None) -> Timing:
    """Return the timing of a recording without stamps: evenly spaced, nothing known to be lost.

    Parameters
    ----------
    n_frames : int
        Number of frames.
    fps : float or None
        Frame rate, Hz. With None all times are NaN: they are not known and not guessed.

    Returns
    -------
    Timing
        `times_s` is index / fps.
    """
    times_s = np.full(n_frames, np.nan) if fps is None else np.arange(n_frames) / fps
    return Timing(times_s, np.zeros(n_frames, np.int32))


class Recording(ABC):
    """A movie on disk: implements `streamscope.types.Movie` but for the reading itself.

    Parameters
    ----------
    info : MovieInfo
        Facts; `n_frames` must be at least 2.
    timing : Timing
        One value per frame.
    dtype : dtype
        Of the frames: uint8, or uint16, whose depth `verify` measures.

    Raises
    ------
    SourceError
        If there are fewer than two frames.
    """

    probed = False  # whether opening it looks at its first and last frame anyway

    def __init__(self, info: MovieInfo, timing: Timing, dtype: Any = np.uint8) -> None:
        require_frames(info.source, info.n_frames)
        require_size(info.source, info.n_frames, info.shape)
        self.dtype: np.dtype[np.unsignedinteger[Any]] = np.dtype(dtype)
        self._info = info
        self._timing = timing
        self._lock = threading.Lock()

    @property
    def info(self) -> MovieInfo:
        """Return what is known of the recording."""
        return self._info

    @property
    def times_s(self) -> DoubleArray:
        """Return the recorded time of each frame since the first, (T,), s; NaN if the rate is not known."""
        return self._timing.times_s

    @property
    def gap(self) -> IntArray:
        """Return the number of frames missing before each frame, (T,)."""
        return self._timing.gap

    @property
    def hw(self) -> LongArray | None:
        """Return the hardware counter of each frame, (T,), -1 where it could not be read."""
        return self._timing.hw

    def verify(self) -> None:
        """Read the first and the last frame, and measure the depth of pixels with more than 8 bits.

        What cannot be read, or needs a package that is not there, is so said before a session begins.

        Raises
        ------
        SourceError
            If a frame cannot be read.
        """
        if not self.probed:
            self.read(0, 1)
            self.read(self.info.n_frames - 1, self.info.n_frames)
        if self.dtype != np.uint8:
            self._measure_depth()

    def _measure_depth(self) -> None:
        """Find out how many bits the pixels use, from frames all over the recording."""
        sample = np.unique(np.linspace(0, self.info.n_frames - 1, DEPTH_FRAMES).astype(int))
        largest = max(int(self.read(n, n + 1).max()) for n in sample)
        bits = max(self.info.bits, largest.bit_length(), 9)
        said = (
            f"pixels are taken to have {bits} bits, 0 to {(1 << bits) - 1}: the largest value in {len(sample)} "
            f"frames is {largest}"
        )
        self._info = replace(self._info, bits=bits, warnings=(*self._info.warnings, said))

    def read(self, start: int, stop: int) -> ImageArray:
        """Return frames start..stop; may be called from any thread.

        Parameters
        ----------
        start, stop : int
            Range of frames, 0 <= start <= stop <= n_frames.

        Returns
        -------
        ndarray, shape (stop - start, H, W), uint8 or uint16
            A new array each time.

        Raises
        ------
        SourceError
            If the range is outside of the recording, or a frame cannot be read.
        """
        if not 0 <= start <= stop <= self.info.n_frames:
            raise SourceError(
                f"frames {start}..{stop} of {self.info.source} were asked for, but it has frames "
                f"0..{self.info.n_frames}; ask for a range inside of it"
            )
        with self._lock:
            return self._read(start, stop)

    @abstractmethod
    def _read(self, start: int, stop: int) -> ImageArray:
        """Return frames start..stop, a range that is known to be inside."""

    @abstractmethod
    def close(self) -> None:
        """Release files."""


def require_gray(source: str, dtype: np.dtype[Any]) -> None:
    """Raise SourceError if values are not those of a picture of 8 or 16 bits."""
    if dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise SourceError(
            f"{source} has values of type {dtype}, but a movie has whole numbers without sign, of 8 or 16 bits; "
            "convert it to uint8 or uint16"
        )


def require_chunk(source: str, n_bytes: int) -> None:
    """Raise SourceError if what is unpacked at once does not fit into memory."""
    if n_bytes > MAX_CHUNK_BYTES:
        raise SourceError(
            f"{source} is unpacked {n_bytes >> 20} MiB at a time, and {MAX_CHUNK_BYTES >> 20} are allowed; "
            "save it in smaller chunks, a few frames each"
        )


def require_size(source: str, n_frames: int, shape: tuple[int, ...]) -> None:
    """Raise SourceError if no camera takes such pictures, or so many."""
    if len(shape) != 2 or shape[0] * shape[1] > MAX_FRAME_PX:
        raise SourceError(
            f"{source} has frames of {'x'.join(map(str, shape))} px, and {MAX_FRAME_PX >> 20} megapixels are "
            "allowed; is it a movie?"
        )
    if n_frames > MAX_FRAMES:
        raise SourceError(f"{source} claims {n_frames} frames, and {MAX_FRAMES} are allowed; is it a movie?")


def require_frames(source: str, n_frames: int) -> None:
    """Raise SourceError if a movie is too short to be one."""
    if n_frames == 0:
        raise SourceError(
            f"a movie with frames was expected, but {source} holds none; was the recording stopped before "
            "its first frame, or is it another file that you mean?"
        )
    if n_frames == 1:
        raise SourceError(
            f"a movie needs at least 2 frames, because motion and noise are measured between frames, but "
            f"{source} holds 1; choose a longer recording"
        )
