"""The refit of a session with given regions: their traces over the whole recording, registered anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from streamscope.config import EngineConfig
from streamscope.offline.project import Background
from streamscope.offline.refit import Progress, Session, registered
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
        self.fit_traces()

    def _denoise(self) -> None:
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
    with registered(FixedSession, movie, config, shifts, report) as (session, found):
        report("fitting traces", 0.0)
        session.begin(rois, ids)
        session.clock.stop("fitting traces")
        report("finishing", 0.0)
        result = session.result(found, ids, None)
    return replace(result, reasons=("region of interest, given",) * rois.n)
