"""Compiles the kernels of the refit, by refitting a small made-up movie."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels import warp
from streamscope.core.warmup import SMALL_CONFIG, small_movie
from streamscope.offline.refit import Progress, refit
from streamscope.types import ByteArray, DoubleArray, IntArray, LongArray, MovieInfo


def warm_up_refit(progress: Progress) -> None:
    """Compile what a refit needs, or read it from the cache.

    Parameters
    ----------
    progress : callable
        Told that kernels are compiled, again and again; may raise to give up.

    Raises
    ------
    StageError
        If the refit does not run on this machine.
    """
    movie = _SmallMovie()
    refit(movie, SMALL_CONFIG, None, None, None, lambda *_: progress("compiling or loading kernels", 0.0))
    frame = movie.read(0, 1)[0]  # the small movie bends; recordings that do not are moved as they come
    warp.translate(
        frame, 0.0, 0.0, np.zeros(frame.shape[1] + 3, np.float32), np.zeros(frame.shape, np.float32)
    )


class _SmallMovie:
    """The movie of the warm-up, as a recording."""

    hw: LongArray | None = None

    def __init__(self) -> None:
        self._frames = small_movie()[:60]
        n_frames, *shape = self._frames.shape
        self.info = MovieInfo("warm-up", (), (shape[0], shape[1]), n_frames, SMALL_CONFIG.fps)
        self.times_s: DoubleArray = np.arange(n_frames) / SMALL_CONFIG.fps
        self.gap: IntArray = np.zeros(n_frames, np.int32)

    def read(self, start: int, stop: int) -> ByteArray:
        return self._frames[start:stop]

    def close(self) -> None:
        """Hold nothing that must be released."""
