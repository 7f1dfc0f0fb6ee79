"""The refit of a session with given regions: their traces over the whole recording, registered anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from streamscope.config import EngineConfig
from streamscope.offline.project import Background, project
from streamscope.offline.refit import Clock, Progress, Session, elapsed_frames
from streamscope.offline.reregister import SessionAligner
from streamscope.offline.store import FrameStore
from streamscope.offline.temporal import denoise
from streamscope.types import FloatArray, Footprints, IdArray, Movie, RefitResult


class FixedSession(Session):
    """A refit whose components are given, each read out by itself and without a ring background."""

    def begin(self, live: Footprints | None, live_ids: IdArray | None) -> None:
        """Take the regions as they are."""
        assert live is not None  # a session with regions has them from frame 0
        assert live_ids is not None
        b = self.background
        self.background = Background(b.geometry, np.zeros_like(b.W), b.mean_image, b.mean_bins)
        self.footprints, self.ids = live, live_ids.astype(np.int64)
        self._u = project(self.store, live, self.background)
        self.activity = denoise(self._u, self.indicator)

    def judge(self) -> Sequence[str]:
        """Reject none: whoever gave a region wants its trace."""
        return [""] * self.footprints.n


def refit_rois(
    movie: Movie,
    config: EngineConfig,
    rois: Footprints,
    ids: IdArray,
    shifts: FloatArray | None,
    progress: Progress | None = None,
) -> RefitResult:
    """Return the traces and events of given regions over a whole recording; all of them are accepted.

    Parameters
    ----------
    movie : Movie
        The recording.
    config : EngineConfig
        Settings of the engine.
    rois : Footprints
        The regions, unit norm, in the reference frame.
    ids : ndarray, shape (K,), uint32
        Their ids.
    shifts : ndarray, shape (T, 2), float32, optional
        Live shifts, px; they fix the frame of reference.
    progress : callable, optional
        Called with the stage's name and the share of it that is done, 0..1.
    """
    report = progress or (lambda stage, done: None)
    clock = Clock()
    with FrameStore(movie.info.shape, movie.info.n_frames, config.refit.chunk_frames) as store:
        report("registering", 0.0)
        aligner = SessionAligner(movie, config, shifts)
        moved, quality, bends = aligner.run(store, lambda done: report("registering", done))
        clock.stop("registering")
        session = FixedSession(store, config, elapsed_frames(movie.gap), clock)
        with session.survey.scratch:
            report("fitting traces", 0.0)
            session.begin(rois, ids)
            clock.stop("fitting traces")
            report("finishing", 0.0)
            result = session.result(moved, quality, bends, ids, None)
    return replace(result, reasons=("region of interest, given",) * rois.n)
