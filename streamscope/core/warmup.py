"""Compiles every kernel of a session before its first frame, by running the engine on a small made-up movie.

The dtypes and layouts are those of a real session, because it is the real engine that runs. The first start on a
machine compiles for some tens of seconds; later ones read the compiled kernels from the user's cache folder.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streamscope.config import BackgroundConfig, DetectConfig, EngineConfig
from streamscope.core.infer import Infer
from streamscope.core.kernels._jit import signature_counts
from streamscope.core.learn import Learner
from streamscope.types import ByteArray, Frame

_LIVE = ("warp", "sparse", "score", "shapes", "ring", "oasis")  # modules of kernels that a session uses
_CELLS = ((20.0, 20.0), (20.0, 25.0), (40.0, 30.0), (44.0, 46.0))
_N_FRAMES = 120


def warm_up(progress: Callable[[str, int, int], None] | None = None) -> None:
    """Compile what a session needs; `progress` is told (what, done, total) after each step.

    Raises
    ------
    StageError
        If the engine does not run on this machine.
    """
    config = EngineConfig(
        cell_diameter_px=8,
        fps=20,
        decay_s=0.3,
        detect=DetectConfig(block_s=1.0, buffer_s=2.0, threshold=4.0),
        background=BackgroundConfig(n_frames=50),
    )
    movie = _movie()
    infer, learner = Infer(config, movie.shape[1:]), Learner(config, movie.shape[1:])
    aligned = np.zeros(movie.shape[1:], np.float32)
    for index, image in enumerate(movie):
        result = infer(Frame(index, image, 0), aligned)
        epoch = learner.consume(aligned, result)
        if epoch is not None:
            infer.adopt(epoch)
        if progress:
            progress("compiling", _compiled(), _total())
    infer.tail()


def _movie() -> ByteArray:
    """Return a short movie of overlapping, blinking cells on tissue, (n, 64, 64) uint8."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[0:64, 0:64].astype(np.float32)
    tissue = 80 + 15 * np.sin(rows / 7) * np.cos(cols / 9) + 6 * rng.normal(size=(64, 64))
    movie = np.empty((_N_FRAMES, 64, 64), np.uint8)
    for t in range(_N_FRAMES):
        image = tissue + 2 * np.sin(t / 11) * np.cos(rows / 20)
        for k, (y, x) in enumerate(_CELLS):
            activity = 60 * np.exp(-((t + 9 * k) % 23) / 6)
            image = image + activity * np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / 8)
        movie[t] = np.clip(image + rng.normal(0, 2, (64, 64)), 0, 255)
    return movie


def _compiled() -> int:
    return sum(1 for name, count in _counts().items() if count)


def _total() -> int:
    return len(_counts())


def _counts() -> dict[str, int]:
    """Return the signatures of each kernel of a session."""
    return {name: n for name, n in signature_counts().items() if name.split(".")[-2] in _LIVE}
