"""Compiles every kernel of a session before its first frame, by running the engine on a small made-up movie.

The dtypes and layouts are those of a real session, because it is the real engine that runs. The first start on a
machine compiles for some tens of seconds; later ones read the compiled kernels from the user's cache folder.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streamscope.config import BackgroundConfig, DetectConfig, EngineConfig, MotionConfig, Preparation
from streamscope.core.background import SparseRows
from streamscope.core.edges import SensorEdges
from streamscope.core.epoch import CONFIRMED, Epoch
from streamscope.core.events import find_events
from streamscope.core.infer import Infer
from streamscope.core.kernels._jit import signature_counts
from streamscope.core.learn import Learner
from streamscope.core.motion import Matcher, Template
from streamscope.core.prepare import Preparer
from streamscope.core.preprocess import grey_levels, pixel_type
from streamscope.core.response import Response
from streamscope.core.rois import FixedRois
from streamscope.types import Footprints, Frame, FrameResult, ImageArray, Kinetics, Shift

_LEARNS = (
    "sparse",
    "score",
    "shapes",
    "ring",
    "oasis",
    "sites",
    "spikes",
    "medians",
    "blobs",
    "dots",
)  # kernels of the learner
_CELLS = ((20.0, 20.0), (20.0, 25.0), (40.0, 30.0), (44.0, 46.0))
_N_FRAMES = 120
_SHAPE = (64, 64)
SMALL_CONFIG = EngineConfig(
    cell_diameter_px=8,
    fps=20,
    decay_s=0.3,
    motion=MotionConfig(template_s=1.5, piecewise="on"),  # rigid for 5 frames, then with a field
    detect=DetectConfig(block_s=1.0, buffer_s=2.0, threshold=4.0),
    background=BackgroundConfig(n_frames=50),
)

Progress = Callable[[str, int, int], None]


def warm_up_infer(progress: Progress, bits: int = 8) -> None:
    """Compile what the pipeline needs for pixels of so many bits.

    `progress` is told (what, done, total) after each step.

    Raises
    ------
    StageError
        If the engine does not run on this machine.
    """
    config = SMALL_CONFIG.model_copy(update={"bits": bits})
    infer, aligned = Infer(config, _SHAPE), np.zeros(_SHAPE, np.float32)
    for index, image in enumerate(small_movie(bits)[:20]):
        infer(Frame(index, image, 0), aligned)
        if index in (2, 10):  # rigid frames with cells, then with a field
            infer.adopt(_epoch(1 + index // 10))
        progress("the way of a frame", index + 1, 20)
    infer.tail()
    for raw in (8, 16):  # means have 16 bits, whatever the source has
        image = small_movie(raw)[0]
        Preparer(Preparation(bin=2), image.shape, raw).one(image)
    warm_up_edges()


def warm_up_learner(progress: Progress) -> None:
    """Compile what the learner needs; `progress` is told (what, done, total) after each step.

    Raises
    ------
    StageError
        If the learner does not run on this machine.
    """
    learner = Learner(SMALL_CONFIG, _SHAPE)
    _warm_up_events()
    for index, image in enumerate(small_movie()):
        learner.consume(image.astype(np.float32), FrameResult.without_traces(index, Shift()))
        counts = [n for name, n in signature_counts().items() if name.split(".")[-2] in _LEARNS]
        progress("the learner", sum(map(bool, counts)), len(counts))


def warm_up_rois(bits: int = 8) -> None:
    """Compile what given regions need beside the way of a frame."""
    epoch, config = _epoch(1), SMALL_CONFIG.model_copy(update={"bits": bits})
    movie = small_movie(bits)
    rois = FixedRois(config, epoch.footprints, movie[0])
    _warm_up_events()
    for index, image in enumerate(grey_levels(movie, bits)):
        rois.consume(image.astype(np.float32), FrameResult.without_traces(index, Shift()))


def warm_up_edges() -> None:
    """Compile what registration needs where something stays with the sensor."""
    template, matcher = Template(np.eye(_SHAPE[0], dtype=np.float32)), Matcher(_SHAPE, 5.0)
    matcher.refine(template.mean, template, 0.0, 0.0, keep=np.ones(_SHAPE, np.float32))
    template.follow(matcher.moved, matcher.gain, 0.5, matcher.kept)
    SensorEdges(_SHAPE, 1).look(template.mean, template.mean, 0.0, 0.0, matcher.gain)


def _warm_up_events() -> None:
    """Compile the search for events: live it is first needed after the small movie ends."""
    response = Response.make(SMALL_CONFIG.fps, Kinetics(SMALL_CONFIG.decay_s))
    find_events(np.zeros((1, 3), np.float32), response, 1.0)


def _epoch(n: int) -> Epoch:
    """Return an epoch of `n` cells, with some background seen by each."""
    height, width = _SHAPE
    step = 4
    n_bins = (height // step) * (width // step)
    disc = np.add.outer(np.arange(6) * width, np.arange(6)).ravel()
    columns = [
        ((int(y) * width + int(x) + disc).astype(np.int32), np.full(len(disc), 1 / 6, np.float32))
        for y, x in _CELLS[:n]
    ]
    bins = np.tile(np.arange(8, dtype=np.int32), n)
    return Epoch(
        number=n,
        frame=0,
        ids=np.arange(1, n + 1, dtype=np.uint32),
        status=np.full(n, CONFIRMED, np.uint8),
        born_at=np.zeros(n, np.int64),
        snr=np.ones(n, np.float32),
        footprints=Footprints.from_columns(_SHAPE, columns),
        V=SparseRows(
            n_bins, 8 * np.arange(n + 1, dtype=np.int64), bins, np.full(len(bins), 1 / 8, np.float32)
        ),
        step=step,
        solve=SparseRows.identity(n),
        b0=np.full(_SHAPE, 80, np.float32),
        sn=np.ones(n, np.float32),
        kinetics=Kinetics(SMALL_CONFIG.decay_s),
    )


def small_movie(bits: int = 8) -> ImageArray:
    """Return a short movie of overlapping, blinking cells on tissue, (n, 64, 64) uint8, or uint16 with more bits."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[0:64, 0:64].astype(np.float32)
    tissue = 80 + 15 * np.sin(rows / 7) * np.cos(cols / 9) + 6 * rng.normal(size=(64, 64))
    movie: ImageArray = np.empty((_N_FRAMES, 64, 64), pixel_type(bits))
    for t in range(_N_FRAMES):
        image = tissue + 2 * np.sin(t / 11) * np.cos(rows / 20)
        for k, (y, x) in enumerate(_CELLS):
            activity = 60 * np.exp(-((t + 9 * k) % 23) / 6)
            image = image + activity * np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / 8)
        movie[t] = np.clip(image + rng.normal(0, 2, (64, 64)), 0, 255) * (1 << (bits - 8))
    return movie
