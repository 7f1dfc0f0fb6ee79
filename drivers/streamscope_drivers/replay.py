"""Recorded movies played again: `open_movie` finds out what a path holds, `Replay` paces its frames."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from streamscope.clock import clock_ns
from streamscope.errors import SourceError
from streamscope.types import Frame, ImageArray, Movie, MovieInfo
from streamscope_drivers import synthetic
from streamscope_drivers.arrays import HDF5_SIGNATURE, NUMPY_SIGNATURE, open_hdf5, open_npy
from streamscope_drivers.folders import open_folder
from streamscope_drivers.nwb import holds_series, open_nwb
from streamscope_drivers.recording import Recording
from streamscope_drivers.video import open_video
from streamscope_drivers.zarr_store import is_store, open_zarr

TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # classic and Big, of both byte orders
READ_AHEAD_BYTES = 2 << 20  # one batch: small enough that reading never holds the interpreter for long
READ_AHEAD_BATCHES = 8  # a second or more of 608x608: a busy machine has that long to catch up
LONGEST_SLEEP_S = 0.05  # so that a stop is seen soon


def open_movie(spec: str, fps: float | None = None, um_per_px: float | None = None) -> Movie:
    """Return the movie that a source names, judged by what is there and not by its name alone.

    Frames with more than 8 bits stay as they are, in uint16.

    Parameters
    ----------
    spec : str
        A file, `file.h5:/dataset`, or a folder, as docs/formats.md lists them, or `synthetic:NAME`.
    fps : float or None
        Frame rate, Hz; replaces the recording's own and its time stamps.
    um_per_px : float or None
        Pixel size, um; replaces the recording's own.

    Raises
    ------
    SourceError
        If nothing is there, or it is no movie that can be used. One sentence: expected, came, what to do.
    """
    movie = _open(spec, fps, um_per_px)
    if isinstance(movie, Recording):
        try:
            movie.verify()
        except SourceError:
            movie.close()
            raise
    return movie


def _open(spec: str, fps: float | None, um_per_px: float | None) -> Movie:
    if spec.startswith(synthetic.PREFIX):
        return synthetic.open_movie(spec, fps, um_per_px)
    path, dataset = _split(spec)
    if not path.exists():
        raise SourceError(f"a movie was expected at {path}, but nothing is there; check the path")
    if path.is_dir() and is_store(path):
        return open_zarr(path, dataset, fps, um_per_px)
    if path.is_dir() and dataset is None:
        return open_folder(path, fps, um_per_px)
    signature = b"" if path.is_dir() else _signature(path)
    if signature.startswith(HDF5_SIGNATURE) and holds_series(path, dataset):
        return open_nwb(path, dataset, fps, um_per_px)
    if signature.startswith(HDF5_SIGNATURE):
        return open_hdf5(path, dataset, fps, um_per_px)
    if dataset is not None:
        raise SourceError(
            f"an HDF5 file was expected before the colon of {spec}, but {path} is none; "
            "leave out the colon and what follows"
        )
    if signature.startswith(NUMPY_SIGNATURE):
        return open_npy(path, fps, um_per_px)
    if signature.startswith(TIFF_SIGNATURES):
        from streamscope_drivers.tiff import open_tiff

        return open_tiff(path, fps, um_per_px)
    return open_video(path, fps, um_per_px)


def _split(spec: str) -> tuple[Path, str | None]:
    """Return path and dataset of `file.h5:/movie`; the colon of a Windows drive is part of the path."""
    if Path(spec).exists():
        return Path(spec), None
    left, _, right = spec.rpartition(":")
    if len(left) > 1 and right:
        return Path(left), right
    return Path(spec), None


def _signature(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise SourceError(
            f"a movie was expected at {path}, but it could not be opened ({error.strerror}); "
            "check the path and your permissions"
        ) from error


class Replay:
    """A recorded movie as a source of frames, paced by the clock or as fast as it can be read.

    Parameters
    ----------
    movie : Movie
        What is played; stays open when the replay is closed, because the refit reads it again.
    speed : float or None
        1 for real time, 4 for four times as fast, None for as fast as possible.
    loop : int
        How often the movie is played; index and time run on.
    clock : callable
        Monotonic time, ns.
    sleep : callable
        Waits for a number of seconds.

    Raises
    ------
    SourceError
        If the frame rate is not known, or speed or loop make no sense.
    """

    def __init__(
        self,
        movie: Movie,
        speed: float | None = 1.0,
        loop: int = 1,
        clock: Callable[[], int] = clock_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if movie.info.fps is None:
            raise SourceError(
                f"{movie.info.source} does not say its frame rate: give it with --fps, e.g. --fps 20"
            )
        if speed is not None and not (np.isfinite(speed) and speed > 0):
            raise SourceError(
                f"the speed of a replay must be above 0 or max, got {speed}; write e.g. 1x or max"
            )
        if loop < 1:
            raise SourceError(f"a movie is played once or more often, got {loop}; write e.g. --loop 1")
        self._movie = movie
        self._speed = speed
        self._loop = loop
        self._clock = clock
        self._sleep = sleep
        self._lap_s = float(movie.times_s[-1]) + 1.0 / movie.info.fps

    @property
    def info(self) -> MovieInfo:
        """Return what is known of the stream; `n_frames` counts every lap."""
        return replace(self._movie.info, n_frames=self._movie.info.n_frames * self._loop)

    def frames(self, stopped: Callable[[], bool]) -> Iterator[Frame]:
        """Yield frames when they are due, until the end or until `stopped()` is true.

        Yields
        ------
        Frame
            Paced: `t_capture_ns` is when the frame was due (start + recorded time / speed), so that a
            backlog shows in its age. As fast as possible: when it was handed out. `image` is read-only.

        Raises
        ------
        SourceError
            If a frame cannot be read.
        """
        reader = _ReadAhead(self._movie, self._loop)
        images = iter(reader)
        try:
            start_ns, last_s = 0, 0.0
            for index in range(self.info.n_frames):
                time_s = self._time_s(index)
                # Taking an image may start the next read: not while the frame before is being worked on.
                self._wait_until(start_ns, (last_s + time_s) / 2, stopped)
                image = next(images)
                if index == 0:
                    start_ns = self._clock()
                t_capture_ns = self._wait_until(start_ns, time_s, stopped)
                if stopped():
                    return
                yield self._frame(index, image, time_s, t_capture_ns)
                last_s = time_s
        finally:
            reader.close()

    def close(self) -> None:
        """Do nothing: the movie belongs to whoever opened it."""

    def _time_s(self, index: int) -> float:
        lap, at = divmod(index, self._movie.info.n_frames)
        return lap * self._lap_s + float(self._movie.times_s[at])

    def _wait_until(self, start_ns: int, time_s: float, stopped: Callable[[], bool]) -> int:
        """Wait until what was recorded at `time_s` is due, and return when that was, ns."""
        if self._speed is None:
            return self._clock()
        due_ns = start_ns + round(time_s / self._speed * 1e9)
        while (left_s := (due_ns - self._clock()) / 1e9) > 0 and not stopped():
            self._sleep(min(left_s, LONGEST_SLEEP_S))
        return due_ns

    def _frame(self, index: int, image: ImageArray, time_s: float, t_capture_ns: int) -> Frame:
        at = index % self._movie.info.n_frames
        hw = self._movie.hw
        return Frame(
            index=index,
            image=image,
            t_capture_ns=t_capture_ns,
            time_s=time_s,
            gap=int(self._movie.gap[at]),
            hw=None if hw is None or hw[at] < 0 else int(hw[at]),
        )


class _ReadAhead:
    """Iterates over the frames of a movie, read in a thread of its own, a few batches ahead.

    Decoding beside the pacing keeps a slow frame from leaving late; the bounded queue keeps memory flat.
    """

    def __init__(self, movie: Movie, laps: int) -> None:
        self._movie = movie
        self._laps = laps
        self._queue: queue.Queue[ImageArray | Exception | None] = queue.Queue(READ_AHEAD_BATCHES)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replay-read", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[ImageArray]:
        while (batch := self._queue.get()) is not None:
            if isinstance(batch, Exception):
                raise batch
            yield from batch

    def close(self) -> None:
        """Stop reading and wait for the thread, so that the movie can be closed."""
        self._closed.set()
        while self._thread.is_alive():
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def _run(self) -> None:
        try:
            for start, stop in self._batches():
                if self._closed.is_set():
                    return
                batch = self._movie.read(start, stop)
                batch.flags.writeable = False
                self._queue.put(batch)
            self._queue.put(None)
        except Exception as error:  # top of the thread: raised again where the frames are awaited
            self._queue.put(error)

    def _batches(self) -> Iterator[tuple[int, int]]:
        info = self._movie.info
        size = max(1, READ_AHEAD_BYTES // (info.shape[0] * info.shape[1]))
        for _ in range(self._laps):
            for start in range(0, info.n_frames, size):
                yield start, min(start + size, info.n_frames)
