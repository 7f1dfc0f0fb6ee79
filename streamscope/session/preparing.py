"""Recordings and devices whose frames are prepared: cut, means of pixels, means of frames."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from streamscope.config import AUTO, NONE, Preparation, SessionConfig, Window, parse_windows
from streamscope.core.aperture import find_aperture
from streamscope.core.prepare import Groups, Preparer, prepared_frames, prepared_info
from streamscope.core.quality import MOST_SATURATED
from streamscope.errors import ConfigError
from streamscope.types import (
    DoubleArray,
    Frame,
    ImageArray,
    IntArray,
    LongArray,
    Movie,
    MovieInfo,
    Source,
)

_SAMPLE = 20  # frames in which the disc of a lens is looked for
_LEAST_PX = 32  # sides of a field


def preparation_of(
    config: SessionConfig, info: MovieInfo, movie: Movie | None
) -> tuple[Preparation, tuple[str, ...]]:
    """Return what is to be done to the frames of a recording, or of a device, which has none to look at yet.

    And what there is to say of it, one sentence each.

    Raises
    ------
    ConfigError
        If it is impossible for frames of this size.
    """
    asked, shape = config.prepare, info.shape
    text = asked.crop.strip().lower()
    crop = disc = None
    said: tuple[str, ...] = ()
    if text == AUTO and movie is not None:
        frames = _sample(movie)
        found = find_aperture(frames, info.saturation)
        if found is not None:
            crop, disc = found.window(shape), found.disc
        said = (*_lens(crop), *_light(frames, info.saturation))
    elif text not in (AUTO, NONE):
        windows = parse_windows(text, shape, "crop")
        if len(windows) > 1:
            raise ConfigError(
                f"crop is {asked.crop!r}, expected one rectangle; give e.g. --crop 100:500,80:480"
            )
        crop = windows[0]
    blank = () if asked.blank is None else parse_windows(asked.blank, shape, "blank")
    plan = Preparation(
        crop=crop, disc=disc, bin=asked.bin, bin_frames=asked.bin_frames, blank=blank, source_shape=shape
    )
    if min(plan.shape(shape)) < _LEAST_PX:
        height, width = plan.shape(shape)
        raise ConfigError(
            f"prepared frames would have {height}x{width} px, expected {_LEAST_PX} or more each way; give a larger "
            "--crop or a smaller --bin"
        )
    return plan, said


def _lens(crop: Window | None) -> tuple[str, ...]:
    if crop is None:
        return ()
    y0, y1, x0, x1 = crop
    return (
        f"the disc of a lens is seen, and frames are cropped to it: rows {y0}:{y1}, columns {x0}:{x1}; "
        "--crop none uses the whole field",
    )


def _light(frames: ImageArray, largest: int) -> tuple[str, ...]:
    share = float((frames == largest).mean())
    if share <= MOST_SATURATED:
        return ()
    return (
        f"{100 * share:.1f} % of the pixels are saturated in {len(frames)} frames from the whole recording, and tell "
        "nothing of the cells there; record with less light or gain",
    )


def _sample(movie: Movie) -> ImageArray:
    n = movie.info.n_frames
    return np.stack([movie.read(t, t + 1)[0] for t in np.unique(np.linspace(0, n - 1, _SAMPLE).astype(int))])


def prepared_movie(movie: Movie, plan: Preparation) -> Movie:
    """Return a recording as the engine sees it; the recording itself if nothing is done to it."""
    return PreparedMovie(movie, plan) if plan.changes else movie


def prepared_source(source: Source, plan: Preparation) -> Source:
    """Return a source as the engine sees it; the source itself if nothing is done to its frames."""
    return _PreparedSource(source, plan) if plan.changes else source


class PreparedMovie:
    """A recording whose frames are prepared when they are read.

    Parameters
    ----------
    movie : Movie
        The recording.
    plan : Preparation
        What is done.
    """

    def __init__(self, movie: Movie, plan: Preparation) -> None:
        self._movie, self._plan = movie, plan
        self._groups = Groups.of(movie.gap, plan.bin_frames)
        self._preparer = Preparer(plan, movie.info.shape, movie.info.bits)
        self._lock = threading.Lock()

    @property
    def info(self) -> MovieInfo:
        """Return what is known of the prepared frames."""
        return replace(prepared_info(self._movie.info, self._plan), n_frames=self._groups.n)

    @property
    def times_s(self) -> DoubleArray:
        """Return the mean recorded time of each frame, (T,), s."""
        return self._groups.means(self._movie.times_s)

    @property
    def gap(self) -> IntArray:
        """Return the number of prepared frames missing before each, (T,)."""
        return self._groups.gap

    @property
    def hw(self) -> LongArray | None:
        """Return the hardware counter of the first frame of each mean, (T,), if there is one."""
        hw = self._movie.hw
        return None if hw is None else hw[self._groups.first[:-1]]

    def read(self, start: int, stop: int) -> ImageArray:
        """Return prepared frames start..stop, (n, h, w)."""
        info = self.info
        out: ImageArray = np.empty((stop - start, *info.shape), np.uint8 if info.bits == 8 else np.uint16)
        with self._lock:  # the sums of one mean at a time
            if self._plan.bin_frames == 1:
                for k, image in enumerate(self._movie.read(start, stop)):
                    out[k] = self._preparer.one(image)
                return out
            for k in range(start, stop):
                out[k - start] = self._mean(*self._groups.first[k : k + 2].tolist())
        return out

    def _mean(self, first: int, last: int) -> ImageArray:
        for image in self._movie.read(first, last):
            self._preparer.add(image)
        return self._preparer.mean()

    def close(self) -> None:
        """Release files."""
        self._movie.close()


class _PreparedSource:
    """A source whose frames are prepared on their way, in the driver's thread."""

    def __init__(self, source: Source, plan: Preparation) -> None:
        self._source, self._plan = source, plan

    @property
    def info(self) -> MovieInfo:
        """Return what is known of the stream."""
        return prepared_info(self._source.info, self._plan)

    def frames(self, stopped: Callable[[], bool]) -> Iterator[Frame]:
        """Yield the frames of the source, prepared."""
        info = self._source.info
        preparer = Preparer(self._plan, info.shape, info.bits)
        yield from prepared_frames(self._source.frames(stopped), preparer, self._plan.bin_frames)

    def close(self) -> None:
        """Release the camera or file."""
        self._source.close()


def n_prepared(movie: Movie, plan: Preparation, laps: int) -> int:
    """Return how many frames a replay of so many laps has once they are prepared."""
    return Groups.of(np.tile(movie.gap, laps), plan.bin_frames).n


def session_frames(
    recorded: LongArray, gap: IntArray, plan: Preparation, session_gap: LongArray
) -> LongArray:
    """Return the frame of the session that each prepared frame of its own recording is, rising.

    Parameters
    ----------
    recorded : ndarray, shape (T,)
        The frame of the source that each recorded frame is.
    gap : ndarray, shape (T,)
        Frames missing before each recorded frame.
    plan : Preparation
        What was done to frames.
    session_gap : ndarray, shape (T',)
        Frames missing before each frame of the session, prepared ones.
    """
    if plan.bin_frames == 1:
        return recorded
    slots = np.cumsum(1 + Groups.of(gap, plan.bin_frames).gap.astype(np.int64)) - 1
    places = np.cumsum(1 + session_gap) - 1
    return np.searchsorted(places, slots)
