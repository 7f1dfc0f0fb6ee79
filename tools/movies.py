"""Movies for benchmarks: simulated ones of any size, and the beginning of a longer one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from streamscope.testing.synth import PRESETS, Scene
from streamscope.types import ByteArray, DoubleArray, IntArray, LongArray, Movie, MovieInfo

UM_PER_PX = PRESETS["large"].um_per_px


class FirstPart:
    """The first frames of a movie, as a movie."""

    def __init__(self, movie: Movie, n_frames: int) -> None:
        self._movie = movie
        self._n = min(n_frames, movie.info.n_frames)

    @property
    def info(self) -> MovieInfo:
        """Return the movie's info with the number of frames that are played."""
        return replace(self._movie.info, n_frames=self._n)

    @property
    def times_s(self) -> DoubleArray:
        """Return recorded times, s."""
        return self._movie.times_s[: self._n]

    @property
    def gap(self) -> IntArray:
        """Return frames missing before each frame."""
        return self._movie.gap[: self._n]

    @property
    def hw(self) -> LongArray | None:
        """Return hardware counters, if any."""
        return None if self._movie.hw is None else self._movie.hw[: self._n]

    def read(self, start: int, stop: int) -> ByteArray:
        """Return frames start..stop."""
        return self._movie.read(start, min(stop, self._n))

    def close(self) -> None:
        """Release files."""
        self._movie.close()


def simulated(size: int, fps: float, seconds: float, folder: Path) -> str:
    """Write a simulated movie of this size and return its path; made before the session, not beside it."""
    large = PRESETS["large"]
    share = size * size / (large.height * large.width)
    config = replace(
        large,
        height=size,
        width=size,
        fps=fps,
        n_frames=round(seconds * fps),
        n_near=max(4, round(large.n_near * share)),
        n_far=max(2, round(large.n_far * share)),
        n_deep=max(2, round(large.n_deep * share)),
    )
    scene = Scene(config)
    path = folder / "simulated.npy"
    movie = np.lib.format.open_memmap(path, "w+", np.uint8, (config.n_frames, size, size))
    for n in range(config.n_frames):
        movie[n] = scene.frame(n)
    movie.flush()
    return str(path)
