"""Simulated movies of any size, for benchmarks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from streamscope.session.registry import open_movie
from streamscope.testing.synth import PRESETS, Scene

UM_PER_PX = PRESETS["large"].um_per_px


def simulated(size: int, fps: float, seconds: float, folder: Path, n_cells: int | None = None) -> str:
    """Write a simulated movie of this size and return its path; made before the session, not beside it.

    `n_cells` that can be found; by default as many as the size asks for.
    """
    large = PRESETS["large"]
    share = size * size / (large.height * large.width) if n_cells is None else n_cells / large.n_cells
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


def as_npy(source: str, folder: Path) -> str:
    """Return the path of a recording as an .npy file, which is written unless it is one."""
    if source.endswith(".npy"):
        return source
    movie = open_movie(source, fps=30.0)
    path = folder / "movie.npy"
    out = np.lib.format.open_memmap(path, "w+", np.uint8, (movie.info.n_frames, *movie.info.shape))
    for start in range(0, len(out), 100):
        out[start : start + 100] = movie.read(start, start + 100)
    out.flush()
    movie.close()
    return str(path)
