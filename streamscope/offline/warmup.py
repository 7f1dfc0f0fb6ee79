"""Compiles the kernels of the refit, by refitting a small made-up movie."""

from __future__ import annotations

import numpy as np

from streamscope.core.kernels import warp
from streamscope.core.preprocess import grey_levels
from streamscope.core.warmup import SMALL_CONFIG, small_movie, warm_up_edges
from streamscope.offline.refit import Progress, refit
from streamscope.types import DoubleArray, ImageArray, IntArray, LongArray, MovieInfo


def warm_up_refit(progress: Progress, bits: int = 8) -> None:
    """Compile what a refit needs, or read it from the cache.

    Parameters
    ----------
    progress : callable
        Told that kernels are compiled, again and again; may raise to give up.
    bits : int
        Of a pixel.

    Raises
    ------
    StageError
        If the refit does not run on this machine.
    """
    movie, config = _SmallMovie(bits), SMALL_CONFIG.model_copy(update={"bits": bits})
    refit(movie, config, None, None, None, lambda *_: progress("compiling or loading kernels", 0.0))
    # The small movie bends; recordings that do not are moved as they come.
    frame = grey_levels(movie.read(0, 1)[0], bits)
    row, moved = np.zeros(frame.shape[1] + 3, np.float32), np.zeros(frame.shape, np.float32)
    warp.translate(frame, 0.0, 0.0, row, moved)
    warm_up_edges()


class _SmallMovie:
    """The movie of the warm-up, as a recording."""

    hw: LongArray | None = None

    def __init__(self, bits: int) -> None:
        self._frames = small_movie(bits)[:60]
        n_frames, *shape = self._frames.shape
        self.info = MovieInfo("warm-up", (), (shape[0], shape[1]), n_frames, SMALL_CONFIG.fps, bits=bits)
        self.times_s: DoubleArray = np.arange(n_frames) / SMALL_CONFIG.fps
        self.gap: IntArray = np.zeros(n_frames, np.int32)

    def read(self, start: int, stop: int) -> ImageArray:
        return self._frames[start:stop]

    def close(self) -> None:
        """Hold nothing that must be released."""
